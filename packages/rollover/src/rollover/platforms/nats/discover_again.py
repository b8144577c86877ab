"""Describes a fleet again without losing what a person wrote into its description.

Discovery knows what configurations and running servers tell. Files of clients, the system account,
delivery, pacing, silenced rules and an instance that is away today stand in the fleet file only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import msgspec

from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.names import InstanceName
from rollover.platforms.nats.discover import Discovery, DiscoveryRemark

_Described = TypeVar("_Described", InstanceDescription, EndpointDescription)


def again(found: Discovery, before: FleetDescription) -> Discovery:
    """Return what was found, completed by what the former description says beyond it.

    Where both say something of an instance, what was found counts. An instance that was not found
    is kept, with a remark: only a person can know that it is gone for good.
    """
    fleet = found.description
    groups = tuple(_groups(fleet.groups, before.groups))
    there = {each.name for group in fleet.groups for each in group.instances}
    merged = msgspec.structs.replace(
        before,
        groups=groups,
        links=tuple(_links(fleet.links, before.links, groups)),
        authorities=tuple(_authorities(fleet.authorities, before.authorities)),
    )
    away = tuple(_away(each.name) for each in _instances(before) if each.name not in there)
    return Discovery(description=merged, remarks=(*found.remarks, *away))


def _away(name: InstanceName) -> DiscoveryRemark:
    return DiscoveryRemark(
        subject=name, message="it was not found now, and is kept: take it out if it is gone"
    )


def _instances(fleet: FleetDescription) -> Iterator[InstanceDescription]:
    return chain.from_iterable(group.instances for group in fleet.groups)


def _groups(
    found: Sequence[GroupDescription], before: Sequence[GroupDescription]
) -> Iterator[GroupDescription]:
    """Yield the groups of before with what was found of their instances, then the new groups.

    An instance stays in the group that a person moved it to.
    """
    seen = {each.name: each for group in found for each in group.instances}
    settled = {each.name for group in before for each in group.instances}
    fresh = {
        group.name: tuple(each for each in group.instances if each.name not in settled)
        for group in found
    }
    for group in before:
        known = tuple(_instance(seen.get(each.name, each), each) for each in group.instances)
        yield msgspec.structs.replace(group, instances=(*known, *fresh.pop(group.name, ())))
    for group in found:
        if fresh.get(group.name):
            yield msgspec.structs.replace(group, instances=fresh[group.name])


def _instance(found: InstanceDescription, before: InstanceDescription) -> InstanceDescription:
    described: Mapping[str, EndpointDescription] = {each.name: each for each in before.endpoints}
    endpoints = tuple(
        _filled(each, described[each.name]) if each.name in described else each
        for each in found.endpoints
    )
    return msgspec.structs.replace(_filled(found, before), endpoints=endpoints)


def _filled(found: _Described, before: _Described) -> _Described:
    """Return what was found, with the fields that it leaves empty from before."""
    left = {
        name: getattr(before, name)
        for name in found.__struct_fields__
        if getattr(found, name) in (None, (), "")
    }
    return msgspec.structs.replace(found, **left)


def _links(
    found: Sequence[LinkDescription],
    before: Sequence[LinkDescription],
    groups: Sequence[GroupDescription],
) -> Iterator[LinkDescription]:
    """Yield the links of before whose parties are there still, then those that are new."""
    parties = set(_parties(groups))
    known = {(each.dialer, each.acceptor) for each in before}
    yield from (each for each in before if {each.dialer, each.acceptor} <= parties)
    yield from (each for each in found if (each.dialer, each.acceptor) not in known)


def _parties(groups: Sequence[GroupDescription]) -> Iterator[str]:
    for group in groups:
        for instance in group.instances:
            for endpoint in instance.endpoints:
                yield f"{group.name}/{endpoint.name}"
                yield f"{instance.name}/{endpoint.name}"


def _authorities(
    found: Sequence[AuthorityDescription], before: Sequence[AuthorityDescription]
) -> Iterator[AuthorityDescription]:
    """Yield the authorities of before with what was found of each, then the new ones.

    One with a certificate of a known authority is that authority, whatever a person named it.
    """
    left = list(found)
    for known in before:
        same = [
            each
            for each in left
            if each.name == known.name or set(each.certificates) & set(known.certificates)
        ]
        left = [each for each in left if each not in same]
        more = chain.from_iterable(each.certificates for each in same)
        certificates = tuple(dict.fromkeys((*known.certificates, *more)))
        yield msgspec.structs.replace(known, certificates=certificates)
    yield from left
