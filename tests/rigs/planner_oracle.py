"""Brute force over small fleets, written without the planner: what is safe, and what is cheapest.

It knows instances, not classes; every subset of changed instances, not four combinations; every
choice of stages, not the furthest. It shares with the planner only the nouns of a fleet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain as flatten
from itertools import combinations, product
from typing import NamedTuple

import msgspec

from rollover.fleet.fleet import Availability, Endpoint, EndpointRef, Fleet, Group, Instance, State
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.plan import Rollout

Value = tuple[str, ...]
Held = tuple[Value, ...]
"""What the slots of one instance hold."""

World = tuple[Held, ...]
"""What the slots of all instances hold."""

Track = tuple[tuple[int, Value], ...]
"""The values that a slot may take, by rank; a rollout only ever raises the rank."""


class Cheapest(NamedTuple):
    """What the cheapest safe plan costs."""

    weight: int
    rollouts: int


class Wire(NamedTuple):
    """A link: instances by number, slots by position (None: presents or trusts nothing)."""

    dialer: int
    acceptor: int
    served: int | None
    anchors: int | None
    sent: int | None
    demanded: int | None


def chain_slot(endpoint: Endpoint) -> str:
    """The name of the slot that an endpoint's chain lies in."""
    return endpoint.chain_slot or f"{endpoint.name} chain"


def bundle_slot(endpoint: Endpoint) -> str:
    """The name of the slot that an endpoint's bundle lies in."""
    return endpoint.bundle_slot or f"{endpoint.name} bundle"


def _slots(instance: Instance) -> dict[str, tuple[bool, Value]]:
    """The slots of an instance: whether each is a chain, and what it holds."""
    found: dict[str, tuple[bool, Value]] = {}
    for endpoint in instance.endpoints:
        if endpoint.presents:
            found[chain_slot(endpoint)] = (True, endpoint.presents)
        if endpoint.trusts is not None:
            found[bundle_slot(endpoint)] = (False, endpoint.trusts)
    return found


def _chain_track(value: Value, goal: RotateAuthority) -> Track:
    if value[0].split(":")[0] == goal.target:
        return ((0, value),)
    renewed = (f"{goal.target}:leaf",)
    bridged = ((1, (*renewed, goal.bridge)),) if goal.bridge else ()
    return ((0, value), *bridged, (3, renewed))


def _bundle_track(value: Value, goal: RotateAuthority) -> Track:
    if not {*goal.retired, *goal.trusted} & set(value):
        return ((0, value),)
    end = _union([ca for ca in value if ca not in goal.retired], goal.trusted)
    both = _union(value, end)
    steps = {0: value, 1: both, 3: end}
    return tuple((rank, each) for rank, each in steps.items() if rank in (0, 3) or both != end)


def _union(*parts: Sequence[str]) -> Value:
    return tuple(dict.fromkeys(flatten.from_iterable(parts)))


