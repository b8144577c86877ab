"""Writes the configuration of a lab's nats-server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from rollover_lab.machine import LOOPBACK
from rollover_lab.nats.layout import MaterialPaths, NatsLayout
from rollover_lab.nats.spec import ClusterSpec, LabServer, LabSpec

SYSTEM_USER = "system"
APPLICATION_ACCOUNT = "APP"
TLS_TIMEOUT_SECONDS = 5
"""The server's own default, 2 s, is too short when many clients come back at once on few cores."""


class ServerPorts(NamedTuple):
    """Where one server listens, as far as it listens there."""

    client: int
    route: int
    monitor: int
    gateway: int = 0
    leafnode: int = 0
    websocket: int = 0
    mqtt: int = 0


def address(port: int) -> str:
    """Return `host:port` of a lab's port."""
    return f"{LOOPBACK}:{port}"


def server_config(
    layout: NatsLayout,
    spec: LabSpec,
    name: str,
    *,
    ports: dict[str, ServerPorts],
    system_password: str,
) -> str:
    """Return the configuration of server `name`; it may hold the password, so keep it 0600.

    Paths are absolute: they mean the same from every working directory.
    """
    own, member = ports[name], next(server for server in spec.members if server.name == name)
    peers = {
        peer.name: ports[peer.name]
        for peer in spec.members
        if peer.cluster is member.cluster and not peer.leaf
    }
    blocks = [
        f"server_name: {name}",
        f"listen: {_quoted(address(own.client))}",
        f"pid_file: {_quoted(layout.pid_file(name))}",
        f"log_file: {_quoted(layout.log(name))}",
        _tls(layout.client_port(name), verify=True),
        _accounts(spec, member, system_password),
    ]
    if spec.monitoring:
        blocks.insert(2, f"http: {_quoted(address(own.monitor))}")
    if member.cluster.jetstream and not member.leaf:
        blocks.append(
            f"jetstream {{\n  store_dir: {_quoted(layout.server(name) / 'jetstream')}\n}}"
        )
    if member.leaf:
        blocks.append(f"cluster {{\n  name: {name}\n}}")
    elif len(peers) > 1 or spec.supercluster:
        blocks.append(_cluster(layout, spec, member, peers=peers))
    blocks += _joined(layout, spec, member, ports=ports)
    return "\n".join(blocks) + "\n"


def _cluster(
    layout: NatsLayout, spec: LabSpec, member: LabServer, *, peers: dict[str, ServerPorts]
) -> str:
    name = member.name
    files = layout.route_port(name, separate=spec.certificates.separate_files)
    routes = "\n".join(
        f"    {_quoted(f'nats-route://{address(other.route)}')}"
        for peer, other in peers.items()
        if peer != name
    )
    return (
        f"cluster {{\n  name: {member.cluster.name}\n"
        f"  listen: {_quoted(address(peers[name].route))}\n"
        f"  {_tls(files, verify=False, indent='  ')}\n"
        f"  routes: [\n{routes}\n  ]\n}}"
    )


def _joined(
    layout: NatsLayout, spec: LabSpec, member: LabServer, *, ports: dict[str, ServerPorts]
) -> Iterator[str]:
    """Yield what goes beyond one cluster: gateways, leaf nodes, WebSocket and MQTT."""
    name, own = member.name, ports[member.name]
    if member.leaf:
        yield _leaf_remote(layout, spec, member, ports=ports)
        return
    if spec.supercluster:
        yield _gateway(layout, spec, member, ports=ports)
    for kind, port, wanted in (
        ("leafnode", own.leafnode, member.cluster.leaf_nodes > 0),
        ("websocket", own.websocket, member.cluster.websocket),
        ("mqtt", own.mqtt, member.cluster.mqtt),
    ):
        if wanted:
            section = "leafnodes" if kind == "leafnode" else kind
            timed = kind != "websocket"  # there the server knows no `timeout`
            block = _tls(layout.port(name, kind), verify=True, timed=timed, indent="  ")
            yield f"{section} {{\n  listen: {_quoted(address(port))}\n  {block}\n}}"


def _gateway(
    layout: NatsLayout, spec: LabSpec, member: LabServer, *, ports: dict[str, ServerPorts]
) -> str:
    """Return the gateway section: a block of its own, and one for each remote."""
    block = _tls(layout.port(member.name, "gateway"), verify=False, indent="      ")
    remotes = "\n".join(
        f"    {{\n      name: {cluster.name}\n      urls: [\n{_gateway_urls(spec, cluster, ports)}"
        f"\n      ]\n      {block}\n    }}"
        for cluster in spec.clusters
        if cluster is not member.cluster
    )
    own = _tls(layout.port(member.name, "gateway"), verify=False, indent="  ")
    return (
        f"gateway {{\n  name: {member.cluster.name}\n"
        f"  listen: {_quoted(address(ports[member.name].gateway))}\n  {own}\n"
        f"  gateways: [\n{remotes}\n  ]\n}}"
    )


def _gateway_urls(spec: LabSpec, cluster: ClusterSpec, ports: dict[str, ServerPorts]) -> str:
    return "\n".join(
        f"        {_quoted(f'tls://{address(ports[member.name].gateway)}')}"
        for member in spec.members
        if member.cluster is cluster and not member.leaf
    )


def _leaf_remote(
    layout: NatsLayout, spec: LabSpec, member: LabServer, *, ports: dict[str, ServerPorts]
) -> str:
    urls = "\n".join(
        f"        {_quoted(f'tls://app:app@{address(ports[hub.name].leafnode)}')}"
        for hub in spec.members
        if hub.cluster is member.cluster and not hub.leaf
    )
    block = _tls(layout.port(member.name, "leaf-remote"), verify=False, indent="      ")
    return (
        f"leafnodes {{\n  remotes: [\n    {{\n      urls: [\n{urls}\n      ]\n"
        f"      account: {APPLICATION_ACCOUNT}\n      {block}\n    }}\n  ]\n}}"
    )


def _tls(files: MaterialPaths, *, verify: bool, timed: bool = True, indent: str = "") -> str:
    """Return a `tls` block. Routes verify in any case: there the word would say nothing."""
    lines = [
        f"cert_file: {_quoted(files.certificate)}",
        f"key_file: {_quoted(files.key)}",
        f"ca_file: {_quoted(files.ca)}",
        *(["verify: true"] if verify else []),
        *([f"timeout: {TLS_TIMEOUT_SECONDS}"] if timed else []),
    ]
    return "tls {\n" + "\n".join(f"{indent}  {line}" for line in lines) + f"\n{indent}}}"


def _accounts(spec: LabSpec, member: LabServer, system_password: str) -> str:
    stores = member.cluster.jetstream and not member.leaf
    jetstream = "jetstream: enabled, " if stores else ""
    system = (
        f"  SYS {{ users: [ {{ user: {SYSTEM_USER}, password: {_quoted(system_password)} }} ] }}\n"
        if spec.system_account
        else ""
    )
    named = "system_account: SYS\n" if spec.system_account else ""
    # Clients prove who they are by their certificates alone, and all are the one user.
    return (
        f"accounts {{\n{system}"
        f"  {APPLICATION_ACCOUNT} {{ {jetstream}users: [ {{ user: app, password: app }} ] }}\n}}\n"
        f"{named}no_auth_user: app"
    )


def _quoted(value: object) -> str:
    """Return a quoted string of the configuration language; it shares JSON's escapes here."""
    return json.dumps(str(value), ensure_ascii=False)
