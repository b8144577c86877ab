"""Groups that look alike to all their peers are searched as one.

Two groups without a link between them, with the same classes and the same links to the same
others, may follow the same schedule: if one of them has a cheaper one, the other can copy it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import msgspec

from rollover.planner.graph import Edge, Graph, Unit


class Kin(msgspec.Struct, frozen=True):
    """A group that speaks for all that look like it; `members` includes it."""

    unit: int
    members: tuple[int, ...]


def kin_of(graph: Graph) -> tuple[Kin, ...]:
    """Return the groups that a search has to tell apart, each with those that it speaks for."""
    classes = class_numbers(graph)
    alike: dict[Hashable, list[int]] = {}
    for unit in graph.units:
        key = ("source", unit.index) if unit.is_source else _looks(graph, unit, classes)
        alike.setdefault(key, []).append(unit.index)
    return tuple(Kin(members[0], tuple(members)) for members in alike.values())


def _looks(graph: Graph, unit: Unit, classes: Sequence[int]) -> Hashable:
    place: dict[int, Hashable] = {index: order for order, index in enumerate(unit.nodes)}
    edges = frozenset(looks(graph.edges[index], place) for index in graph.edges_of[unit.index])
    return tuple(classes[index] for index in unit.nodes), edges, unit.feeds, unit.slot_names


def looks(edge: Edge, place: Mapping[int, Hashable]) -> Hashable:
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
