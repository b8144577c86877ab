"""Byte streams with deadlines: TCP, TLS on top of it, and what it means when they break."""

from __future__ import annotations

import math
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Lock
from time import monotonic
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from cryptography import x509
from OpenSSL import SSL, crypto

from rollover.errors import AdapterError, Denied, PemError, Rejected, TimedOut, Unreachable
from rollover.pki.certificate import parse_der
from rollover.pki.names import covers, ip_address
from rollover.probe.identity import ClientIdentity
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.target import Address, Versions

# Alerts, and which of them are a verdict on the certificate presented.

ALERTS = MappingProxyType(
    {
        10: "unexpected_message",
        20: "bad_record_mac",
        22: "record_overflow",
        40: "handshake_failure",
        42: "bad_certificate",
        43: "unsupported_certificate",
        44: "certificate_revoked",
        45: "certificate_expired",
        46: "certificate_unknown",
        47: "illegal_parameter",
        48: "unknown_ca",
        49: "access_denied",
        50: "decode_error",
        51: "decrypt_error",
        70: "protocol_version",
        71: "insufficient_security",
        80: "internal_error",
        86: "inappropriate_fallback",
        90: "user_canceled",
        100: "no_renegotiation",
        109: "missing_extension",
        110: "unsupported_extension",
        112: "unrecognized_name",
        113: "bad_certificate_status_response",
        115: "unknown_psk_identity",
        116: "certificate_required",
        120: "no_application_protocol",
    }
)
"""RFC 8446 §6, with no_renegotiation of RFC 5246 §7.2."""

ABOUT_OUR_CERTIFICATE = frozenset(
    {
        # TLS 1.2 has no certificate_required: a peer that gets none sends handshake_failure.
        "handshake_failure",
        "bad_certificate",
        "unsupported_certificate",
        "certificate_revoked",
        "certificate_expired",
        "certificate_unknown",
        "unknown_ca",
        "access_denied",
        "certificate_required",
    }
)
"""After a CertificateRequest these refuse our chain; any other alert says nothing of it."""

CLOSE_NOTIFY = 0


def alert_name(code: int) -> str:
    """Return the name of an alert, or `alert_N` for one that has none."""
    return ALERTS.get(code, f"alert_{code}")


# Contexts, made in memory: no key ever lies in a file for it.

