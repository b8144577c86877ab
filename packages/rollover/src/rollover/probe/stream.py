"""Byte streams with deadlines: TCP, and TLS on top of it."""

from __future__ import annotations

import math
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol, TypeVar

from OpenSSL import SSL, crypto

from rollover.pki.names import ip_address
from rollover.probe.contexts import Seen, openssl_reason
from rollover.probe.target import Address

CHUNK = 65536
_NO_RECORD = "wrong version number"
"""OpenSSL's words for a first answer whose second and third octets are no TLS version."""

T = TypeVar("T")


class NotTls(ConnectionError):
    """The peer's first bytes are no TLS record."""


class TlsBroken(ConnectionError):
    """TLS ended with an error: the peer's alert, our own distrust, or something odd on the wire."""

    def __init__(self, reason: str, *, alert: str, distrust: int) -> None:
        super().__init__(reason)
        self.alert = alert
        self.distrust = distrust


class Deadline:
    """A point in time by which everything must be over."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; raise `TimeoutError` when there are none."""
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left

    def within(self, seconds: float) -> Deadline:
        """Return this deadline, or one that many seconds away if that is sooner."""
        sooner = Deadline(seconds)
        return sooner if sooner._end < self._end else self


class Stream(Protocol):
    """What a conversation needs of a connection. Every failure is an `OSError`."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes; none when the peer has closed."""

    def close(self) -> None:
        """Close at once."""


def dial(address: Address, deadline: Deadline) -> TcpStream:
    """Connect to the first address of the host that answers, sharing the time between them.

    Resolving a host name is the system's and heeds no deadline; IP addresses need none.
    """
    try:
        found = socket.getaddrinfo(address.host, address.number, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"`{address.host}` is no host name") from error
    failed: OSError = OSError(f"no address for `{address.host}`")
    for position, (family, kind, protocol, _, where) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.left() / (len(found) - position))
            connection.connect(where)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failed = error
        else:
            return TcpStream(connection)
    raise failed


class TcpStream:
    """A connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self.socket.settimeout(deadline.left())
        self.socket.sendall(data)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes; none when the peer has closed."""
        self.socket.settimeout(deadline.left())
        return self.socket.recv(CHUNK)

    def close(self) -> None:
        """Close at once."""
        self.socket.close()


class TlsStream:
    """TLS over a TCP stream, as its client.

    OpenSSL reads and writes the socket itself, which never blocks; the waiting is done here.
    Passing bytes through memory would cost a quarter of the speed with many threads.
    """

    def __init__(self, carrier: TcpStream, context: SSL.Context, *, server_name: str = "") -> None:
        self.seen = Seen()
        self._carrier = carrier
        carrier.socket.setblocking(False)
        self._tls = SSL.Connection(context, carrier.socket)
        self._tls.set_app_data(self.seen)
        self._tls.set_connect_state()
        if server_name and ip_address(server_name) is None:
            self._tls.set_tlsext_host_name(server_name.encode("ascii"))

    def handshake(self, deadline: Deadline) -> None:
        """Shake hands; in TLS 1.3 the peer's verdict on our certificate comes only later."""
        self._drive(self._tls.do_handshake, deadline)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it."""
        self._drive(lambda: self._tls.sendall(data), deadline)

    def receive(self, deadline: Deadline) -> bytes:
        """Return some bytes; none when the peer has closed, with or without saying so."""
        try:
            return self._drive(lambda: self._tls.recv(CHUNK), deadline)
        except ConnectionResetError:
            return b""

    def settle(self, deadline: Deadline) -> bytes:
        """Read until bytes come, or a session ticket; return the bytes."""
        return self._drive(self._bytes_or_ticket, deadline)

    def _bytes_or_ticket(self) -> bytes:
        try:
            return self._tls.recv(CHUNK)
        except SSL.WantReadError:
            if self.seen.ticket:
                return b""
            raise

    def close(self) -> None:
        """Close at once; no close_notify, which a probe owes nobody."""
        self._carrier.close()

    @property
    def protocol(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
        return self._tls.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite; empty before there is one."""
        return self._tls.get_cipher_name() or ""

    def served(self) -> list[bytes]:
        """Return the DER of the chain that the peer sent, in its order."""
        chain = self._tls.get_peer_cert_chain() or []
        return [crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain]

    def advertised(self) -> list[bytes]:
        """Return the DER of the CA names that the peer says it accepts, duplicates included."""
        return [name.der() for name in self._tls.get_client_ca_list()]

    def _drive(self, operation: Callable[[], T], deadline: Deadline) -> T:
        while True:
            try:
                return operation()
            except SSL.WantReadError:
                self._wait(select.POLLIN, deadline)
            except SSL.WantWriteError:
                self._wait(select.POLLOUT, deadline)
            except SSL.Error as error:
                raise self._broken(error) from error

    def _wait(self, event: int, deadline: Deadline) -> None:
        poller = select.poll()
        poller.register(self._carrier.socket, event)
        if not poller.poll(math.ceil(deadline.left() * 1000)):
            raise TimeoutError("the time is over")

    def _broken(self, error: SSL.Error) -> OSError:
        match error:
            case SSL.ZeroReturnError() | SSL.SysCallError(args=(-1, *_)):
                return ConnectionResetError("the peer closed the connection")
            case SSL.SysCallError(args=(int(number), *_)):
                return OSError(number, os.strerror(number))
            case _ if openssl_reason(error) == _NO_RECORD and not self.cipher:
                return NotTls("the peer answered with something that is not TLS")
            case _:
                return TlsBroken(
                    openssl_reason(error), alert=self.seen.alert, distrust=self.seen.distrust
                )
