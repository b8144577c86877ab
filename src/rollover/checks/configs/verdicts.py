"""Rules over chains as a whole: what Go and OpenSSL say of each below its own root."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.authorities import said_elsewhere
from rollover.checks.configs.chains import certificate_place, presented
from rollover.checks.configs.judging import verdict
from rollover.checks.configs.scene import ConfigScene, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, Fault, FaultKind, Stack, Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import TlsContext

CONSTRAINED = Rule(
    id=RuleId("chain-against-constraints"),
    severity=Severity.ERROR,
    title="Chains keep within what their CAs may issue",
    meaning="A CA above the leaf does not allow it: name constraints, a path length, or a critical "
    "extension that nobody understands.",
    why="Every peer that verifies refuses the chain, whichever of its CAs it trusts.",
    example="A leaf for `nats.acme.example` below a CA whose name constraints permit "
    "`internal.example` only.",
    remedy="Issue it from a CA that may, or with names that the CA permits.",
    source="RFC 5280 §4.2.1.9, §4.2.1.10; measured on 58 chains",
)
OPENSSL = Rule(
    id=RuleId("chain-refused-by-openssl"),
    severity=Severity.WARNING,
    title="Clients on OpenSSL accept the chain that is served",
    meaning="nats-server and other Go programs accept the chain of a client port below its own "
    "root, and OpenSSL does not: key identifiers that do not fit, a usage `any`, a key usage.",
    why="Clients in Python, Ruby, C or C++ fail with `certificate verify failed`; those in Go "
    "connect, and hide it.",
    example="The leaf's authority key identifier is not its CA's subject key identifier.",
    remedy="Issue the leaf anew: `rollover issue --for server` writes what both accept.",
    source="Measured: 29 of 116 verdicts differ between nats-server and OpenSSL 3",
)
_FOR_CLIENTS = frozenset((TlsContext.TOP, TlsContext.WEBSOCKET, TlsContext.MQTT))


def _below_roots(
    configs: ConfigScene,
) -> Iterator[tuple[Used, tuple[Certificate, ...], Certificate]]:
    """Yield chains whose root stands in some file, where no other rule says what is wrong."""
    for used, chain in presented(configs):
        path = configs.path(chain)
        if len(path) > 1 and path[-1].self_signed and not said_elsewhere(path):
            yield used, chain, path[-1]


def _faults(
    configs: ConfigScene,
    used: Used,
    chain: tuple[Certificate, ...],
    root: Certificate,
    stack: Stack,
) -> tuple[Fault, ...]:
    usage = Usage.SERVER if used.block.context.accepts else Usage.CLIENT
    # The path may lead over intermediates that peers have, and the chain has not.
    served = tuple(dict.fromkeys((*chain, *configs.path(chain)[1:-1])))
    faults = verdict(configs, served, (root,), usage=usage, stack=stack, presenter=Stack.OPENSSL)
    return tuple(each for each in faults if each.kind not in _TOLD)


_TOLD = frozenset((FaultKind.EXPIRED, FaultKind.NOT_YET_VALID))


def constrained(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that break a constraint of a CA above them."""
    for used, chain, root in _below_roots(configs):
        faults = _faults(configs, used, chain, root, Stack.GO)
        details = [each.detail for each in faults if each.kind is FaultKind.CONSTRAINT]
        if details:
            place = certificate_place(used)
            yield found(CONSTRAINED, used.subject, "; ".join(details), place=place)


def openssl(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains of client ports that Go accepts and OpenSSL does not."""
    for used, chain, root in _below_roots(configs):
        if used.block.context not in _FOR_CLIENTS or _faults(configs, used, chain, root, Stack.GO):
            continue
        faults = _faults(configs, used, chain, root, Stack.OPENSSL)
        if faults:
            place = certificate_place(used)
            yield found(OPENSSL, used.subject, faults[0].detail, place=place)


CHECKS = ((CONSTRAINED, constrained), (OPENSSL, openssl))
