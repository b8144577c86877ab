"""What a handshake showed: the chain that is served, the CAs that are accepted, the verdict."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.probe.nats_protocol import ServerInfo
from rollover.probe.target import Port


class ClientVerdict(StrEnum):
    """What the peer makes of the chain that we present (or of our presenting none)."""

    ACCEPTED = "accepted"
    """It asked for a certificate, and then went on talking to us."""
    REFUSED = "refused"
    """It asked for a certificate and sent an alert about it."""
    NOT_ASKED = "not-asked"
    """The handshake succeeded and it never asked for one."""
    UNKNOWN = "unknown"
    """Nothing was seen that proves either."""


class Failure(StrEnum):
    """Why a dial did not show what it should have. A refused certificate is no failure."""

    NONE = ""
    REFUSED = "refused"
    """Nobody answers: connection refused, no route, no such host."""
    TIMEOUT = "timeout"
    NOT_TLS = "not-tls"
    """It answers, but not with TLS."""
    CLOSED = "closed"
    """It hung up without a word."""
    PROTOCOL = "protocol"
    """It speaks TLS or NATS in a way that could not be followed; `detail` says how."""


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """One real handshake with one port, and what it proved.

    `advertised` and `advertised_der` are the acceptable CA names of the CertificateRequest, in its
    order and with its duplicates: two CAs of one subject appear twice. The names identify no keys.
    """

    address: str
    kind: Port
    reached: bool
    """Whether a TCP connection stood."""
    presented: tuple[Certificate, ...] = ()
    """The served chain, as it was sent."""
    advertised: tuple[str, ...] = ()
    """RFC 4514 text of each name."""
    advertised_der: tuple[bytes, ...] = ()
    protocol: str = ""
    """`TLSv1.2` or `TLSv1.3`; empty when no handshake completed."""
    cipher: str = ""
    client_verdict: ClientVerdict = ClientVerdict.UNKNOWN
    alert: str = ""
    """The name of the fatal alert received (RFC 8446 §6), such as `unknown_ca`."""
    info: ServerInfo = ServerInfo()
    """Empty for ports that send none."""
    answer: str = ""
    """The first line inside TLS, such as `-ERR 'Authorization Violation'`; empty if binary."""
    failure: Failure = Failure.NONE
    detail: str = ""
    """The failure in words."""
    elapsed_seconds: float = 0.0
