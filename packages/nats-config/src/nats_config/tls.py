"""The `tls` blocks of a configuration: their types, what counts in which context, what is refused.

Sources: server/opts.go (parseTLS, getTLSConfig) and server/reload.go of nats-server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import PurePath

import msgspec

from nats_config.errors import NatsConfigError
from nats_config.sections import Located, Section, parse_duration
from nats_config.tree import Field, Position, Table, fold


class TlsContext(StrEnum):
    """Where a `tls` block stands."""

    TOP = "top"
    CLUSTER = "cluster"
    GATEWAY = "gateway"
    GATEWAY_REMOTE = "gateway-remote"
    LEAFNODES = "leafnodes"
    LEAF_REMOTE = "leaf-remote"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"
    RESOLVER = "resolver-tls"

    @property
    def dials(self) -> bool:
        """Whether the block is used by a party that opens connections."""
        return self in _DIALERS

    @property
    def accepts(self) -> bool:
        """Whether the block is used by a party that accepts connections."""
        return self not in _DIAL_ONLY


_DIAL_ONLY = frozenset((TlsContext.GATEWAY_REMOTE, TlsContext.LEAF_REMOTE, TlsContext.RESOLVER))
ALWAYS_VERIFIED = frozenset((TlsContext.CLUSTER, TlsContext.GATEWAY))
_DIALERS = _DIAL_ONLY | ALWAYS_VERIFIED


class TlsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a block names: as written, and resolved against the directory of the process."""

    written: str
    path: str
    place: Position


class CertificateFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain and its private key."""

    cert_file: TlsFile
    key_file: TlsFile


class TlsBlock(msgspec.Struct, frozen=True, kw_only=True):
    """One `tls` block. Values are as written, but for what a docstring says otherwise."""

    context: TlsContext
    remote: str = ""
    """Name of the gateway remote, or index of the leaf remote; empty in other contexts."""
    name: str
    """Path of the block for messages: `gateway.gateways[0].tls`."""
    place: Position
    certificates: tuple[CertificateFiles, ...] = ()
    """From `cert_file` and `key_file`, or from `certs`; nats-server serves the first one."""
    listed: bool = False
    """The certificates stand in `certs`."""
    ca_file: TlsFile | None = None
    """None: the peer is verified against the system's roots."""
    verify: bool = False
    verify_and_map: bool = False
    check_known_urls: bool = False
    insecure: bool = False
    timeout_seconds: float | None = None
    """None: nats-server's default, 2 seconds."""
    pinned_certs: tuple[str, ...] = ()
    """SHA-256 of the peer's SubjectPublicKeyInfo, lower-case hexadecimal."""
    handshake_first: bool = False
    handshake_first_fallback_seconds: float = 0.0
    """How long to wait for the client before INFO is sent after all; 0 never."""
    min_version: str = ""
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    allow_insecure_cipher_suites: bool = False
    connection_rate_limit: int = 0
    ocsp_peer: bool = False
    places: Mapping[str, Position] = {}
    """Where each option that is set stands, by its name in lower case."""

    @property
    def demands_certificate(self) -> bool:
        """Whether a party that connects must present a certificate that `ca_file` accepts."""
        if self.context in ALWAYS_VERIFIED:
            return True
        wanted = self.verify or self.verify_and_map or self.check_known_urls
        return wanted and self.context.accepts

    @property
    def files(self) -> tuple[TlsFile, ...]:
        """Every file that the block names."""
        pairs = [file for pair in self.certificates for file in (pair.cert_file, pair.key_file)]
        return (*pairs, self.ca_file) if self.ca_file else tuple(pairs)


IGNORED_OPTIONS: Mapping[TlsContext, frozenset[str]] = {
    TlsContext.TOP: frozenset(("insecure",)),
    TlsContext.CLUSTER: frozenset(("handshake_first", "connection_rate_limit", "ocsp_peer")),
    TlsContext.GATEWAY: frozenset(("handshake_first", "connection_rate_limit", "ocsp_peer")),
    TlsContext.GATEWAY_REMOTE: frozenset(
        ("verify", "verify_and_map", "pinned_certs", "handshake_first", "connection_rate_limit")
    )
    | {"ocsp_peer"},
    TlsContext.LEAFNODES: frozenset(("insecure", "connection_rate_limit")),
    TlsContext.LEAF_REMOTE: frozenset(
        ("verify", "verify_and_map", "pinned_certs", "connection_rate_limit")
    ),
    TlsContext.WEBSOCKET: frozenset(
        ("insecure", "timeout", "handshake_first", "connection_rate_limit")
    ),
    TlsContext.MQTT: frozenset(("insecure", "handshake_first", "connection_rate_limit")),
    TlsContext.RESOLVER: frozenset(
        ("verify", "verify_and_map", "timeout", "pinned_certs", "handshake_first")
    )
    | {"connection_rate_limit", "ocsp_peer"},
}
"""Options that nats-server reads in a context and makes no use of."""

