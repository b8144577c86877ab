"""Dials ports with real handshakes, one or hundreds at once, and reports what each showed.

In TLS 1.3 a server judges the client's certificate after the client's handshake has returned, so
only what it sends next proves anything. Observed with nats-server 2.15.1, TLS 1.2 and 1.3:

=========== ============================= ====================================
kind        we say                        an accepted peer answers
=========== ============================= ====================================
client      CONNECT, PING                 PONG, or -ERR of its own authorization
route       nothing                       INFO
gateway     nothing                       INFO
leafnode    PING                          PONG, or -ERR of its own authorization
websocket   an upgrade request            an HTTP status line
mqtt        CONNECT of an unknown level   CONNACK 1, no session is made
monitoring  HEAD /                        an HTTP status line
plain       nothing                       a session ticket, or whatever comes
=========== ============================= ====================================

Client and leaf node ports with `handshake_first` send INFO of their own accord, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import StrEnum
from functools import partial
from time import monotonic
from types import MappingProxyType

import msgspec
from cryptography import x509
from OpenSSL import SSL

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.pki.certificate import parse_der
from rollover.probe.identity import ClientIdentity
from rollover.probe.nats_client import read_greeting, read_greeting_before_tls
from rollover.probe.nats_protocol import PING, BadProtocol, ServerInfo, connect
from rollover.probe.stream import (
    ABOUT_OUR_CERTIFICATE,
    Contexts,
    Deadline,
    NotTls,
    TcpStream,
    TlsStream,
    dial,
)
from rollover.probe.target import Port, Target, parse_address


def rfc4514(der: bytes) -> str:
    """Return the RFC 4514 text of a DER name, the same as `Certificate.subject` of that CA.

    A name that cannot be read becomes `#` and its hexadecimal DER: peers send what they like, and
    an odd entry must not hide the others.
    """
    try:
        return x509.Name.from_bytes(der).rfc4514_string()
    except ValueError:
        return f"#{der.hex()}"


class ClientVerdict(StrEnum):
    """What the peer makes of the chain that we present (or of our presenting none)."""

    ACCEPTED = "accepted"
    """It asked for a certificate, and then went on talking to us."""
    REFUSED = "refused"
    """It asked for a certificate and sent an alert about it."""
    NOT_REQUESTED = "not-asked"
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


# What is said inside TLS.

_CONNECT = connect(
    {
        "verbose": False,
        "pedantic": False,
        "tls_required": True,
        "name": "rollover-probe",
        "lang": "python",
        "version": "1",
        "protocol": 1,
    }
)
# MQTT 3.1.1 §3.1.2.2: a server answers an unknown protocol level with code 1 and goes no further.
_MQTT_UNKNOWN_LEVEL = b"\x10\x0c\x00\x04MQTT\x7f\x02\x00\x00\x00\x00"

_PROMPTS = MappingProxyType(
    {
        Port.CLIENT: _CONNECT + PING,
        Port.LEAFNODE: PING,
        Port.MQTT: _MQTT_UNKNOWN_LEVEL,
    }
)
_HTTP_PROMPTS = MappingProxyType(
    {
        Port.WEBSOCKET: (
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            # RFC 6455 §1.3: any 16 octets do; nothing is exchanged after the upgrade.
            "Sec-WebSocket-Key: cm9sbG92ZXItcHJvYmUtMQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        Port.MONITORING: "HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
    }
)


def prompt(target: Target) -> bytes:
    """Return what to say once TLS stands; empty for ports of no known protocol."""
    if target.port in _HTTP_PROMPTS:
        return _HTTP_PROMPTS[target.port].format(address=target.address).encode()
    return _PROMPTS.get(target.port, b"")


# Dialling.

CONCURRENCY = 64
PLAIN_PATIENCE_SECONDS = 1.0
"""How long a port of unknown protocol may take to show a sign after the handshake."""
_ANSWER_LIMIT = 200


def probe_all(
    targets: Iterable[Target],
    *,
    identity: ClientIdentity | None = None,
    timeout_seconds: float,
    concurrency: int = CONCURRENCY,
    contexts: Contexts | None = None,
) -> Iterator[Handshake]:
    """Yield a handshake for each target, in their order, at most `concurrency` at once.

    Each target has the whole `timeout_seconds`. Closing the iterator drops what has not begun.
    """
    dialling = partial(
        probe,
        identity=identity,
        timeout_seconds=timeout_seconds,
        contexts=contexts or Contexts(),
    )
    with ThreadPoolExecutor(concurrency, thread_name_prefix="probe") as pool:
        yield from pool.map(dialling, targets)


def probe(
    target: Target,
    *,
    identity: ClientIdentity | None = None,
    timeout_seconds: float,
    contexts: Contexts | None = None,
) -> Handshake:
    """Shake hands with one port and return what it showed; never raises for what a peer does.

    `identity` is what we present, if asked; `contexts` saves making TLS contexts anew when the
    same identity dials again. Raises `PemError` when OpenSSL cannot use the identity.
    """
    context = (contexts or Contexts()).get(identity, versions=target.versions)
    started = monotonic()
    attempt = _Attempt(target, Deadline(timeout_seconds))
    attempt.run(context)
    return attempt.result(monotonic() - started)


class _Attempt:
    """One dial in progress: what has been seen so far survives whatever ends it."""

    def __init__(self, target: Target, deadline: Deadline) -> None:
        self.target = target
        self.deadline = deadline
        self.reached = False
        self.tls: TlsStream | None = None
        self.stands = False
        """The handshake returned; in TLS 1.3 the peer may still refuse us."""
        self.accepted = False
        self.info = ServerInfo()
        self.answer = ""
        self.failure = Failure.NONE
        self.detail = ""

    def run(self, context: SSL.Context) -> None:
        """Dial, and note how it ended."""
        try:
            carrier = dial(parse_address(self.target.address), self.deadline)
            self.reached = True
            with closing(carrier):
                self._converse(carrier, context)
        except (OSError, BadProtocol) as error:
            # A refusal is what was to be found out: that it broke the connection is no failure.
            if not self._refused():
                self.failure, self.detail = _explain(error, reached=self.reached)

    def _converse(self, carrier: TcpStream, context: SSL.Context) -> None:
        if self.target.greets_in_clear:
            self.info = read_greeting_before_tls(carrier, self.deadline)
        self.tls = TlsStream(carrier, context, server_name=self.target.server_name)
        self.tls.handshake(self.deadline)
        self.stands = True
        if self.target.port is Port.PLAIN:
            self._await_sign(self.tls)
        elif self.tls.seen.asked or self.target.greets_inside:
            self._await_answer(self.tls)

    def _await_answer(self, tls: TlsStream) -> None:
        """Say what the port expects, and take whatever comes back as proof of acceptance."""
        if self.target.greets_inside:
            self.info = read_greeting(tls, self.deadline).info
            self.accepted = True
            return
        tls.send(prompt(self.target), self.deadline)
        received = tls.receive(self.deadline)
        if not received:
            raise ConnectionResetError("the peer closed the connection after the handshake")
        self.accepted = True
        self.answer = _first_line(received)

    def _await_sign(self, tls: TlsStream) -> None:
        """Wait a little for proof on a port whose protocol is not known; silence is no failure.

        In TLS 1.2 the end of the handshake is the proof (RFC 5246 §7.3).
        """
        if not tls.seen.asked or tls.protocol == "TLSv1.2":
            self.accepted = True
            return
        try:
            received = tls.settle(self.deadline.within(PLAIN_PATIENCE_SECONDS))
        except TimeoutError:
            return
        self.accepted = bool(received) or tls.seen.ticket
        self.answer = _first_line(received)

    def _refused(self) -> bool:
        seen = self.tls.seen if self.tls else None
        return seen is not None and seen.asked and seen.alert in ABOUT_OUR_CERTIFICATE

    def _verdict(self) -> ClientVerdict:
        if self._refused():
            return ClientVerdict.REFUSED
        if self.tls is None or not self.stands:
            return ClientVerdict.UNKNOWN
        if not self.tls.seen.asked:
            return ClientVerdict.NOT_REQUESTED
        return ClientVerdict.ACCEPTED if self.accepted else ClientVerdict.UNKNOWN

    def result(self, elapsed_seconds: float) -> Handshake:
        """Return what was seen."""
        presented = self._presented()
        names = self.tls.advertised() if self.tls else []
        return Handshake(
            address=self.target.address,
            kind=self.target.port,
            reached=self.reached,
            presented=presented,
            advertised=tuple(rfc4514(name) for name in names),
            advertised_der=tuple(names),
            protocol=self.tls.protocol if self.tls and self.stands else "",
            cipher=self.tls.cipher if self.tls and self.stands else "",
            client_verdict=self._verdict(),
            alert=self.tls.seen.alert if self.tls else "",
            info=self.info,
            answer=self.answer,
            failure=self.failure,
            detail=self.detail,
            elapsed_seconds=elapsed_seconds,
        )

    def _presented(self) -> tuple[Certificate, ...]:
        try:
            served = self.tls.served() if self.tls else []
            return tuple(parse_der(der, place=self.target.address) for der in served)
        except PemError as error:
            self.failure, self.detail = Failure.PROTOCOL, error.message
            return ()


def _first_line(received: bytes) -> str:
    line = received.partition(b"\n")[0].strip()[:_ANSWER_LIMIT]
    return line.decode() if line.isascii() and line.decode().isprintable() else ""


def _explain(error: OSError | BadProtocol, *, reached: bool) -> tuple[Failure, str]:
    match error:
        case TimeoutError():
            return Failure.TIMEOUT, "no answer in time"
        case NotTls():
            return Failure.NOT_TLS, str(error)
        case ConnectionResetError() | BrokenPipeError():
            return Failure.CLOSED, error.strerror or str(error)
        case OSError() if not reached:
            return Failure.REFUSED, error.strerror or str(error)
        case _:
            return Failure.PROTOCOL, str(error)
