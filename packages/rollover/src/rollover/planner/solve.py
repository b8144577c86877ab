"""The cheapest plan, and what may be said of it: which searches it takes to be sure.

A plan is built first; where a bound shows that none is cheaper, no search is needed. Otherwise a
search tries only the furthest rollouts, which is exact as long as going further is never worse.
Two things can spoil that: pairs of stages that are not closed under maximum, and links that do
not work at the start (a rollout that heals one gives the rule one more link to protect). Then a
search without those links, which can only be cheaper, or one through every rollout settles it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from rollover.planner.bounds import lower_bound
from rollover.planner.construct import Constructor
from rollover.planner.graph import Graph, State
from rollover.planner.safety import Judge
from rollover.planner.scope import closed
from rollover.planner.search import Cost, Found, Outcome, Path, Search, Terms, working


class Solved(msgspec.Struct, frozen=True):
    """A plan, or None, and the least weight and the fewest rollouts that any plan has."""

    found: Found | None
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
        self._broken = every_edge - working(graph, judge, start, now)
        self._closed = closed(graph, judge, every_edge, now)
        self._terms = Terms(now=now, margin=margin, start=start, bounded=self._closed)

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

    def _cheapest(self, terms: Terms) -> tuple[Outcome, Cost]:
        """Return the cheapest plan on some terms, with a bound; equal when it is exact."""
        search = self._search(terms)
        built = Constructor(search).plan()
        bound = self._bound(terms, built)
        if built is not None and built.paid == bound:
            return Outcome(search.found(built, exact=True, states=0), True), bound
        outcome = self._searched(terms, built)
        if outcome.found is not None and outcome.found.exact:
            return outcome, Cost(outcome.found.weight, len(outcome.found.steps))
        if outcome.found is None and built is not None:
            outcome = Outcome(search.found(built, exact=False, states=0), False)
        return outcome, bound

    def _bound(self, terms: Terms, built: Path | None) -> Cost:
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

    def _searched(self, terms: Terms, built: Path | None) -> Outcome:
        """Return the cheapest plan by search, exact where that can be shown."""
        if not self._closed:
            return self._search(terms, every=True).cheapest(most_states=self._most_states)
        search = self._search(terms)
        below = None if built is None else built.paid
        first = search.cheapest(most_states=self._most_states, below=below)
        if first.found is None and first.exhausted and built is not None:
            first = Outcome(search.found(built, exact=True, states=first.states), True)
        settled = not self._dates_ahead if first.found is None else first.found.exact
        if not settled:
            first = self._search(terms, bounded=False).cheapest(most_states=self._most_states)
        return self._settled(terms, first) if self._broken else first

    def _settled(self, terms: Terms, first: Outcome) -> Outcome:
        """Return what holds in spite of links that are broken at the start."""
        relaxed = self._search(terms, without=self._broken).cheapest(most_states=self._most_states)
        if relaxed.exhausted and _cost(relaxed.found) == _cost(first.found):
            return Outcome(first.found, True)
        thorough = self._search(terms, every=True).cheapest(most_states=self._most_states)
        if thorough.exhausted or first.found is None:
            return thorough
        return Outcome(msgspec.structs.replace(first.found, exact=False), False)

    def _search(self, terms: Terms, **changes: object) -> Search:
        return Search(self._graph, self._judge, msgspec.structs.replace(terms, **changes))


def _cost(found: Found | None) -> Cost | None:
    return None if found is None else Cost(found.weight, len(found.steps))
