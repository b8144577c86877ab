"""What would have happened: every party gets new-only certificates, one after another.

For labs only. The order is the one of many runbooks: server by server a new leaf and the new CA
alone, reloaded, and the clients at the end. Each reload succeeds and breaks nothing that is open;
so every server is restarted behind it, which is what a network or a node does some day. After each
step every link is dialled, to see which would not come back.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import msgspec

from rollover.errors import SpecError
from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    EndpointDescription,
    FleetDescription,
    InstanceDescription,
    links,
)
from rollover.fleet.fleet import EndpointRef, Link, Role
from rollover.probe import handshake
from rollover.probe.monitoring import Monitor
from rollover.probe.target import Port, Target
from rollover_lab.nats import certificates
from rollover_lab.nats.certificates import LabAuthority, LabIssuer
from rollover_lab.nats.lab import Lab

OBSERVE_SECONDS = 3.0
SECOND_GENERATION, THIRD_GENERATION = 2, 3
_REQUEST_SECONDS = 2.0

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


class UndialableLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link on which a new handshake fails, and what the dialer was told."""

    dialer: str
    acceptor: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dialer} → {self.acceptor}: {self.reason}"


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """How the fleet stood at one moment. The counts go on from the start of the traffic."""

    broken: tuple[UndialableLink, ...]
    """Links on which a new handshake fails."""
    missing_routes: tuple[str, ...]
    """`n1 → n2`: no route stands between them, as n1 sees it."""
    disconnected: tuple[str, ...]
    """Clients without a connection."""
    lost: int
    failures: int
    disconnects: int


class NaiveStep(msgspec.Struct, frozen=True, kw_only=True):
    """New-only certificates for one server, or for all clients.

    `reloaded`: right after they were taken up; nothing was cut yet. `reconnected`: some seconds
    after connections were made anew.
    """

    instance: str
    reloaded: Damage
    reconnected: Damage


class NaiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole swap."""

    steps: tuple[NaiveStep, ...]
    sent: int
    received: int
    lost: int
    failures: int
    disconnects: int
    longest_gap_ms: float

    @property
    def broken(self) -> tuple[UndialableLink, ...]:
        """Every link that broke at some time, in the order in which they did."""
        found: dict[tuple[str, str], UndialableLink] = {}
        for step in self.steps:
            for link in (*step.reloaded.broken, *step.reconnected.broken):
                found.setdefault((link.dialer, link.acceptor), link)
        return tuple(found.values())


def new_lab_authority(lab: Lab, *, now: datetime) -> LabAuthority:
    """Return a CA of the generation after those that the lab's parties trust."""
    generation = THIRD_GENERATION if lab.spec.standby else SECOND_GENERATION
    return certificates.new_authority(lab.spec.certificates, generation=generation, now=now)


def naive_swap(
    lab: Lab,
    authority: LabAuthority,
    *,
    observe_seconds: float = OBSERVE_SECONDS,
    on_step: Callable[[NaiveStep], None] = lambda _: None,
) -> NaiveReport:
    """Swap the CA of a running lab in the wrong order, and return what broke.

    The files of all parties are replaced for real, and the credential store is not told: the lab
    is good for nothing afterwards but `down`. `observe_seconds` is how long each step is watched.
    """
    if not lab.spec.plain:
        raise SpecError(
            "the lab has more than one cluster with its clients",
            field="clusters",
            hint="use the preset `cluster`; superclusters break by `rollover lab renew`",
        )
    if not lab.spec.clients:
        raise SpecError(
            "the lab has no clients: nothing would show what breaks",
            field="clients",
            hint="start a lab with clients, such as the preset `cluster`",
        )
    issuer = LabIssuer(authority, lab.spec.certificates, datetime.now(UTC))
    steps = []
    for server in lab.description.groups[0].instances:
        steps.append(_server_step(lab, server, issuer, observe_seconds=observe_seconds))
        on_step(steps[-1])
    steps.append(_clients_step(lab, issuer, observe_seconds=observe_seconds))
    on_step(steps[-1])
    traffic = lab.traffic()
    return NaiveReport(
        steps=tuple(steps),
        sent=traffic.sent,
        received=traffic.received,
        lost=traffic.lost,
        failures=traffic.failures,
        disconnects=traffic.disconnects,
        longest_gap_ms=traffic.longest_gap_ms,
    )


def _server_step(
    lab: Lab, server: InstanceDescription, issuer: LabIssuer, *, observe_seconds: float
) -> NaiveStep:
    separate = lab.spec.certificates.separate_files
    subjects = certificates.server_subjects(lab.layout, server.name, separate=separate)
    issuer.write(subjects, trusted=issuer.authority.pem)
    lab.reload_server(server.name)
    reloaded = _damage(lab)
    lab.restart_server(server.name, settled=False)
    return NaiveStep(
        instance=server.name, reloaded=reloaded, reconnected=_damage_after(lab, observe_seconds)
    )


def _clients_step(lab: Lab, issuer: LabIssuer, *, observe_seconds: float) -> NaiveStep:
    """Give all clients new files; those that have lost their connection try them by themselves."""
    group = lab.description.groups[1]
    issuer.write(
        [certificates.client_subject(lab.layout, client.name) for client in group.instances],
        trusted=issuer.authority.pem,
    )
    return NaiveStep(
        instance=group.name,
        reloaded=_damage(lab),
        reconnected=_damage_after(lab, observe_seconds),
    )


def _damage_after(lab: Lab, seconds: float) -> Damage:
    # A span of time and no condition: what is lost in it is the question.
    time.sleep(seconds)
    return _damage(lab)


def _damage(lab: Lab) -> Damage:
    traffic = lab.traffic()
    return Damage(
        broken=broken_links(lab.description),
        missing_routes=tuple(_missing_routes(lab.description.groups[0].instances)),
        disconnected=tuple(client.name for client in traffic.clients if not client.connected),
        lost=traffic.lost,
        failures=traffic.failures,
        disconnects=traffic.disconnects,
    )


def _missing_routes(servers: tuple[InstanceDescription, ...]) -> Iterator[str]:
    """Yield the routes that do not stand; a server without monitoring tells nothing."""
    names = {str(server.name) for server in servers}
    for server in servers:
        if server.monitor is None:
            continue
        monitor = Monitor(server.monitor, timeout_seconds=_REQUEST_SECONDS)
        standing = {route.remote_name for route in monitor.routez().routes}
        for peer in sorted(names - standing - {server.name}):
            yield f"{server.name} → {peer}"


# Dials the links of a lab the way their dialers do, with what lies in their files now.


def broken_links(description: FleetDescription) -> tuple[UndialableLink, ...]:
    """Dial every link once, by OpenSSL whatever the dialer's stack is; return those that fail."""
    endpoints = {
        EndpointRef(instance.name, endpoint.name): endpoint
        for group in description.groups
        for instance in group.instances
        for endpoint in instance.endpoints
    }
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="dial") as pool:
        tried = pool.map(lambda link: _try(link, endpoints), links(description))
        return tuple(broken for broken in tried if broken is not None)


def _try(link: Link, endpoints: Mapping[EndpointRef, EndpointDescription]) -> UndialableLink | None:
    try:
        _dial(endpoints[link.dialer], endpoints[link.acceptor], name=link.name)
    except OSError as error:
        return UndialableLink(
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
                tls.sendall(handshake.prompt(target))
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
