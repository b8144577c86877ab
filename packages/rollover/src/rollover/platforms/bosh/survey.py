"""Asks a director for its whole world, several deployments at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from rollover.errors import Denied, NotFound
from rollover.platforms.bosh import versions
from rollover.platforms.bosh.cost import (
    WORKERS,
    DeploymentCost,
    RoundCost,
    deployment_cost,
    round_cost,
)
from rollover.platforms.bosh.director import Director
from rollover.platforms.bosh.parsing import Config
from rollover.platforms.bosh.records import (
    BoshInstance,
    Deployment,
    Expiry,
    Info,
    Lock,
    Stemcell,
)
from rollover.platforms.bosh.update_block import Updates, updates
from rollover.platforms.bosh.versions import Verdict, Way

_T = TypeVar("_T")

PARALLEL = 5
"""Deployments that are asked for at the same time, as the bosh CLI does."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with its instances, and how its manifest paces them."""

    deployment: Deployment
    instances: tuple[BoshInstance, ...]
    updates: Updates = msgspec.field(default_factory=Updates)

    @property
    def with_vm(self) -> tuple[BoshInstance, ...]:
        """The instances that an agent runs for."""
        return tuple(each for each in self.instances if each.vm_cid is not None)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What a director told of everything that matters to a rotation.

    `silent`: what it would not tell, each with the reason.
    """

    info: Info
    placements: tuple[Placement, ...]
    stemcells: tuple[Stemcell, ...] = ()
    locks: tuple[Lock, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    deploy_configs: tuple[Config, ...] = ()
    variables: dict[str, tuple[str, ...]] = {}
    """By deployment."""
    silent: tuple[tuple[str, str], ...] = ()

    @property
    def instances(self) -> tuple[BoshInstance, ...]:
        """All instances."""
        return tuple(each for place in self.placements for each in place.instances)


def world(director: Director) -> World:
    """Return all of it, each agent asked for its state."""
    info = director.info()
    places = placements(director, director.instances)
    told = _Told()
    return World(
        info=info,
        placements=places,
        stemcells=told.of("stemcells", director.stemcells, otherwise=()),
        locks=told.of("locks", director.locks, otherwise=()),
        expiries=told.of("certificate expiry", director.certificate_expiry, otherwise=()),
        deploy_configs=told.of("configs", lambda: director.configs("deploy"), otherwise=()),
        variables=told.of("variables", lambda: dict(_variables(director, places)), otherwise={}),
        silent=tuple(told.silent),
    )


class _Told:
    """Asks for what a rotation can do without, and notes what an old director does not tell."""

    def __init__(self) -> None:
        self.silent: list[tuple[str, str]] = []

    def of(self, what: str, ask: Callable[[], _T], *, otherwise: _T) -> _T:
        try:
            return ask()
        except (NotFound, Denied) as error:
            self.silent.append((what, error.message))
            return otherwise


def placements(
    director: Director, listing: Callable[[str], tuple[BoshInstance, ...]]
) -> tuple[Placement, ...]:
    """Return every deployment with its instances by `listing`, one of the director's methods.

    A deployment that goes while it is asked for is left out: some come and go all the time.
    """

    def place(deployment: Deployment) -> Placement | None:
        try:
            return Placement(
                deployment=deployment,
                instances=tuple(sorted(listing(deployment.name), key=lambda each: each.name)),
                updates=updates(director.manifest(deployment.name)),
            )
        except NotFound:
            return None

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="rollover-bosh") as pool:
        found = list(pool.map(place, director.deployments()))
    return tuple(each for each in found if each is not None)


def nobody(_: BoshInstance) -> bool:
    """Say of no instance that it is lost."""
    return False


def cost_of(
    places: Iterable[Placement],
    *,
    version: tuple[int, ...],
    direct: bool,
    workers: int | None = None,
    lost: Callable[[BoshInstance], bool] = nobody,
) -> RoundCost:
    """Return what a round over these deployments takes; `direct`: Rollover tells agents itself.

    `lost`: instances that nobody can reach any more, and that are made anew for that reason.
    """
    costs = (_cost(each, version=version, direct=direct, lost=lost) for each in places)
    return round_cost((each for each in costs if each.instances), workers=workers or WORKERS)


def verdict_of(instance: BoshInstance, place: Placement, *, version: tuple[int, ...]) -> Verdict:
    """Return how an instance takes new credentials.

    Where the listing does not say what it was made from, it counts as the oldest stemcell of its
    deployment.
    """
    if instance.stemcell is not None:
        return versions.of_instance(version, instance.stemcell)
    every = [versions.of_instance(version, each) for each in place.deployment.stemcells]
    return max(every, key=lambda each: each.seconds, default=versions.of_instance(version, None))


def _cost(
    place: Placement,
    *,
    version: tuple[int, ...],
    direct: bool,
    lost: Callable[[BoshInstance], bool],
) -> DeploymentCost:
    def verdict(instance: BoshInstance) -> Verdict:
        if lost(instance):
            return versions.LOST
        found = verdict_of(instance, place, version=version)
        if direct and found.way is Way.IN_PLACE:
            return Verdict(way=Way.DIRECT, seconds=versions.DIRECT_SECONDS)
        return found

    pairs = ((each, verdict(each)) for each in place.with_vm)
    return deployment_cost(place.deployment.name, pairs, updates=place.updates)


def _variables(
    director: Director, places: Iterable[Placement]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for place in places:
        name = place.deployment.name
        try:
            yield name, tuple(each.name for each in director.variables(name))
        except NotFound:
            continue
