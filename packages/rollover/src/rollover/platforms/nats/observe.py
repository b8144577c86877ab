"""What one server uses now: what its ports show counts, its files say the rest.

A reload takes all files or none, so the whole state of the files, or of the kept copies of an
unconfirmed delivery, is compared with what the ports show. What the files hold beyond that is
what a reload or a restart would take: a state that the server *may* use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Observation, Seen
from rollover.fleet.model import Availability
from rollover.fleet.names import EndpointName
from rollover.platforms.nats.disk import Disk
from rollover.platforms.nats.places import demands
from rollover.platforms.nats.ports import (
    agrees,
    asks,
    bundle_agrees,
    bundle_from_names,
    names,
    served,
    silence,
)
from rollover.probe.result import Handshake

Shown = Mapping[EndpointName, Handshake]
State = tuple[Seen, ...]


class Found(NamedTuple):
    """Everything that was found out about one server."""

    disk: Disk
    kept: Disk | None
    shown: Shown
    known: Sequence[Certificate]
    """CA certificates that Rollover knows of, to recognise an advertised bundle by."""
    unwritable: str = ""


def observation(instance: InstanceDescription, found: Found, *, at: datetime) -> Observation:
    """Return the observation that follows from what was found."""
    doubts: list[str] = []
    used = tuple(_used(instance, found, doubts))
    silent = [reason for shown in found.shown.values() if (reason := silence(shown))]
    availability, why = _availability(instance, found, silent=silent, doubts=doubts)
    return Observation(
        instance=instance.name,
        at=at,
        availability=availability,
        why=why,
        endpoints=used,
        may_use=tuple(_may_use(instance, found, used)),
    )


def _availability(
    instance: InstanceDescription, found: Found, *, silent: Sequence[str], doubts: Sequence[str]
) -> tuple[Availability, str]:
    if instance.ignored:
        return Availability.IGNORED, f"ignored: {instance.ignored}"
    if silent or doubts:
        return Availability.UNREACHABLE, "; ".join(dict.fromkeys((*silent, *doubts)))
    if found.unwritable:
        return Availability.REFUSING, found.unwritable
    # It runs with what its ports show; a reload would refuse these files until they are replaced.
    return Availability.READY, "; ".join(dict.fromkeys(found.disk.troubles.values()))


def _used(instance: InstanceDescription, found: Found, doubts: list[str]) -> Iterator[Seen]:
    """Yield what each endpoint uses; endpoints of which nothing is known are left out."""
    loaded = _loaded(found)
    for endpoint in instance.endpoints:
        shown = found.shown.get(endpoint.name)
        on_file = loaded.by_name.get(endpoint.name)
        if shown is not None and shown.presented:
            yield _as_shown(endpoint, shown, found, doubts)
        elif on_file is not None:
            yield on_file
        else:
            doubts.append(found.disk.troubles.get(endpoint.name, "its files were not read"))


def _loaded(found: Found) -> Disk:
    """Return the files that the server runs with: the new ones, or those that were kept."""
    if found.kept is not None and not _agree(found.disk, found.shown):
        return found.kept if _agree(found.kept, found.shown) else found.disk
    return found.disk


def _agree(disk: Disk, shown: Shown) -> bool:
    """Say whether the ports that show anything show what these files hold."""
    seen = disk.by_name
    return not disk.troubles and all(
        agrees(seen[name], handshake) for name, handshake in shown.items() if handshake.presented
    )


def _as_shown(
    endpoint: EndpointDescription, shown: Handshake, found: Found, doubts: list[str]
) -> Seen:
    return Seen(
        endpoint=endpoint.name,
        presents=served(shown),
        trusts=_trusts(endpoint, shown, found, doubts),
    )


def _trusts(
    endpoint: EndpointDescription, shown: Handshake, found: Found, doubts: list[str]
) -> tuple[Certificate, ...] | None:
    candidates = [
        disk.by_name[endpoint.name].trusts
        for disk in (_loaded(found), found.disk, found.kept)
        if disk is not None and endpoint.name in disk.by_name
    ]
    if not asks(shown):
        if demands(endpoint):
            doubts.append(f"{shown.address}: it asks for no certificate, `verify` is described")
        return candidates[0] if candidates else None
    for bundle in candidates:
        if bundle_agrees(bundle, shown):
            return bundle
    everything = _everything(found)
    recognised = bundle_from_names(shown.advertised_der, everything)
    if recognised is None:
        doubts.append(
            f"{shown.address}: it accepts {len(shown.advertised)} CAs "
            f"({'; '.join(shown.advertised)}), which no known bundle of certificates explains"
        )
        # Rather too many than too few: links that may work are then never taken for broken.
        return tuple(one for one in everything if names((one,))[0] in shown.advertised_der)
    return recognised


def _everything(found: Found) -> tuple[Certificate, ...]:
    kept = found.kept.certificates() if found.kept is not None else ()
    every = (*found.disk.certificates(), *kept, *found.known)
    return tuple(one for one in every if one.is_ca)


def _may_use(instance: InstanceDescription, found: Found, used: State) -> Iterator[State]:
    """Yield what a reload or restart would take, and kept files that nothing speaks against."""
    by_name = {each.endpoint: each for each in used}
    on_disk = _state(instance, found.disk, by_name)
    if on_disk != used:
        yield on_disk
    if found.kept is None:
        return
    kept = _state(instance, found.kept, by_name)
    possible = _agree(found.kept, found.shown) or not _agree(found.disk, found.shown)
    if possible and kept not in (used, on_disk):
        yield kept


def _state(instance: InstanceDescription, disk: Disk, used: Mapping[EndpointName, Seen]) -> State:
    """Return what the files hold; where they cannot be used, a reload leaves things as they are."""
    merged = {**used, **disk.by_name}
    return tuple(merged[each.name] for each in instance.endpoints if each.name in merged)
