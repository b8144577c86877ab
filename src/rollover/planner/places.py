"""The slots of an instance: which there are, their names, and which endpoint uses which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from rollover.fleet.goal import Installation
from rollover.fleet.model import Endpoint, Instance
from rollover.fleet.names import EndpointName, SlotName
from rollover.planner.graph import Ports

Installed = Mapping[EndpointName, Installation]
"""What the goal installs as it is on the endpoints of one instance."""


class Kind(Enum):
    """What a slot holds."""

    CHAIN = auto()
    BUNDLE = auto()
    FILE = auto()
    """Where a bundle lies."""


class Place(NamedTuple):
    """Where a slot of an instance is first named: which endpoint, and which part of it."""

    slot: str
    kind: Kind
    endpoint: int


def chain_name(endpoint: Endpoint) -> str:
    """Return what the slot of an endpoint's chain is called."""
    return endpoint.chain_slot or f"{endpoint.name}:chain"


def bundle_name(endpoint: Endpoint) -> str:
    """Return what the slot of an endpoint's bundle is called."""
    return endpoint.bundle_slot or f"{endpoint.name}:bundle"


def file_name(endpoint: Endpoint) -> str:
    """Return what the slot is called that says where a bundle lies."""
    return f"{bundle_name(endpoint)}:file"


def ports(endpoints: tuple[Endpoint, ...], found: tuple[Place, ...]) -> tuple[Ports, ...]:
    """Return where each endpoint finds its part among the slots."""
    order = {place.slot: index for index, place in enumerate(found)}
    return tuple(
        Ports(
            order[chain_name(endpoint)] if endpoint.presents else None,
            order[bundle_name(endpoint)] if endpoint.trusts is not None else None,
            order.get(file_name(endpoint)),
        )
        for endpoint in endpoints
    )


def places(instance: Instance, installed: Installed) -> Iterator[Place]:
    """Yield each slot of an instance once, where it is named first."""
    seen: set[str] = set()
    for position, endpoint in enumerate(instance.endpoints):
        moves = endpoint.name in installed and installed[endpoint.name].file is not None
        for name, kind, there in (
            (chain_name(endpoint), Kind.CHAIN, bool(endpoint.presents)),
            (bundle_name(endpoint), Kind.BUNDLE, endpoint.trusts is not None),
            (file_name(endpoint), Kind.FILE, moves),
        ):
            if there and name not in seen:
                seen.add(name)
                yield Place(name, kind, position)


def apart(instance: Instance, installed: Installed) -> Instance:
    """Return an instance whose bundles that get a file of their own have slots of their own."""

    def own(endpoint: Endpoint) -> Endpoint:
        if endpoint.name not in installed or installed[endpoint.name].file is None:
            return endpoint
        slot = SlotName(f"{bundle_name(endpoint)}@{installed[endpoint.name].file}")
        return msgspec.structs.replace(endpoint, bundle_slot=slot)

    endpoints = tuple(map(own, instance.endpoints))
    return msgspec.structs.replace(instance, endpoints=endpoints) if installed else instance