TLS_ALIASES: Mapping[str, str] = {
    "first": "handshake_first",
    "immediate": "handshake_first",
    "certificates": "certs",
}
"""Other names of an option."""


_CHECK_URLS = frozenset((TlsContext.CLUSTER, TlsContext.GATEWAY, TlsContext.GATEWAY_REMOTE))
_WINDOWS_ONLY = frozenset(
    ("cert_store", "cert_match_by", "cert_match", "ca_certs_match", "cert_match_skip_invalid")
)
_KNOWN = (
    frozenset(
        (
            "cert_file",
            "key_file",
            "ca_file",
            "insecure",
            "verify",
            "verify_and_map",
            "verify_cert_and_check_known_urls",
            "allow_insecure_cipher_suites",
            "cipher_suites",
            "curve_preferences",
            "timeout",
            "connection_rate_limit",
            "pinned_certs",
            "handshake_first",
            "ocsp_peer",
            "certs",
            "min_version",
        )
    )
    | frozenset(TLS_ALIASES)
    | _WINDOWS_ONLY
)
_PIN = re.compile(r"[0-9a-f]{64}")
_MIN_VERSIONS = ("1.2", "1.3")
_DEFAULT_FALLBACK_SECONDS = 0.05


def read_tls(section: Section, context: TlsContext, *, cwd: PurePath, remote: str = "") -> TlsBlock:
    """Read a `tls` block; raise NatsConfigError for what nats-server would refuse in it.

    Files are not opened; `cwd` is the directory of the server's process.
    """
    section.refuse_unknown(_KNOWN)
    certificates, listed = _certificates(section, cwd)
    first, fallback = _handshake_first(section)
    timeout = section.seconds("timeout")
    limit = section.integer("connection_rate_limit")
    block = TlsBlock(
        context=context,
        remote=remote,
        name=section.name,
        place=section.place,
        certificates=certificates,
        listed=listed,
        ca_file=_file(section.text("ca_file"), cwd),
        verify=section.flag("verify"),
        verify_and_map=section.flag("verify_and_map"),
        check_known_urls=_check_known_urls(section, context),
        insecure=section.flag("insecure"),
        timeout_seconds=timeout.value if timeout else None,
        pinned_certs=_pins(section),
        handshake_first=first,
        handshake_first_fallback_seconds=fallback,
        min_version=_min_version(section),
        cipher_suites=_filled(section, "cipher_suites"),
        curve_preferences=_filled(section, "curve_preferences"),
        allow_insecure_cipher_suites=section.flag("allow_insecure_cipher_suites"),
        connection_rate_limit=limit.value if limit else 0,
        ocsp_peer=_ocsp_peer(section),
        places={option: field.place for option, field in _options(section)},
    )
    _remark(section, block)
    return block


def _options(section: Section) -> Iterator[tuple[str, Field]]:
    for field in section.fields():
        name = fold(field.name)
        yield TLS_ALIASES.get(name, name), field


def _file(found: Located[str] | None, cwd: PurePath) -> TlsFile | None:
    if found is None or not found.value:
        return None
    return TlsFile(written=found.value, path=str(cwd / found.value), place=found.place)


def _certificates(section: Section, cwd: PurePath) -> tuple[tuple[CertificateFiles, ...], bool]:
    store = section.find(*_WINDOWS_ONLY)
    if store is not None:
        raise section.wrong(store, "nothing", hint="certificate stores exist on Windows only")
    pair = _pair(
        section, _file(section.text("cert_file"), cwd), _file(section.text("key_file"), cwd)
    )
    pairs = tuple(_listed_pair(entry, cwd) for entry in section.maps("certs", "certificates"))
    if pair and pairs:
        raise NatsConfigError(
            "`cert_file` and `certs` cannot be combined",
            place=str(pair[0].cert_file.place),
            field=section.name,
            hint="move the pair into `certs`, or remove `certs`",
        )
    return pairs or pair, bool(pairs)


def _pair(
    section: Section, cert: TlsFile | None, key: TlsFile | None
) -> tuple[CertificateFiles, ...]:
    if cert and key:
        return (CertificateFiles(cert_file=cert, key_file=key),)
    present = cert or key
    if present is None:
        return ()
    missing = "key_file" if cert else "cert_file"
    raise NatsConfigError(
        f"`{missing}` is missing",
        place=str(present.place),
        field=section.name,
        hint="a certificate and its private key are named together",
    )


