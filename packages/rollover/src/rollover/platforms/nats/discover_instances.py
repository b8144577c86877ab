"""Describes single parties: servers by configurations and by what they tell, clients by those.

A server without a configuration is described by its monitoring port alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from nats_config.server import PortKind, ServerConfig, ServerListener
from nats_config.tls import TlsBlock, TlsContext
from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.probe.monitoring import Monitor
from rollover.probe.server_views import ConnectionView, Varz

# From one server's configuration to the instance and endpoints that it describes.

LOOPBACK = "127.0.0.1"
_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - what is compared with, not bound to

_LISTENING: Mapping[PortKind, tuple[TlsContext, Role]] = MappingProxyType(
    {
        PortKind.CLIENT: (TlsContext.TOP, Role.CLIENT_PORT),
        PortKind.CLUSTER: (TlsContext.CLUSTER, Role.ROUTE),
        PortKind.GATEWAY: (TlsContext.GATEWAY, Role.GATEWAY),
        PortKind.LEAFNODES: (TlsContext.LEAFNODES, Role.LEAFNODE),
        PortKind.WEBSOCKET: (TlsContext.WEBSOCKET, Role.WEBSOCKET),
        PortKind.MQTT: (TlsContext.MQTT, Role.MQTT),
        PortKind.HTTPS: (TlsContext.TOP, Role.MONITORING),
    }
)


class DiscoveryNotes:
    """Remarks as they come up, each once."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], None] = {}

    def add(self, subject: str, message: str) -> None:
        """Remember a remark."""
        self._said[subject, message] = None

    def all(self) -> Iterator[tuple[str, str]]:
        """Yield every subject and message, in the order in which they came up."""
        yield from self._said


def instance_of(
    config: ServerConfig, name: InstanceName, *, notes: DiscoveryNotes
) -> InstanceDescription:
    """Return the instance: an endpoint for each `tls` block that is in use, and no other."""
    endpoints = (*_accepting(config, name, notes), *_dialling(config, name, notes))
    if not endpoints:
        notes.add(name, "it has no `tls` block in use: there is nothing to rotate on it")
    if config.block(TlsContext.RESOLVER) is not None:
        notes.add(name, "`resolver_tls` is not covered: rotate the account resolver by hand")
    return InstanceDescription(
        name=name,
        endpoints=endpoints,
        pid_file=config.pid_file or None,
        monitor=_monitor(config, name, notes),
    )


def _accepting(
    config: ServerConfig, name: InstanceName, notes: DiscoveryNotes
) -> Iterator[EndpointDescription]:
    for listener in config.listeners:
        if listener.port_kind not in _LISTENING:
            continue
        context, role = _LISTENING[listener.port_kind]
        block = config.block(context)
        if block is None:
            notes.add(f"{name}/{role}", "it listens in the clear: no TLS party, so no endpoint")
            continue
        # The monitoring port shares the block of the client port and asks for no certificate.
        monitoring = role is Role.MONITORING
        yield _endpoint(
            EndpointName(role.value),
            role,
            block,
            address=address_of(listener, f"{name}/{role}", notes),
            verify=block.demands_certificate and not monitoring,
            with_ca=not monitoring,
            notes=notes,
            subject=f"{name}/{role}",
        )


def _dialling(
    config: ServerConfig, name: InstanceName, notes: DiscoveryNotes
) -> Iterator[EndpointDescription]:
    for gateway in config.gateways:
        if gateway.tls is not None:
            endpoint = gateway_remote(gateway.name)
            yield _endpoint(
                endpoint,
                Role.GATEWAY_REMOTE,
                gateway.tls,
                notes=notes,
                subject=f"{name}/{endpoint}",
            )
    for leaf in config.leaf_remotes:
        if leaf.tls is not None and not leaf.disabled:
            endpoint = leaf_remote(leaf.index)
            yield _endpoint(
                endpoint, Role.LEAF_REMOTE, leaf.tls, notes=notes, subject=f"{name}/{endpoint}"
            )


def gateway_remote(name: str) -> EndpointName:
    """Return what the endpoint of a gateway remote with a `tls` block of its own is called."""
    return EndpointName(f"{Role.GATEWAY_REMOTE}-{name.replace('/', '-')}")


