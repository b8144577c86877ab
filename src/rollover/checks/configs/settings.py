"""Rules over settings: what a block says, what it only seems to say, what a reload would refuse."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import combinations

from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.names import RuleId
from rollover.nats_config.addresses import Port, Url
from rollover.nats_config.options import Effect
from rollover.nats_config.position import Place, Remark
from rollover.nats_config.reloadable import changes
from rollover.nats_config.tls import FORCED, TlsContext
from rollover.nats_config.tree import Node, Table, fold

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
MAPPED_NOBODY = Rule(
    id=RuleId("mapped-user-without-certificate"),
    severity=Severity.WARNING,
    title="Every user of `verify_and_map` can be what a certificate says",
    meaning="With `verify_and_map` a user's name has to be an e-mail address, DNS name, URI or "
    "subject of a certificate; this one is none of them, and has no password.",
    why="Nobody can ever be that user.",
    example="`users: [ { user: app } ]` beside `verify_and_map: true`.",
    remedy="Name the user as the certificate does: `CN=app,O=Acme` or `app@acme.example`.",
    source="nats-server: e-mail, then DNS name, then URI, then subject (checkClientTLSCertSubject)",
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
NOTHING_SHARED = Rule(
    id=RuleId("nothing-shared"),
    severity=Severity.ERROR,
    title="Peers have a version, a cipher suite and a curve in common",
    meaning="Two servers that talk over routes or gateways share no TLS version, suite or curve.",
    why="Every handshake between them fails.",
    example='One has `min_version: "1.3"`, the other one is limited to suites of TLS 1.2 by age.',
    remedy="Use the same settings on all servers, best none.",
    source="RFC 8446 §4.1.1",
)
WITHOUT_EFFECT = Rule(
    id=RuleId("option-without-effect"),
    severity=Severity.WARNING,
    title="Every option does what it says",
    meaning="nats-server reads the option and makes no use of it in this place.",
    why="Somebody relies on it: a pin, a rate limit, a verification that is not there.",
    example="`pinned_certs` inside a gateway remote.",
    remedy="Take it out, or put it where it counts.",
    source="server/opts.go, server/reload.go; measured",
)
TWICE = Rule(
    id=RuleId("option-twice"),
    severity=Severity.WARNING,
    title="Nothing is said twice",
    meaning="A key or a block stands in a map twice: the last one wins, without a word.",
    why="A second `tls` block replaces the first one wholly.",
    example="`tls { verify: true … }` on top and `tls { … }` from an include below.",
    remedy="Merge them.",
    source="Measured: no warning with `-t` either",
)
UNKNOWN = Rule(
    id=RuleId("option-unknown"),
    severity=Severity.ERROR,
    title="nats-server knows every option",
    meaning="An option is misspelt, or of another version.",
    why="The server refuses to start, and refuses the whole reload.",
    example="`verfy: true`.",
    remedy="Correct it; `nats-server -t -c FILE` names the first one only.",
    source="nats-server 2.15",
)
ODD = Rule(
    id=RuleId("value-not-as-meant"),
    severity=Severity.WARNING,
    title="Values mean what they seem to mean",
    meaning="The parser reads the text otherwise than a person would: a key without a value, an "
    "unknown unit, a file that is cut off.",
    why="A setting is silently not there.",
    example="`timeout: 5m0x`.",
    remedy="Write it in quotes, or with a unit that is known.",
    source="conf/lex.go, conf/parse.go; measured against the parser, digest for digest",
)
RELOAD = Rule(
    id=RuleId("reload-refused"),
    severity=Severity.ERROR,
    title="A reload would take the changes",
    meaning="The file differs from what the server has loaded in something that a reload refuses.",
    why="The whole reload is refused: new certificates in the same file are held back too.",
    example="A new `gateway.tls.timeout` in the same commit as a new `cert_file`.",
    remedy="Keep material and settings apart: deliver the certificates now, the rest with a "
    "restart.",
    source="Measured: 109 cases on nats-server 2.15",
)
DOWNGRADE = Rule(
    id=RuleId("reload-to-plaintext"),
    severity=Severity.ERROR,
    title="A reload would not end TLS",
    meaning="The `tls` block of the client or cluster port is gone from the file and loaded in the "
    "server.",
    why="A reload takes that without a word: clients or routes go on in clear.",
    example="An include that is missing after a deploy.",
    remedy="Put the block back before anybody reloads.",
    source="Measured on nats-server 2.15",
)
RELATIVE = Rule(
    id=RuleId("relative-path"),
    severity=Severity.WARNING,
    title="Paths of certificates are absolute",
    meaning="A certificate file is named by a relative path.",
    why="It begins in the working directory of the process, not beside the configuration: a unit "
    "file that changes that directory breaks the next start.",
    example="`cert_file: certs/server.pem`.",
    remedy="Write the whole path.",
    source="Measured on nats-server 2.15",
)
OCSP = Rule(
    id=RuleId("ocsp-must"),
    severity=Severity.WARNING,
    title="OCSP stapling cannot take the server down",
    meaning="`ocsp` is in mode `must` or `always`: the server needs an answer of the issuer's "
    "responder, and shuts down when it is revoked.",
    why="A private CA usually has no responder, and public ones end theirs (Let's Encrypt did in "
    "2025): after a rotation the new leaf has none.",
    example="`ocsp { mode: must }` with leaves that name no responder.",
    remedy="`mode: auto`, which staples for leaves that ask for it.",
    source="nats-server OCSP documentation; RFC 7633",
)

_CLIENT_FACING = frozenset((TlsContext.TOP, TlsContext.WEBSOCKET, TlsContext.MQTT))
_LOW, _HIGH = 2.0, 60.0
_WEAK = ("_RC4_", "_3DES_", "_RSA_WITH_", "_CBC_SHA")
_ELLIPTIC = ("ECDHE_ECDSA_", "ECDHE_RSA_")
_RULE_OF_REMARK = {
    "ignored-option": WITHOUT_EFFECT,
    "duplicate-key": TWICE,
    "same-field-twice": TWICE,
    "unknown-field": UNKNOWN,
    "key-without-value": ODD,
    "unknown-unit": ODD,
    "empty": ODD,
    "cut-off": ODD,
    "not-a-url": ODD,
}


def insecure(scene: ConfigScene) -> Iterator[Finding]:
    """Yield dialers that verify nobody."""
    for used in scene.used:
        if used.block.insecure and used.block.context.dials:
            message = "does not verify the servers that it dials"
            yield found(INSECURE, used.subject, message, place=used.place("insecure"))


def not_verified(scene: ConfigScene) -> Iterator[Finding]:
    """Yield ports with a CA that demand no certificate."""
    for used in scene.used:
        block = used.block
        if block.ca_file and block.context in _CLIENT_FACING and not block.demands_certificate:
            message = f"`{block.ca_file.written}` is read, and no certificate is asked for"
            yield found(NOT_VERIFIED, used.subject, message, place=used.place("ca_file"))


def leaf_not_verified(scene: ConfigScene) -> Iterator[Finding]:
    """Yield leaf node ports that demand no certificate."""
    for used in scene.used:
        if used.block.context is TlsContext.LEAFNODES and not used.block.demands_certificate:
            message = "any leaf node that knows a user may join"
            yield found(LEAF_NOT_VERIFIED, used.subject, message, place=used.place())


def mapped_nobody(scene: ConfigScene) -> Iterator[Finding]:
    """Yield users whom no certificate can name."""
    for server in scene.servers:
        if not any(block.verify_and_map for block in server.config.tls):
            continue
        for user in server.config.accounts.users:
            plain = not any(sign in user.name for sign in "@.=/:")
            if plain and not user.has_password:
                message = f"user `{user.name}` is no address, name, URI or subject"
                yield found(MAPPED_NOBODY, server.name, message, place=str(user.place))


def pinned(scene: ConfigScene) -> Iterator[Finding]:
    """Yield blocks with pins."""
    for used in scene.used:
        count = len(used.block.pinned_certs)
        if count and used.block.context.accepts:
            message = f"{count} key{'s are' if count > 1 else ' is'} pinned"
            yield found(PINNED, used.subject, message, place=used.place("pinned_certs"))


def _timeouts(scene: ConfigScene) -> Iterator[tuple[Used, float]]:
    for used in scene.used:
        seconds = used.block.timeout_seconds
        if seconds is not None:
            yield used, seconds


def timeout_low(scene: ConfigScene) -> Iterator[Finding]:
    """Yield timeouts below the default."""
    for used, seconds in _timeouts(scene):
        if seconds < _LOW:
            message = f"a handshake may take {seconds:g} s"
            yield found(TIMEOUT_LOW, used.subject, message, place=used.place("timeout"))


def timeout_high(scene: ConfigScene) -> Iterator[Finding]:
    """Yield timeouts that hold half-open connections for long."""
    for used, seconds in _timeouts(scene):
        if seconds > _HIGH:
            message = f"a handshake may take {seconds:g} s"
            yield found(TIMEOUT_HIGH, used.subject, message, place=used.place("timeout"))


def monitoring(scene: ConfigScene) -> Iterator[Finding]:
    """Yield monitoring ports that tell everybody."""
    for server in scene.servers:
        port = server.config.listener(Port.HTTP)
        if port is not None and not _loopback(port.host):
            message = f"the monitoring port listens on `{port.host}:{port.port}` in clear"
            yield found(MONITORING, server.name, message, place=str(port.place))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plaintext(scene: ConfigScene) -> Iterator[Finding]:
    """Yield ports in clear of servers that speak TLS elsewhere."""
    contexts = {
        Port.CLIENT: TlsContext.TOP,
        Port.CLUSTER: TlsContext.CLUSTER,
        Port.GATEWAY: TlsContext.GATEWAY,
        Port.LEAFNODES: TlsContext.LEAFNODES,
        Port.WEBSOCKET: TlsContext.WEBSOCKET,
        Port.MQTT: TlsContext.MQTT,
    }
    for server in scene.servers:
        for listener in server.config.listeners if server.config.tls else ():
            context = contexts.get(listener.port_kind)
            if context is not None and server.config.block(context) is None:
                message = f"port {listener.port} ({listener.port_kind.value}) speaks no TLS"
                yield found(PLAINTEXT, server.name, message, place=str(listener.place))


def mixed(scene: ConfigScene) -> Iterator[Finding]:
    """Yield servers that let clients choose."""
    for server in scene.servers:
        if server.config.allow_non_tls and server.config.block(TlsContext.TOP) is not None:
            place = _place_of(server, "allow_non_tls")
            yield found(MIXED, server.name, "clients may do without TLS", place=place)


def ciphers(scene: ConfigScene) -> Iterator[Finding]:
    """Yield blocks that allow what can be attacked."""
    for used in scene.used:
        weak = [each for each in used.block.cipher_suites if _weak(each)]
        if weak or used.block.allow_insecure_cipher_suites:
            message = f"allows {', '.join(weak)}" if weak else "allows insecure suites"
            yield found(CIPHERS, used.subject, message, place=used.place("cipher_suites"))


def _weak(suite: str) -> bool:
    if any(each in suite for each in _ELLIPTIC):
        return "_RC4_" in suite or "_3DES_" in suite or "_CBC_SHA" in suite
    return any(each in suite for each in _WEAK)


def nothing_shared(scene: ConfigScene) -> Iterator[Finding]:
    """Yield pairs of servers whose cluster or gateway blocks have no curve in common.

    Suites are no reason: servers of today meet in TLS 1.3, for which Go takes no list.
    """
    for context in sorted(FORCED):
        blocks = [used for used in scene.used if used.block.context is context]
        for one, other in combinations(blocks, 2):
            curves = [set(each.block.curve_preferences) for each in (one, other)]
            if all(curves) and not set.intersection(*curves):
                message = f"shares no curve with {other.subject}"
                place = one.place("curve_preferences")
                yield found(NOTHING_SHARED, one.subject, message, place=place)


def _remarks(scene: ConfigScene, rule: Rule) -> Iterator[tuple[Server, Remark]]:
    for server in scene.servers:
        for remark in server.config.remarks:
            if _RULE_OF_REMARK.get(remark.code) is rule:
                yield server, remark


def _from_remarks(scene: ConfigScene, rule: Rule) -> Iterator[Finding]:
    for server, remark in _remarks(scene, rule):
        yield found(rule, server.name, remark.message, place=str(remark.place))


def without_effect(scene: ConfigScene) -> Iterator[Finding]:
    """Yield options that nothing makes use of."""
    yield from _from_remarks(scene, WITHOUT_EFFECT)


def twice(scene: ConfigScene) -> Iterator[Finding]:
    """Yield what is said twice."""
    yield from _from_remarks(scene, TWICE)


def unknown(scene: ConfigScene) -> Iterator[Finding]:
    """Yield options that the server does not know."""
    yield from _from_remarks(scene, UNKNOWN)


def odd(scene: ConfigScene) -> Iterator[Finding]:
    """Yield values that are read otherwise than they look."""
    yield from _from_remarks(scene, ODD)


def reload_refused(scene: ConfigScene) -> Iterator[Finding]:
    """Yield changes since the last load that a reload refuses."""
    for server in scene.servers:
        for change in changes(server.running, server.tree) if server.running else ():
            if change.effect is Effect.REFUSED:
                message = f"`{change.path}` has changed, and cannot be reloaded"
                yield found(RELOAD, server.name, message, place=str(change.place))


def downgrade(scene: ConfigScene) -> Iterator[Finding]:
    """Yield `tls` blocks that a reload would take away."""
    for server in scene.servers:
        for change in changes(server.running, server.tree) if server.running else ():
            if change.removed and change.path in {"tls", "cluster.tls"}:
                message = f"`{change.path}` is gone: a reload goes on in clear"
                yield found(DOWNGRADE, server.name, message, place=str(change.place))


def relative(scene: ConfigScene) -> Iterator[Finding]:
    """Yield certificate files with relative paths."""
    for used in scene.used:
        for file in used.block.files:
            if file.written and not file.written.startswith("/"):
                message = f"`{file.written}` begins in the working directory of the process"
                yield found(RELATIVE, used.subject, message, place=str(file.place))


def ocsp(scene: ConfigScene) -> Iterator[Finding]:
    """Yield servers whose stapling is a condition."""
    for server in scene.servers:
        node = _field(server.tree.root, "ocsp")
        mode = _field(node.value, "mode") if node and isinstance(node.value, Table) else None
        text = str(mode.value).lower() if mode else ""
        if mode is not None and text in {"must", "always"}:
            message = f"`ocsp` is in mode `{text}`"
            yield found(OCSP, server.name, message, place=str(mode.place))


def _field(table: Table, name: str) -> Node | None:
    found_here = [each for each in table.fields.values() if fold(each.name) == name]
    return found_here[-1].node if found_here else None


def _place_of(server: Server, name: str) -> str:
    node = _field(server.tree.root, name)
    return str(node.place if node else Place(server.config.path, 1, 1))


def dialled(server: Server) -> Iterator[Url]:
    """Yield every URL that a server dials."""
    config = server.config
    yield from config.routes
    for gateway in config.gateways:
        yield from gateway.urls
    for remote in config.leaf_remotes:
        yield from remote.urls


CHECKS = (
    (INSECURE, insecure),
    (NOT_VERIFIED, not_verified),
    (LEAF_NOT_VERIFIED, leaf_not_verified),
    (MAPPED_NOBODY, mapped_nobody),
    (PINNED, pinned),
    (TIMEOUT_LOW, timeout_low),
    (TIMEOUT_HIGH, timeout_high),
    (MONITORING, monitoring),
    (PLAINTEXT, plaintext),
    (MIXED, mixed),
    (CIPHERS, ciphers),
    (NOTHING_SHARED, nothing_shared),
    (WITHOUT_EFFECT, without_effect),
    (TWICE, twice),
    (UNKNOWN, unknown),
    (ODD, odd),
    (RELOAD, reload_refused),
    (DOWNGRADE, downgrade),
    (RELATIVE, relative),
    (OCSP, ocsp),
)
