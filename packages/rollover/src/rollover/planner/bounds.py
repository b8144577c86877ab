"""How few rollouts any safe plan needs, where the exact search gave up.

What disjoint parts of a fleet cost alone adds up to a bound for the whole (see `estimate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rollover.planner.estimate import Part
from rollover.planner.search import Cost, Search

PART_SIZE = 4
"""How many groups a part has at most: more tighten the bound, and take far longer."""


def lower_bound(search: Search) -> Cost:
    """Return the least cost of any safe plan: first its weight, and its rollouts at that weight."""
    total = Cost()
    if not search.terms.bounded:
        for unit, cost in search.costs.items():
            total = total.plus(cost, search.needed(unit, search.terms.start))
        return total
    for part in _parts(search):
        total = total.plus(_least(search, part), 1)
    return total


def _least(search: Search, units: tuple[int, ...]) -> Cost:
    """Return the larger of what a part costs as a whole, and its groups one by one."""
    start = search.terms.start
    alone = Cost()
    for unit in units:
        alone = alone.plus(search.costs[unit], search.needed(unit, start))
    part = Part(units, tuple(search.costs[each].ranked for each in units))
    return max(alone, Cost.of(search.estimate.cost(part, start)))


def _parts(search: Search) -> Iterator[tuple[int, ...]]:
    """Yield disjoint parts, each grown by the groups that are linked with most of it."""
    left = dict.fromkeys(search.costs)
    while left:
        part = [next(iter(left))]
        del left[part[0]]
        while len(part) < PART_SIZE:
            near = sum((search.estimate.neighbours(each) for each in part), start=Counter[int]())
            best = [unit for unit, _ in near.most_common() if unit in left]
            if not best:
                break
            part.append(best[0])
            del left[best[0]]
        yield tuple(part)
