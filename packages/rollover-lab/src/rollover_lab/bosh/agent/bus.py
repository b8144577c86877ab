"""A connection to NATS as agents have it: TLS as Go does it, and coming back as nats.go does.

Of its credentials it makes what Go would, and refuses what Go refuses. What nats.go does and others
do not: the delays between attempts grow, what is published meanwhile is kept and sent later, and
the second refusal in a row by the server ends it for good.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from rollover.pki import pem
from rollover.probe import nats_protocol
from rollover_lab.bosh.agent.directory import CertKeyPair

_SERVER_NAME = re.compile(r"[a-zA-Z0-9*\-]*.nats.bosh-internal")
"""Of the server certificate's common name; the unescaped dots are the real agent's."""
_KEY = b"PRIVATE KEY"


class BadCredentials(Exception):
    """The process ends at once with these; says which, never what is in them."""


class WrongServer(Exception):
    """The server's certificate is trusted, but it is not that of a BOSH NATS."""


def client_context(credentials: CertKeyPair) -> ssl.SSLContext:
    """Return the context for connections with these credentials; raise `BadCredentials`.

    TLS 1.2 or later, chain and name of the server are verified. No CA at all means the
    system's; a CA that holds no certificate is refused (bosh-agent, mbus/nats_handler.go).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Go does: whatever is in the pool is an anchor, self-signed or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if credentials.ca:
        _trust_ca(context, credentials.ca.encode())
    else:
        context.load_default_certs()
    _present_certificate(context, credentials)
    return context


def check_server(peer: ssl.SSLObject) -> None:
    """Raise `WrongServer` unless the common name is one of `*.nats.bosh-internal`."""
    certificate: Mapping[str, Any] = peer.getpeercert() or {}
    names = (attribute for rdn in certificate.get("subject", ()) for attribute in rdn)
    common = next((value for key, value in names if key == "commonName"), "")
    if not _SERVER_NAME.fullmatch(common):
        raise WrongServer("server Certificate CommonName does not match *.nats.bosh-internal")


def _trust_ca(context: ssl.SSLContext, bundle: bytes) -> None:
    added = 0
    for certificate in pem.certificates(bundle):
        try:
            context.load_verify_locations(cadata=certificate)
        except ssl.SSLError:
            continue  # AppendCertsFromPEM skips what it cannot parse
        added += 1
    if not added:
        raise BadCredentials("Failed to load Mbus CA cert")


def _present_certificate(context: ssl.SSLContext, credentials: CertKeyPair) -> None:
    chain = list(pem.certificates(credentials.certificate.encode()))
    keys = [
        block
        for block in pem.blocks(credentials.private_key.encode())
        if block.label.endswith(_KEY)
    ]
    if not chain or not keys:
        raise BadCredentials("failed to find any PEM data in certificate or key input")
    certificates = "".join(ssl.DER_cert_to_PEM_cert(data) for data in chain)
    try:
        _load_pem(context, f"{certificates}{credentials.private_key.strip()}\n".encode())
    except (ssl.SSLError, ValueError):
        # The cause is left out: a parser's message may quote what it was given.
        raise BadCredentials("private key does not match public key, or cannot be read") from None


def _load_pem(context: ssl.SSLContext, content: bytes) -> None:
    """Hand a chain and key to OpenSSL, which takes files only, without leaving one on a disk."""
    descriptor = os.memfd_create("mbus")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        # Without a password OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)


PENDING_LIMIT = 8 * 1024 * 1024
"""Octets kept while there is no connection; nats.go's `ReconnectBufSize`."""
_PAYLOAD_LIMIT = 1024 * 1024
"""Octets of a message; BOSH's `max_payload`."""
_FATAL = ("authorization violation", "authentication expired", "authentication revoked")
_DEFAULT_PORT = 4222


class BusClosed(Exception):
    """There will be no connection any more."""


class BusRefused(Exception):
    """The server does not let this user in."""


class ConnectionBehaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a client of NATS goes about its connection."""

    name: str
    delay: Callable[[int], float]
    """Seconds before the nth attempt to reconnect."""
    attempts: int | None = None
    """Attempts in a row before it gives up; None: for ever."""
    connect_timeout: float = 5.0
    check: Callable[[ssl.SSLObject], None] = lambda _: None
    """Raises `WrongServer` for a server that is trusted and still not wanted."""
    note: Callable[[str], None] = lambda _: None
    """Takes lines for the log."""


class _Address(NamedTuple):
    host: str
    port: int


class AgentBus:
    """Subscribes, delivers and publishes. `deliver` gets subject and payload, in order."""

    def __init__(
        self,
        urls: Sequence[str],
        context: ssl.SSLContext,
        behaviour: ConnectionBehaviour,
        *,
        subjects: Sequence[str],
        deliver: Callable[[str, bytes], None],
    ) -> None:
        self._addresses = tuple(_address(url) for url in urls)
        self._context = context
        self._behaviour = behaviour
        self._hello = b"".join(
            nats_protocol.subscribe(subject, number)
            for number, subject in enumerate(subjects, start=1)
        )
        self._deliver = deliver
        self._wire: _Wire | None = None
        self._pending = bytearray()
        self._refused = ""
        self.settled = asyncio.Event()
        """Set when the first attempt has come to an end, whatever that was."""
        self.closed = asyncio.Event()
        """Set when it has given up."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._wire is not None

    def publish(self, subject: str, payload: bytes) -> None:
        """Send a message, now or as soon as there is a connection again; raise `BusClosed`."""
        if self.closed.is_set():
            raise BusClosed("the connection is closed")
        message = nats_protocol.publish(subject, payload)
        if self._wire is not None:
            self._wire.send(message)
        elif len(self._pending) + len(message) > PENDING_LIMIT:
            raise BusClosed("too much is waiting for a connection")
        else:
            self._pending += message

    async def run(self) -> None:
        """Keep connected; return when it has given up."""
        attempt = 0
        try:
            while not self.closed.is_set():
                if await self._once():
                    attempt = 0
                self.settled.set()
                attempt += 1
                limit = self._behaviour.attempts
                if limit is not None and attempt > limit:
                    self.closed.set()
                if not self.closed.is_set():
                    await asyncio.sleep(self._behaviour.delay(attempt))
        finally:
            self.closed.set()
            self.settled.set()

    async def _once(self) -> bool:
        """Connect and stay connected; say whether there was a connection."""
        for address in self._addresses:
            wire = _Wire(self._deliver)
            try:
                async with asyncio.timeout(self._behaviour.connect_timeout):
                    await wire.open(address, self._context, self._behaviour, hello=self._hello)
                self._begin(wire)
                await wire.lost.wait()
            except BusRefused as error:
                self._refuse(str(error))
            except (OSError, TimeoutError, WrongServer, nats_protocol.BadProtocol) as error:
                self._behaviour.note(f"not connected: {type(error).__name__}")
            finally:
                self._wire = None
                wire.close()
            if wire.ready:
                self._behaviour.note("disconnected")
                if wire.refusal:
                    self._refuse(wire.refusal)
                return True
        return False

    def _begin(self, wire: _Wire) -> None:
        self._wire = wire
        self._refused = ""
        self._behaviour.note("connected")
        self.settled.set()
        wire.send(bytes(self._pending))
        self._pending.clear()

    def _refuse(self, text: str) -> None:
        """Give up at the second refusal in a row (nats.go, processAuthError)."""
        self._behaviour.note(f"refused: {text}")
        if self._refused == text:
            self.closed.set()
        self._refused = text


class _Wire(asyncio.Protocol):
    """One connection: INFO in the clear, then TLS, then the rest."""

    def __init__(self, deliver: Callable[[str, bytes], None]) -> None:
        self._deliver = deliver
        self._parser = nats_protocol.Parser(payload_limit=_PAYLOAD_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._greeted = asyncio.Event()
        self._answered = asyncio.Event()
        self.lost = asyncio.Event()
        self.ready = False
        self.refusal = ""

    async def open(
        self,
        address: _Address,
        context: ssl.SSLContext,
        behaviour: ConnectionBehaviour,
        *,
        hello: bytes,
    ) -> None:
        """Connect, shake hands and log in; raises what `AgentBus._once` catches."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, address.host, address.port)
        await self._await(self._greeted)
        assert self._transport is not None  # noqa: S101 - connection_made came first
        secured = await loop.start_tls(self._transport, self, context, server_hostname=address.host)
        if secured is None:
            raise ConnectionResetError("closed while shaking hands")
        self._transport = secured
        behaviour.check(secured.get_extra_info("ssl_object"))
        self.send(nats_protocol.connect(_options(behaviour.name)) + hello + nats_protocol.PING)
        await self._await(self._answered)
        self.ready = True

    def send(self, data: bytes) -> None:
        """Write to the connection, if it is still there."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection; what was sent before still goes out."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio)."""
        try:
            for event in self._parser.feed(data):
                self._take(event)
        except nats_protocol.BadProtocol:
            self.connection_lost(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """Note the end (asyncio); its reason tells an agent nothing."""
        self.lost.set()

    def _take(self, event: nats_protocol.Event) -> None:
        match event:
            case nats_protocol.Message():
                self._deliver(event.subject, event.payload)
            case nats_protocol.Ping():
                self.send(nats_protocol.PONG)
            case nats_protocol.Info():
                self._greeted.set()
            case nats_protocol.Pong():
                self._answered.set()
            case nats_protocol.ServerRefusal(text=text) if any(
                words in text.lower() for words in _FATAL
            ):
                self.refusal = text
                self.lost.set()
            case _:
                pass

    async def _await(self, event: asyncio.Event) -> None:
        """Wait for an event, or for the end of the connection."""
        waits = [asyncio.ensure_future(wanted.wait()) for wanted in (event, self.lost)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.refusal:
            raise BusRefused(self.refusal)
        if not event.is_set():
            raise ConnectionResetError("the server closed the connection")


def _options(name: str) -> dict[str, str | bool | int]:
    return {
        "verbose": False,
        "pedantic": False,
        "tls_required": True,
        "name": name,
        "lang": "python",
        "version": "1",
        "protocol": 1,
        "headers": False,
        "no_responders": False,
    }


def _address(url: str) -> _Address:
    """Return where a URL points; raise `ValueError` for one that points nowhere."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    if not parts.hostname:
        raise ValueError(f"`{parts.scheme}` URL without a host")
    return _Address(parts.hostname, parts.port or _DEFAULT_PORT)
