"""Rules over settings: what is verified, in which time, in the clear, with which suites; OCSP."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from nats_config.server import PortKind
from nats_config.tls import TlsContext
from nats_config.tree import Position, Table, ValueNode, fold
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId
from rollover.pki.certificate import must_staple, names_responder
from rollover.platforms.nats.rules.chains import certificate_place, presented
from rollover.platforms.nats.rules.context import (
    CLIENT_FACING,
    ConfigContext,
    Server,
    UsedBlock,
    issued,
)
from rollover.platforms.nats.rules.peer_pairs import PORTS
from rollover.rules.rule import Finding, Rule, Severity, found

# Who is verified, how long a handshake may take, what is in clear, with which suites.

INSECURE = Rule(
    id=RuleId("insecure"),
    severity=Severity.ERROR,
    title="Servers look at whom they dial",
    meaning="`insecure: true`: the dialer does not verify the certificate of the server it dials.",
    why="Whoever can answer on that address gets the traffic.",
    example="`gateway { tls { insecure: true } }` from a first try-out.",
    remedy="Take it out, and put the peers' CAs into `ca_file`.",
    source="nats-server logs a warning; measured: it skips only the dialer's half",
)
NOT_VERIFIED = Rule(
    id=RuleId("peers-not-verified"),
    severity=Severity.WARNING,
    title="Ports that have a `ca_file` demand certificates",
    meaning="A block names a `ca_file` without `verify`: nobody has to show a certificate.",
    why="The CA is there, and anybody is let in without one.",
    example="`tls { cert_file: a, key_file: b, ca_file: ca.pem }`.",
    remedy="Write `verify: true` once every client has a certificate, or take `ca_file` out.",
    source="Measured on nats-server 2.15: `ca_file` without `verify` has no effect",
)
LEAF_NOT_VERIFIED = Rule(
    id=RuleId("leafnodes-not-verified"),
    severity=Severity.WARNING,
    title="Leaf nodes have to show a certificate",
    meaning="The leaf node port speaks TLS and demands no certificate.",
    why="Any server that knows a user can join as a leaf node, and sees that account's traffic.",
    example="`leafnodes { tls { cert_file: a, key_file: b } }`.",
    remedy="Write `verify: true` and a `ca_file` with the CAs of leaf nodes.",
    source="nats-server leaf node documentation",
)
PINNED = Rule(
    id=RuleId("pinned-certificates"),
    severity=Severity.WARNING,
    title="Pins allow for the next key",
    meaning="`pinned_certs` names the keys of peers: a renewal with a new key is refused, "
    "whatever its CA.",
    why="A reload that changes pins cuts off everybody who does not match, at once (2.15.1); "
    "before 2.15.1 it let the wrong ones stay. On leaf, websocket and MQTT ports it needs a "
    "restart.",
    example='`pinned_certs: [ "a8f407…" ]` on a cluster whose leaves are about to be rotated.',
    remedy="Add the pins of the new keys first, rotate, then take the old ones out; or trust a CA "
    "instead.",
    source="Measured on 2.15.1 and 2.15.0; nats-server issue 8270",
)
TIMEOUT_LOW = Rule(
    id=RuleId("timeout-too-low"),
    severity=Severity.WARNING,
    title="Handshakes have time enough",
    meaning="`timeout` of a `tls` block is below 2 seconds.",
    why="When many peers come back at once, handshakes take longer, time out, and come again.",
    example="`timeout: 0.5`.",
    remedy="Leave it at 2 seconds or set 5; it can be reloaded at client ports and in clusters "
    "only.",
    source="nats-server: default 2 seconds; measured with 1,000 clients on two cores",
)
TIMEOUT_HIGH = Rule(
    id=RuleId("timeout-too-high"),
    severity=Severity.WARNING,
    title="Handshakes end some time",
    meaning="`timeout` of a `tls` block is above 60 seconds.",
    why="Every half-open connection holds a file descriptor and a goroutine for that long.",
    example="`timeout: 600`.",
    remedy="Set 2 to 30 seconds.",
    source="nats-server: default 2 seconds; BOSH sets 30",
)
MONITORING = Rule(
    id=RuleId("monitoring-in-clear"),
    severity=Severity.WARNING,
    title="The monitoring port is private or speaks TLS",
    meaning="The monitoring port speaks plain HTTP on an address that is not loopback.",
    why="It tells everybody the users, subjects, addresses and certificates of every connection.",
    example="`http: 8222` listens on every address.",
    remedy="`https_port`, or `http: 127.0.0.1:8222`.",
    source="nats-server monitoring documentation: no authentication",
)
PLAINTEXT = Rule(
    id=RuleId("port-in-clear"),
    severity=Severity.WARNING,
    title="Every port of a server with TLS speaks TLS",
    meaning="One port of the server has a `tls` block and this one has none.",
    why="Its traffic goes in clear. A block that is removed from the client or cluster port is "
    "taken out by a reload without a word.",
    example="`tls { … }` for clients, and `cluster { listen: 6222 }` without one.",
    remedy="Give the section a `tls` block of its own.",
    source="Measured: removing `tls` of clients or routes falls back to plaintext at a reload",
)
MIXED = Rule(
    id=RuleId("clients-in-clear-allowed"),
    severity=Severity.WARNING,
    title="Clients cannot choose plaintext",
    meaning="`allow_non_tls: true` lets clients connect without TLS on the same port.",
    why="Whoever is in between can make them do so; no certificate is asked for then.",
    example="Left over from the day on which TLS was introduced.",
    remedy="Take it out once `connz` shows no connection without TLS.",
    source="NATS documentation, TLS: `allow_non_tls`",
)
CIPHERS = Rule(
    id=RuleId("weak-ciphers"),
    severity=Severity.ERROR,
    title="No insecure cipher suites",
    meaning="`allow_insecure_cipher_suites` is on, or an insecure suite is listed.",
    why="RC4, 3DES, CBC with SHA-1 and RSA key exchange can be attacked.",
    example="`cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]`.",
    remedy="Take the list out: Go's defaults are right.",
    source="RFC 9325 §4.2",
)
SUITES_REFUSED = Rule(
    id=RuleId("insecure-ciphers-refused"),
    severity=Severity.ERROR,
    title="Insecure cipher suites are not listed by accident",
    meaning="An insecure suite is listed, and `allow_insecure_cipher_suites` is not on.",
    why="The server refuses to start, and refuses the whole reload: new certificates too.",
    example="`cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]`, from an older server.",
    remedy="Take the suite out: Go's defaults are right.",
    source="nats-server 2.12 and later; measured on 2.15",
)
NO_CERTIFICATE = Rule(
    id=RuleId("block-without-certificate"),
    severity=Severity.ERROR,
    title="A `tls` block of a port names a certificate",
    meaning="The `tls` block of a port has neither `cert_file` nor `certs`.",
    why="`nats-server -t` says that it is valid, the server starts, and no handshake on that port "
    "succeeds.",
    example="`cluster { tls { } }`; or a block with `ca_file` and `verify` only.",
    remedy="Name `cert_file` and `key_file`.",
    source="Measured on nats-server 2.15",
)
_LOW, _HIGH = 2.0, 60.0
"""Seconds: the default of nats-server, and twice what BOSH sets."""
_INSECURE = ("_RC4_", "_3DES_", "_CBC_SHA256")


def insecure(configs: ConfigContext) -> Iterator[Finding]:
    """Yield dialers that verify nobody."""
    for used in configs.used:
        if used.block.insecure and used.block.context.dials:
            message = "does not verify the servers that it dials"
            yield found(INSECURE, used.subject, message, place=used.place("insecure"))


def not_verified(configs: ConfigContext) -> Iterator[Finding]:
    """Yield ports with a CA that demand no certificate."""
    for used in configs.used:
        block = used.block
        if block.ca_file and block.context in CLIENT_FACING and not block.demands_certificate:
            message = f"`{block.ca_file.written}` is read, and no certificate is asked for"
            yield found(NOT_VERIFIED, used.subject, message, place=used.place("ca_file"))


def leaf_not_verified(configs: ConfigContext) -> Iterator[Finding]:
    """Yield leaf node ports that demand no certificate."""
    for used in configs.used:
        if used.block.context is TlsContext.LEAFNODES and not used.block.demands_certificate:
            message = "any leaf node that knows a user may join"
            yield found(LEAF_NOT_VERIFIED, used.subject, message, place=used.place())


def pinned(configs: ConfigContext) -> Iterator[Finding]:
    """Yield blocks with pins."""
    for used in configs.used:
        count = len(used.block.pinned_certs)
        if count and used.block.context.accepts:
            message = f"{count} key{'s are' if count > 1 else ' is'} pinned"
            yield found(PINNED, used.subject, message, place=used.place("pinned_certs"))


def _timeouts(configs: ConfigContext) -> Iterator[tuple[UsedBlock, float]]:
    for used in configs.used:
        seconds = used.block.timeout_seconds
        if seconds is not None:
            yield used, seconds


def timeout_low(configs: ConfigContext) -> Iterator[Finding]:
    """Yield timeouts below the default."""
    for used, seconds in _timeouts(configs):
        if seconds < _LOW:
            message = f"a handshake may take {seconds:g} s"
            yield found(TIMEOUT_LOW, used.subject, message, place=used.place("timeout"))


def timeout_high(configs: ConfigContext) -> Iterator[Finding]:
    """Yield timeouts that hold half-open connections for long."""
    for used, seconds in _timeouts(configs):
        if seconds > _HIGH:
            message = f"a handshake may take {seconds:g} s"
            yield found(TIMEOUT_HIGH, used.subject, message, place=used.place("timeout"))


def monitoring(configs: ConfigContext) -> Iterator[Finding]:
    """Yield monitoring ports that tell everybody."""
    for server in configs.servers:
        port = server.config.listener(PortKind.HTTP)
        if port is not None and not _loopback(port.host):
            message = f"the monitoring port listens on `{port.host}:{port.port}` in clear"
            yield found(MONITORING, server.name, message, place=str(port.place))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plaintext(configs: ConfigContext) -> Iterator[Finding]:
    """Yield ports in clear of servers that speak TLS elsewhere."""
    contexts = {port: context for context, port in PORTS.items()}
    for server in configs.servers:
        # A remote's block says what is dialled, nothing of the server's own ports.
        speaks = any(block.context.accepts for block in server.config.tls)
        for listener in server.config.listeners if speaks else ():
            context = contexts.get(listener.port_kind)
            if context is None or _loopback(listener.host):
                continue
            if server.config.block(context) is None:
                message = f"port {listener.port} ({listener.port_kind.value}) speaks no TLS"
                yield found(PLAINTEXT, server.name, message, place=str(listener.place))


def mixed(configs: ConfigContext) -> Iterator[Finding]:
    """Yield servers that let clients choose."""
    for server in configs.servers:
        if server.config.allow_non_tls and server.config.block(TlsContext.TOP) is not None:
            node = last_field(server.tree.root, "allow_non_tls")
            place = str(node.place if node else Position(server.config.path, 1, 1))
            yield found(MIXED, server.name, "clients may do without TLS", place=place)


def ciphers(configs: ConfigContext) -> Iterator[Finding]:
    """Yield blocks that allow what can be attacked."""
    for used in configs.used:
        listed = used.block.cipher_suites
        broken = [suite for suite in listed if _insecure(suite)]
        old = [suite for suite in listed if "_CBC_SHA" in suite and suite not in broken]
        if used.block.allow_insecure_cipher_suites or broken:
            message = f"allows {', '.join(broken) or 'insecure suites'}"
            option = "cipher_suites" if broken else "allow_insecure_cipher_suites"
            yield found(CIPHERS, used.subject, message, place=used.place(option))
        elif old:
            message, severity = f"allows {', '.join(old)}", Severity.WARNING
            place = used.place("cipher_suites")
            yield found(CIPHERS, used.subject, message, place=place, severity=severity)


def _insecure(suite: str) -> bool:
    """Say whether Go counts a suite of TLS 1.2 among the insecure ones."""
    suite = suite.upper()
    weak = any(part in suite for part in _INSECURE)
    return weak or suite.startswith("TLS_RSA_WITH_")


def suites_refused(configs: ConfigContext) -> Iterator[Finding]:
    """Yield insecure suites that nats-server does not accept as it is configured."""
    for used in configs.used:
        block = used.block
        broken = [suite for suite in block.cipher_suites if _insecure(suite)]
        if broken and not block.allow_insecure_cipher_suites:
            message = f"{broken[0]} is listed without `allow_insecure_cipher_suites`"
            place = used.place("cipher_suites")
            yield found(SUITES_REFUSED, used.subject, message, place=place)


def no_certificate(configs: ConfigContext) -> Iterator[Finding]:
    """Yield `tls` blocks of ports without a certificate."""
    for used in configs.used:
        if used.block.context.accepts and not used.block.certificates:
            message = "names no certificate: it can serve no handshake"
            yield found(NO_CERTIFICATE, used.subject, message, place=used.place())


def last_field(table: Table, name: str) -> ValueNode | None:
    """Return the field of a table that counts of those of one name, in whatever case."""
    found_here = [field for field in table.fields.values() if fold(field.name) == name]
    return found_here[-1].node if found_here else None


CHECKS = (
    (INSECURE, insecure),
    (NOT_VERIFIED, not_verified),
    (LEAF_NOT_VERIFIED, leaf_not_verified),
    (PINNED, pinned),
    (TIMEOUT_LOW, timeout_low),
    (TIMEOUT_HIGH, timeout_high),
    (MONITORING, monitoring),
    (PLAINTEXT, plaintext),
    (MIXED, mixed),
    (CIPHERS, ciphers),
    (SUITES_REFUSED, suites_refused),
    (NO_CERTIFICATE, no_certificate),
)


# OCSP stapling: what keeps a server from starting, or takes it down.

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


def _stapled(configs: ConfigContext) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...]]]:
    """Yield the blocks whose certificate the server wants an answer for, with their chains."""
    modes = {server.config.path: _mode(server) for server in configs.servers}
    for used, chain in presented(configs):
        mode = modes[used.server.config.path]
        asked = mode == "always" or (mode != "never" and must_staple(chain[0]))
        if asked and used.block.context is not TlsContext.RESOLVER:
            yield used, chain


def shuts_down(configs: ConfigContext) -> Iterator[Finding]:
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


def no_issuer(configs: ConfigContext) -> Iterator[Finding]:
    """Yield certificates whose issuer the server would not find."""
    for used, chain in _stapled(configs):
        if len(chain) > 1:
            fine = issued(chain[0], chain[1])
            message = f"`{chain[1].subject}`, second in the file, did not issue the leaf"
        else:
            named = () if used.block.context in _WITHOUT_CA_FILE else configs.bundle(used.block)
            fine = any(issued(chain[0], certificate) for certificate in named)
            message = "the leaf stands alone, and no CA at hand issued it"
        if not fine:
            yield found(NO_ISSUER, used.subject, message, place=certificate_place(used))


def no_responder(configs: ConfigContext) -> Iterator[Finding]:
    """Yield certificates for which nobody can be asked."""
    for used, chain in _stapled(configs):
        table = _table(used.server)
        urls = table is not None and (last_field(table, "url") or last_field(table, "urls"))
        if not urls and not names_responder(chain[0]):
            message = f"`{chain[0].subject}` names no responder"
            yield found(NO_RESPONDER, used.subject, message, place=certificate_place(used))


STAPLING_CHECKS = ((SHUTS_DOWN, shuts_down), (NO_ISSUER, no_issuer), (NO_RESPONDER, no_responder))


# How a server is started: what its unit says beside its configuration.

TLS_FLAGS = Rule(
    id=RuleId("started-with-tls-flags"),
    severity=Severity.ERROR,
    title="TLS is set in the configuration, not by flags",
    meaning="The unit starts nats-server with flags of TLS (`--tls`, `--tlscert`, `--tlsverify`…).",
    why="Every reload is refused (`config reload not supported for TLS`): new certificates need a "
    "restart, which drops each connection.",
    example="`ExecStart=/usr/bin/nats-server -c /etc/nats/nats.conf --tls --tlscert server.pem`.",
    remedy="Write a `tls` block into the configuration, take the flags out, and restart once.",
    source="server/reload.go; measured on 2.15.1",
)
NO_CONFIG = Rule(
    id=RuleId("started-without-configuration"),
    severity=Severity.ERROR,
    title="Servers are started with a configuration file",
    meaning="The unit starts nats-server without `-c`.",
    why="Without a file there is nothing to load anew: a reload is refused, and each new "
    "certificate needs a restart.",
    example="`ExecStart=/usr/bin/nats-server -p 4222 -m 8222`.",
    remedy="Write a configuration, start with `-c FILE`, and restart once.",
    source="server/reload.go; measured on 2.15.1",
)


def tls_flags(configs: ConfigContext) -> Iterator[Finding]:
    """Yield units that set TLS by flags."""
    for command in configs.started:
        if command.tls_flags:
            message = f"it starts nats-server with `{' '.join(command.tls_flags)}`"
            yield found(TLS_FLAGS, command.unit, message, place=str(command.place))


def no_config(configs: ConfigContext) -> Iterator[Finding]:
    """Yield units that name no configuration."""
    for command in configs.started:
        if not command.config:
            message = "it starts nats-server without a configuration file"
            yield found(NO_CONFIG, command.unit, message, place=str(command.place))


STARTING_CHECKS = ((TLS_FLAGS, tls_flags), (NO_CONFIG, no_config))
