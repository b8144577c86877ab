"""The safe rollouts of one group: what a link allows, the furthest that agree, or every one.

Arc consistency (Mackworth 1977), on stages: where the accepted pairs are closed under maximum
(with two accepted pairs, the pair of their later stages is accepted too) the latest stages that
survive are together a safe choice (Jeavons and Cooper 1995), and going further never makes a later
rollout harder. `is_closed` checks that premise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import Usage
from rollover.planner.graph import (
    Choice,
    Edge,
    Graph,
    Held,
    Node,
    Slot,
    Stage,
    State,
    Unit,
    Value,
    Vector,
)
from rollover.planner.safety import Half, Judge, Window, halves, starting_pairs

# Moves: what a rollout of a group does to its classes, and what its sources dictate.


class Move(msgspec.Struct, frozen=True):
    """One rollout in one state: the choice, and the vectors of the classes that it changes."""

    unit: int
    choice: Choice
    after: tuple[tuple[int, Vector], ...]

    def applied(self, state: State) -> State:
        """Return the state after the rollout."""
        held = list(state)
        for index, vector in self.after:
            held[index] = (vector,)
        return tuple(held)


def move_of(graph: Graph, unit: Unit, choice: Choice, state: Held) -> Move:
    """Return what a choice changes in a state. A class that was not confirmed is changed too."""
    after = []
    for index in unit.nodes:
        vector = resolve(graph.nodes[index], unit, choice, state[index][0])
        if state[index] != (vector,):
            after.append((index, vector))
    return Move(unit.index, choice, tuple(after))


def resolve(node: Node, unit: Unit, choice: Choice, vector: Vector) -> Vector:
    """Return what a class holds after a choice: no slot ever goes back a stage."""
    wanted = dict(zip(unit.slot_names, choice, strict=True))
    return tuple(
        slot.raised(value, wanted[slot.name])
        for slot, value in zip(node.slots, vector, strict=True)
    )


def straight_choice(unit: Unit) -> Choice:
    """Return the choice that takes every slot of a group to the goal at once."""
    return tuple(Stage.END for _ in unit.slot_names)


def step_window(graph: Graph, unit: Unit, starts: datetime, margin: timedelta) -> Window:
    """Return the time for which a rollout that starts then has to be safe.

    It lasts until the next rollout can have ended: its own time, the margin in which people
    decide, and the time of the longest rollout of any group.
    """
    return Window(starts, starts + unit.group.rollout_time + margin + graph.longest)


def dictated_stages(graph: Graph, unit: Unit, state: Held) -> dict[str, Stage]:
    """Return the stages that sources dictate: a rollout delivers what they hold now, no other."""
    found: dict[str, Stage] = {}
    for feed in unit.feeds:
        source = graph.units[feed.group].nodes[0]
        for slot, value in zip(graph.nodes[source].slots, state[source][0], strict=True):
            if slot.name == feed.source_slot:
                found[feed.slot] = _marked_stage(graph, unit, feed.slot, slot.mark(value))
    return found


def _marked_stage(graph: Graph, unit: Unit, name: str, mark: object) -> Stage:
    stages = (
        slot.marked(mark)
        for index in unit.nodes
        for slot in graph.nodes[index].slots
        if slot.name == name
    )
    return max(stages, default=Stage.KEEP)


def feeding_slots(graph: Graph) -> dict[int, frozenset[str]]:
    """Return for each source the slots whose content decides what others get."""
    found: dict[int, frozenset[str]] = {}
    for unit in graph.units:
        for feed in unit.feeds:
            found[feed.group] = found.get(feed.group, frozenset()) | {feed.source_slot}
    return found


# Limits: the stages of a rollout that keep a link working.

Outcomes = tuple[Value, ...]
"""What a slot holds after a rollout, by the stage that it is taken to."""

Domains = list[list[Stage]]
"""The stages that each slot name of a group may still be taken to, ascending."""


class HalfEnd(NamedTuple):
    """One end of a half: where it looks, and which of the group's names it depends on, if any."""

    node: int
    slot: int
    name: int | None


