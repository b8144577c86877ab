"""Groups that look alike to all their peers are searched as one.

Two groups without a link between them, with the same classes and the same links to the same
others, may follow the same schedule: if one of them has a cheaper one, the other can copy it.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from rollover.planner.graph import Graph, Node


class Kin(msgspec.Struct, frozen=True):
    """A group that speaks for all that look like it; `members` includes it."""

    unit: int
    members: tuple[int, ...]


def kin_of(graph: Graph) -> tuple[Kin, ...]:
    """Return the groups that a search has to tell apart, each with those that it speaks for."""
    alike: dict[Hashable, list[int]] = {}
    for unit in graph.units:
        if unit.is_source:
            alike[("source", unit.index)] = [unit.index]
            continue
        alike.setdefault(_looks(graph, unit.index), []).append(unit.index)
    return tuple(Kin(members[0], tuple(members)) for members in alike.values())


def _looks(graph: Graph, unit: int) -> Hashable:
    nodes = graph.units[unit].nodes
    place = {index: order for order, index in enumerate(nodes)}
    edges: list[tuple[Hashable, ...]] = []
    for index in graph.edges_of[unit]:
        edge = graph.edges[index]
        edges.append(
            (
                place.get(edge.dialer, ("other", edge.dialer)),
                edge.dialer_endpoint,
                place.get(edge.acceptor, ("other", edge.acceptor)),
                edge.acceptor_endpoint,
                edge.mutual,
                edge.same_instance,
                edge.named,
                edge.dialer_stack,
                edge.acceptor_stack,
            )
        )
    return (
        tuple(_class(graph.nodes[index]) for index in nodes),
        frozenset(edges),
        graph.units[unit].feeds,
        graph.units[unit].slot_names,
    )


def _class(node: Node) -> Hashable:
    return node.slots, node.states, node.frozen, node.ports
