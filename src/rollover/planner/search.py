"""The cheapest safe path from what a fleet is to what it shall be.

A* over the states of the classes; an edge is one safe rollout of one group, its weight what
touching that group costs. The estimate is what each group would still need if only its own
instances existed: leaving links out can only make a plan cheaper, so it never says too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count

import msgspec

from rollover.planner.graph import Choice, Graph, Unit, Vector
from rollover.planner.moves import Move, State, safe_moves, window
from rollover.planner.safety import Judge
from rollover.planner.twins import Kin, kin_of

MOST_STATES = 20_000
"""How many states an exact search may open before the plan is built step by step instead."""


class Step(msgspec.Struct, frozen=True):
    """One rollout of a plan: which group, and to which stage each of its slots goes."""

    unit: int
    choice: Choice


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A path to the goal: its steps, its cost, and whether no cheaper one exists."""

    steps: tuple[Step, ...]
    weight: int
    exact: bool
    states: int


class Cost(msgspec.Struct, frozen=True, order=True):
    """What a path costs: its weight, then its rollouts, then how late it gets things done."""

    weight: int = 0
    rollouts: int = 0
    lateness: int = 0

    def plus(self, weight: int, rollouts: int, lateness: int = 0) -> Cost:
        """Return the cost of a longer path."""
        return Cost(self.weight + weight, self.rollouts + rollouts, self.lateness + lateness)


