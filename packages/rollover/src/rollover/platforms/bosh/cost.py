"""What one round over all agents takes: how long, by how directors pace their work. Pure.

Within a group the canaries go first, then each availability zone, `max_in_flight` at a time.
Groups follow one another unless they are not `serial`; deployments run side by side, one on each
of the director's workers. The measured parts are those of `versions`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from rollover.platforms.bosh.records import BoshInstance
from rollover.platforms.bosh.update_block import Update, Updates, amount
from rollover.platforms.bosh.versions import Verdict, Way

JOB_SECONDS = 14.0
"""To stop, drain, apply and start the jobs of an instance, by the field's 90 s in all."""
WORKERS = 3
"""Of a director, unless `director.workers` says otherwise."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a round: where it runs, and how it gets new credentials."""

    zone: str
    verdict: Verdict


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
        return max((each.max_in_flight for each in self.groups), default=1)

    @property
    def canaries(self) -> int:
        """How many go first in the group that has most of them."""
        return max((each.canaries for each in self.groups), default=0)


class RoundCost(msgspec.Struct, frozen=True, kw_only=True):
    """One round over all deployments, `workers` of them at a time."""

    seconds: float
    workers: int
    deployments: tuple[DeploymentCost, ...]

    @property
    def max_in_flight(self) -> int:
        """How many instances change at the same time over all, at most."""
        widest = sorted((each.max_in_flight for each in self.deployments), reverse=True)
        return max(1, sum(widest[: self.workers]))

    @property
    def recreated(self) -> int:
        """How many instances become new VMs."""
        return sum(each.recreated for each in self.deployments)

    @property
    def instances(self) -> int:
        """How many instances there are."""
        return sum(each.instances for each in self.deployments)

    @property
    def canaries(self) -> int:
        """How many instances go first in the deployment that has most of them."""
        return max((each.canaries for each in self.deployments), default=0)


def round_cost(deployments: Iterable[DeploymentCost], *, workers: int = WORKERS) -> RoundCost:
    """Return what all deployments cost together; the longest begin first."""
    costs = tuple(sorted(deployments, key=lambda each: each.name))
    longest_first = sorted((each.seconds for each in costs), reverse=True)
    seconds = makespan(longest_first, lanes=workers)
    return RoundCost(seconds=seconds, workers=workers, deployments=costs)


def deployment_cost(
    name: str, instances: Iterable[tuple[BoshInstance, Verdict]], *, updates: Updates
) -> DeploymentCost:
    """Return what one deployment costs: its groups in the manifest's order, then any others."""
    loads: dict[str, list[Load]] = {group: [] for group in updates.groups}
    for instance, verdict in instances:
        loads.setdefault(instance.group, []).append(Load(zone=instance.az, verdict=verdict))
    groups = tuple(
        group_cost(group, some, update=updates.of(group)) for group, some in loads.items() if some
    )
    every = [each for some in loads.values() for each in some]
    return DeploymentCost(
        name=name,
        instances=len(every),
        recreated=sum(each.verdict.way is Way.RECREATE for each in every),
        seconds=_one_after_another(groups),
        groups=groups,
    )


def group_cost(name: str, loads: Sequence[Load], *, update: Update) -> GroupCost:
    """Return what one instance group costs."""
    size = len(loads)
    canaries = min(size, amount(update.canaries, size, least=0))
    width = amount(update.max_in_flight, size, least=1)
    ordered = sorted(loads, key=lambda each: each.zone)
    first, rest = ordered[:canaries], ordered[canaries:]
    seconds = makespan((instance_seconds(each, update, canary=True) for each in first), lanes=width)
    for _, some in groupby(rest, key=lambda each: each.zone):
        seconds += makespan((instance_seconds(each, update) for each in some), lanes=width)
    return GroupCost(
        name=name,
        instances=size,
        canaries=canaries,
        max_in_flight=min(width, size),
        serial=update.serial,
        seconds=seconds,
    )


def instance_seconds(load: Load, update: Update, *, canary: bool = False) -> float:
    """Return what one instance takes. Told directly, its jobs run on and nobody watches them."""
    if load.verdict.way is Way.DIRECT:
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
    for serial, some in groupby(groups, key=lambda each: each.serial):
        seconds = [each.seconds for each in some]
        total += sum(seconds) if serial else max(seconds)
    return total