_RANGES = {
    Versions.ANY: (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
    Versions.TLS_1_2: (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION),
    Versions.TLS_1_3: (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION),
}
_NO_AUTO_CHAIN = 0x8
"""SSL_MODE_NO_AUTO_CHAIN: send the chain that was given, never one completed from the trust."""

_ANY_STRENGTH = b"ALL:@SECLEVEL=0"
"""A probe reports weak certificates; it must not fail on them before it has seen them."""


class Trust(Enum):
    """Whom to believe when it is not a bundle of our own."""

    ANYONE = "anyone"
    """Take what is served: it is judged afterwards."""
    SYSTEM = "system"
    """The certificate store of the operating system."""


class _Options(NamedTuple):
    identity: ClientIdentity | None
    versions: Versions
    trust: Trust | bytes


class HandshakeTrace:
    """What happened below the surface of one connection; filled in while it shakes hands."""

    __slots__ = ("alert", "asked", "distrust", "ticket")

    def __init__(self) -> None:
        self.asked = False
        """A CertificateRequest came."""
        self.ticket = False
        """A session ticket came: the peer has received our Finished (RFC 8446 §4.6.1)."""
        self.alert = ""
        """The fatal alert that the peer sent."""
        self.distrust = 0
        """Our own verifier's error number (X509_V_ERR_…); 0 is none."""


class Contexts:
    """Makes and keeps contexts. Safe to share between threads; keys live as long as it does."""

    def __init__(self) -> None:
        self._made: dict[_Options, SSL.Context] = {}
        self._lock = Lock()

    def get(
        self,
        identity: ClientIdentity | None,
        *,
        versions: Versions = Versions.ANY,
        trust: Trust | bytes = Trust.ANYONE,
    ) -> SSL.Context:
        """Return the context for these options; `trust` is a PEM bundle or one of `Trust`."""
        options = _Options(identity, versions, trust)
        with self._lock:
            if options not in self._made:
                self._made[options] = _make(options)
            return self._made[options]


def _make(options: _Options) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    lowest, highest = _RANGES[options.versions]
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    context.set_mode(_NO_AUTO_CHAIN)
    context.set_info_callback(_watch)
    if options.trust is Trust.ANYONE:
        context.set_cipher_list(_ANY_STRENGTH)
        context.set_verify(SSL.VERIFY_NONE)
    else:
        _believe(context, options.trust)
    if options.identity is not None:
        _present(context, options.identity)
    return context


def _present(context: SSL.Context, identity: ClientIdentity) -> None:
    leaf, *intermediates = identity.certificates
    try:
        context.use_certificate(leaf)
        context.use_privatekey(identity.private_key)
        for certificate in intermediates:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise PemError(
            f"the identity `{leaf.subject.rfc4514_string()}` cannot be used: "
            f"{openssl_reason(error)}",
            hint="OpenSSL refuses this certificate or key; a key of 2048 bits or more helps",
        ) from error


def _believe(context: SSL.Context, trust: Trust | bytes) -> None:
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _note_distrust)
    if not isinstance(trust, bytes):
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    if store is None:
        raise PemError("this OpenSSL context takes no trust bundle", hint="report this as a bug")
    # As Go does: an intermediate in the bundle is an anchor too.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for certificate in _bundle(trust):
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _bundle(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise PemError(
            "no certificate can be read from the trust bundle",
            hint="expected PEM blocks of `CERTIFICATE`",
        ) from error


def _note_distrust(
    connection: SSL.Connection, _certificate: object, error: int, _depth: int, fine: int
) -> bool:
    if not fine:
        connection.get_app_data().distrust = error
    return bool(fine)


def _watch(connection: SSL.Connection, where: int, code: int) -> None:
    """Note alerts and the two messages that OpenSSL's interface in Python does not show."""
    seen: HandshakeTrace = connection.get_app_data()
    if where & SSL.SSL_CB_ALERT:
        if where & SSL.SSL_CB_READ and code & 0xFF != CLOSE_NOTIFY:
            seen.alert = alert_name(code & 0xFF)
    elif where & SSL.SSL_CB_LOOP:
        state = connection.get_state_string()
        seen.asked = seen.asked or state.endswith(b"read server certificate request")
        seen.ticket = seen.ticket or state.endswith(b"read server session ticket")


def openssl_reason(error: SSL.Error) -> str:
    """Return OpenSSL's own words for a failure."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    texts = [str(entry[-1]) for entry in reasons if entry[-1]]
    return ", ".join(texts) or "no reason given"


# Streams.

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
            # Each line waits for its answer: Nagle's delay would come on top of it.
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
        self.seen = HandshakeTrace()
        self._carrier = carrier
        carrier.socket.setblocking(False)
        self._tls = SSL.Connection(context, carrier.socket)
        self._tls.set_app_data(self.seen)
        self._tls.set_connect_state()
        # An address is never sent (RFC 6066 §3).
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
        return [crypto.dump_certificate(crypto.FILETYPE_ASN1, served) for served in chain]

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
        # Not `select`, which cannot wait for descriptors from 1024 on.
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


# A server whose certificate must be trusted and bear the right name.

_HOSTNAME_MISMATCH = 62
"""X509_V_ERR_HOSTNAME_MISMATCH."""


def secure(
    carrier: TcpStream,
    *,
    identity: ClientIdentity | None,
    trust: Trust | bytes,
    server_name: str,
    deadline: Deadline,
) -> TlsStream:
    """Shake hands over `carrier` and return the stream; nothing was sent inside it yet.

    With `Trust.ANYONE` neither chain nor name is checked. Raises `TlsBroken`.
    """
    tls = TlsStream(carrier, Contexts().get(identity, trust=trust), server_name=server_name)
    tls.handshake(deadline)
    if trust is not Trust.ANYONE:
        _check_name(tls, server_name)
    return tls


def _check_name(tls: TlsStream, expected: str) -> None:
    # Here and not in OpenSSL, which also takes the common name and partial wildcards.
    names = parse_der(tls.served()[0], place="the server's certificate").names
    if not covers(names, expected):
        raise TlsBroken(
            f"it names {', '.join(names) or 'nothing'}, not `{expected}`",
            alert="",
            distrust=_HOSTNAME_MISMATCH,
        )


# Errors that a person can meet.

_DISTRUST = MappingProxyType(
    {
        9: "it is not yet valid",
        10: "it has expired",
        18: "it is self-signed and not in the trust bundle",
        19: "its root is not in the trust bundle",
        20: "its issuer is not in the trust bundle",
        21: "its issuer is not in the trust bundle, and it came alone",
        26: "it is not meant for servers",
        79: "an issuer in its chain is no CA",
    }
)
"""X509_V_ERR_… of OpenSSL's x509_vfy.h, the ones that servers run into."""


@contextmanager
def adapter_errors(*, system: str, operation: str) -> Iterator[None]:
    """Run a piece of a conversation; whatever breaks in it becomes an `AdapterError`."""
    try:
        yield
    except (OSError, BadProtocol) as error:
        raise _told(error, system=system, operation=operation) from error


def _told(error: OSError | BadProtocol, *, system: str, operation: str) -> AdapterError:
    match error:
        case TimeoutError():
            return TimedOut("no answer in time", system=system, operation=operation)
        case TlsBroken() if error.alert:
            return _refused_us(error, system=system, operation=operation)
        case TlsBroken() if error.distrust:
            return _refused_it(error, system=system, operation=operation)
        case NotTls() | TlsBroken() | BadProtocol():
            return Rejected(
                str(error),
                system=system,
                operation=operation,
                hint="check that the address is that of the right kind of port",
            )
        case _:
            return Unreachable(
                error.strerror or str(error),
                system=system,
                operation=operation,
                hint="check the address, and that the server runs",
            )


def _refused_us(error: TlsBroken, *, system: str, operation: str) -> Denied:
    return Denied(
        f"the server ended the TLS handshake with the alert `{error.alert}`",
        system=system,
        operation=operation,
        hint="present a certificate that the server's trust bundle covers",
    )


def _refused_it(error: TlsBroken, *, system: str, operation: str) -> Rejected:
    reason = _DISTRUST.get(error.distrust, f"{error} (verifier error {error.distrust})")
    return Rejected(
        f"the server's certificate is not trusted: {reason}",
        system=system,
        operation=operation,
        hint="give the CA that issued the server's certificate",
    )
