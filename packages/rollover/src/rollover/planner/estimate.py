"""Groups that look alike to all their peers are searched as one.

Two groups without a link between them, with the same classes and the same links to the same
others, may follow the same schedule: if one of them has a cheaper one, the other can copy it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import msgspec

from rollover.planner.graph import Edge, Graph, Held, Possible, Unit
from rollover.planner.safety import Judge, Window
from rollover.planner.step_limits import Scope


class SymmetricGroups(msgspec.Struct, frozen=True):
    """A group that speaks for all that look like it; `members` includes it."""

    unit: int
    members: tuple[int, ...]


def symmetric_groups(graph: Graph) -> tuple[SymmetricGroups, ...]:
    """Return the groups that a search has to tell apart, each with those that it speaks for."""
    classes = class_numbers(graph)
    alike: dict[Hashable, list[int]] = {}
    for unit in graph.units:
        key = ("source", unit.index) if unit.is_source else _unit_shape(graph, unit, classes)
        alike.setdefault(key, []).append(unit.index)
    return tuple(SymmetricGroups(members[0], tuple(members)) for members in alike.values())


def _unit_shape(graph: Graph, unit: Unit, classes: Sequence[int]) -> Hashable:
    place: dict[int, Hashable] = {index: order for order, index in enumerate(unit.nodes)}
    edges = frozenset(edge_shape(graph.edges[index], place) for index in graph.edges_of[unit.index])
    return tuple(classes[index] for index in unit.nodes), edges, unit.feeds, unit.slot_names


def edge_shape(edge: Edge, place: Mapping[int, Hashable]) -> Hashable:
    """Return all that matters of an edge, its ends named by their places where they have one."""
    return (
        place.get(edge.dialer, ("other", edge.dialer)),
        edge.dialer_endpoint,
        place.get(edge.acceptor, ("other", edge.acceptor)),
        edge.acceptor_endpoint,
        edge.mutual,
        edge.same_instance,
        edge.named,
        edge.misnamed,
        edge.dialer_stack,
        edge.acceptor_stack,
    )


def class_numbers(graph: Graph) -> list[int]:
    """Return a number for each class: the same for classes that hold and do the same."""
    numbers: dict[Hashable, int] = {}
    return [
        numbers.setdefault((node.slots, node.states, node.frozen, node.ports), len(numbers))
        for node in graph.nodes
    ]


# What groups still need at least, seen with a few others only: bounds that are never too high.
#
# A safe plan of a fleet, seen through some of its groups, is a safe plan of those: fewer links
# and no sources only make it cheaper. What one group needs while its neighbours' rollouts cost
# nothing adds up over all groups, because every rollout is paid for once, by its own group.


MOST_NEIGHBOURS = 3
"""With how many of its neighbours, one at a time, a group is looked at; more tighten the bound."""

NEVER = 1 << 60
"""More than any plan costs."""


class Part(NamedTuple):
    """Some groups, and what a rollout of each is counted as."""

    units: tuple[int, ...]
    costs: tuple[int, ...]


_Costs = dict[tuple[Possible, ...], int]


class Estimate:
    """Counts rollouts over the links in `edges`, which have to work in the state at the start."""

    def __init__(
        self,
        graph: Graph,
        judge: Judge,
        kin: Sequence[SymmetricGroups],
        *,
        edges: Collection[int],
        during: Window,
    ) -> None:
        self._graph = graph
        self._judge = judge
        self._during = during
        self._between = self._edges_by_pair(edges, {groups.unit for groups in kin})
        self._near = self._neighbours()
        self._classes = class_numbers(graph)
        self._scopes: dict[Part, tuple[Scope, ...]] = {}
        self._known: dict[Part, _Costs] = {}
        self._alike: dict[Hashable, _Costs] = {}
        self._views = {groups.unit: self._views_of(groups.unit) for groups in kin}

    def _edges_by_pair(
        self, edges: Iterable[int], units: Collection[int]
    ) -> dict[tuple[int, int], list[int]]:
        between: dict[tuple[int, int], list[int]] = {(unit, unit): [] for unit in units}
        for index in sorted(edges):
            edge = self._graph.edges[index]
            one, other = (self._graph.nodes[end].group for end in (edge.dialer, edge.acceptor))
            if one in units and other in units:
                between.setdefault((min(one, other), max(one, other)), []).append(index)
        return between

    def _neighbours(self) -> dict[int, Counter[int]]:
        near: dict[int, Counter[int]] = {}
        for (one, other), edges in self._between.items():
            near.setdefault(one, Counter())
            if one != other:
                near[one][other] = len(edges)
                near.setdefault(other, Counter())[one] = len(edges)
        return near

    def _views_of(self, unit: int) -> tuple[Part, ...]:
        """Return the parts through which one group is looked at: itself, with free neighbours."""
        near = self._near[unit].most_common(MOST_NEIGHBOURS)
        return tuple(Part((unit, other), (1, 0)) for other, _ in near) or (Part((unit,), (1,)),)

    def dependents(self) -> dict[int, tuple[int, ...]]:
        """Return for each group those whose needs depend on its state, itself included."""
        found: dict[int, list[int]] = {unit: [] for unit in self._views}
        for unit, parts in self._views.items():
            for other in {number for part in parts for number in part.units}:
                found[other].append(unit)
        return {unit: tuple(sorted(each)) for unit, each in found.items()}

    def neighbours(self, unit: int) -> Counter[int]:
        """Return the groups that a group is linked with, with the number of edges to each."""
        return self._near[unit]

    def needs(self, unit: int, state: Held) -> int:
        """Return how many rollouts a group still needs at least; NEVER: it cannot get there."""
        return max(self.cost(part, state) for part in self._views[unit])

    def cost(self, part: Part, state: Held) -> int:
        """Return what the cheapest plan of a part costs."""
        if part not in self._known:
            self._known[part] = self._alike.setdefault(self._looks(part), {})
        nodes = [index for unit in part.units for index in self._graph.units[unit].nodes]
        key = tuple(state[index] for index in nodes)
        known = self._known[part].get(key)
        if known is None:
            return self._cost(part, dict(zip(nodes, key, strict=True)))
        return known

    def _looks(self, part: Part) -> Hashable:
        """Return what parts have in common whose costs are the same."""
        units = [self._graph.units[unit] for unit in part.units]
        nodes = [index for unit in units for index in unit.nodes]
        place = {index: at for at, index in enumerate(nodes)}
        edges = frozenset(
            edge_shape(self._graph.edges[index], place) for index in self._edges_inside(part)
        )
        shapes = tuple((len(unit.nodes), unit.slot_names) for unit in units)
        return tuple(self._classes[index] for index in nodes), shapes, part.costs, edges

    def _edges_inside(self, part: Part) -> Iterator[int]:
        for one, other in combinations_with_replacement(sorted(part.units), 2):
            yield from self._between.get((one, other), ())

    def _edges_of(self, part: Part, unit: int) -> Iterator[int]:
        for other in part.units:
            yield from self._between.get((min(unit, other), max(unit, other)), ())

    def _scopes_of(self, part: Part) -> tuple[Scope, ...]:
        if part not in self._scopes:
            self._scopes[part] = tuple(
                Scope(self._graph, self._judge, unit, tuple(self._edges_of(part, unit)))
                for unit in part.units
            )
        return self._scopes[part]

    def _cost(self, part: Part, held: Mapping[int, Possible]) -> int:
        known = self._known[part]
        key = tuple(held.values())
        if key in known:
            return known[key]
        best = 0 if self._arrived(part, held) else NEVER
        if best:
            for scope, cost in zip(self._scopes_of(part), part.costs, strict=True):
                found = scope.furthest(held, self._during, {})
                if found is not None:
                    after = {**held, **{index: (vector,) for index, vector in found.after}}
                    best = min(best, cost + self._cost(part, after))
        known[key] = best
        return best

    def _arrived(self, part: Part, held: Held) -> bool:
        return all(self._graph.arrived(held, unit) for unit in part.units)
