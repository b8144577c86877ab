"""Makes a description concrete: absolute paths of its files, and how each port is dialled."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from rollover.errors import SpecError
from rollover.fleet.description import (
    EndpointDescription,
    FileDelivery,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.model import Role
from rollover.fleet.names import InstanceName
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

    A relative working directory begins at `base`, the directory of the fleet file; so may the path
    of a configuration, as that of one that is discovered does.
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
        config=_config(instance.config, home, base),
        working_directory=_absolute("", home),
        pid_file=_absolute(instance.pid_file, home),
        status_file=_absolute(instance.status_file, home),
    )


def _config(path: str | None, home: Path, base: Path) -> str | None:
    if path is None:
        return None
    return _absolute(path, home if (home / path).exists() else base)


def _absolute(path: str | None, home: Path) -> str | None:
    # Not `Path.resolve`: links are the delivery's business.
    return None if path is None else os.path.abspath(home / path)  # noqa: PTH100 - see above


def public_paths(instance: InstanceDescription) -> tuple[str, ...]:
    """Return the certificate and bundle files of an instance, each once; never its keys."""
    found = (path for each in instance.endpoints for path in (each.certificate, each.ca))
    return tuple(dict.fromkeys(path for path in found if path is not None))


def shared(groups: Iterable[GroupDescription], *, base: Path) -> Mapping[InstanceName, str]:
    """Return why instances of this machine cannot be changed apart: they read one file.

    Also where the paths differ and links lead to the same file. A delivery to one of them would
    change what the other takes at its next reload, which no proof ranges over.
    """
    users: dict[str, dict[InstanceName, str]] = {}
    for group in groups:
        for each in group.instances if isinstance(group.delivery, FileDelivery) else ():
            for path in _files(resolved(each, base=base)):
                users.setdefault(os.path.realpath(path), {})[each.name] = path
    found: dict[InstanceName, str] = {}
    for readers in users.values():
        for name, path in readers.items() if len(readers) > 1 else ():
            other = next(each for each in readers if each != name)
            found.setdefault(name, f"`{path}` is also a file of `{other}`: give each its own copy")
    return found


def _files(instance: InstanceDescription) -> Iterator[str]:
    for each in instance.endpoints:
        yield from (path for path in (each.certificate, each.key, each.ca) if path is not None)


def dialled(instance: InstanceDescription) -> Iterator[tuple[EndpointDescription, Target]]:
    """Yield the endpoints that accept connections, and how to dial each.

    Raises `SpecError` for an address that is none.
    """
    for each in instance.endpoints:
        if each.address is not None and each.role in PORTS:
            try:
                yield each, target(each, each.address)
            except SpecError as error:
                raise SpecError(
                    error.message, field=f"{instance.name}/{each.name}: address", hint=error.hint
                ) from None


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
