"""How to return: a plan from any state on the way to the state at the start, by the same rule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.planner.bounds import lower_bound
from rollover.planner.construct import Constructor
from rollover.planner.graph import Graph, Node, Vector
from rollover.planner.safety import Judge
from rollover.planner.search import Search, Terms, working
from rollover.planner.slots import returning

MOST_STATES_BACK = 200
"""How hard a shorter way back than the one that was built is looked for."""

MOST_GROUPS_BACK = 8
"""Of more groups only the way back over the steps already taken is told, where that is safe."""


def undoable(graph: Graph, judge: Judge, now: datetime) -> bool:
    """Whether every step may be taken back as it was taken: its mixtures are the same both ways.

    Not where a step heals a link, which the rule protects from then on, and not where sources
    dictate what a rollout delivers.
    """
    heals = len(working(graph, judge, graph.observed(), now)) < len(graph.edges)
    return not heals and not any(unit.feeds for unit in graph.units)


def way_back(
    graph: Graph, judge: Judge, state: Sequence[Vector], *, now: datetime, margin: timedelta
) -> int | None:
    """Return how few rollouts lead back to the start; None when none was found."""
    nodes = tuple(_reversed(graph, node, state[node.index]) for node in graph.nodes)
    backward = msgspec.structs.replace(graph, nodes=nodes)
    terms = Terms(
        now=now, margin=margin, start=backward.observed(), weights=(1,) * len(graph.units)
    )
    search = Search(backward, judge.on(backward), terms)
    built = Constructor(search).plan()
    if built is not None and built.paid == lower_bound(search):
        return built.paid.rollouts
    below = None if built is None else built.paid
    shorter = search.cheapest(most_states=MOST_STATES_BACK, below=below).found
    if shorter is not None:
        return len(shorter.steps)
    return None if built is None else built.paid.rollouts


def _reversed(graph: Graph, node: Node, vector: Vector) -> Node:
    slots = tuple(
        returning(slot, value, origin, collides=graph.collides)
        for slot, value, origin in zip(node.slots, vector, node.states[0], strict=True)
    )
    return msgspec.structs.replace(node, slots=slots, states=(vector,))