class Oracle:
    """Brute force for one fleet and goal, at an instant at which `invalid` certificates are so."""

    def __init__(
        self, fleet: Fleet, goal: RotateAuthority, invalid: frozenset[str] = frozenset()
    ) -> None:
        self.fleet = fleet
        self.goal = goal
        self.invalid = invalid
        self.groups = fleet.groups
        self.instances = tuple(fleet.instances())
        self.number = {each.name: at for at, each in enumerate(self.instances)}
        self.slots = [tuple(_slots(instance)) for instance in self.instances]
        self.start: World = tuple(
            tuple(value for _, value in _slots(instance).values()) for instance in self.instances
        )
        self.tracks = [
            tuple(
                _chain_track(value, goal) if is_chain else _bundle_track(value, goal)
                for is_chain, value in _slots(instance).values()
            )
            for instance in self.instances
        ]
        self.wires = [
            self._wire(link.dialer, link.acceptor, mutual=link.mutual) for link in fleet.links
        ]
        self.members = {
            group.name: tuple(self.number[instance.name] for instance in group.instances)
            for group in fleet.groups
        }
        self.touching = {
            name: tuple(wire for wire in self.wires if {wire.dialer, wire.acceptor} & {*members})
            for name, members in self.members.items()
        }
        self._answers: dict[tuple[object, ...], bool] = {}
        self._results: dict[tuple[object, ...], set[tuple[Held, ...]]] = {}

    def _wire(self, dialer: EndpointRef, acceptor: EndpointRef, *, mutual: bool) -> Wire:
        one, other = self.number[dialer.instance], self.number[acceptor.instance]
        dials = self._endpoint(one, dialer.endpoint)
        accepts = self._endpoint(other, acceptor.endpoint)
        checks = mutual and accepts.trusts is not None
        return Wire(
            one,
            other,
            self._at(other, chain_slot(accepts)) if accepts.presents else None,
            self._at(one, bundle_slot(dials)) if dials.trusts is not None else None,
            self._at(one, chain_slot(dials)) if dials.presents else None,
            self._at(other, bundle_slot(accepts)) if checks else None,
        )

    def _endpoint(self, number: int, name: str) -> Endpoint:
        return next(
            endpoint for endpoint in self.instances[number].endpoints if endpoint.name == name
        )

    def _at(self, number: int, slot: str) -> int:
        return self.slots[number].index(slot)

    def trusted(self, bundle: Value, chain: Value | None) -> bool:
        """Whether a chain is accepted with this bundle: by its issuer, or over its bridge."""
        if not chain or self.invalid & {*chain}:
            return False
        anchors = {*bundle} - self.invalid
        return chain[0].split(":")[0] in anchors or (
            self.goal.bridge in chain[1:] and "old" in anchors
        )

    def works(self, wire: Wire, dialer: Held, acceptor: Held) -> bool:
        """Whether a new handshake on a link would succeed."""
        key = (wire[2:], dialer, acceptor)
        if key not in self._answers:
            self._answers[key] = (
                wire.anchors is None
                or self.trusted(
                    dialer[wire.anchors], None if wire.served is None else acceptor[wire.served]
                )
            ) and (
                wire.demanded is None
                or self.trusted(
                    acceptor[wire.demanded], None if wire.sent is None else dialer[wire.sent]
                )
            )
        return self._answers[key]

    def working(self, world: World) -> list[Wire]:
        """The links that work."""
        return [wire for wire in self.wires if self.works(wire, world[wire[0]], world[wire[1]])]

    def mixtures(self, before: World, after: World) -> Iterator[World]:
        """Every world that some order of single-instance changes passes through."""
        changed = [
            at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
        ]
        for size in range(len(changed) + 1):
            for subset in combinations(changed, size):
                yield tuple(after[at] if at in subset else before[at] for at in range(len(before)))

    def breaks(self, before: World, after: World) -> bool:
        """Whether a link that works before fails in some mixture: by all subsets."""
        protected = self.working(before)
        return any(
            not self.works(pair, mixture[pair[0]], mixture[pair[1]])
            for mixture in self.mixtures(before, after)
            for pair in protected
        )

    def arrived(self, world: World) -> bool:
        """Whether every slot holds what the goal asks for."""
        return all(
            self._is_end(value, track)
            for held, tracks in zip(world, self.tracks, strict=True)
            for value, track in zip(held, tracks, strict=True)
        )

    def _is_end(self, value: Value, track: Track) -> bool:
        is_chain = ":" in value[0]
        if is_chain:
            return value[0].split(":")[0] == self.goal.target
        return value == track[-1][1]

    def outcomes(self, group: Group, world: World) -> Iterator[World]:
        """Every world that one rollout of a group could end in."""
        members = self.members[group.name]
        dictated = self._dictated(group, world)
        before = tuple(world[member] for member in members)
        key = (group.name, before, tuple(dictated.items()))
        if key not in self._results:
            self._results[key] = self._results_of(members, before, dictated)
        for result in self._results[key]:
            held = list(world)
            for each, after in zip(members, result, strict=True):
                held[each] = after
            yield tuple(held)

    def _results_of(
        self, members: Sequence[int], before: Sequence[Held], dictated: Mapping[str, object]
    ) -> set[tuple[Held, ...]]:
        ranks = self._ranks(members, before)
        names = sorted(ranks.keys() - dictated.keys())
        found = set()
        for chosen in product(*(sorted(ranks[name]) for name in names)):
            wanted = dict(zip(names, chosen, strict=True))
            found.add(
                tuple(
                    self._raised(each, held, wanted, dictated)
                    if self.instances[each].availability is Availability.READY
                    else held
                    for each, held in zip(members, before, strict=True)
                )
            )
        return found - {tuple(before)}

    def _ranks(self, members: Sequence[int], before: Sequence[Held]) -> dict[str, set[int]]:
        """By slot the ranks that would change something in one of the instances, and 0."""
        ranks: dict[str, set[int]] = {}
        for each, held in zip(members, before, strict=True):
            for slot, value, track in zip(self.slots[each], held, self.tracks[each], strict=True):
                now = max((rank for rank, known in track if known == value), default=0)
                later = {rank for rank, _ in track if rank > now}
                ranks.setdefault(slot, {0}).update(later)
        return ranks

    def _raised(
        self, number: int, held: Held, wanted: Mapping[str, int], dictated: Mapping[str, object]
    ) -> Held:
        after = []
        for slot, value, track in zip(self.slots[number], held, self.tracks[number], strict=True):
            now = max((rank for rank, each in track if each == value), default=0)
            if slot in dictated:
                ranks = [rank for rank, each in track if self._token(each) == dictated[slot]]
                limit = max(ranks, default=0)
            else:
                limit = wanted[slot]
            further = [each for rank, each in track if now < rank <= limit]
            after.append(further[-1] if further else value)
        return tuple(after)

    def _dictated(self, group: Group, world: World) -> dict[str, object]:
        """What the sources of a group hold now, by slot of the group."""
        found: dict[str, object] = {}
        for endpoint in group.instances[0].endpoints:
            if endpoint.source is None:
                continue
            source = self.members[endpoint.source.group][0]
            origin = self._endpoint(source, endpoint.source.endpoint)
            if endpoint.presents:
                value = world[source][self._at(source, chain_slot(origin))]
                found[chain_slot(endpoint)] = self._token(value)
            if endpoint.trusts is not None:
                value = world[source][self._at(source, bundle_slot(origin))]
                found[bundle_slot(endpoint)] = self._token(value)
        return found

    def _token(self, value: Value) -> object:
        """What two slots have in common that hold material of one origin."""
        if ":" in value[0]:
            return (value[0].split(":")[0], value[1:])
        return frozenset(value) & {*self.goal.trusted, *self.goal.retired}

    def cheapest(self, *, most_rollouts: int = 40_000) -> Cheapest | None:
        """Dijkstra over all worlds; None: no safe plan. OverflowError: the fleet is too large."""
        tried = 0
        queue: list[tuple[int, int, World]] = [(0, 0, self.start)]
        closed: set[World] = set()
        while queue:
            weight, rollouts, world = heappop(queue)
            if self.arrived(world):
                return Cheapest(weight, rollouts)
            if world in closed:
                continue
            closed.add(world)
            for group in self.groups:
                for after in self.outcomes(group, world):
                    tried += 1
                    if tried > most_rollouts:
                        raise OverflowError
                    if after not in closed and self.safe(group, world, after):
                        heappush(queue, (weight + group.rollout_weight, rollouts + 1, after))
        return None

    def safe(self, group: Group, before: World, after: World) -> bool:
        """As `breaks`, by the two ends of each link; a test holds the two against each other."""
        seen: set[tuple[object, ...]] = set()
        for wire in self.touching[group.name]:
            one, other = wire.dialer, wire.acceptor
            key = (wire[2:], one == other, before[one], after[one], before[other], after[other])
            if key not in seen and not self._kept(wire, before, after):
                return False
            seen.add(key)
        return True

    def _kept(self, wire: Wire, before: World, after: World) -> bool:
        one, other = wire.dialer, wire.acceptor
        if not self.works(wire, before[one], before[other]):
            return True
        if one == other:
            return self.works(wire, after[one], after[one])
        return all(
            self.works(wire, *pair)
            for pair in product((before[one], after[one]), (before[other], after[other]))
        )

    def applied(self, rollout: Rollout, world: World) -> World:
        """The world after a rollout, as its assignments say."""
        held = [dict(zip(self.slots[at], each, strict=True)) for at, each in enumerate(world)]
        for assignment in rollout.assignments:
            for name in assignment.instances:
                number = self.number[name]
                for endpoint, chain, bundle in zip(
                    self.instances[number].endpoints,
                    assignment.presents,
                    assignment.trusts,
                    strict=True,
                ):
                    if endpoint.presents:
                        held[number][chain_slot(endpoint)] = chain
                    if bundle is not None:
                        held[number][bundle_slot(endpoint)] = bundle
        return tuple(tuple(record.values()) for record in held)

    def held(self, number: int, state: State) -> Held:
        """What the slots of an instance hold in a state."""
        found: dict[str, Value] = {}
        for endpoint, chain, bundle in zip(
            self.instances[number].endpoints, state.presents, state.trusts, strict=True
        ):
            if endpoint.presents:
                found[chain_slot(endpoint)] = chain
            if bundle is not None:
                found[bundle_slot(endpoint)] = bundle
        return tuple(found.values())

    def as_fleet(self, world: World) -> Fleet:
        """The fleet as it would be discovered in a world."""
        return msgspec.structs.replace(
            self.fleet, groups=tuple(self._group(group, world) for group in self.groups)
        )

    def _group(self, group: Group, world: World) -> Group:
        instances = tuple(self._instance(instance, world) for instance in group.instances)
        return msgspec.structs.replace(group, instances=instances)

    def _instance(self, instance: Instance, world: World) -> Instance:
        number = self.number[instance.name]
        held = dict(zip(self.slots[number], world[number], strict=True))
        endpoints = tuple(
            msgspec.structs.replace(
                endpoint,
                presents=held[chain_slot(endpoint)] if endpoint.presents else (),
                trusts=None if endpoint.trusts is None else held[bundle_slot(endpoint)],
            )
            for endpoint in instance.endpoints
        )
        return msgspec.structs.replace(instance, endpoints=endpoints)
