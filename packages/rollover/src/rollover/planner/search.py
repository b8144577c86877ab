"""The cheapest safe path from what a fleet is to what it shall be.

A* over the states of the classes; an edge is one safe rollout of one group, its weight what
touching that group costs. Only the furthest rollouts of a group are tried (see `scope`), except
for the slots of a source, for what those hold decides what others get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count, product
from typing import NamedTuple

import msgspec

from rollover.planner.estimate import NEVER, Estimate, Part, SymmetricGroups, symmetric_groups
from rollover.planner.graph import Choice, Graph, Held, Stage, State
from rollover.planner.safety import Judge, Window, starting_pairs
from rollover.planner.step_limits import Move, Scope, feeding_slots, step_window

MOST_STATES = 20_000
"""How many states an exact search may open before the plan is built step by step instead."""

MOST_LOOKS = 60_000
"""How many links of classes it may look at; where groups have many this ends it sooner."""


_FAR = 1 << 20
"""More rollouts than any plan has."""


class Step(msgspec.Struct, frozen=True):
    """One rollout of a plan: which group, and to which stage each of its slots goes."""

    unit: int
    choice: Choice


class FoundSteps(msgspec.Struct, frozen=True, kw_only=True):
    """A path to the goal: its steps, its cost, and whether no cheaper one exists."""

    steps: tuple[Step, ...]
    weight: int
    exact: bool
    states: int


class SearchOutcome(msgspec.Struct, frozen=True):
    """How a search ended. `exhausted`: it looked everywhere; nothing found means there is none."""

    found: FoundSteps | None
    exhausted: bool
    states: int = 0


class Cost(msgspec.Struct, frozen=True, order=True):
    """What a path costs: its weight, then its rollouts."""

    weight: int = 0
    rollouts: int = 0

    @property
    def ranked(self) -> int:
        """One number that orders costs as they are ordered, and adds up as they do."""
        return self.weight * _FAR + self.rollouts

    @classmethod
    def of(cls, ranked: int) -> Cost:
        """Return the cost with that number."""
        return cls(*divmod(ranked, _FAR))

    def plus(self, other: Cost, times: int) -> Cost:
        """Return what this and a multiple of another cost together."""
        return Cost(self.weight + times * other.weight, self.rollouts + times * other.rollouts)


class Trail(NamedTuple):
    """The steps of a path, the last one first."""

    before: Trail | None
    step: Step


class Path(msgspec.Struct, frozen=True):
    """How a state was reached: the steps, what was paid for them, and when the last one ends.

    `needs` is what each group needs from here at least, and `left` what that costs together.
    """

    trail: Trail | None
    state: State
    paid: Cost
    elapsed: timedelta
    needs: tuple[int, ...]
    left: Cost

    @property
    def whole(self) -> Cost:
        """The least that any plan costs which begins like this."""
        return self.paid.plus(self.left, 1)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in order."""
        steps = []
        trail = self.trail
        while trail is not None:
            steps.append(trail.step)
            trail = trail.before
        return tuple(reversed(steps))


class SearchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """On which terms a graph is searched.

    `weights`: what a rollout of each unit costs; None: by its group. `without`: edges that are
    left out, a relaxation. `every`: try every safe rollout, not only the furthest.
    """

    now: datetime
    margin: timedelta
    start: State
    weights: tuple[int, ...] | None = None
    without: frozenset[int] = frozenset()
    every: bool = False
    bounded: bool = True
    """Whether estimates hold: no date passes, and going further is never worse."""


