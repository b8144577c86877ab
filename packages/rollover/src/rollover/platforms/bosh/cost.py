"""How VMs take new credentials, how directors pace that, and what a round over all agents costs.

Within a group the canaries go first, then each availability zone, `max_in_flight` at a time.
Groups follow one another unless they are not `serial`; deployments run side by side, one on each
of the director's workers. Pure.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import groupby

import msgspec

from bosh_interpolate.reading import load
from bosh_interpolate.values import Key, Tree
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.platforms.bosh.director_records import BoshInstance, Stemcell

LEAST_DIRECTOR = (271, 12)
"""The first director that sends NATS credentials with `update_settings`."""
LEAST_BIONIC = (1, 36)
"""The first Bionic stemcell with an agent (2.388) that takes them."""
LEAST_WINDOWS_2019 = (2019, 41)
"""Likewise for Windows 2019."""

IN_PLACE_SECONDS = 46.4
"""`update_settings` by the director: it loses one status poll and waits 45 s for it (measured)."""
DIRECT_SECONDS = 3.1
"""The same with a poll that waits 2 s (measured)."""
RECREATE_SECONDS = 240.0
"""A VM deleted and made again: 3 to 5 minutes, by what operators report."""

_TOO_OLD = re.compile(
    r"trusty|xenial|centos|opensuse|photon|windows(?:1803|2012r2|2016)", re.IGNORECASE
)
_VERSION_NUMBER = re.compile(r"[0-9]+")


class UpdateWay(StrEnum):
    """How an instance gets new credentials."""

    IN_PLACE = "in place"
    """Its agent is told, and restarts; the director restarts the jobs as well."""
    DIRECT = "direct"
    """Rollover tells its agent; the jobs go on running."""
    RECREATE = "recreate"
    """A new VM; persistent disks move over."""


class InstanceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The way for one instance, why it is not a gentler one, and what it takes."""

    way: UpdateWay
    why: str = ""
    seconds: float


LOST_UPDATE = InstanceUpdate(
    way=UpdateWay.RECREATE, why="its agent is cut off", seconds=RECREATE_SECONDS
)
"""Of an instance that nobody can reach: `--fix` makes it anew."""


def update_of(director: Sequence[int], stemcell: Stemcell | None) -> InstanceUpdate:
    """Return how an instance made from that stemcell takes new credentials from that director."""
    why = director_too_old(director) or stemcell_too_old(stemcell)
    if why:
        return InstanceUpdate(way=UpdateWay.RECREATE, why=why, seconds=RECREATE_SECONDS)
    return InstanceUpdate(way=UpdateWay.IN_PLACE, seconds=IN_PLACE_SECONDS)


def director_too_old(version: Sequence[int]) -> str:
    """Return why this director cannot update credentials in place, empty when it can."""
    if tuple(version[: len(LEAST_DIRECTOR)]) >= LEAST_DIRECTOR:
        return ""
    return f"the director is {_written(version)}, older than {_written(LEAST_DIRECTOR)}"


def stemcell_too_old(stemcell: Stemcell | None) -> str:
    """Return why the agent of this stemcell ignores new credentials, empty when it takes them.

    What cannot be told apart counts as too old: an agent that ignores them answers `ok` (H1).
    """
    if stemcell is None:
        return "its stemcell is unknown"
    named = f"{stemcell.name} {stemcell.operating_system}".lower()
    shown = f"{stemcell.name}/{stemcell.version}"
    if _TOO_OLD.search(named):
        return f"`{shown}` has an agent older than 2.388"
    for system, least in (("bionic", LEAST_BIONIC), ("windows2019", LEAST_WINDOWS_2019)):
        version = tuple(int(number) for number in _VERSION_NUMBER.findall(stemcell.version))[:2]
        if system in named and version < least:
            return f"`{shown}` is older than {system} {_written(least)} (agent 2.388)"
    if not re.search(r"bionic|windows|ubuntu", named):
        return f"`{shown}` is of no kind that is known to take credentials in place"
    return ""


def _written(version: Sequence[int]) -> str:
    return ".".join(str(number) for number in version) or "of an unknown version"


# The `update` blocks of a manifest.


