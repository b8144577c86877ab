"""Live connections: whose they are, which present a retired CA's certificates, how to move them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Lock
from time import monotonic, sleep
from typing import NamedTuple, Protocol

from rollover.errors import AdapterError, Rejected
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Evidence, Fact, Holdout
from rollover.fleet.fleet import EndpointRef, Role
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName
from rollover.platforms.nats.access import ASK_TIMEOUT_SECONDS, ServerAccess
from rollover.probe import system_account
from rollover.probe.nats_client import NatsConnection
from rollover.probe.server_views import ConnectionView

# The live connections of all servers, by the names of their peers.

MAX_AGE_SECONDS = 0.2
"""Many clients are confirmed at once: they share one listing, not one each."""


class Connected(NamedTuple):
    """One connection, and the server that holds it."""

    server: InstanceName
    view: ConnectionView

    @property
    def leaf(self) -> str:
        """The fingerprint of the certificate that the peer presented, empty without one."""
        certificates = self.view.tls_peer_certs
        return certificates[0].cert_sha256 if certificates else ""

    @property
    def key(self) -> tuple[InstanceName, int]:
        """What tells it from every other connection."""
        return self.server, self.view.cid


Listing = Callable[[], Iterable[tuple[InstanceName, ConnectionView]]]


class ConnectionRoster:
    """A listing of connections that several threads share while it is fresh."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._lock = Lock()
        self._fetched_at = float("-inf")
        self._by_name: Mapping[str, tuple[Connected, ...]] = {}

    def of(self, name: str) -> tuple[Connected, ...]:
        """Return the connections of that name; `EvidenceMissing` when they cannot be listed."""
        # Noted before the lock: who waited for a listing may use it, and need not fetch another.
        asked = monotonic()
        with self._lock:
            if asked - self._fetched_at > MAX_AGE_SECONDS:
                # Begun before it is fetched: what it shows is never older than it claims.
                self._fetched_at, self._by_name = monotonic(), self._fetch()
            return self._by_name.get(name, ())

    def _fetch(self) -> Mapping[str, tuple[Connected, ...]]:
        found: dict[str, list[Connected]] = {}
        for server, view in self._listing():
            found.setdefault(view.name, []).append(Connected(server, view))
        return {name: tuple(views) for name, views in found.items()}


# Connections whose peers still present a retired CA's certificates, and how to move them.
#
# A server's list of connections tells the certificates of clients and leaf nodes, not their
# issuers; of routes and gateways it tells none: those peers are judged by dialling them.

IssuerOf = Callable[[Fingerprint], Fingerprint | None]
"""Which CA issued the certificate with this fingerprint; None: it is not known here."""

KICK_PAUSE_SECONDS = 0.1
"""Between two connections that are cut, so that not all come back at once."""
_POLL_SECONDS = 0.2


class Inventory(NamedTuple):
    """Whose certificates are whose."""

    issuer_of: IssuerOf
    retired: Mapping[Fingerprint, Certificate]
    own: Collection[Fingerprint]
    """Leaves that Rollover itself presents: it is nobody's holdout."""


def holdouts(access: ServerAccess, inventory: Inventory) -> Iterator[Holdout]:
    """Yield the connections of one server that hold up the withdrawal of the retired CAs.

    Those whose certificate nobody can judge are among them, with an empty issuer. Raises
    `EvidenceMissing` when the connections cannot be listed.
    """
    for view in access.connections():
        issuer = _retired_issuer(view, inventory)
        if issuer is not None:
            yield Holdout(
                server=access.instance.name,
                connection=view.cid,
                peer=peer(view),
                certificate=Fingerprint(view.tls_peer_certs[0].cert_sha256),
                issuer_name=issuer,
                role=role(view, access.instance),
            )


_CLIENTS = {
    "nats": Role.CLIENT_PORT,
    "websocket": Role.WEBSOCKET,
    "mqtt": Role.MQTT,
}
"""By the `type` that `connz` gives to connections of the `kind` Client."""


def role(view: ConnectionView, instance: InstanceDescription) -> Role | None:
    """Return the role of the endpoint that a connection goes through, None where that is open.

    A server lists its leaf nodes and the hubs that it dials alike, and leaf nodes may come in
    through the WebSocket port.
    """
    if view.kind == "Client":
        return _CLIENTS.get(view.type)
    leaves = {Role.LEAFNODE, Role.LEAF_REMOTE} & {endpoint.role for endpoint in instance.endpoints}
    if view.kind == "Leafnode" and view.type != "websocket" and len(leaves) == 1:
        return leaves.pop()
    return None


