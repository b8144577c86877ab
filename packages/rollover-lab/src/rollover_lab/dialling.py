"""Dials the links of a lab the way their dialers do, with what lies in their files now."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from rollover.fleet.assemble import links
from rollover.fleet.certificate import Stack
from rollover.fleet.description import EndpointDescription, FleetDescription
from rollover.fleet.model import EndpointRef, Link, Role
from rollover.probe import dialogue
from rollover.probe.target import Port, Target

TIMEOUT_SECONDS = 3.0
CONCURRENCY = 8
_LINE_LIMIT = 64 * 1024
_HELLO = b'CONNECT {"verbose":false,"name":"lab-dial"}\r\nPING\r\n'
_GREETING = b"INFO "
_ANSWERS = {
    Role.CLIENT_PORT: (b"PONG",),
    Role.LEAFNODE: (b"PONG", b"PING", b"-ERR", _GREETING),
    Role.WEBSOCKET: (b"HTTP/1.1 101",),
    Role.MQTT: (b"\x20\x02",),
}
"""What shows that TLS is through; a leaf node without credentials is then turned away in words."""
_PROMPTED = {Role.WEBSOCKET: Port.WEBSOCKET, Role.MQTT: Port.MQTT}
"""Ports that say nothing until they are asked."""


class BrokenLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link on which a new handshake fails, and what the dialer was told."""

    dialer: str
    acceptor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dialer} → {self.acceptor}: {self.reason}"


def broken_links(description: FleetDescription) -> tuple[BrokenLink, ...]:
    """Dial every link once, by OpenSSL whatever the dialer's stack is; return those that fail."""
    endpoints = dict(_each(description))
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="dial") as pool:
        tried = pool.map(lambda link: _try(link, endpoints), links(description))
        return tuple(broken for broken in tried if broken is not None)


def _try(link: Link, endpoints: Mapping[EndpointRef, EndpointDescription]) -> BrokenLink | None:
    try:
        _dial(endpoints[link.dialer], endpoints[link.acceptor], name=link.name)
    except OSError as error:
        return BrokenLink(
            dialer=str(link.dialer), acceptor=str(link.acceptor), reason=_reason(error)
        )
    return None


def _dial(dialer: EndpointDescription, acceptor: EndpointDescription, *, name: str | None) -> None:
    """Shake hands, and wait for a word inside TLS: TLS 1.3 refuses a dialer only behind that."""
    context = ssl.create_default_context(cafile=dialer.ca)
    if dialer.stack is Stack.GO:
        # Go takes any CA of its bundle as an anchor, an intermediate too.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(dialer.certificate or "", dialer.key)
    host, _, port = (acceptor.address or "").rpartition(":")
    greets_in_clear = acceptor.role in {Role.CLIENT_PORT, Role.LEAFNODE}
    answers = _ANSWERS.get(acceptor.role, (_GREETING,))
    with socket.create_connection((host, int(port)), TIMEOUT_SECONDS) as connection:
        if greets_in_clear:
            _await(connection, _GREETING)
        with context.wrap_socket(connection, server_hostname=name) as tls:
            if greets_in_clear:
                tls.sendall(_HELLO)
            elif acceptor.role in _PROMPTED:
                target = Target(address=acceptor.address or "", port=_PROMPTED[acceptor.role])
                tls.sendall(dialogue.prompt(target))
            _await(tls, *answers)


def _await(connection: socket.socket, *wanted: bytes) -> None:
    """Read until a line begins with one of `wanted`."""
    said = bytearray()
    while len(said) <= _LINE_LIMIT:
        part = connection.recv(4096)
        if not part:
            break
        said += part
        if any(line.startswith(wanted) for line in bytes(said).splitlines()):
            return
    raise ConnectionResetError("the server closed the connection without an answer")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the dialer refuses: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the acceptor refuses: {(error.reason or 'TLS error').lower().replace('_', ' ')}"
    return error.strerror or str(error)


def _each(description: FleetDescription) -> Iterator[tuple[EndpointRef, EndpointDescription]]:
    for group in description.groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                yield EndpointRef(instance.name, endpoint.name), endpoint