def leaf_remote(index: int) -> EndpointName:
    """Return what the endpoint of a leaf remote is called; the first one has no number."""
    return EndpointName(f"{Role.LEAF_REMOTE}-{index + 1}" if index else Role.LEAF_REMOTE.value)


def _endpoint(
    name: EndpointName,
    role: Role,
    block: TlsBlock,
    *,
    notes: DiscoveryNotes,
    subject: str,
    address: str | None = None,
    verify: bool = False,
    with_ca: bool = True,
) -> EndpointDescription:
    pair = block.certificates[0] if block.certificates else None
    if len(block.certificates) > 1:
        notes.add(subject, "of several certificates in `certs` only the first is served and kept")
    if verify and block.ca_file is None:
        notes.add(subject, "without `ca_file` it trusts every CA of the operating system")
    if block.pinned_certs:
        notes.add(subject, "`pinned_certs` must list the keys of new leaves before they are used")
    return EndpointDescription(
        name=name,
        role=role,
        address=address,
        certificate=pair.cert_file.path if pair is not None else None,
        key=pair.key_file.path if pair is not None else None,
        ca=block.ca_file.path if block.ca_file is not None and with_ca else None,
        verify=verify,
        handshake_first=block.handshake_first,
    )


def address_of(listener: ServerListener, subject: str, notes: DiscoveryNotes) -> str | None:
    """Return where to dial a listener, None when its port is not known."""
    if listener.advertise:
        host, _, port = listener.advertise.rpartition(":")
        if host and port.isdigit():
            return listener.advertise
        return written(listener.advertise.strip("[]"), listener.port) if listener.port else None
    if not listener.port:
        notes.add(subject, "its port is picked at start: fill in `address`, or name its monitor")
        return None
    if listener.host in _EVERYWHERE:
        notes.add(subject, f"it listens everywhere: `{LOOPBACK}` is written as its `address`")
        return written(LOOPBACK, listener.port)
    return written(listener.host, listener.port)