class HalfCheck(NamedTuple):
    """One half of a handshake, as the group sees it."""

    half: Half
    bundle: HalfEnd
    chain: HalfEnd


class TouchedEdge(NamedTuple):
    """One edge of a group, with the halves that its acceptance comes down to."""

    edge: Edge
    checks: tuple[HalfCheck, ...]


class AllowedStages(NamedTuple):
    """The stages of one name that keep a link working."""

    name: int
    stages: frozenset[Stage]


class AllowedPairs(NamedTuple):
    """The stages of two names that keep a link working together."""

    one: int
    other: int
    stages: frozenset[tuple[Stage, Stage]]


class EdgeLimits(NamedTuple):
    """What one edge demands of a rollout."""

    allowed: tuple[AllowedStages, ...]
    pairs: tuple[AllowedPairs, ...]


def touched_edge(
    graph: Graph, edge: Edge, names: Mapping[tuple[int, int], int]
) -> TouchedEdge | None:
    """Return an edge as a group sees it; None: it never works, for a party presents nothing."""
    checks = []
    for half in halves(graph, edge):
        if half.chain is None:
            return None
        bundle = HalfEnd(half.verifier, half.bundle, names.get((half.verifier, half.bundle)))
        chain = HalfEnd(half.presenter, half.chain, names.get((half.presenter, half.chain)))
        checks.append(HalfCheck(half, bundle, chain))
    return TouchedEdge(edge, tuple(checks))


class Limiter:
    """Works out the limits that edges of one group set. `own`: the names of its classes' slots."""

    def __init__(
        self,
        judge: Judge,
        own: Mapping[int, Sequence[int]],
        outcomes: Callable[[int, int, Value], Outcomes],
    ) -> None:
        self._judge = judge
        self._own = own
        self._outcomes_of = outcomes

    def limits(self, seen: TouchedEdge, state: Held, instants: Sequence[datetime]) -> EdgeLimits:
        """Return the limits of one edge: it goes on to work from all that it works in now."""
        allowed: list[AllowedStages] = []
        pairs: list[AllowedPairs] = []
        for start in starting_pairs(seen.edge, state):
            verdicts = (
                self._judge.link(seen.edge, *start, instant) is None for instant in instants
            )
            if not next(verdicts):
                # It does not work when the step begins: the rule protects only what does.
                continue
            if not all(verdicts):
                allowed += self._unchanged(seen.edge, state)
                continue
            for check in seen.checks:
                accepted = self._accepted(check.half, instants)
                if not seen.edge.same_instance:
                    allowed += self._changed_ends(check, start, state, accepted)
                pairs += self._changed_pair(check, state, accepted)
        return EdgeLimits(tuple(allowed), tuple(pairs))

    def _accepted(self, half: Half, instants: Sequence[datetime]) -> Callable[[Value, Value], bool]:
        def accepted(bundle: Value, chain: Value) -> bool:
            return all(self._judge.accepts(half, chain, bundle, instant) for instant in instants)

        return accepted

    def _changed_ends(
        self,
        check: HalfCheck,
        start: tuple[Vector, Vector],
        state: Held,
        accepted: Callable[[Value, Value], bool],
    ) -> Iterator[AllowedStages]:
        """Each end, changed, has to get on with the other unchanged."""
        verifier, presenter = start if check.half.usage is Usage.SERVER else start[::-1]
        anchors, sent = verifier[check.bundle.slot], presenter[check.chain.slot]
        if check.bundle.name is not None:
            after = self._outcomes(check.bundle, state)
            fits = (stage for stage in Stage if accepted(after[stage], sent))
            yield AllowedStages(check.bundle.name, frozenset(fits))
        if check.chain.name is not None:
            after = self._outcomes(check.chain, state)
            fits = (stage for stage in Stage if accepted(anchors, after[stage]))
            yield AllowedStages(check.chain.name, frozenset(fits))

    def _changed_pair(
        self, check: HalfCheck, state: Held, accepted: Callable[[Value, Value], bool]
    ) -> Iterator[AllowedPairs]:
        """Both ends, changed, have to get on with one another."""
        one, other = check.bundle.name, check.chain.name
        if one is None or other is None:
            return
        bundles, chains = self._outcomes(check.bundle, state), self._outcomes(check.chain, state)
        stages = frozenset(
            (high, low) for high in Stage for low in Stage if accepted(bundles[high], chains[low])
        )
        yield AllowedPairs(one, other, stages)

    def _unchanged(self, edge: Edge, state: Held) -> Iterator[AllowedStages]:
        """Leave only choices that change neither end: no step may touch a link about to fail."""
        for index in {edge.dialer, edge.acceptor}.intersection(self._own):
            for at, name in enumerate(self._own[index]):
                after = self._outcomes(HalfEnd(index, at, name), state)
                now = {vector[at] for vector in state[index]}
                yield AllowedStages(
                    name, frozenset(stage for stage in Stage if {after[stage]} == now)
                )

    def _outcomes(self, end: HalfEnd, state: Held) -> Outcomes:
        return self._outcomes_of(end.node, end.slot, state[end.node][0][end.slot])


