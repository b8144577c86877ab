"""A safe plan where an exact search would take too long: one good rollout after another.

Each rollout is safe by the same rule; only the claim that no cheaper plan exists is given up.
Because going further never makes a later rollout harder, a plan is found wherever there is one
(of fleets without sources).
"""

from __future__ import annotations

from heapq import heappop, heappush

from rollover.planner.estimate import NEVER, Part
from rollover.planner.graph import State
from rollover.planner.moves import Move
from rollover.planner.search import Path, Search
from rollover.planner.slots import Stage

_Order = tuple[int, bool, bool, int]
"""What decides between rollouts: the least comes first."""

_Ranked = tuple[_Order, Move]


class Constructor:
    """Builds a plan rollout by rollout, each the one that makes the rest the least dear."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._costs = {unit: cost.ranked for unit, cost in search.costs.items()}
        self._near = {unit: tuple(search.estimate.neighbours(unit)) for unit in self._costs}
        self._fed: dict[int, list[int]] = {unit: [] for unit in self._costs}
        for unit in search.graph.units:
            for feed in unit.feeds:
                if unit.index in self._costs and feed.group in self._costs:
                    self._fed[feed.group].append(unit.index)
        self._ages = dict.fromkeys(self._costs, 0)
        self._queue: list[tuple[_Order, int, int, Move]] = []
        self._due = dict.fromkeys(self._costs)

    def plan(self) -> Path | None:
        """Return a way to the goal, or None when at some point no safe rollout makes progress."""
        search, path = self._search, self._search.start()
        while path.left.rollouts:
            best = self._best(path)
            if best is None:
                return None
            path = search.taken(path, best)
        return path

    def _best(self, path: Path) -> Move | None:
        """Return the best rollout of all; only those are ranked again that may have changed."""
        for unit in self._due:
            self._ages[unit] += 1
            ranked = self._rank(unit, path)
            if ranked is not None:
                heappush(self._queue, (ranked[0], unit, self._ages[unit], ranked[1]))
        self._due = {}
        while self._queue:
            _, unit, age, best = heappop(self._queue)
            if age == self._ages[unit]:
                self._due = dict.fromkeys((unit, *self._near[unit], *self._fed[unit]))
                return best
        return None

    def _rank(self, unit: int, path: Path) -> _Ranked | None:
        """Return the best rollout of a group, with how much dearer it makes the whole."""
        before = self._outlook(unit, path.state)
        ranked: list[_Ranked] = []
        for step in self._search.moves(unit, path):
            after = step.applied(path.state)
            outlook = self._outlook(unit, after)
            if outlook < NEVER:
                dearer = self._costs[unit] + outlook - before
                ranked.append(((dearer, *self._haste(step, path.state)), step))
        return min(ranked, key=lambda each: each[0]) if ranked else None

    def _outlook(self, unit: int, state: State) -> int:
        """Return what a group and its neighbours still cost, as far as this group matters."""
        near = self._near[unit] if self._search.terms.bounded else ()
        needed = [(each, self._search.needed(each, state)) for each in (unit, *near)]
        if any(rollouts >= NEVER for _, rollouts in needed):
            return NEVER
        alone = sum(self._costs[each] * rollouts for each, rollouts in needed)
        return alone + sum(self._strife(unit, each, state) for each in near)

    def _strife(self, one: int, other: int, state: State) -> int:
        """Return by how much two groups together cost more than each with the other for free."""
        units = (min(one, other), max(one, other))
        cost = self._search.estimate.cost
        together = cost(Part(units, (self._costs[units[0]], self._costs[units[1]])), state)
        first, second = cost(Part(units, (1, 0)), state), cost(Part(units, (0, 1)), state)
        return together - first * self._costs[units[0]] - second * self._costs[units[1]]

    def _haste(self, step: Move, state: State) -> tuple[bool, bool, int]:
        """Return what orders rollouts that cost the same: trust first, withdrawal last.

        So the way back stays short for as long as it can.
        """
        nodes = self._search.graph.nodes
        changes = [
            (slot, slot.stage(now), slot.stage(later))
            for index, vector in step.after
            for slot, now, later in zip(nodes[index].slots, state[index][0], vector, strict=True)
            if now != later
        ]
        withdraws = any(not slot.is_chain and later is Stage.END for slot, _, later in changes)
        reissues = any(slot.is_chain for slot, _, _ in changes)
        return withdraws, reissues, -sum(later - now for _, now, later in changes)