class Search:
    """Searches one graph on some terms."""

    def __init__(self, graph: Graph, judge: Judge, terms: SearchTerms) -> None:
        self.graph = graph
        self.judge = judge
        self.terms = terms
        self.kin = symmetric_groups(graph)
        self._weights = terms.weights or tuple(unit.group.rollout_weight for unit in graph.units)
        self.costs = {
            kin.unit: Cost(sum(self._weights[member] for member in kin.members), len(kin.members))
            for kin in self.kin
        }
        self._lasts = {kin.unit: self._time(kin) for kin in self.kin}
        self._scopes = {
            kin.unit: Scope(graph, judge, kin.unit, self._edges_among_kin(kin.unit))
            for kin in self.kin
        }
        self._feeding = feeding_slots(graph)
        self._moves: dict[tuple[object, ...], tuple[Move, ...]] = {}
        self._looks = 0
        self.estimate = Estimate(
            graph,
            judge,
            self.kin,
            edges=working_edges(graph, judge, terms.start, terms.now) - terms.without,
            during=step_window(graph, graph.units[0], terms.now, terms.margin),
        )
        self._places = {kin.unit: place for place, kin in enumerate(self.kin)}
        self._dependents = self.estimate.dependents()

    def _edges_among_kin(self, unit: int) -> tuple[int, ...]:
        speakers = {groups.unit for groups in self.kin}
        nodes, edges = self.graph.nodes, self.graph.edges
        return tuple(
            index
            for index in self.graph.edges_of[unit]
            if nodes[edges[index].dialer].group in speakers
            and nodes[edges[index].acceptor].group in speakers
            and index not in self.terms.without
        )

    def _time(self, kin: SymmetricGroups) -> timedelta:
        """Return the time that one rollout of each of the kin takes, people's time included."""
        times = (self.graph.units[member].group.rollout_time for member in kin.members)
        return sum((time + self.terms.margin for time in times), timedelta())

    def start(self) -> Path:
        """Return the path of no steps."""
        needs = tuple(self.needed(kin.unit, self.terms.start) for kin in self.kin)
        return Path(None, self.terms.start, Cost(), timedelta(), needs, self._left(needs))

    def _left(self, needs: Sequence[int]) -> Cost:
        costs = [self.costs[kin.unit] for kin in self.kin]
        return Cost(
            sum(each * cost.weight for each, cost in zip(needs, costs, strict=True)),
            sum(each * cost.rollouts for each, cost in zip(needs, costs, strict=True)),
        )

    def needed(self, unit: int, state: Held) -> int:
        """Return how many rollouts a group still needs at least."""
        if self.terms.bounded:
            return self.estimate.needs(unit, state)
        return 0 if self.graph.arrived(state, unit) else 1

    def moves(self, unit: int, path: Path) -> tuple[Move, ...]:
        """Return the rollouts of a group that are worth trying at the end of a path."""
        if self.graph.arrived(path.state, unit):
            return ()
        scope = self._scopes[unit]
        during = step_window(
            self.graph, scope.unit, self.terms.now + path.elapsed, self.terms.margin
        )
        epochs = self.judge.epoch(during.starts), self.judge.epoch(during.ends)
        key = (unit, epochs, *(path.state[index] for index in scope.looks_at))
        if key not in self._moves:
            self._looks += 1 + len(scope.looks_at)
            found = (
                step
                for fixed in self._fixed(scope, path.state)
                for step in self._tried(scope, path.state, during, fixed)
            )
            self._moves[key] = tuple(dict.fromkeys(found))
        return self._moves[key]

    def _tried(
        self, scope: Scope, state: State, during: Window, fixed: dict[str, Stage]
    ) -> Iterable[Move]:
        if self.terms.every:
            return scope.every(state, during, fixed)
        furthest = scope.furthest(state, during, fixed)
        return () if furthest is None else (furthest,)

    def _fixed(self, scope: Scope, state: State) -> Iterator[dict[str, Stage]]:
        """Yield the stages that are not free: dictated ones, with each that feeds others."""
        given = scope.dictated(state)
        feeds = sorted(self._feeding.get(scope.unit.index, frozenset()) - given.keys())
        options = (reversed(scope.options(state, name)) for name in feeds)
        for stages in product(*options):
            yield {**given, **dict(zip(feeds, stages, strict=True))}

    def taken(self, path: Path, step: Move) -> Path:
        """Return a path with one more rollout."""
        after = step.applied(path.state)
        needs = list(path.needs)
        left = path.left
        for unit in self._dependents[step.unit]:
            place = self._places[unit]
            now, needs[place] = needs[place], self.needed(unit, after)
            left = left.plus(self.costs[unit], needs[place] - now)
        return Path(
            Trail(path.trail, Step(step.unit, step.choice)),
            after,
            path.paid.plus(self.costs[step.unit], 1),
            path.elapsed + self._lasts[step.unit],
            tuple(needs),
            left,
        )

    def cheapest(
        self, *, most_states: int = MOST_STATES, below: Cost | None = None
    ) -> SearchOutcome:
        """Return the cheapest path, if any was found before too many states had to be opened.

        Among equals the path that is nearest to the goal goes on first, so that a good estimate
        leads straight there. `below`: paths that cost as much as that are of no interest.
        """
        order = count()
        queue: list[tuple[Cost, Cost, int, Path]] = []
        self._push(queue, self.start(), next(order), below)
        closed: set[tuple[State, int]] = set()
        while queue and len(closed) < most_states and self._looks < MOST_LOOKS:
            path = heappop(queue)[-1]
            if not path.left.rollouts:
                return SearchOutcome(
                    self.found(path, exact=self.thorough, states=len(closed)), True
                )
            place = (path.state, self.judge.epoch(self.terms.now + path.elapsed))
            if place in closed:
                continue
            closed.add(place)
            for kin in self.kin:
                for step in self.moves(kin.unit, path):
                    self._push(queue, self.taken(path, step), next(order), below)
        return SearchOutcome(None, not queue and self.thorough, len(closed))

    def _push(
        self,
        queue: list[tuple[Cost, Cost, int, Path]],
        path: Path,
        order: int,
        below: Cost | None,
    ) -> None:
        if path.left.rollouts < NEVER and (below is None or path.whole < below):
            heappush(queue, (path.whole, path.left, order, path))

    @property
    def thorough(self) -> bool:
        """Whether no rollout that is worth trying was left out so far."""
        return not any(scope.truncated for scope in self._scopes.values())

    def found(self, path: Path, *, exact: bool, states: int) -> FoundSteps:
        """Return a path as a result; it is exact only as long as no date passes on its way."""
        steps = self.expanded(path.steps())
        ends = self.terms.now + path.elapsed + self.terms.margin
        return FoundSteps(
            steps=steps,
            weight=self.weighed(steps),
            exact=exact and not self.judge.dates_between(self.terms.now, ends),
            states=states,
        )

    def weighed(self, steps: Sequence[Step]) -> int:
        """Return what steps cost together."""
        return sum(self._weights[step.unit] for step in steps)

    def expanded(self, path: Sequence[Step]) -> tuple[Step, ...]:
        """Return the path with every rollout of a group repeated for its kin."""
        members = {kin.unit: kin.members for kin in self.kin}
        return tuple(Step(member, step.choice) for step in path for member in members[step.unit])


