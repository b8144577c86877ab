"""How to return: a plan from any state on the way to the state at the start, by the same rule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.planner.graph import Graph, Node, Vector
from rollover.planner.safety import Judge
from rollover.planner.search import Search
from rollover.planner.slots import between

MOST_STATES_BACK = 500


def way_back(
    graph: Graph, judge: Judge, state: Sequence[Vector], *, now: datetime, margin: timedelta
) -> int | None:
    """Return how few rollouts lead back to the start; None when none was found."""
    backward = msgspec.structs.replace(
        graph, nodes=tuple(_reversed(node, state[node.index]) for node in graph.nodes)
    )
    search = Search(backward, judge.on(backward), now=now, margin=margin)
    found = search.cheapest(most_states=MOST_STATES_BACK)
    return None if found is None else len(found.steps)


def _reversed(node: Node, vector: Vector) -> Node:
    slots = tuple(
        between(slot.name, value, origin, is_chain=slot.is_chain)
        for slot, value, origin in zip(node.slots, vector, node.states[0], strict=True)
    )
    return msgspec.structs.replace(node, slots=slots, states=(vector,))
