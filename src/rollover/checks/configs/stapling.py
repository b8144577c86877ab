"""Rules over OCSP stapling: what keeps a server from starting, or takes it down."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.chains import certificate_place, presented
from rollover.checks.configs.scene import ConfigScene, Server, Used, issued
from rollover.checks.configs.settings import last_field
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import TlsContext
from rollover.nats_config.tree import Table
from rollover.pki.stapling import must_staple, names_responder

MODE = RuleId("ocsp-must")
SHUTS_DOWN = Rule(
    id=MODE,
    severity=Severity.WARNING,
    title="OCSP stapling cannot take the server down",
    meaning="`ocsp` is in mode `always`, or in mode `must` with certificates that ask to be "
    "stapled: the server shuts down once an answer says revoked, and with `always` it does not "
    "start before every responder has answered.",
    why="An outage of the issuer's responder becomes one of the server. A private CA usually has "
    "none, and public ones end theirs (Let's Encrypt did in 2025).",
    example="`ocsp { mode: always }` on servers that cannot reach the internet.",
    remedy="Write `mode: auto`: it staples for certificates that ask for it only.",
    source="nats-server OCSP documentation; RFC 7633; measured on 2.15.1: `must` leaves "
    "certificates alone that do not ask",
)
NO_ISSUER = Rule(
    id=RuleId("ocsp-issuer-not-found"),
    severity=Severity.ERROR,
    title="OCSP stapling finds the issuer of each certificate",
    meaning="A certificate is to be stapled, and its issuer is neither the second certificate in "
    "`cert_file` nor, where the leaf stands there alone, a CA of `ca_file`.",
    why="`nats-server -t` says that the file is valid, and the server does not start with it.",
    example="`cert_file` with leaf, root, intermediate and `ocsp { mode: always }`.",
    remedy="Write the issuer right behind the leaf in `cert_file`.",
    source="server/ocsp.go (getOCSPIssuer); nats-server issue 3773; measured on 2.15.1: `ca_file` "
    "does not count for WebSocket and MQTT",
)
NO_RESPONDER = Rule(
    id=RuleId("ocsp-without-responder"),
    severity=Severity.ERROR,
    title="OCSP stapling has somebody to ask",
    meaning="A certificate is to be stapled, names no OCSP responder, and `ocsp` has no `url`.",
    why="`no available ocsp servers`: the server does not start, although `nats-server -t` says "
    "that its configuration is valid.",
    example="`ocsp { mode: always }` and the first leaf of a new CA without a responder.",
    remedy="Take `ocsp` out or write `mode: auto`; or name the responder with `url`.",
    source="server/ocsp.go; measured on 2.15.1",
)
_WITHOUT_CA_FILE = frozenset((TlsContext.WEBSOCKET, TlsContext.MQTT))


def _table(server: Server) -> Table | None:
    node = last_field(server.tree.root, "ocsp")
    return node.value if node is not None and isinstance(node.value, Table) else None


def _mode(server: Server) -> str:
    """Return the mode in words; `auto` for `ocsp: true`, empty where nothing is said."""
    node = last_field(server.tree.root, "ocsp")
    if node is None:
        return ""
    if not isinstance(node.value, Table):
        return "auto" if node.value is True else "never"
    mode = last_field(node.value, "mode")
    return str(mode.value).lower() if mode is not None else "auto"


def _stapled(configs: ConfigScene) -> Iterator[tuple[Used, tuple[Certificate, ...]]]:
    """Yield the blocks whose certificate the server wants an answer for, with their chains."""
    modes = {each.config.path: _mode(each) for each in configs.servers}
    for used, chain in presented(configs):
        mode = modes[used.server.config.path]
        asked = mode == "always" or (mode != "never" and must_staple(chain[0]))
        if asked and used.block.context is not TlsContext.RESOLVER:
            yield used, chain


def shuts_down(configs: ConfigScene) -> Iterator[Finding]:
    """Yield servers that an answer of a responder ends."""
    stapled = {used.server.config.path for used, _ in _stapled(configs)}
    for server in configs.servers:
        mode = _mode(server)
        strict = mode == "always" or (mode == "must" and server.config.path in stapled)
        table = _table(server)
        node = last_field(table, "mode") if table is not None else None
        if strict and node is not None:
            yield found(
                SHUTS_DOWN, server.name, f"`ocsp` is in mode `{mode}`", place=str(node.place)
            )


def no_issuer(configs: ConfigScene) -> Iterator[Finding]:
    """Yield certificates whose issuer the server would not find."""
    for used, chain in _stapled(configs):
        if len(chain) > 1:
            fine = issued(chain[0], chain[1])
            message = f"`{chain[1].subject}`, second in the file, did not issue the leaf"
        else:
            named = () if used.block.context in _WITHOUT_CA_FILE else configs.bundle(used.block)
            fine = any(issued(chain[0], each) for each in named)
            message = "the leaf stands alone, and no CA at hand issued it"
        if not fine:
            yield found(NO_ISSUER, used.subject, message, place=certificate_place(used))


def no_responder(configs: ConfigScene) -> Iterator[Finding]:
    """Yield certificates for which nobody can be asked."""
    for used, chain in _stapled(configs):
        table = _table(used.server)
        urls = table is not None and (last_field(table, "url") or last_field(table, "urls"))
        if not urls and not names_responder(chain[0]):
            message = f"`{chain[0].subject}` names no responder"
            yield found(NO_RESPONDER, used.subject, message, place=certificate_place(used))


CHECKS = ((SHUTS_DOWN, shuts_down), (NO_ISSUER, no_issuer), (NO_RESPONDER, no_responder))