def working_edges(graph: Graph, judge: Judge, state: State, instant: datetime) -> frozenset[int]:
    """Return the edges that work at an instant, whatever their ends hold of what they may."""
    return frozenset(
        index
        for index, edge in enumerate(graph.edges)
        if all(judge.link(edge, *ends, instant) is None for ends in starting_pairs(edge, state))
    )


# How few rollouts any safe plan needs, where the exact search gave up.
#
# What disjoint parts of a fleet cost alone adds up to a bound for the whole (see `estimate`).


PART_SIZE = 4
"""How many groups a part has at most: more tighten the bound, and take far longer."""


def lower_bound(search: Search) -> Cost:
    """Return the least cost of any safe plan: first its weight, and its rollouts at that weight."""
    total = Cost()
    if not search.terms.bounded:
        for unit, cost in search.costs.items():
            total = total.plus(cost, search.needed(unit, search.terms.start))
        return total
    for part in _unit_parts(search):
        total = total.plus(_least_cost(search, part), 1)
    return total


def _least_cost(search: Search, units: tuple[int, ...]) -> Cost:
    """Return the larger of what a part costs as a whole, and its groups one by one."""
    start = search.terms.start
    alone = Cost()
    for unit in units:
        alone = alone.plus(search.costs[unit], search.needed(unit, start))
    part = Part(units, tuple(search.costs[number].ranked for number in units))
    return max(alone, Cost.of(search.estimate.cost(part, start)))


def _unit_parts(search: Search) -> Iterator[tuple[int, ...]]:
    """Yield disjoint parts, each grown by the groups that are linked with most of it."""
    left = dict.fromkeys(search.costs)
    while left:
        part = [next(iter(left))]
        del left[part[0]]
        while len(part) < PART_SIZE:
            near = sum((search.estimate.neighbours(item) for item in part), start=Counter[int]())
            best = [unit for unit, _ in near.most_common() if unit in left]
            if not best:
                break
            part.append(best[0])
            del left[best[0]]
        yield tuple(part)