class Search:
    """Searches one graph. `weights`: what a rollout of each unit costs; None: by its group."""

    def __init__(
        self,
        graph: Graph,
        judge: Judge,
        *,
        now: datetime,
        margin: timedelta,
        weights: Sequence[int] | None = None,
    ) -> None:
        self.graph = graph
        self.judge = judge
        self.now = now
        self.margin = margin
        self._weights = (
            tuple(unit.group.rollout_weight for unit in graph.units)
            if weights is None
            else tuple(weights)
        )
        self.kin = kin_of(graph)
        self._edges = {each.unit: self._edges_among_kin(each) for each in self.kin}
        self._inner = {each.unit: self._edges_inside(each) for each in self.kin}
        self._needs: dict[tuple[int, tuple[Vector, ...]], int | None] = {}

    def _edges_among_kin(self, kin: Kin) -> tuple[int, ...]:
        speakers = {each.unit for each in self.kin}
        nodes = self.graph.nodes
        return tuple(
            index
            for index in self.graph.edges_of[kin.unit]
            if nodes[self.graph.edges[index].dialer].group in speakers
            and nodes[self.graph.edges[index].acceptor].group in speakers
        )

    def _edges_inside(self, kin: Kin) -> tuple[int, ...]:
        nodes = self.graph.nodes
        return tuple(
            index
            for index in self.graph.edges_of[kin.unit]
            if nodes[self.graph.edges[index].dialer].group == kin.unit
            and nodes[self.graph.edges[index].acceptor].group == kin.unit
        )

    def weight(self, kin: Kin) -> int:
        """Return what one rollout of each of the kin costs together."""
        return sum(self._weights[each] for each in kin.members)

    def needs(self, kin: Kin, state: State) -> int | None:
        """Return the least rollouts that a group needs for its own links; None: it has no way."""
        unit = self.graph.units[kin.unit]
        key = (kin.unit, tuple(state[index] for index in unit.nodes))
        if key not in self._needs:
            self._needs[key] = self._least(unit, state)
        return self._needs[key]

    def _least(self, unit: Unit, state: State) -> int | None:
        """Breadth-first over the group's own states, with only the links inside it."""
        during = window(self.graph, unit, self.now, self.margin)
        layer = [state]
        seen = {state}
        for rollouts in count():
            if any(self.graph.arrived(each, unit.nodes) for each in layer):
                return rollouts
            following = []
            for each in layer:
                for step in safe_moves(
                    self.graph,
                    self.judge,
                    unit,
                    each,
                    edges=self._inner[unit.index],
                    during=during,
                    free=True,
                ):
                    after = step.applied(each)
                    if after not in seen:
                        seen.add(after)
                        following.append(after)
            if not following:
                return None
            layer = following
        raise AssertionError

    def estimate(self, state: State) -> tuple[int, int] | None:
        """Return the least weight and rollouts still needed; None when a group has no way."""
        weight = rollouts = 0
        for kin in self.kin:
            needed = self.needs(kin, state)
            if needed is None:
                return None
            weight += needed * self.weight(kin)
            rollouts += needed * len(kin.members)
        return weight, rollouts

    def arrived(self, state: State) -> bool:
        """Whether every group that speaks for its kin is at the goal."""
        return all(self.graph.arrived(state, self.graph.units[kin.unit].nodes) for kin in self.kin)

    def moves(self, kin: Kin, state: State, at: datetime) -> list[Move]:
        """Return the rollouts of a group that are worth trying in a state, at that time."""
        unit = self.graph.units[kin.unit]
        during = window(self.graph, unit, at, self.margin)
        return safe_moves(
            self.graph, self.judge, unit, state, edges=self._edges[kin.unit], during=during
        )

    def lasts(self, kin: Kin) -> timedelta:
        """Return the time that one rollout of each of the kin takes, people's time included."""
        times = (self.graph.units[each].group.rollout_time for each in kin.members)
        return sum((each + self.margin for each in times), timedelta())

    def cheapest(self, *, most_states: int = MOST_STATES) -> Found | None:
        """Return the cheapest path, or None: there is none, or too many states had to be opened.

        `states` of the result tells how many were opened.
        """
        start = self.graph.start()
        first = self.estimate(start)
        if first is None:
            return None
        order = count()
        queue: list[tuple[Cost, int, Cost, State, timedelta, tuple[Step, ...]]] = []
        heappush(queue, (Cost(*first), next(order), Cost(), start, timedelta(), ()))
        closed: set[tuple[State, int]] = set()
        while queue and len(closed) < most_states:
            _, _, cost, state, elapsed, path = heappop(queue)
            if self.arrived(state):
                return self._found(path, len(closed), elapsed)
            at = self.now + elapsed
            if (state, self.judge.epoch(at)) in closed:
                continue
            closed.add((state, self.judge.epoch(at)))
            for kin in self.kin:
                if self.graph.arrived(state, self.graph.units[kin.unit].nodes):
                    continue
                for step in self.moves(kin, state, at):
                    after = step.applied(state)
                    needed = self.estimate(after)
                    if needed is None:
                        continue
                    paid = cost.plus(self.weight(kin), len(kin.members), self._late(after))
                    item = (
                        paid.plus(*needed),
                        next(order),
                        paid,
                        after,
                        elapsed + self.lasts(kin),
                        (*path, Step(step.unit, step.choice)),
                    )
                    heappush(queue, item)
        return None

    def _late(self, state: State) -> int:
        """Return how many slots are not where they shall be: breaks ties towards early progress."""
        return sum(
            value not in slot.ends
            for kin in self.kin
            for index in self.graph.units[kin.unit].nodes
            for value, slot in zip(state[index], self.graph.nodes[index].slots, strict=True)
        )

    def _found(self, path: tuple[Step, ...], states: int, elapsed: timedelta) -> Found:
        steps = self.expanded(path)
        dated = self.judge.dates_between(self.now, self.now + elapsed + self.margin)
        return Found(
            steps=steps,
            weight=self.weighed(steps),
            exact=not dated,
            states=states,
        )

    def weighed(self, steps: Sequence[Step]) -> int:
        """Return what steps cost together."""
        return sum(self._weights[each.unit] for each in steps)

    def expanded(self, path: Sequence[Step]) -> tuple[Step, ...]:
        """Return the path with every rollout of a group repeated for its kin."""
        members = {kin.unit: kin.members for kin in self.kin}
        return tuple(Step(member, step.choice) for step in path for member in members[step.unit])
