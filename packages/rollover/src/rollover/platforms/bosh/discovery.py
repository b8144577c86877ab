"""Describes a director for a fleet file, with all that it says of its deployments beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import AuthorityDescription, DirectorDescription, FleetDescription
from rollover.fleet.names import AuthorityName
from rollover.platforms.bosh import cost, director_fleet
from rollover.platforms.bosh.cost import RoundCost, UpdateWay
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_fleet import DirectorObservation, Placement
from rollover.platforms.bosh.director_records import (
    STARTED,
    UNRESPONSIVE,
    BoshInstance,
    CertificateExpiry,
    DirectorInfo,
    DirectorLock,
    Stemcell,
)
from rollover.platforms.bosh.login import DirectorAccess

AUTHORITY = AuthorityName("nats_ca")
SOON_DAYS = 30
_DISCOVERED = (
    "environment",
    "client",
    "client_secret_file",
    "ca_cert",
    "create_env",
    "nats",
    "monitor",
)
"""What a discovery can say of a director; all else in its section is a person's."""


class DirectorRemark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should look at."""

    subject: str
    message: str


class InstanceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One instance as the director knows it, and how it would get new credentials."""

    name: str
    deployment: str
    agent_id: str | None
    state: str
    """What the director wants: `started`, `stopped`, `detached`."""
    job_state: str | None
    """What the agent says; None without a VM."""
    ignored: bool
    has_vm: bool
    stemcell: Stemcell | None
    way: UpdateWay
    why: str = ""
    """Why it has to be recreated."""


