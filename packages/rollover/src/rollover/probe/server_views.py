"""What a nats-server says of itself on its monitoring port and to its system account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

PAGE = 1024
"""Connections asked for at once; the server's own default."""


class ListenerView(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the configuration that listens, in varz."""

    host: str = ""
    port: int = 0
    tls_required: bool = False
    tls_verify: bool = False
    tls_cert_not_after: datetime | None = None
    """When the first certificate that it has loaded ends; None without TLS or before 2.14."""


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster block, whose names differ from all others'."""

    name: str = ""
    addr: str = ""
    cluster_port: int = 0
    urls: tuple[str, ...] = ()
    tls_required: bool = False
    tls_verify: bool = False
    tls_cert_not_after: datetime | None = None


class Varz(msgspec.Struct, frozen=True, kw_only=True):
    """The server's configuration as it runs. `config_load_time` moves only when a reload succeeds.

    Nothing here tells which CAs a listener trusts: only a handshake does.
    """

    server_id: str
    server_name: str = ""
    version: str = ""
    start: datetime
    now: datetime
    config_load_time: datetime
    config_digest: str = ""
    """`sha256:` and the digest of the parsed configuration file; empty without one."""
    host: str = ""
    port: int = 0
    connections: int = 0
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    tls_cert_not_after: datetime | None = None
    system_account: str = ""
    cluster: ClusterView = ClusterView()
    gateway: ListenerView = ListenerView()
    leaf: ListenerView = ListenerView()
    mqtt: ListenerView = ListenerView()
    websocket: ListenerView = ListenerView()


class PeerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a connected peer presented: no issuer and no validity."""

    subject: str
    spki_sha256: str
    cert_sha256: str
    """The same as `Certificate.fingerprint`."""


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True):
    """One connection in connz: a client, or a leaf node."""

    cid: int
    kind: str = ""
    """`Client` or `Leafnode`."""
    type: str = ""
    """`nats`, `websocket` or `mqtt`."""
    name: str = ""
    """What the client calls itself; of an MQTT client its identifier."""
    mqtt_client: str = ""
    ip: str = ""
    port: int = 0
    start: datetime | None = None
    account: str = ""
    authorized_user: str = ""
    lang: str = ""
    version: str = ""
    tls_version: str = ""
    """`1.3`; empty for a connection in the clear."""
    tls_cipher_suite: str = ""
    tls_peer_certs: tuple[PeerCertificate, ...] = ()
    """Leaf first. OpenSSL clients often append their root; Go clients do not."""
    num_subscriptions: int = msgspec.field(default=0, name="subscriptions")


class Connz(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the connection list."""

    server_id: str
    now: datetime
    total: int = 0
    offset: int = 0
    connections: tuple[ConnectionView, ...] = ()


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """One route; no certificate of the peer is told."""

    rid: int
    remote_id: str = ""
    remote_name: str = ""
    did_solicit: bool = False
    ip: str = ""
    port: int = 0
    start: datetime | None = None
    tls_version: str = ""


class Routez(msgspec.Struct, frozen=True, kw_only=True):
    """The routes of a server."""

    server_id: str
    now: datetime
    routes: tuple[RouteView, ...] = ()


class GatewayConnection(msgspec.Struct, frozen=True, kw_only=True):
    """The connection below a gateway."""

    cid: int = 0
    name: str = ""
    ip: str = ""
    port: int = 0
    start: datetime | None = None
    tls_version: str = ""


class RemoteGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway connection, out to another cluster or in from one."""

    configured: bool = False
    connection: GatewayConnection = GatewayConnection()


class Gatewayz(msgspec.Struct, frozen=True, kw_only=True):
    """The gateways of a server. One that is half open has inbound connections and no outbound."""

    server_id: str
    now: datetime
    name: str = ""
    outbound_gateways: dict[str, RemoteGateway] = {}
    inbound_gateways: dict[str, tuple[RemoteGateway, ...]] = {}


class LeafView(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf node connection. `id` is what KICK takes."""

    id: int = 0
    name: str = ""
    account: str = ""
    is_spoke: bool = False
    ip: str = ""
    port: int = 0


class Leafz(msgspec.Struct, frozen=True, kw_only=True):
    """The leaf nodes of a server."""

    server_id: str
    now: datetime
    leafs: tuple[LeafView, ...] = ()


class Healthz(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server calls itself healthy, which it does with expired certificates too."""

    status: str
    error: str = ""

    @property
    def fine(self) -> bool:
        """Whether the status is `ok`."""
        return self.status == "ok"


FetchPage = Callable[[int, int], Connz]
"""Fetches the page at (offset, limit), sorted by connection id, lowest first."""


def all_connections(fetch: FetchPage, *, page: int = PAGE) -> tuple[ConnectionView, ...]:
    """Return every connection that was there throughout, whatever came and went meanwhile.

    Connections that end between two pages shift the rest to lower offsets. So each page must begin
    at or below the last id seen, otherwise it is fetched again from further back. `page` is at
    least 2, or no page could begin where the one before it ended.
    """
    found: list[ConnectionView] = []
    offset, step = 0, 1
    while True:
        view = fetch(offset, page)
        last = found[-1].cid if found else -1
        if offset and (not view.connections or view.connections[0].cid > last):
            offset, step = max(offset - step, 0), 2 * step
            continue
        found.extend(_named(connection) for connection in view.connections if connection.cid > last)
        if not view.connections or offset + len(view.connections) >= view.total:
            return tuple(found)
        # The last one once more: that it is still there proves that nothing has moved.
        offset, step = offset + len(view.connections) - 1, 1


def _named(view: ConnectionView) -> ConnectionView:
    """Call an MQTT client by its identifier: the server tells it in a field of its own."""
    if view.name or not view.mqtt_client:
        return view
    return msgspec.structs.replace(view, name=view.mqtt_client)
