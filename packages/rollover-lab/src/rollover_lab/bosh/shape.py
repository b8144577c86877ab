"""What a lab's director deploys: deployments, their instance groups, and how these stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

import msgspec

from bosh_interpolate.values import Key, Tree
from rollover.errors import SpecError
from rollover.platforms.bosh.cost import read_pacing
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import BoshInstance, Deployment

NEW_STEMCELL = ("bosh-openstack-kvm-ubuntu-jammy-go_agent", "1.651")
OLD_STEMCELL = ("bosh-openstack-kvm-ubuntu-bionic-go_agent", "1.10")
"""Its agent says `ok` to new credentials, and ignores them: the first that does not is 1.36."""

PERSISTENT_MB = 1024
MOST_INSTANCES_OF_GROUP = 10
_NAMES = ("cf", "redis", "mysql", "rabbitmq", "concourse", "prometheus", "vault", "minio")
_GROUPS = ("router", "api", "worker", "scheduler", "log", "cache", "queue", "proxy")

RELEASE = ("rollover-lab", "1.0.0")
"""The release of all jobs that a lab runs."""
JOB = "idle"


class StemcellName(msgspec.Struct, frozen=True):
    """Name and version."""

    name: str
    version: str


class GroupShape(msgspec.Struct, frozen=True, kw_only=True):
    """One instance group. The last three count instances of it that stand so."""

    name: str
    instances: int
    stemcell: StemcellName = StemcellName(*NEW_STEMCELL)
    persistent_disk_mb: int = 0
    ignored: int = 0
    stopped: int = 0
    detached: int = 0
    """Stopped without a VM."""


class DeploymentShape(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment."""

    name: str
    groups: tuple[GroupShape, ...]
    max_in_flight: int | str = 1
    canaries: int | str = 1

    @property
    def instances(self) -> int:
        """How many it has."""
        return sum(group.instances for group in self.groups)

    @property
    def stemcells(self) -> tuple[StemcellName, ...]:
        """Those that it uses, each once."""
        return tuple(dict.fromkeys(group.stemcell for group in self.groups))


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a director deploys."""

    deployments: tuple[DeploymentShape, ...]

    @property
    def instances(self) -> int:
        """How many there are."""
        return sum(deployment.instances for deployment in self.deployments)

    @property
    def stemcells(self) -> tuple[StemcellName, ...]:
        """Those that are used, each once."""
        return tuple(
            dict.fromkeys(
                stemcell for deployment in self.deployments for stemcell in deployment.stemcells
            )
        )


def shape_of_numbers(
    *,
    agents: int,
    deployments: int,
    max_in_flight: int = 1,
    persistent: int = 0,
    old_stemcell: int = 0,
) -> Shape:
    """Return a shape of so many agents; `persistent` of them have a disk, `old_stemcell` are old.

    `SpecError` when the numbers do not fit each other.
    """
    if not 1 <= deployments <= agents:
        raise SpecError(
            f"{deployments} deployments of {agents} agents",
            field="deployments",
            hint="every deployment needs an agent, and there must be one deployment",
        )
    if persistent + old_stemcell > agents:
        raise SpecError(
            f"{persistent} with a disk and {old_stemcell} old ones of {agents} agents",
            field="agents",
            hint="ask for more agents",
        )
    kinds = itertools.chain(
        itertools.repeat("old", old_stemcell),
        itertools.repeat("database", persistent),
        itertools.repeat("plain"),
    )
    shares = [list(itertools.islice(kinds, count)) for count in _shares(agents, deployments)]
    return Shape(
        deployments=tuple(
            DeploymentShape(
                name=_deployment_name(number),
                groups=tuple(_groups_of_kinds(share)),
                max_in_flight=max_in_flight,
            )
            for number, share in enumerate(shares)
        )
    )


def _shares(total: int, parts: int) -> Iterator[int]:
    for part in range(parts):
        yield total // parts + (part < total % parts)


def _deployment_name(number: int) -> str:
    turn, which = divmod(number, len(_NAMES))
    return f"{_NAMES[which]}-{turn + 1}" if turn else _NAMES[which]


def _groups_of_kinds(kinds: list[str]) -> Iterator[GroupShape]:
    old, disks, plain = (kinds.count(kind) for kind in ("old", "database", "plain"))
    if old:
        yield GroupShape(name="legacy", instances=old, stemcell=StemcellName(*OLD_STEMCELL))
    if disks:
        yield GroupShape(name="database", instances=disks, persistent_disk_mb=PERSISTENT_MB)
    groups = min(len(_GROUPS), max(2 if plain > 1 else 1, plain // MOST_INSTANCES_OF_GROUP))
    for name, count in zip(_GROUPS, _shares(plain, groups), strict=False):
        if count:
            yield GroupShape(name=name, instances=count)


def shrink(shape: Shape, instances: int) -> Shape:
    """Return the shape with groups shrunk in proportion until it has about so many instances.

    Every group keeps one, so a director of many small groups may keep more.
    """
    if shape.instances <= instances:
        return shape
    factor = instances / shape.instances
    return Shape(
        deployments=tuple(
            msgspec.structs.replace(
                deployment, groups=tuple(_shrunk(group, factor) for group in deployment.groups)
            )
            for deployment in shape.deployments
        )
    )


def _shrunk(group: GroupShape, factor: float) -> GroupShape:
    count = min(group.instances, max(1, int(group.instances * factor)))
    return msgspec.structs.replace(
        group,
        instances=count,
        ignored=min(group.ignored, count),
        stopped=min(group.stopped, count),
        detached=min(group.detached, count),
    )


def deployment_manifest(deployment: DeploymentShape) -> Tree:
    """Return the deployment manifest of a shape."""
    aliases = {stemcell: f"s{number}" for number, stemcell in enumerate(deployment.stemcells)}
    return {
        "name": deployment.name,
        "releases": [{"name": RELEASE[0], "version": RELEASE[1]}],
        "stemcells": [
            {"alias": alias, "name": stemcell.name, "version": stemcell.version}
            for stemcell, alias in aliases.items()
        ],
        "update": {
            "canaries": deployment.canaries,
            "max_in_flight": deployment.max_in_flight,
            "canary_watch_time": "0-60000",
            "update_watch_time": "0-60000",
        },
        "instance_groups": [
            _group_manifest(group, aliases[group.stemcell])
            for group in deployment.groups
            if group.instances
        ],
    }


def _group_manifest(group: GroupShape, stemcell: str) -> Tree:
    found: dict[Key, Tree] = {
        "name": group.name,
        "instances": group.instances,
        "azs": ["z1"],
        "jobs": [{"name": JOB, "release": RELEASE[0]}],
        "vm_type": "default",
        "stemcell": stemcell,
        "networks": [{"name": "default"}],
    }
    if group.persistent_disk_mb:
        found["persistent_disk"] = group.persistent_disk_mb
    return found


_STOPPED, _DETACHED = "stopped", "detached"


def shape_of_director(director: Director) -> Shape:
    """Return what a director deploys: groups, counts, stemcells, disks, ignored and stopped ones.

    Nothing is changed there; every agent is asked for its state, as by `bosh instances`. Raises
    what the director's client raises.
    """
    found = (_shape_of_deployment(director, deployment) for deployment in director.deployments())
    return Shape(deployments=tuple(shape for shape in found if shape.groups))


def _shape_of_deployment(director: Director, deployment: Deployment) -> DeploymentShape:
    instances = sorted(director.instances(deployment.name), key=attrgetter("group"))
    fallback = next(
        (StemcellName(stemcell.name, stemcell.version) for stemcell in deployment.stemcells),
        StemcellName(*NEW_STEMCELL),
    )
    update = read_pacing(director.manifest(deployment.name)).default
    return DeploymentShape(
        name=deployment.name,
        groups=tuple(
            _shape_of_group(name, tuple(members), fallback)
            for name, members in groupby(instances, key=attrgetter("group"))
        ),
        max_in_flight=update.max_in_flight,
        canaries=update.canaries,
    )


def _shape_of_group(
    name: str, members: tuple[BoshInstance, ...], fallback: StemcellName
) -> GroupShape:
    stemcells = [member.stemcell for member in members if member.stemcell is not None]
    stemcell = StemcellName(stemcells[0].name, stemcells[0].version) if stemcells else fallback
    return GroupShape(
        name=name,
        instances=len(members),
        stemcell=stemcell,
        persistent_disk_mb=PERSISTENT_MB if any(member.disk_cids for member in members) else 0,
        ignored=sum(member.ignore for member in members),
        stopped=sum(member.state == _STOPPED for member in members),
        detached=sum(member.state == _DETACHED for member in members),
    )