def settle_domains(domains: Domains, limits: Iterable[EdgeLimits]) -> bool:
    """Narrow the domains to the stages that agree with one another; False when none are left."""
    pairs: set[AllowedPairs] = set()
    for limit in limits:
        pairs.update(limit.pairs)
        for name, stages in limit.allowed:
            domains[name] = [stage for stage in domains[name] if stage in stages]
    while all(domains):
        size = sum(map(len, domains))
        for one, other, agreed in pairs:
            highs, lows = domains[one], domains[other]
            domains[one] = [high for high in highs if any((high, low) in agreed for low in lows)]
            domains[other] = [low for low in lows if any((high, low) in agreed for high in highs)]
        if sum(map(len, domains)) == size:
            return True
    return False


# Scopes: the furthest safe rollout of a group, found without enumeration, or every one.

MOST_CHOICES = 4096
"""How many choices of one group are enumerated at most, where enumeration is needed."""


class Scope:
    """The rollouts of one group, as far as some of its links limit them."""

    def __init__(self, graph: Graph, judge: Judge, unit: int, edges: Sequence[int]) -> None:
        self._graph = graph
        self._judge = judge
        self._edges = tuple(edges)
        self.unit = graph.units[unit]
        number = {name: at for at, name in enumerate(self.unit.slot_names)}
        self._own = {
            index: tuple(number[slot.name] for slot in graph.nodes[index].slots)
            for index in self.unit.nodes
        }
        names = {(i, at): name for i, held in self._own.items() for at, name in enumerate(held)}
        found = (touched_edge(graph, graph.edges[index], names) for index in edges)
        self._touches = tuple(touch for touch in found if touch is not None)
        self._raised: dict[tuple[int, int, Value], Outcomes] = {}
        self._limiter = Limiter(judge, self._own, self._outcomes)
        self._limits: dict[tuple[object, ...], EdgeLimits] = {}
        self.truncated = False
        """Whether there were more choices than may be enumerated."""
        self.looks_at = tuple(dict.fromkeys(self._nodes()))

    def _nodes(self) -> Iterator[int]:
        """Yield the classes whose state decides what the group can do."""
        yield from self.unit.nodes
        for feed in self.unit.feeds:
            yield self._graph.units[feed.group].nodes[0]
        for touch in self._touches:
            yield touch.edge.dialer
            yield touch.edge.acceptor

    def furthest(self, state: Held, during: Window, fixed: Mapping[str, Stage]) -> Move | None:
        """Return the furthest safe rollout with the stages that are fixed; None: there is none."""
        domains = self._domains(state, fixed)
        instants = self._judge.instants(during)
        limits = (self._limited(at, state, instants) for at in range(len(self._touches)))
        if not settle_domains(domains, limits):
            return None
        found = move_of(self._graph, self.unit, tuple(domain[-1] for domain in domains), state)
        return found if found.after else None

    def _limited(self, at: int, state: Held, instants: Sequence[datetime]) -> EdgeLimits:
        """Return the limits of one edge, worked out once for what its ends hold."""
        edge = self._touches[at].edge
        epochs = map(self._judge.epoch, instants)
        key = (at, state[edge.dialer], state[edge.acceptor], *epochs)
        if key not in self._limits:
            self._limits[key] = self._limiter.limits(self._touches[at], state, instants)
        return self._limits[key]

    def every(self, state: Held, during: Window, fixed: Mapping[str, Stage]) -> Iterator[Move]:
        """Yield every safe rollout with the stages that are fixed, up to MOST_CHOICES tried."""
        seen: set[object] = set()
        furthest_first = (domain[::-1] for domain in self._domains(state, fixed))
        for tried, choice in enumerate(product(*furthest_first)):
            if tried >= MOST_CHOICES:
                self.truncated = True
                return
            found = move_of(self._graph, self.unit, choice, state)
            if not found.after or found.after in seen:
                continue
            seen.add(found.after)
            if self._judge.safe(self._edges, state, dict(found.after), during):
                yield found

    def dictated(self, state: Held) -> dict[str, Stage]:
        """Return the stages that the group's sources dictate."""
        return dictated_stages(self._graph, self.unit, state)

    def options(self, state: Held, name: str) -> list[Stage]:
        """Return the stages to which a slot of the group could go."""
        stages = {Stage.KEEP}
        for index in self.unit.nodes:
            for slot, value in zip(self._graph.nodes[index].slots, state[index][0], strict=True):
                if slot.name == name:
                    now = slot.stage(value)
                    stages.update(stage for stage, _ in slot.values if stage > now)
        return sorted(stages)

    def _domains(self, state: Held, fixed: Mapping[str, Stage]) -> Domains:
        return [
            [fixed[name]] if name in fixed else self.options(state, name)
            for name in self.unit.slot_names
        ]

    def _outcomes(self, node: int, slot: int, value: Value) -> Outcomes:
        """Return what a slot holds after a rollout, by the stage that it is taken to."""
        key = (node, slot, value)
        if key not in self._raised:
            model = self._graph.nodes[node].slots[slot]
            self._raised[key] = tuple(model.raised(value, stage) for stage in Stage)
        return self._raised[key]


def is_closed(graph: Graph, judge: Judge, edges: Iterable[int], instant: datetime) -> bool:
    """Whether the accepted pairs of stages of every edge are closed under maximum."""
    seen: set[tuple[object, ...]] = set()
    for index in edges:
        for half in halves(graph, graph.edges[index]):
            if half.chain is None:
                continue
            bundles = graph.nodes[half.verifier].slots[half.bundle]
            chains = graph.nodes[half.presenter].slots[half.chain]
            key = (bundles.values, chains.values, *half[4:])
            if key not in seen and not _is_closed_for(judge, half, bundles, chains, instant):
                return False
            seen.add(key)
    return True


def _is_closed_for(
    judge: Judge, half: Half, bundles: Slot, chains: Slot, instant: datetime
) -> bool:
    pairs = [
        (at, place)
        for at, (_, bundle) in enumerate(bundles.values)
        for place, (_, chain) in enumerate(chains.values)
        if judge.accepts(half, chain, bundle, instant)
    ]
    known = set(pairs)
    return all(
        (max(one[0], other[0]), max(one[1], other[1])) in known for one in pairs for other in pairs
    )