def peer(view: ConnectionView) -> str:
    """Return what a connection's peer calls itself, or where it comes from."""
    return view.name or f"{view.ip}:{view.port}"


def _retired_issuer(view: ConnectionView, inventory: Inventory) -> str | None:
    """Return the retired issuer's subject, empty when it is unknown, None when all is well."""
    shown = [Fingerprint(certificate.cert_sha256) for certificate in view.tls_peer_certs]
    if not shown or shown[0] in inventory.own:
        return None
    issuers = [inventory.issuer_of(fingerprint) for fingerprint in shown]
    # OpenSSL peers append their root; chains may bring intermediates: any of them may tell.
    for found in (*issuers, *shown):
        if found is not None and found in inventory.retired:
            return inventory.retired[found].subject
    return None if issuers[0] is not None else ""


def cycle(
    access: ServerAccess,
    mine: Sequence[Holdout],
    *,
    notice_seconds: float,
    at: Callable[[], datetime],
) -> Iterator[Evidence]:
    """Ask the peers of one server's connections to come again, then cut those that stay.

    The notice of a lame duck makes clients that understand it move without losing a message; the
    others do not mind it, and are kicked, one by one, after `notice_seconds`.
    """
    subject = EndpointRef(access.instance.name, _client_endpoint(access))
    waiting = {holdout.connection: holdout for holdout in mine}
    try:
        with access.connection() as connection:
            for number, what in _move(connection, tuple(waiting), notice_seconds):
                yield _evidence(subject, waiting.pop(number), what, holds=True, at=at())
    except AdapterError as error:
        for holdout in waiting.values():
            what = f"could not be asked: {error.message}"
            yield _evidence(subject, holdout, what, holds=False, at=at())


def _client_endpoint(access: ServerAccess) -> EndpointName:
    for endpoint in access.instance.endpoints:
        if endpoint.role is Role.CLIENT_PORT:
            return endpoint.name
    return access.instance.endpoints[0].name


def _move(
    connection: NatsConnection, numbers: Sequence[int], notice_seconds: float
) -> Iterator[tuple[int, str]]:
    """Yield each connection once it is gone, and how it went."""
    told = {number for number in numbers if _order(connection, system_account.lame_duck, number)}
    staying = _still_there(connection, told, notice_seconds)
    for number in sorted(told - staying):
        yield number, "moved by itself after a lame duck notice (LDM)"
    # Leaf nodes take no notice, so what could not be told is kicked as well.
    for number in sorted({*numbers} - told | staying):
        cut = _order(connection, system_account.kick, number)
        yield number, "cut (KICK)" if cut else "gone already"
        if cut:
            sleep(KICK_PAUSE_SECONDS)


class _ConnectionOrder(Protocol):
    """`system_account.lame_duck` or `.kick`."""

    def __call__(
        self, connection: NatsConnection, server_id: str, *, cid: int, timeout_seconds: float
    ) -> None: ...


def _order(connection: NatsConnection, order: _ConnectionOrder, number: int) -> bool:
    """Give an order about one connection; False when the server knows none such."""
    server = connection.info.server_id
    try:
        order(connection, server, cid=number, timeout_seconds=ASK_TIMEOUT_SECONDS)
    except Rejected:
        return False
    return True


def _still_there(
    connection: NatsConnection, numbers: Collection[int], notice_seconds: float
) -> set[int]:
    """Wait for connections to go; return those that stayed."""
    deadline = monotonic() + notice_seconds
    while True:
        server = connection.info.server_id
        now = system_account.connections(connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS)
        staying = {view.cid for view in now} & set(numbers)
        if not staying or monotonic() > deadline:
            return staying
        sleep(_POLL_SECONDS)


def _evidence(
    subject: EndpointRef, holdout: Holdout, what: str, *, holds: bool, at: datetime
) -> Evidence:
    return Evidence(
        fact=Fact.DRAINED,
        subject=subject,
        holds=holds,
        observed=f"connection {holdout.connection} of `{holdout.peer}`: {what}",
        at=at,
        by="system account",
    )
