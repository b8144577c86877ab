"""Dials ports with real handshakes, one or hundreds at once, and reports what each showed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from time import monotonic

from OpenSSL import SSL

from rollover.errors import PemError
from rollover.fleet.certificate import Certificate
from rollover.pki.certificate import parse_der
from rollover.probe.alerts import ABOUT_OUR_CERTIFICATE
from rollover.probe.contexts import Contexts
from rollover.probe.dialogue import prompt
from rollover.probe.greeting import read_greeting, read_greeting_before_tls
from rollover.probe.identity import Identity
from rollover.probe.names import rfc4514
from rollover.probe.nats_protocol import BadProtocol, ServerInfo
from rollover.probe.result import ClientVerdict, Failure, Handshake
from rollover.probe.stream import Deadline, NotTls, TcpStream, TlsStream, dial
from rollover.probe.target import Port, Target, parse_address

CONCURRENCY = 64
PLAIN_PATIENCE_SECONDS = 1.0
"""How long a port of unknown protocol may take to show a sign after the handshake."""
_ANSWER_LIMIT = 200


def probe_all(
    targets: Iterable[Target],
    *,
    identity: Identity | None = None,
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
    identity: Identity | None = None,
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
        said = tls.receive(self.deadline)
        if not said:
            raise ConnectionResetError("the peer closed the connection after the handshake")
        self.accepted = True
        self.answer = _first_line(said)

    def _await_sign(self, tls: TlsStream) -> None:
        """Wait a little for proof on a port whose protocol is not known; silence is no failure.

        In TLS 1.2 the end of the handshake is the proof (RFC 5246 §7.3).
        """
        if not tls.seen.asked or tls.protocol == "TLSv1.2":
            self.accepted = True
            return
        try:
            said = tls.settle(self.deadline.within(PLAIN_PATIENCE_SECONDS))
        except TimeoutError:
            return
        self.accepted = bool(said) or tls.seen.ticket
        self.answer = _first_line(said)

    def _refused(self) -> bool:
        seen = self.tls.seen if self.tls else None
        return seen is not None and seen.asked and seen.alert in ABOUT_OUR_CERTIFICATE

    def _verdict(self) -> ClientVerdict:
        if self._refused():
            return ClientVerdict.REFUSED
        if self.tls is None or not self.stands:
            return ClientVerdict.UNKNOWN
        if not self.tls.seen.asked:
            return ClientVerdict.NOT_ASKED
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


def _first_line(said: bytes) -> str:
    line = said.partition(b"\n")[0].strip()[:_ANSWER_LIMIT]
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
