"""How few rollouts any safe plan needs, where the exact search gave up.

A safe plan of a fleet, seen through some of its groups only, is a safe plan of those. So the
cheapest plans of disjoint parts add up to a bound for the whole; parts are pairs of groups here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.planner.graph import Graph, edges_by_unit
from rollover.planner.safety import Judge
from rollover.planner.search import Search
from rollover.planner.twins import Kin

MOST_PAIRS = 400
"""How many pairs of groups are tried; more only tighten the bound."""

PAIR_STATES = 500


class Bound(msgspec.Struct, frozen=True):
    """What any safe plan costs at least."""

    weight: int
    rollouts: int


def lower_bound(graph: Graph, judge: Judge, *, now: datetime, margin: timedelta) -> Bound:
    """Return a bound on weight and on rollouts; both hold for every safe plan."""
    return Bound(
        weight=_bound(Search(graph, judge, now=now, margin=margin)),
        rollouts=_bound(
            Search(graph, judge, now=now, margin=margin, weights=(1,) * len(graph.units))
        ),
    )


def _bound(search: Search) -> int:
    start = search.graph.start()
    alone = {kin.unit: (search.needs(kin, start) or 0) * search.weight(kin) for kin in search.kin}
    gains = []
    for first, second in _linked_pairs(search)[:MOST_PAIRS]:
        together = _pair_cost(search, first, second)
        gain = together - alone[first.unit] - alone[second.unit]
        if gain > 0:
            gains.append((gain, first.unit, second.unit))
    total = sum(alone.values())
    taken: set[int] = set()
    for gain, one, other in sorted(gains, reverse=True):
        if one not in taken and other not in taken:
            taken.update((one, other))
            total += gain
    return total


def _linked_pairs(search: Search) -> list[tuple[Kin, Kin]]:
    kin = {each.unit: each for each in search.kin}
    nodes = search.graph.nodes
    pairs: dict[tuple[int, int], None] = {}
    for edge in search.graph.edges:
        one, other = sorted((nodes[edge.dialer].group, nodes[edge.acceptor].group))
        if one != other and one in kin and other in kin:
            pairs[one, other] = None
    return [(kin[one], kin[other]) for one, other in pairs]


def _pair_cost(search: Search, first: Kin, second: Kin) -> int:
    """Return the least that a pair costs alone, each of its groups with the weight of its kin."""
    part = _part(search.graph, (first.unit, second.unit))
    inner = Search(
        part,
        search.judge.on(part),
        now=search.now,
        margin=search.margin,
        weights=(search.weight(first), search.weight(second)),
    )
    found = inner.cheapest(most_states=PAIR_STATES)
    return 0 if found is None else found.weight


def _part(graph: Graph, units: Sequence[int]) -> Graph:
    """Return the graph of some groups alone, without what sources dictate: a relaxation."""
    kept = [graph.units[each] for each in units]
    order = {index: place for place, index in enumerate(n for unit in kept for n in unit.nodes)}
    groups = {unit.index: place for place, unit in enumerate(kept)}
    nodes = tuple(
        msgspec.structs.replace(
            graph.nodes[index], index=place, group=groups[graph.nodes[index].group]
        )
        for index, place in order.items()
    )
    edges = tuple(
        msgspec.structs.replace(edge, dialer=order[edge.dialer], acceptor=order[edge.acceptor])
        for edge in graph.edges
        if edge.dialer in order and edge.acceptor in order
    )
    renumbered = tuple(
        msgspec.structs.replace(
            unit,
            index=groups[unit.index],
            nodes=tuple(order[index] for index in unit.nodes),
            feeds=(),
            is_source=False,
        )
        for unit in kept
    )
    return Graph(
        units=renumbered,
        nodes=nodes,
        edges=edges,
        edges_of=edges_by_unit(renumbered, nodes, edges),
        longest=graph.longest,
    )
