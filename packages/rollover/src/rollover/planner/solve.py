"""The cheapest plan: one is built rollout by rollout, and searches show whether it is cheapest.

Each rollout that is built is safe by the same rule as a searched one; only the claim that no
cheaper plan exists is left to the search. Because going further never makes a later rollout
harder, a plan is built wherever there is one (of fleets without sources).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from heapq import heappop, heappush

import msgspec

from rollover.planner.estimate import NEVER, Part
from rollover.planner.graph import Graph, Stage, State
from rollover.planner.safety import Judge
from rollover.planner.search import (
    Cost,
    FoundSteps,
    Path,
    Search,
    SearchOutcome,
    SearchTerms,
    lower_bound,
    working_edges,
)
from rollover.planner.step_limits import Move, is_closed

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
            # A group that was ranked again has older entries: they are passed over here.
            _, unit, age, best = heappop(self._queue)
            if age == self._ages[unit]:
                self._due = dict.fromkeys((unit, *self._near[unit], *self._fed[unit]))
                return best
        return None

    def _rank(self, unit: int, path: Path) -> _Ranked | None:
        """Return the best rollout of a group, with how much dearer it makes the whole."""
        before = self._outlook(unit, path.state)
        ranked: list[_Ranked] = []
        for move in self._search.moves(unit, path):
            after = move.applied(path.state)
            outlook = self._outlook(unit, after)
            if outlook < NEVER:
                dearer = self._costs[unit] + outlook - before
                ranked.append(((dearer, *self._haste(move, path.state)), move))
        return min(ranked, key=lambda order_and_move: order_and_move[0]) if ranked else None

    def _outlook(self, unit: int, state: State) -> int:
        """Return what a group and its neighbours still cost, as far as this group matters."""
        near = self._near[unit] if self._search.terms.bounded else ()
        needed = [(number, self._search.needed(number, state)) for number in (unit, *near)]
        if any(rollouts >= NEVER for _, rollouts in needed):
            return NEVER
        alone = sum(self._costs[number] * rollouts for number, rollouts in needed)
        return alone + sum(self._strife(unit, number, state) for number in near)

    def _strife(self, one: int, other: int, state: State) -> int:
        """Return by how much two groups together cost more than each with the other for free."""
        units = (min(one, other), max(one, other))
        cost = self._search.estimate.cost
        together = cost(Part(units, (self._costs[units[0]], self._costs[units[1]])), state)
        first, second = cost(Part(units, (1, 0)), state), cost(Part(units, (0, 1)), state)
        return together - first * self._costs[units[0]] - second * self._costs[units[1]]

    def _haste(self, move: Move, state: State) -> tuple[bool, bool, int]:
        """Return what orders rollouts that cost the same: trust first, withdrawal last.

        So the way back stays short for as long as it can.
        """
        nodes = self._search.graph.nodes
        changes = [
            (slot, slot.stage(now), slot.stage(later))
            for index, vector in move.after
            for slot, now, later in zip(nodes[index].slots, state[index][0], vector, strict=True)
            if now != later
        ]
        withdraws = any(not slot.is_chain and later is Stage.END for slot, _, later in changes)
        reissues = any(slot.is_chain for slot, _, _ in changes)
        return withdraws, reissues, -sum(later - now for _, now, later in changes)


# Which searches it takes to be sure.
#
# A plan is built first; where a bound shows that none is cheaper, no search is needed. Otherwise
# a search tries only the furthest rollouts, which is exact as long as going further is never
# worse. Two things can spoil that: pairs of stages that are not closed under maximum, and links
# that do not work at the start (a rollout that heals one gives the rule one more link to
# protect). Then a search without those links, which can only be cheaper, or one through every
# rollout settles it.


class Solved(msgspec.Struct, frozen=True):
    """A plan, or None, and the least weight and the fewest rollouts that any plan has."""

    found: FoundSteps | None
    weight: int = 0
    rollouts: int = 0


class Solver:
    """Solves one graph from one state."""

    def __init__(
        self,
        graph: Graph,
        judge: Judge,
        *,
        now: datetime,
        margin: timedelta,
        start: State,
        horizon: datetime,
        most_states: int,
    ) -> None:
        self._graph = graph
        self._judge = judge
        self._most_states = most_states
        self._dates_ahead = judge.dates_between(now, horizon)
        every_edge = frozenset(range(len(graph.edges)))
        self._broken = every_edge - working_edges(graph, judge, start, now)
        self._closed = is_closed(graph, judge, every_edge, now)
        self._terms = SearchTerms(now=now, margin=margin, start=start, bounded=self._closed)

    def solve(self) -> Solved:
        """Return the cheapest plan with the best bound on weight and on rollouts."""
        outcome, bound = self._cheapest(self._terms)
        if outcome.found is None:
            return Solved(None)
        weights = {unit.group.rollout_weight for unit in self._graph.units}
        if outcome.found.exact and len(weights) == 1:
            return Solved(outcome.found, outcome.found.weight, len(outcome.found.steps))
        equal = msgspec.structs.replace(self._terms, weights=(1,) * len(self._graph.units))
        fewest, least = self._cheapest(equal)
        if fewest.found is not None and fewest.found.exact:
            least = Cost(0, len(fewest.found.steps))
        return Solved(outcome.found, bound.weight, least.rollouts)

    def _cheapest(self, terms: SearchTerms) -> tuple[SearchOutcome, Cost]:
        """Return the cheapest plan on some terms, with a bound; equal when it is exact."""
        search = self._search(terms)
        built = Constructor(search).plan()
        bound = self._bound(terms, built)
        if built is not None and built.paid == bound:
            return SearchOutcome(search.found(built, exact=True, states=0), True), bound
        outcome = self._searched(terms, built)
        if outcome.found is not None and outcome.found.exact:
            return outcome, Cost(outcome.found.weight, len(outcome.found.steps))
        if outcome.found is None and built is not None:
            outcome = SearchOutcome(search.found(built, exact=False, states=0), False)
        return outcome, bound

    def _bound(self, terms: SearchTerms, built: Path | None) -> Cost:
        """Return what every plan costs at least. Links that are broken bind nobody to anything."""
        dated = built is None or self._dated(built)
        relaxed = msgspec.structs.replace(
            terms, without=self._broken, bounded=self._closed and not dated
        )
        return lower_bound(self._search(relaxed))

    def _dated(self, path: Path) -> bool:
        """Whether a date passes on the way: links may break, or stop to matter, with it."""
        ends = self._terms.now + path.elapsed + self._terms.margin
        return self._judge.dates_between(self._terms.now, ends)

    def _searched(self, terms: SearchTerms, built: Path | None) -> SearchOutcome:
        """Return the cheapest plan by search, exact where that can be shown."""
        if not self._closed:
            return self._search(terms, every=True).cheapest(most_states=self._most_states)
        search = self._search(terms)
        below = None if built is None else built.paid
        first = search.cheapest(most_states=self._most_states, below=below)
        if first.found is None and first.exhausted and built is not None:
            first = SearchOutcome(search.found(built, exact=True, states=first.states), True)
        settled = not self._dates_ahead if first.found is None else first.found.exact
        if not settled:
            first = self._search(terms, bounded=False).cheapest(most_states=self._most_states)
        return self._settled(terms, first) if self._broken else first

    def _settled(self, terms: SearchTerms, first: SearchOutcome) -> SearchOutcome:
        """Return what holds in spite of links that are broken at the start."""
        relaxed = self._search(terms, without=self._broken).cheapest(most_states=self._most_states)
        if relaxed.exhausted and _cost_of(relaxed.found) == _cost_of(first.found):
            return SearchOutcome(first.found, True)
        thorough = self._search(terms, every=True).cheapest(most_states=self._most_states)
        if thorough.exhausted or first.found is None:
            return thorough
        return SearchOutcome(msgspec.structs.replace(first.found, exact=False), False)

    def _search(self, terms: SearchTerms, **changes: object) -> Search:
        return Search(self._graph, self._judge, msgspec.structs.replace(terms, **changes))


def _cost_of(found: FoundSteps | None) -> Cost | None:
    return None if found is None else Cost(found.weight, len(found.steps))
