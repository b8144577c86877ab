"""Rules over what a certificate is for: usages by role, names, public issuers, several of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nats_config.tls import ALWAYS_VERIFIED, TlsContext
from rollover.checks.configs.chains import BETWEEN, certificate_place, presented
from rollover.checks.configs.public import public_issuer as issuer_of
from rollover.checks.configs.scene import ConfigScene, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId
from rollover.pki.names import covers

BOTH_WAYS = Rule(
    id=RuleId("usage-not-both-ways"),
    severity=Severity.ERROR,
    title="Routes and gateways have certificates for both directions",
    meaning="A certificate between servers, or a CA above it, lacks server or client "
    "authentication.",
    why="A route works as long as the other side dials; a gateway works one way only.",
    example="A public certificate after June 2026: `serverAuth` only.",
    remedy="Issue it with both; or give each gateway remote a `tls` block with a client "
    "certificate.",
    source="RFC 5280 §4.2.1.12; measured on routes and gateways",
)
ONE_WAY = Rule(
    id=RuleId("usage-wrong-way"),
    severity=Severity.ERROR,
    title="Certificates may be used for what they are used for",
    meaning="A port presents a certificate without server authentication, or a remote one without "
    "client authentication.",
    why="Every peer refuses it.",
    example="A leaf node's client certificate used on a client port.",
    remedy="Issue it for the role: `rollover issue --for …`.",
    source="RFC 5280 §4.2.1.12; measured",
)
PUBLIC_ISSUER = Rule(
    id=RuleId("public-issuer-drops-client-auth"),
    severity=Severity.WARNING,
    title="Peers do not depend on client authentication by public CAs",
    meaning="A chain with which servers dial comes from a public CA, by its policy, its log "
    "timestamps or its issuer's name. Public CAs end client authentication in certificates and "
    "intermediates.",
    why="A renewal then has `serverAuth` only: gateways become one-way at their next reconnect.",
    example="Let's Encrypt, from 2026 on.",
    remedy="Use a CA of your own between servers, or a `tls` block with a client certificate in "
    "each gateway remote.",
    source="Chrome Root Program 1.6; Let's Encrypt, ending TLS client authentication; CA/Browser "
    "Forum Baseline Requirements §7.1.6.1; RFC 6962",
)
NO_NAMES = Rule(
    id=RuleId("names-missing"),
    severity=Severity.ERROR,
    title="Server certificates have subject alternative names",
    meaning="A certificate that servers are dialled with has no DNS name and no IP address; "
    "perhaps a common name.",
    why="Go refuses it: `certificate relies on legacy Common Name field`.",
    example="`openssl req -subj /CN=nats.example.com` without `-addext`.",
    remedy="Issue it with the names as subject alternative names.",
    source="RFC 6125 §6.4.4, RFC 9525 §6; measured",
)
SECOND_UNSEEN = Rule(
    id=RuleId("second-certificate-unseen"),
    severity=Severity.WARNING,
    title="Every certificate of a block is presented",
    meaning="`certs` lists more than one: as a server nats-server presents the first one only.",
    why="Peers that trust only the CA of the second are refused.",
    example="`certs: [old, new]` as a bridge: it works for dialers, not for listeners.",
    remedy="Put the one that peers trust first.",
    source="Measured on nats-server 2.15",
)
_DIALING = BETWEEN | {TlsContext.LEAF_REMOTE}


def _lacking(path: Sequence[Certificate], usage: str) -> Certificate | None:
    """Return the first certificate of a path that does not allow a usage."""
    for each in path:
        usages = each.extended_key_usages
        if usages is not None and usage not in usages and "any" not in usages:
            return each
    return None


def both_ways(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains between servers that work in one direction only."""
    for used, chain in presented(configs):
        if used.block.context not in ALWAYS_VERIFIED:
            continue
        for usage in ("server_auth", "client_auth"):
            lacking = _lacking(configs.path(chain), usage)
            if lacking is None:
                continue
            message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
            severity = None
            if usage == "client_auth" and _remotes_present_their_own(used):
                message += ": every remote named here has a certificate of its own, gateways "
                message += "that are found by gossip are dialled with this one"
                severity = Severity.WARNING
            yield found(
                BOTH_WAYS, used.subject, message, place=certificate_place(used), severity=severity
            )


def _remotes_present_their_own(used: Used) -> bool:
    """Say whether a gateway dials every remote that it names with another certificate."""
    config = used.server.config
    remotes = [each for each in config.gateways if each.name != config.gateway_name]
    own = all(each.tls is not None and each.tls.certificates for each in remotes)
    return used.block.context is TlsContext.GATEWAY and bool(remotes) and own


def one_way(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that are used in a direction that they are not for."""
    for used, chain in presented(configs):
        context = used.block.context
        if context in ALWAYS_VERIFIED:
            continue
        usage = "server_auth" if context.accepts else "client_auth"
        lacking = _lacking(configs.path(chain), usage)
        if lacking is not None:
            message = f"`{lacking.subject}` lacks {usage.replace('_', ' ')}entication"
            yield found(ONE_WAY, used.subject, message, place=certificate_place(used))


def public_issuer(configs: ConfigScene) -> Iterator[Finding]:
    """Yield chains that servers dial with and that come from a public issuer."""
    for used, chain in presented(configs):
        issuer = next((name for each in chain if (name := issuer_of(each))), "")
        if used.block.context in _DIALING and issuer:
            message = f"the chain comes from {issuer}"
            yield found(PUBLIC_ISSUER, used.subject, message, place=certificate_place(used))


def no_names(configs: ConfigScene) -> Iterator[Finding]:
    """Yield server certificates without names."""
    for used, chain in presented(configs):
        if used.block.context.accepts and not chain[0].names:
            only = ", and Go ignores its common name" if "CN=" in chain[0].subject else ""
            message = f"`{chain[0].subject}` has no subject alternative name{only}"
            yield found(NO_NAMES, used.subject, message, place=certificate_place(used))


def second_unseen(configs: ConfigScene) -> Iterator[Finding]:
    """Yield blocks that list certificates which no peer will see.

    Go takes the first that suits the peer: another kind of key or other names have their turn.
    """
    for used, chain in presented(configs):
        block = used.block
        others = [configs.certificates(pair.cert_file) for pair in block.certificates[1:]]
        hidden = [other for other in others if other and _hides(chain[0], other[0])]
        if hidden and block.context.accepts:
            message = f"presents `{chain[0].subject}` to everybody, never `{hidden[0][0].subject}`"
            yield found(SECOND_UNSEEN, used.subject, message, place=used.place("certs"))


def _hides(first: Certificate, other: Certificate) -> bool:
    same_kind = first.key.partition("-")[0] == other.key.partition("-")[0]
    return same_kind and all(covers(first.names, name) for name in other.names)


CHECKS = (
    (BOTH_WAYS, both_ways),
    (ONE_WAY, one_way),
    (PUBLIC_ISSUER, public_issuer),
    (NO_NAMES, no_names),
    (SECOND_UNSEEN, second_unseen),
)
