"""What one NATS client uses: what it says itself while it runs, else what its files hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from rollover.delivery import client_status
from rollover.delivery.client_status import ClientStatus
from rollover.engine.delivery_port import Delivery
from rollover.errors import AdapterError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Observation, Seen
from rollover.fleet.model import Availability, Role
from rollover.fleet.names import Fingerprint
from rollover.platforms.nats.disk import SYSTEM_STORE, Disk

NOT_RUNNING = "it is not running: it starts with what its files hold"


class Report(NamedTuple):
    """What a client says of itself. `status` None: it does not run, or says nothing."""

    status: ClientStatus | None
    trouble: str = ""


def read_report(delivery: Delivery, instance: InstanceDescription, *, local: bool) -> Report:
    """Read a client's status file; `local`: its process is on this machine and can be looked for.

    The status of a process that has ended says nothing.
    """
    if instance.status_file is None:
        return Report(None)
    try:
        found = delivery.read(instance.name, (instance.status_file,))
        status = client_status.decode(
            found[instance.status_file], place=f"{instance.name}: {instance.status_file}"
        )
    except AdapterError:
        return Report(None)
    except SpecError as error:
        return Report(None, error.message)
    return Report(status if not local or _runs(status.pid) else None)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def uses(status: ClientStatus, seen: Seen) -> bool:
    """Say whether a client reports exactly this leaf and this bundle."""
    leaf = seen.presents[0].fingerprint if seen.presents else ""
    trusts = tuple(one.fingerprint for one in seen.trusts or () if one is not SYSTEM_STORE)
    return status.certificate_sha256 == leaf and _distinct(status.ca_sha256) == trusts


def _distinct(fingerprints: Iterable[Fingerprint]) -> tuple[Fingerprint, ...]:
    return tuple(dict.fromkeys(fingerprints))


def client_seen(instance: InstanceDescription, held: Disk) -> Seen | None:
    """Return what the files of a client's own endpoint hold, None when they cannot be used."""
    for each in instance.endpoints:
        if each.role is Role.CLIENT:
            return held.by_name.get(each.name)
    return None


class FoundClient(NamedTuple):
    """Everything that was found out about one client."""

    disk: Disk
    kept: Disk | None
    report: Report
    connected_leaves: frozenset[str]
    """Of its live connections; only looked for when it reports nothing."""
    known: Mapping[Fingerprint, Certificate]
    unwritable: str = ""


def observation(instance: InstanceDescription, found: FoundClient, *, at: datetime) -> Observation:
    """Return the observation that follows from what was found."""
    if not any((each.certificate or each.ca) for each in instance.endpoints):
        why = "no files are described: fill in `certificate`, `key` and `ca`"
        return _observation(instance, (), why, at=at, availability=Availability.UNREACHABLE)
    used, doubt = _used(instance, found)
    availability, why = _availability(instance, found, doubt)
    may_use = tuple(_may_use(instance, found, used))
    return _observation(instance, used, why, at=at, availability=availability, may_use=may_use)


def _observation(
    instance: InstanceDescription,
    used: tuple[Seen, ...],
    why: str,
    *,
    at: datetime,
    availability: Availability,
    may_use: tuple[tuple[Seen, ...], ...] = (),
) -> Observation:
    return Observation(
        instance=instance.name,
        at=at,
        availability=Availability.IGNORED if instance.ignored else availability,
        why=f"ignored: {instance.ignored}" if instance.ignored else why,
        endpoints=used,
        may_use=may_use,
    )


def _availability(
    instance: InstanceDescription, found: FoundClient, doubt: str
) -> tuple[Availability, str]:
    troubles = "; ".join(found.disk.troubles.values())
    status = found.report.status
    if doubt or (troubles and status is None):
        return Availability.UNREACHABLE, doubt or troubles
    if status is not None and status.error and status.connected:
        return Availability.REFUSING, status.error
    if found.unwritable:
        return Availability.REFUSING, found.unwritable
    # One that was cut off is let in again by new files, and by nothing else.
    cut_off = status.error if status is not None else ""
    stopped = NOT_RUNNING if instance.status_file is not None and status is None else ""
    return Availability.READY, found.report.trouble or troubles or cut_off or stopped


def _used(instance: InstanceDescription, found: FoundClient) -> tuple[tuple[Seen, ...], str]:
    """Return what the client uses now, and a doubt about it in words, if any."""
    status, own = found.report.status, client_seen(instance, found.disk)
    if status is None or (own is not None and uses(status, own)):
        return found.disk.seen, ""
    if found.kept is not None:
        kept = client_seen(instance, found.kept)
        if kept is not None and uses(status, kept):
            return found.kept.seen, ""
    presents, trusts, doubt = _reported(status, found)
    return tuple(_with_client(instance, found.disk, presents, trusts)), doubt


def _reported(
    status: ClientStatus, found: FoundClient
) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...], str]:
    """Return the certificates behind the reported fingerprints, and a doubt if some are unknown."""
    known = {one.fingerprint: one for one in found.disk.certificates()} | dict(found.known)
    if found.kept is not None:
        known |= {one.fingerprint: one for one in found.kept.certificates()}
    wanted = (status.certificate_sha256, *_distinct(status.ca_sha256))
    missing = [each for each in wanted if each not in known]
    doubt = f"it uses {len(missing)} certificates that stand in none of its files"
    return (
        tuple(known[each] for each in wanted[:1] if each in known),
        tuple(known[each] for each in wanted[1:] if each in known),
        doubt if missing else "",
    )


def _with_client(
    instance: InstanceDescription,
    held: Disk,
    presents: tuple[Certificate, ...],
    trusts: tuple[Certificate, ...] | None,
) -> Iterator[Seen]:
    """Yield the state of the files, with something else at the client's own endpoint."""
    for each in instance.endpoints:
        if each.role is Role.CLIENT:
            yield Seen(endpoint=each.name, presents=presents, trusts=trusts)
        elif each.name in held.by_name:
            yield held.by_name[each.name]


def _may_use(
    instance: InstanceDescription, found: FoundClient, used: tuple[Seen, ...]
) -> Iterator[tuple[Seen, ...]]:
    """Yield what a restart would take, and what a client that says nothing may still have."""
    if found.disk.seen != used and not found.disk.troubles:
        yield found.disk.seen
    silent = found.report.status is None and instance.status_file is None
    if silent and found.kept is not None and found.kept.seen not in (used, found.disk.seen):
        yield found.kept.seen
    own = client_seen(instance, found.disk)
    if silent and own is not None:
        yield from _still_connected(instance, found, own)


def _still_connected(
    instance: InstanceDescription, found: FoundClient, own: Seen
) -> Iterator[tuple[Seen, ...]]:
    """Yield the state with each leaf that a live connection shows and the files do not hold."""
    leaf = own.presents[0].fingerprint if own.presents else ""
    for each in sorted(found.connected_leaves - {leaf, ""}):
        certificate = found.known.get(Fingerprint(each))
        if certificate is not None:
            yield tuple(_with_client(instance, found.disk, (certificate,), own.trusts))
