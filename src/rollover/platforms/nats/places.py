"""Makes a description concrete: absolute paths of its files, and how each port is dialled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.model import Role
from rollover.probe.target import Port, Target, parse_address

PORTS: Mapping[Role, Port] = MappingProxyType(
    {
        Role.CLIENT_PORT: Port.CLIENT,
        Role.ROUTE: Port.ROUTE,
        Role.GATEWAY: Port.GATEWAY,
        Role.LEAFNODE: Port.LEAFNODE,
        Role.WEBSOCKET: Port.WEBSOCKET,
        Role.MQTT: Port.MQTT,
        Role.MONITORING: Port.MONITORING,
        Role.TLS: Port.PLAIN,
    }
)
"""How the endpoints that accept connections are dialled; all others only dial."""

_ALWAYS_DEMANDING = frozenset((Role.ROUTE, Role.GATEWAY))
"""nats-server forces `verify` on there."""


def resolved(instance: InstanceDescription, *, base: Path) -> InstanceDescription:
    """Return the description with absolute paths: relative ones begin at the working directory.

    A relative working directory begins at `base`, the directory of the fleet file.
    """
    home = base / (instance.working_directory or "")
    endpoints = tuple(
        msgspec.structs.replace(
            each,
            certificate=_absolute(each.certificate, home),
            key=_absolute(each.key, home),
            ca=_absolute(each.ca, home),
        )
        for each in instance.endpoints
    )
    return msgspec.structs.replace(
        instance,
        endpoints=endpoints,
        pid_file=_absolute(instance.pid_file, home),
        status_file=_absolute(instance.status_file, home),
    )


def _absolute(path: str | None, home: Path) -> str | None:
    # Not `Path.resolve`: links are the delivery's business.
    return None if path is None else os.path.abspath(home / path)  # noqa: PTH100 - see above


def public_paths(instance: InstanceDescription) -> tuple[str, ...]:
    """Return the certificate and bundle files of an instance, each once; never its keys."""
    found = (path for each in instance.endpoints for path in (each.certificate, each.ca))
    return tuple(dict.fromkeys(path for path in found if path is not None))


def dialled(instance: InstanceDescription) -> Iterator[tuple[EndpointDescription, Target]]:
    """Yield the endpoints that accept connections, and how to dial each.

    Raises `SpecError` for an address that is none.
    """
    for each in instance.endpoints:
        if each.address is not None and each.role in PORTS:
            yield each, target(each, each.address)


def target(endpoint: EndpointDescription, address: str) -> Target:
    """Return how to dial an endpoint at an address."""
    return Target(
        address=address,
        port=PORTS[endpoint.role],
        server_name=parse_address(address).host,
        handshake_first=endpoint.handshake_first,
    )


def demands(endpoint: EndpointDescription) -> bool:
    """Say whether an endpoint demands a certificate of whoever dials it."""
    return endpoint.verify or endpoint.role in _ALWAYS_DEMANDING


def client_port(instance: InstanceDescription) -> EndpointDescription | None:
    """Return the client port of an instance, None when none is described with its address."""
    for each in instance.endpoints:
        if each.role is Role.CLIENT_PORT and each.address is not None:
            return each
    return None
