"""The `tls` blocks of a configuration: their types, and which options count in which context.

Sources: server/opts.go (parseTLS, getTLSConfig) and server/reload.go of nats-server.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from rollover.nats_config.position import Place


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
FORCED = frozenset((TlsContext.CLUSTER, TlsContext.GATEWAY))
_DIALERS = _DIAL_ONLY | FORCED


class TlsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a block names: as written, and resolved against the directory of the process."""

    written: str
    path: str
    place: Place


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
    place: Place
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
    places: Mapping[str, Place] = {}
    """Where each option that is set stands, by its name in lower case."""

    @property
    def demands_certificate(self) -> bool:
        """Whether a party that connects must present a certificate that `ca_file` accepts."""
        if self.context in FORCED:
            return True
        wanted = self.verify or self.verify_and_map or self.check_known_urls
        return wanted and self.context.accepts

    @property
    def files(self) -> tuple[TlsFile, ...]:
        """Every file that the block names."""
        pairs = [file for pair in self.certificates for file in (pair.cert_file, pair.key_file)]
        return (*pairs, self.ca_file) if self.ca_file else tuple(pairs)


IGNORED: Mapping[TlsContext, frozenset[str]] = {
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

ALIASES: Mapping[str, str] = {
    "first": "handshake_first",
    "immediate": "handshake_first",
    "certificates": "certs",
}
"""Other names of an option."""
