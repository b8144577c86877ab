"""What running servers add to a description, or all of it where there is no configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.model import Role
from rollover.fleet.names import EndpointName, InstanceName
from rollover.platforms.nats.discover_server import Notes, written
from rollover.probe.monitoring import Monitor
from rollover.probe.views import ConnectionView, Varz

TIMEOUT_SECONDS = 3.0


class Live(NamedTuple):
    """A running server as its monitoring port shows it."""

    url: str
    varz: Varz
    connections: tuple[ConnectionView, ...]


def look(url: str) -> Live:
    """Ask a monitoring port; raises an `AdapterError` when it does not answer as one."""
    monitor = Monitor(url, timeout_seconds=TIMEOUT_SECONDS)
    return Live(url, monitor.varz(), monitor.connections())


def with_live(
    instance: InstanceDescription, live: Iterable[Live], notes: Notes
) -> InstanceDescription:
    """Return the instance with what its running server tells: its monitor, ports picked at start.

    A server is the one of a configuration when they have the same name.
    """
    for each in live:
        if each.varz.server_name == instance.name or each.url == instance.monitor:
            return _merged(instance, each, notes)
    return instance


def _merged(instance: InstanceDescription, live: Live, notes: Notes) -> InstanceDescription:
    found = {endpoint.role: endpoint for endpoint in _endpoints(live)}
    endpoints = tuple(
        msgspec.structs.replace(each, address=found[each.role].address)
        if each.address is None and each.role in found
        else each
        for each in instance.endpoints
    )
    for each in endpoints:
        if each.role in found and each.verify != found[each.role].verify:
            notes.add(
                f"{instance.name}/{each.name}",
                "the running server and its configuration do not agree about `verify`",
            )
    return msgspec.structs.replace(
        instance, endpoints=endpoints, monitor=instance.monitor or live.url
    )


def from_live(live: Live, *, known: set[InstanceName], notes: Notes) -> InstanceDescription | None:
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


def _endpoints(live: Live) -> Iterator[EndpointDescription]:
    """Yield the TLS listeners that varz tells of."""
    varz, host = live.varz, urlsplit(live.url).hostname or ""
    cluster = varz.cluster
    for role, required, verify, port in (
        (Role.CLIENT_PORT, varz.tls_required, varz.tls_verify, varz.port),
        (Role.ROUTE, cluster.tls_required, True, cluster.cluster_port),
        (Role.GATEWAY, varz.gateway.tls_required, True, varz.gateway.port),
        (Role.LEAFNODE, varz.leaf.tls_required, varz.leaf.tls_verify, varz.leaf.port),
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
