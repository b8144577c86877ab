"""The slots of an instance: which there are, their names, and which endpoint uses which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Bundle
from rollover.fleet.goal import Given
from rollover.fleet.model import Endpoint, Instance
from rollover.fleet.names import EndpointName, Fingerprint, SlotName
from rollover.planner.graph import Ports

GivenTo = Mapping[EndpointName, Given]
"""What the goal gives to the endpoints of one instance."""


class Kind(Enum):
    """What a slot holds."""

    CHAIN = auto()
    BUNDLE = auto()
    FILE = auto()
    """Where a bundle lies, as the only member of its value."""


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


def file_value(path: str | None) -> Bundle:
    """Return the value of a slot that holds a path."""
    return () if path is None else (Fingerprint(path),)


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


def places(instance: Instance, given: GivenTo) -> Iterator[Place]:
    """Yield each slot of an instance once, where it is named first."""
    seen: set[str] = set()
    for position, endpoint in enumerate(instance.endpoints):
        moves = endpoint.name in given and given[endpoint.name].file is not None
        for name, kind, there in (
            (chain_name(endpoint), Kind.CHAIN, bool(endpoint.presents)),
            (bundle_name(endpoint), Kind.BUNDLE, endpoint.trusts is not None),
            (file_name(endpoint), Kind.FILE, moves),
        ):
            if there and name not in seen:
                seen.add(name)
                yield Place(name, kind, position)


def apart(instance: Instance, given: GivenTo) -> Instance:
    """Return an instance whose bundles that get a file of their own have slots of their own."""

    def own(endpoint: Endpoint) -> Endpoint:
        if endpoint.name not in given or given[endpoint.name].file is None:
            return endpoint
        slot = SlotName(f"{bundle_name(endpoint)}@{given[endpoint.name].file}")
        return msgspec.structs.replace(endpoint, bundle_slot=slot)

    endpoints = tuple(map(own, instance.endpoints))
    return msgspec.structs.replace(instance, endpoints=endpoints) if given else instance