def written(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _monitor(config: ServerConfig, name: InstanceName, notes: DiscoveryNotes) -> str | None:
    for kind, scheme in ((PortKind.HTTP, "http"), (PortKind.HTTPS, "https")):
        listener = config.listener(kind)
        if listener is not None:
            address = address_of(listener, f"{name}/monitor", notes)
            return f"{scheme}://{address}" if address is not None else None
    notes.add(name, "it has no monitoring port: describe the system account to see its connections")
    return None


# What running servers add to a description, or all of it where there is no configuration.

TIMEOUT_SECONDS = 3.0


class LiveServer(NamedTuple):
    """A running server as its monitoring port shows it."""

    url: str
    varz: Varz
    connections: tuple[ConnectionView, ...]


def observe_live(url: str) -> LiveServer:
    """Ask a monitoring port; raises an `AdapterError` when it does not answer as one."""
    monitor = Monitor(url, timeout_seconds=TIMEOUT_SECONDS)
    return LiveServer(url, monitor.varz(), monitor.connections())


def with_live(
    instance: InstanceDescription, live: Iterable[LiveServer], notes: DiscoveryNotes
) -> InstanceDescription:
    """Return the instance with what its running server tells: its monitor, ports picked at start.

    A server is the one of a configuration when they have the same name.
    """
    for server in live:
        if server.varz.server_name == instance.name or server.url == instance.monitor:
            return _merged(instance, server, notes)
    return instance


def _merged(
    instance: InstanceDescription, live: LiveServer, notes: DiscoveryNotes
) -> InstanceDescription:
    found = {endpoint.role: endpoint for endpoint in _endpoints(live)}
    endpoints = tuple(
        msgspec.structs.replace(endpoint, address=found[endpoint.role].address)
        if endpoint.address is None and endpoint.role in found
        else endpoint
        for endpoint in instance.endpoints
    )
    for endpoint in endpoints:
        if endpoint.role in found and endpoint.verify != found[endpoint.role].verify:
            notes.add(
                f"{instance.name}/{endpoint.name}",
                "the running server and its configuration do not agree about `verify`",
            )
    return msgspec.structs.replace(
        instance, endpoints=endpoints, monitor=instance.monitor or live.url
    )


def from_live(
    live: LiveServer, *, known: set[InstanceName], notes: DiscoveryNotes
) -> InstanceDescription | None:
    """Return an instance for a server that no configuration is there for, else None."""
    name = InstanceName((live.varz.server_name or live.varz.server_id).replace("/", "-"))
    if name in known:
        return None
    notes.add(
        name,
        "only its monitoring port was seen: fill in `certificate`, `key` and `ca` of its "
        "endpoints, and its `pid_file`",
    )
    return InstanceDescription(name=name, endpoints=tuple(_endpoints(live)), monitor=live.url)


def _endpoints(live: LiveServer) -> Iterator[EndpointDescription]:
    """Yield the TLS listeners that varz tells of."""
    varz, host = live.varz, urlsplit(live.url).hostname or ""
    cluster = varz.cluster
    for role, required, verify, port in (
        (Role.CLIENT_PORT, varz.tls_required, varz.tls_verify, varz.port),
        # Of routes and gateways `varz` tells no `verify`: nats-server forces it on there.
        (Role.ROUTE, cluster.tls_required, True, cluster.cluster_port),
        (Role.GATEWAY, varz.gateway.tls_required, True, varz.gateway.port),
        (Role.LEAFNODE, varz.leaf.tls_required, varz.leaf.tls_verify, varz.leaf.port),
        # Nor does it say of these two whether TLS is on, only when their certificate ends.
        (
            Role.WEBSOCKET,
            varz.websocket.tls_cert_not_after is not None,
            varz.websocket.tls_verify,
            varz.websocket.port,
        ),
        (
            Role.MQTT,
            varz.mqtt.tls_cert_not_after is not None,
            varz.mqtt.tls_verify,
            varz.mqtt.port,
        ),
    ):
        if required and port:
            yield EndpointDescription(
                name=EndpointName(role.value),
                role=role,
                address=written(host, port),
                verify=verify,
            )


# Clients that no configuration names: those that running servers have connections of.

ENDPOINT = EndpointName(Role.CLIENT.value)
_COMMON_NAME = re.compile(r"(?:^|,)CN=([^,]+)")
_GO = "go"
_CLIENT = "Client"


def clients_group(
    name: GroupName,
    platform: str,
    live: Sequence[LiveServer],
    *,
    taken: Collection[InstanceName],
    notes: DiscoveryNotes,
) -> GroupDescription | None:
    """Return a group of the clients that are connected over TLS, None when there are none.

    Their files are not known: a person fills them in.
    """
    found: dict[str, ConnectionView] = {}
    for view in _over_tls(live):
        client = _client_name(view)
        if client in found:
            notes.add(
                f"{name}/{client}",
                "several connections have this name: one instance stands for all",
            )
        found.setdefault(client, view)
    if not found:
        return None
    notes.add(
        name,
        f"{len(found)} clients were found by their connections: fill in `certificate`, `key` and "
        "`ca` of each, and `status_file` with `touch: watch` where they use nats_rotating_client; "
        "`touch: reconnect` is for those that read their files whenever they connect, `restart` "
        "for those that read them once",
    )
    return GroupDescription(
        name=name,
        platform=platform,
        instances=tuple(
            # The names of instances are unique in a fleet, and a server may have this one.
            _client(InstanceName(f"{client}-client" if client in taken else client), view)
            for client, view in sorted(found.items())
        ),
        touch=Touch.RECONNECT,
    )


def _over_tls(live: Sequence[LiveServer]) -> Iterator[ConnectionView]:
    for server in live:
        for view in server.connections:
            if view.kind in {_CLIENT, ""} and view.tls_version:
                yield view


def _client_name(view: ConnectionView) -> str:
    """Return the connection's name, else its certificate's common name, else where it is from."""
    subject = view.tls_peer_certs[0].subject if view.tls_peer_certs else ""
    common = _COMMON_NAME.search(subject)
    name = view.name or (common.group(1) if common else subject) or view.ip
    return name.replace("/", "-")


def _client(name: InstanceName, view: ConnectionView) -> InstanceDescription:
    # Clients in Python, Ruby and C are on OpenSSL. For Java, .NET and Rust neither stack is right
    # (docs/explanation/tls-stacks.md), and OpenSSL refuses more.
    stack = Stack.GO if view.lang == _GO else Stack.OPENSSL
    return InstanceDescription(
        name=name,
        endpoints=(EndpointDescription(name=ENDPOINT, role=Role.CLIENT, stack=stack),),
    )