class DeploymentReading(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment."""

    name: str
    teams: tuple[str, ...]
    locked: bool
    stemcells: tuple[Stemcell, ...]
    variables: tuple[str, ...]
    instances: tuple[InstanceReading, ...]


class DirectorReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a director said of itself when it was asked for everything."""

    director: DirectorInfo
    deployments: tuple[DeploymentReading, ...]
    stemcells: tuple[Stemcell, ...]
    locks: tuple[DirectorLock, ...]
    certificates: tuple[CertificateExpiry, ...]
    """Those that the director lists itself: not NATS's, the health monitor's, the agents'."""
    round: RoundCost
    """What one of the two rounds over all agents takes."""


class DirectorDiscovery(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet file for a director, what was read, and what is left to a person."""

    description: FleetDescription
    reading: DirectorReading
    remarks: tuple[DirectorRemark, ...] = ()


def discover(
    access: DirectorAccess,
    described: DirectorDescription,
    *,
    trusted: tuple[Certificate, ...] = (),
    now: datetime,
    connect: Callable[[DirectorAccess], Director] = Director,
) -> DirectorDiscovery:
    """Return the description of a director that is reached by `access`; changes nothing.

    `trusted` are the certificates of `nats.tls.ca`, where the director's own manifest is known.
    Raises the `AdapterError` of a director that cannot be asked.
    """
    with connect(access) as director:
        found = director_fleet.observe_director(director)
    round_of_agents = director_fleet.cost_of(
        found.placements,
        version=found.info.version,
        direct=described.in_place == "direct",
        workers=described.parallel,
    )
    reading = read_director(found, round_of_agents)
    certificates = tuple(certificate.fingerprint for certificate in trusted)
    description = FleetDescription(
        version=1,
        name=found.info.name,
        groups=(),
        authorities=(AuthorityDescription(name=AUTHORITY, certificates=certificates),),
        director=msgspec.structs.replace(described, environment=access.url),
    )
    remarks = (
        *_remarks_on_director(found, described, access),
        *_remarks_on_deployments(found, reading, now=now),
    )
    return DirectorDiscovery(description=description, reading=reading, remarks=remarks)


def read_director(found: DirectorObservation, cost: RoundCost) -> DirectorReading:
    """Return what a director told in the form that is shown. Pure."""
    return DirectorReading(
        director=found.info,
        deployments=tuple(_deployment(placement, found) for placement in found.placements),
        stemcells=found.stemcells,
        locks=found.locks,
        certificates=found.expiries,
        round=cost,
    )


def discover_again(found: DirectorDiscovery, before: FleetDescription) -> DirectorDiscovery:
    """Return what was found, with what the former description says beyond it.

    What a discovery can know of the director is as found; the authority keeps its name and every
    fingerprint. Pure.
    """
    fresh = found.description
    merged = msgspec.structs.replace(
        before,
        director=_merged(fresh.director, before.director),
        authorities=tuple(_authorities(fresh.authorities, before.authorities)),
    )
    return msgspec.structs.replace(found, description=merged)


def _merged(
    found: DirectorDescription | None, before: DirectorDescription | None
) -> DirectorDescription | None:
    if found is None or before is None:
        return found or before
    known = {name: getattr(found, name) for name in _DISCOVERED}
    return msgspec.structs.replace(
        before, **{name: value for name, value in known.items() if value is not None}
    )


def _authorities(
    found: tuple[AuthorityDescription, ...], before: tuple[AuthorityDescription, ...]
) -> Iterator[AuthorityDescription]:
    left = list(found)
    for known in before:
        for description in found:
            shared = set(description.certificates) & set(known.certificates)
            if description in left and (description.name == known.name or shared):
                left.remove(description)
                both = tuple(dict.fromkeys((*known.certificates, *description.certificates)))
                known = msgspec.structs.replace(known, certificates=both)  # noqa: PLW2901 - grows
        yield known
    yield from left


def _deployment(place: Placement, found: DirectorObservation) -> DeploymentReading:
    deployment = place.deployment
    return DeploymentReading(
        name=deployment.name,
        teams=deployment.teams,
        locked=deployment.locked,
        stemcells=deployment.stemcells,
        variables=found.variables.get(deployment.name, ()),
        instances=tuple(_instance(instance, place, found.info) for instance in place.instances),
    )


def _instance(instance: BoshInstance, place: Placement, director: DirectorInfo) -> InstanceReading:
    verdict = director_fleet.update_way_of(instance, place, version=director.version)
    return InstanceReading(
        name=instance.name,
        deployment=instance.deployment,
        agent_id=instance.agent_id,
        state=instance.state,
        job_state=instance.job_state,
        ignored=instance.ignore,
        has_vm=instance.vm_cid is not None,
        stemcell=instance.stemcell,
        way=verdict.way,
        why=verdict.why,
    )


def _remarks_on_director(
    found: DirectorObservation, described: DirectorDescription, access: DirectorAccess
) -> Iterator[DirectorRemark]:
    """Yield what is missing in the description, and what the director itself is short of."""
    if old := cost.director_too_old(found.info.version):
        yield DirectorRemark(
            subject="director", message=f"{old}: every VM has to be recreated, twice"
        )
    if described.create_env is None:
        yield DirectorRemark(
            subject="director",
            message="how it is deployed is not known: put the `bosh create-env …` command line "
            "into a file and name it with `--create-env`; without it nothing can be rotated",
        )
    if described.monitor is None:
        yield DirectorRemark(
            subject="director",
            message="the monitoring port of its NATS is not named (`--monitor URL`): nothing then "
            "proves that an agent uses new credentials; `nats.enable_metrics_endpoint` opens it",
        )
    if access.proxy:
        yield DirectorRemark(subject="director", message="$BOSH_ALL_PROXY is set and was not used")
    for what, reason in found.silent:
        yield DirectorRemark(subject="director", message=f"{what} could not be read: {reason}")


def _remarks_on_deployments(
    found: DirectorObservation, reading: DirectorReading, *, now: datetime
) -> Iterator[DirectorRemark]:
    if not found.placements:
        yield DirectorRemark(
            subject="deployments", message="there are none, or this client may see none"
        )
    for instance in found.instances:
        yield from _remarks_on_instance(instance)
    yield from _remarks_on_stemcells(reading)
    for lock in found.locks:
        task = f" by task {lock.task_id}" if lock.task_id else ""
        yield DirectorRemark(
            subject=f"{lock.kind} {'/'.join(lock.resource)}", message=f"locked{task}"
        )
    for config in found.deploy_configs:
        yield DirectorRemark(
            subject=f"deploy config {config.name}",
            message="may make every deploy recreate VMs, or set `fix`: look at its flags (H6)",
        )
    for expiry in found.expiries:
        days = (expiry.expires_at - now).days
        if days < SOON_DAYS:
            ending = f"ends in {days} days" if days >= 0 else f"ended {-days} days ago"
            yield DirectorRemark(
                subject=expiry.path, message=f"{ending}, on {expiry.expires_at:%Y-%m-%d}"
            )


def _remarks_on_instance(instance: BoshInstance) -> Iterator[DirectorRemark]:
    if instance.vm_cid is None:
        yield DirectorRemark(
            subject=instance.name,
            message="has no VM and is left out: it gets its credentials when it is started",
        )
        return
    if instance.ignore:
        yield DirectorRemark(subject=instance.name, message="is ignored: no deploy reaches it (H5)")
    if instance.state != STARTED:
        yield DirectorRemark(
            subject=instance.name,
            message=f"is {instance.state}: no deploy gives it new credentials (H5)",
        )
    if instance.job_state == UNRESPONSIVE:
        yield DirectorRemark(subject=instance.name, message="its agent does not answer")


def _remarks_on_stemcells(reading: DirectorReading) -> Iterator[DirectorRemark]:
    """Yield, once for each reason, how many VMs have to be recreated."""
    reasons: dict[tuple[str, str], int] = {}
    for deployment in reading.deployments:
        for instance in deployment.instances:
            if instance.has_vm and instance.way is UpdateWay.RECREATE:
                key = (deployment.name, instance.why)
                reasons[key] = reasons.get(key, 0) + 1
    for (name, why), count in reasons.items():
        machines = "1 VM has" if count == 1 else f"{count} VMs have"
        yield DirectorRemark(
            subject=name, message=f"{machines} to be recreated in each round: {why}"
        )