def _listed_pair(pair: Section, cwd: PurePath) -> CertificateFiles:
    # Inside `certs` nats-server compares names with their case.
    for field in pair.fields():
        if field.name not in ("cert_file", "key_file"):
            raise NatsConfigError(
                "unknown field",
                place=str(field.place),
                field=pair.path(field),
                hint="an entry of `certs` has `cert_file` and `key_file`, in lower case",
            )
    cert, key = _file(pair.text("cert_file"), cwd), _file(pair.text("key_file"), cwd)
    if cert is None or key is None:
        raise NatsConfigError(
            "needs both `cert_file` and `key_file`",
            place=str(pair.place),
            field=pair.name,
            hint="a certificate and its private key are named together",
        )
    return CertificateFiles(cert_file=cert, key_file=key)


def _check_known_urls(section: Section, context: TlsContext) -> bool:
    found = section.boolean("verify_cert_and_check_known_urls")
    if found is None or not found.value:
        return False
    if context not in _CHECK_URLS:
        raise NatsConfigError(
            "not supported here",
            place=str(found.place),
            field=f"{section.name}.verify_cert_and_check_known_urls",
            hint="use it for `cluster` and `gateway`, or `verify` here",
        )
    return True


def _pins(section: Section) -> tuple[str, ...]:
    pins = section.strings("pinned_certs")
    for pin in pins:
        if not _PIN.fullmatch(pin.value.lower()):
            raise NatsConfigError(
                "a pin is not 64 hexadecimal digits",
                place=str(pin.place),
                field=f"{section.name}.pinned_certs",
                hint="a pin is the SHA-256 of the DER of the SubjectPublicKeyInfo, in quotes",
            )
    return tuple(pin.value.lower() for pin in pins)


def _min_version(section: Section) -> str:
    field = section.find("min_version")
    if field is None:
        return ""
    if field.node.value not in _MIN_VERSIONS:
        raise section.wrong(field, '`"1.2"` or `"1.3"`, in quotes')
    return str(field.node.value)


def _filled(section: Section, name: str) -> tuple[str, ...]:
    field = section.find(name)
    listed = section.strings(name)
    if field is not None and not listed:
        raise section.wrong(field, "an array with at least one name")
    return tuple(entry.value for entry in listed)


def _handshake_first(section: Section) -> tuple[bool, float]:
    """Return whether TLS comes before INFO, and after how many seconds INFO comes after all."""
    field = section.find("handshake_first", "first", "immediate")
    if field is None:
        return False, 0.0
    value = field.node.value
    if isinstance(value, bool):
        return value, 0.0
    if not isinstance(value, str):
        raise section.wrong(field, "`true`, `false`, `auto` or a duration")
    match fold(value):
        case "true" | "on":
            return True, 0.0
        case "false" | "off":
            return False, 0.0
        case "auto" | "auto_fallback":
            return True, _DEFAULT_FALLBACK_SECONDS
    try:
        return True, parse_duration(value)
    except ValueError:
        raise section.wrong(field, "`true`, `false`, `auto` or a duration") from None


def _ocsp_peer(section: Section) -> bool:
    field = section.find("ocsp_peer")
    if field is None:
        return False
    if isinstance(field.node.value, bool):
        return field.node.value
    if not isinstance(field.node.value, Table):
        raise section.wrong(field, "a boolean or a map")
    inside = section.map("ocsp_peer")
    return inside is not None and inside.flag("verify")


def _remark(section: Section, block: TlsBlock) -> None:
    for option, field in _options(section):
        if option in IGNORED_OPTIONS[block.context]:
            section.remark(
                "ignored-option", field, f"`{section.path(field)}` has no effect in this context"
            )
        if option == "verify" and block.context in ALWAYS_VERIFIED and not block.verify:
            section.remark(
                "ignored-option",
                field,
                f"`{section.path(field)}` is always on, whatever is written here",
            )
    _remark_trust(section, block)


def _remark_trust(section: Section, block: TlsBlock) -> None:
    ca_file = section.find("ca_file")
    if ca_file is not None and not (block.demands_certificate or block.context.dials):
        section.remark(
            "unverified", ca_file, f"`{section.path(ca_file)}` has no effect without `verify`"
        )
    verify = section.find("verify", "verify_and_map")
    if block.ca_file is None and verify is not None and block.demands_certificate:
        section.remark(
            "unverified",
            verify,
            f"`{section.name}` has no `ca_file`: every public CA of the system is accepted",
        )