_SHARE = re.compile(r"\s*(\d+)\s*%\s*")
_LEADING_NUMBER = re.compile(r"\s*(\d+)")
_MILLISECONDS = 1000


class UpdatePacing(msgspec.Struct, frozen=True, kw_only=True):
    """How the instances of one group are updated. Numbers may be shares, `10%`."""

    canaries: str = "1"
    max_in_flight: str = "1"
    serial: bool = True
    """Whether the group is updated alone; else beside its neighbours that are not serial either."""
    canary_watch_seconds: float = 30.0
    """How long a canary is watched at least."""
    watch_seconds: float = 30.0


class ManifestPacing(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest says of its groups, in their order."""

    groups: dict[str, UpdatePacing] = {}
    default: UpdatePacing = msgspec.field(default_factory=UpdatePacing)

    def of(self, group: str) -> UpdatePacing:
        """Return how a group is updated."""
        return self.groups.get(group, self.default)


def read_pacing(manifest: str) -> ManifestPacing:
    """Return the pacing of a manifest; that of a director without any where none can be read.

    It is for estimates and windows only: the director judges the manifest, not Rollover.
    """
    try:
        with manifest_errors():
            tree = load(manifest.encode())
    except SpecError:
        return ManifestPacing()
    if not isinstance(tree, dict):
        return ManifestPacing()
    general = _mapping(tree.get("update"))
    # `jobs` is what manifests before instance groups called them.
    groups = tree.get("instance_groups", tree.get("jobs"))
    # A group's own `update` goes over the manifest's, key by key.
    found = {
        str(group["name"]): _pacing({**general, **_mapping(group.get("update"))})
        for group in (groups if isinstance(groups, list) else ())
        if isinstance(group, dict) and group.get("name") is not None
    }
    return ManifestPacing(groups=found, default=_pacing(general))


def share_of(text: str, size: int, *, least: int) -> int:
    """Return how many of `size` instances a number or a share means, `least` at least."""
    if share := _SHARE.fullmatch(text):
        return max(least, size * int(share[1]) // 100)
    number = _LEADING_NUMBER.match(text)
    return max(least, int(number[1])) if number else least


def _mapping(value: Tree) -> dict[Key, Tree]:
    return dict(value) if isinstance(value, dict) else {}


def _pacing(block: dict[Key, Tree]) -> UpdatePacing:
    known = UpdatePacing()
    return UpdatePacing(
        canaries=str(block.get("canaries", known.canaries)),
        max_in_flight=str(block.get("max_in_flight", known.max_in_flight)),
        # Only `false` is: a director takes whatever else stands there for true.
        serial=block.get("serial") is not False,
        canary_watch_seconds=_shorter_seconds(
            block.get("canary_watch_time"), known.canary_watch_seconds
        ),
        watch_seconds=_shorter_seconds(block.get("update_watch_time"), known.watch_seconds),
    )


def _shorter_seconds(value: Tree, default: float) -> float:
    """Return the shorter end of `30000-300000` (milliseconds) in seconds."""
    found = _LEADING_NUMBER.match(str(value)) if value is not None else None
    return int(found[1]) / _MILLISECONDS if found else default


# What one round over all agents takes.


JOB_SECONDS = 14.0
"""To stop, drain, apply and start the jobs of an instance, by the field's 90 s in all."""
WORKERS = 3
"""Of a director, unless `director.workers` says otherwise."""


class InstanceLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a round: where it runs, and how it gets new credentials."""

    zone: str
    verdict: InstanceUpdate


class GroupCost(msgspec.Struct, frozen=True, kw_only=True):
    """One instance group in a round."""

    name: str
    instances: int
    canaries: int
    max_in_flight: int
    serial: bool
    seconds: float


class DeploymentCost(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment in a round. `recreated`: so many of its instances become new VMs."""

    name: str
    instances: int
    recreated: int
    seconds: float
    groups: tuple[GroupCost, ...]

    @property
    def max_in_flight(self) -> int:
        """How many instances it updates at the same time, at most."""
        return max((group.max_in_flight for group in self.groups), default=1)

    @property
    def canaries(self) -> int:
        """How many go first in the group that has most of them."""
        return max((group.canaries for group in self.groups), default=0)


class RoundCost(msgspec.Struct, frozen=True, kw_only=True):
    """One round over all deployments, `workers` of them at a time."""

    seconds: float
    workers: int
    deployments: tuple[DeploymentCost, ...]

    @property
    def max_in_flight(self) -> int:
        """How many instances change at the same time over all, at most."""
        widest = sorted((deployment.max_in_flight for deployment in self.deployments), reverse=True)
        return max(1, sum(widest[: self.workers]))

    @property
    def recreated(self) -> int:
        """How many instances become new VMs."""
        return sum(deployment.recreated for deployment in self.deployments)

    @property
    def instances(self) -> int:
        """How many instances there are."""
        return sum(deployment.instances for deployment in self.deployments)

    @property
    def canaries(self) -> int:
        """How many instances go first in the deployment that has most of them."""
        return max((deployment.canaries for deployment in self.deployments), default=0)


def round_cost(deployments: Iterable[DeploymentCost], *, workers: int = WORKERS) -> RoundCost:
    """Return what all deployments cost together; the longest begin first."""
    costs = tuple(sorted(deployments, key=lambda deployment: deployment.name))
    longest_first = sorted((cost.seconds for cost in costs), reverse=True)
    seconds = makespan(longest_first, lanes=workers)
    return RoundCost(seconds=seconds, workers=workers, deployments=costs)


def deployment_cost(
    name: str, instances: Iterable[tuple[BoshInstance, InstanceUpdate]], *, updates: ManifestPacing
) -> DeploymentCost:
    """Return what one deployment costs: its groups in the manifest's order, then any others."""
    loads: dict[str, list[InstanceLoad]] = {group: [] for group in updates.groups}
    for instance, verdict in instances:
        loads.setdefault(instance.group, []).append(InstanceLoad(zone=instance.az, verdict=verdict))
    groups = tuple(
        group_cost(group, members, update=updates.of(group))
        for group, members in loads.items()
        if members
    )
    every = [load for members in loads.values() for load in members]
    return DeploymentCost(
        name=name,
        instances=len(every),
        recreated=sum(load.verdict.way is UpdateWay.RECREATE for load in every),
        seconds=_one_after_another(groups),
        groups=groups,
    )


def group_cost(name: str, loads: Sequence[InstanceLoad], *, update: UpdatePacing) -> GroupCost:
    """Return what one instance group costs."""
    size = len(loads)
    canaries = min(size, share_of(update.canaries, size, least=0))
    width = share_of(update.max_in_flight, size, least=1)
    ordered = sorted(loads, key=lambda load: load.zone)
    first, rest = ordered[:canaries], ordered[canaries:]
    seconds = makespan(
        (instance_seconds(load, update, canary=True) for load in first),
        lanes=width,
    )
    for _, zone in groupby(rest, key=lambda load: load.zone):
        seconds += makespan((instance_seconds(load, update) for load in zone), lanes=width)
    return GroupCost(
        name=name,
        instances=size,
        canaries=canaries,
        max_in_flight=min(width, size),
        serial=update.serial,
        seconds=seconds,
    )


def instance_seconds(load: InstanceLoad, update: UpdatePacing, *, canary: bool = False) -> float:
    """Return what one instance takes. Told directly, its jobs run on and nobody watches them."""
    if load.verdict.way is UpdateWay.DIRECT:
        return load.verdict.seconds
    watched = update.canary_watch_seconds if canary else update.watch_seconds
    return load.verdict.seconds + JOB_SECONDS + watched


def makespan(durations: Iterable[float], *, lanes: int) -> float:
    """Return when the last of several jobs ends, each begun in order as soon as a lane is free."""
    ends = [0.0] * max(1, lanes)
    for seconds in durations:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _one_after_another(groups: Iterable[GroupCost]) -> float:
    """Return the time of groups in order, where neighbours that are not serial run together."""
    total = 0.0
    for serial, neighbours in groupby(groups, key=lambda group: group.serial):
        seconds = [group.seconds for group in neighbours]
        total += sum(seconds) if serial else max(seconds)
    return total
