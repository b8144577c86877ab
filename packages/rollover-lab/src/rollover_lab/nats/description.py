"""Describes a lab the way `fleet.yml` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
    SystemAccount,
)
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import AuthorityName, EndpointName, Fingerprint, GroupName, InstanceName
from rollover.platforms.nats.discovery import discover_fleet
from rollover_lab.nats.layout import MaterialPaths, NatsLayout
from rollover_lab.nats.server_config import SYSTEM_USER, ServerPorts, address
from rollover_lab.nats.spec import LabSpec
from rollover_lab.traffic.spec import CastClient, ClientProtocol

AUTHORITY = AuthorityName("nats-ca")
PUBLIC = AuthorityName("public-ca")
"""Its versions are the intermediates of the issuer that gateways have their certificates from."""
CLIENTS = GroupName("clients")
CLIENT_PORT, ROUTE_PORT = EndpointName("client-port"), EndpointName("route")
CLIENT = EndpointName("client")
ENDPOINTS = {
    ClientProtocol.NATS: CLIENT_PORT,
    ClientProtocol.WEBSOCKET: EndpointName("websocket"),
    ClientProtocol.MQTT: EndpointName("mqtt"),
}
"""What discovery calls the ports that clients come through."""
SERVER_PLATFORM, CLIENT_PLATFORM = "nats", "nats-client"
CLIENTS_IN_FLIGHT = 10
"""At least; of more than 200 clients one in twenty."""


def describe(
    layout: NatsLayout,
    spec: LabSpec,
    *,
    ports: dict[str, ServerPorts],
    clients: tuple[CastClient, ...],
    authorities: tuple[Fingerprint, ...],
    public: tuple[Fingerprint, ...] = (),
    binary: Path,
) -> FleetDescription:
    """Return the description of the whole lab; paths in it are absolute.

    What goes beyond one cluster is described by what `rollover discover` reads in the
    configurations, which have been written by then.
    """
    fleet = (
        _plain(layout, spec, ports=ports, clients=clients, binary=binary)
        if spec.plain
        else _discovered(layout, spec, clients=clients, binary=binary)
    )
    issuers = [AuthorityDescription(name=AUTHORITY, certificates=authorities)]
    if public:
        issuers.append(AuthorityDescription(name=PUBLIC, certificates=public))
    system = SystemAccount(user=SYSTEM_USER, password_file=str(layout.system_password))
    return msgspec.structs.replace(
        fleet,
        name=spec.name,
        authorities=tuple(issuers),
        system=system if spec.system_account else None,
        state=layout.state.name,
    )


def _plain(
    layout: NatsLayout,
    spec: LabSpec,
    *,
    ports: dict[str, ServerPorts],
    clients: tuple[CastClient, ...],
    binary: Path,
) -> FleetDescription:
    """Describe one cluster by hand: what a person would write, and no more."""
    servers = GroupName(spec.clusters[0].name)
    groups = [
        GroupDescription(
            name=servers,
            platform=SERVER_PLATFORM,
            instances=tuple(
                _server(layout, spec, name, ports=own, alone=len(ports) == 1, binary=binary)
                for name, own in ports.items()
            ),
        )
    ]
    links = []
    if len(ports) > 1:
        links.append(
            LinkDescription(dialer=f"{servers}/{ROUTE_PORT}", acceptor=f"{servers}/{ROUTE_PORT}")
        )
    if clients:
        groups.append(_clients(layout, clients, rotating=spec.rotating_clients))
        links.append(
            LinkDescription(dialer=f"{CLIENTS}/{CLIENT}", acceptor=f"{servers}/{CLIENT_PORT}")
        )
    return FleetDescription(version=1, name=spec.name, groups=tuple(groups), links=tuple(links))


def _discovered(
    layout: NatsLayout, spec: LabSpec, *, clients: tuple[CastClient, ...], binary: Path
) -> FleetDescription:
    found = discover_fleet(
        [layout.config(name) for name in spec.servers], environment={}
    ).description
    groups = [
        msgspec.structs.replace(
            group,
            instances=tuple(
                msgspec.structs.replace(
                    instance,
                    working_directory=str(layout.server(instance.name)),
                    binary=str(binary),
                )
                for instance in group.instances
            ),
        )
        for group in found.groups
    ]
    links = list(found.links)
    for cluster, port, name in _gatherings(spec):
        here = tuple(
            client for client in clients if (client.cluster, client.port) == (cluster, port)
        )
        if here:
            group = _clients(layout, here, rotating=spec.rotating_clients)
            # An MQTT session has one connection at a time.
            touch = Touch.RECONNECT if port is ClientProtocol.MQTT else group.touch
            groups.append(msgspec.structs.replace(group, name=name, touch=touch))
            acceptor = f"{cluster}/{ENDPOINTS[port]}"
            links.append(LinkDescription(dialer=f"{name}/{CLIENT}", acceptor=acceptor))
    return msgspec.structs.replace(found, groups=tuple(groups), links=tuple(links))


def _gatherings(spec: LabSpec) -> Iterator[tuple[str, ClientProtocol, GroupName]]:
    """Yield where clients meet: those of one port of a cluster are a group, and its name."""
    for cluster in spec.clusters:
        for port in ClientProtocol:
            words: list[str] = [CLIENTS]
            words += [cluster.name] if spec.supercluster else []
            words += [port.value] if port is not ClientProtocol.NATS else []
            yield cluster.name, port, GroupName("-".join(words))


def _server(
    layout: NatsLayout,
    spec: LabSpec,
    name: str,
    *,
    ports: ServerPorts,
    alone: bool,
    binary: Path,
) -> InstanceDescription:
    route_files = layout.route_port(name, separate=spec.certificates.separate_files)
    endpoints = [
        _endpoint(CLIENT_PORT, Role.CLIENT_PORT, layout.client_port(name), port=ports.client)
    ]
    if not alone:
        endpoints.append(_endpoint(ROUTE_PORT, Role.ROUTE, route_files, port=ports.route))
    return InstanceDescription(
        name=InstanceName(name),
        endpoints=tuple(endpoints),
        config=str(layout.config(name)),
        working_directory=str(layout.server(name)),
        pid_file=str(layout.pid_file(name)),
        monitor=f"http://{address(ports.monitor)}" if spec.monitoring else None,
        binary=str(binary),
    )


def _endpoint(
    name: EndpointName, role: Role, files: MaterialPaths, *, port: int
) -> EndpointDescription:
    return EndpointDescription(
        name=name,
        role=role,
        address=address(port),
        certificate=str(files.certificate),
        key=str(files.key),
        ca=str(files.ca),
        verify=True,
    )


def _clients(
    layout: NatsLayout, clients: tuple[CastClient, ...], *, rotating: bool
) -> GroupDescription:
    """Return the clients' group; plain ones read their files at a reconnect and tell nobody."""
    return GroupDescription(
        name=CLIENTS,
        platform=CLIENT_PLATFORM,
        instances=tuple(_client(layout, client.name, rotating=rotating) for client in clients),
        touch=Touch.WATCH if rotating else Touch.RECONNECT,
        max_in_flight=max(CLIENTS_IN_FLIGHT, len(clients) // 20),
    )


def _client(layout: NatsLayout, name: str, *, rotating: bool) -> InstanceDescription:
    files = layout.client_material(name)
    return InstanceDescription(
        name=InstanceName(name),
        endpoints=(
            EndpointDescription(
                name=CLIENT,
                role=Role.CLIENT,
                stack=Stack.OPENSSL,
                certificate=str(files.certificate),
                key=str(files.key),
                ca=str(files.ca),
            ),
        ),
        working_directory=str(layout.client(name)),
        status_file=str(layout.status(name)) if rotating else None,
    )
