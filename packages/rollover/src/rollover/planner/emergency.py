"""The plan for a compromised CA: its trust goes at once, and the plan says which links die when.

Every group is rolled out once, straight to the goal. Only the order is left to choose: the one in
which the fewest links are broken for the shortest time. Who gets its material from a source comes
after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count

import msgspec

from rollover.fleet.plan import Break, Rollout
from rollover.planner.explain import witness
from rollover.planner.graph import Edge, Graph, Possible, State
from rollover.planner.moves import move, straight
from rollover.planner.prove import Proven, Replay, ended, examine, following, starved
from rollover.planner.safety import Judge
from rollover.planner.search import Search, Step

DIALER_FIRST = 1000
"""A dead link counts so many times when its dialer went first: until those that it dials follow,
it cannot make one handshake to prove that it took its new material, and its rollout fails."""

MOST_ORDERED = 12
"""Above this many groups the order is chosen one group at a time, not searched."""


def least_harm(search: Search) -> tuple[Step, ...]:
    """Return one rollout for each group that has to change, in the least harmful order."""
    start = search.terms.start
    pending = frozenset(kin.unit for kin in search.kin if not search.graph.arrived(start, kin.unit))
    if len(pending) > MOST_ORDERED:
        return search.expanded(_greedy(search, start, pending))
    order = count()
    queue: list[tuple[float, int, frozenset[int], State, tuple[Step, ...]]] = []
    heappush(queue, (0.0, next(order), pending, start, ()))
    seen: set[frozenset[int]] = set()
    while queue:
        harm, _, left, state, path = heappop(queue)
        if not left:
            return search.expanded(path)
        if left in seen:
            continue
        seen.add(left)
        for unit in _ready(search.graph, left):
            after, step, more = _taken(search, state, unit)
            heappush(queue, (harm + more, next(order), left - {unit}, after, (*path, step)))
    raise AssertionError


def _greedy(search: Search, state: State, pending: frozenset[int]) -> tuple[Step, ...]:
    path: list[Step] = []
    left = set(pending)
    while left:
        tried = [(_taken(search, state, unit), unit) for unit in _ready(search.graph, left)]
        (state, step, _), unit = min(tried, key=lambda item: item[0][2])
        path.append(step)
        left.discard(unit)
    return tuple(path)


def _ready(graph: Graph, left: Collection[int]) -> list[int]:
    """Return the groups whose sources have been rolled out: a source hands out what it holds."""
    ready = [
        unit
        for unit in sorted(left)
        if not any(feed.group in left for feed in graph.units[unit].feeds)
    ]
    return ready or sorted(left)


def _taken(search: Search, state: State, unit: int) -> tuple[State, Step, float]:
    """Return the state after a group's rollout, the step, and what it costs.

    That is the link-seconds that it breaks. A dialer shows what it took by dialling, so one that
    is cut off by its own rollout cannot be confirmed: its acceptors go first where they can.
    """
    graph = search.graph
    choice = straight(graph.units[unit])
    after = move(graph, graph.units[unit], choice, state).applied(state)
    dead = sum(
        edge.links * (DIALER_FIRST if _dials_out(graph, edge, unit) else 1)
        for edge in graph.edges
        if search.judge.link(edge, after[edge.dialer][0], after[edge.acceptor][0], search.terms.now)
    )
    seconds = (graph.units[unit].group.rollout_time + search.terms.margin).total_seconds()
    return after, Step(unit, choice), dead * seconds


def _dials_out(graph: Graph, edge: Edge, unit: int) -> bool:
    nodes = graph.nodes
    return nodes[edge.dialer].group == unit != nodes[edge.acceptor].group


def proven(
    graph: Graph, judge: Judge, steps: Sequence[Step], *, now: datetime, margin: timedelta
) -> Replay:
    """Replay steps that may break links, up to one whose source is out of reach."""
    found: list[Proven] = []
    last: tuple[Possible, ...] = graph.possible()
    for each in examine(graph, judge, steps, now=now, margin=margin):
        if lacking := tuple(starved(graph, each)):
            return Replay(steps=tuple(found), blocked=lacking, complete=False)
        found.append(each)
        last = following(each)
    return ended(graph, found, last)


def with_breaks(
    graph: Graph, judge: Judge, proven: tuple[Proven, ...], rollouts: tuple[Rollout, ...]
) -> tuple[Rollout, ...]:
    """Return the rollouts, each with the links that it breaks and when they work again."""
    return tuple(
        msgspec.structs.replace(rollout, breaks=tuple(_breaks(graph, judge, proven, position)))
        for position, rollout in enumerate(rollouts)
    )


def _breaks(
    graph: Graph, judge: Judge, proven: tuple[Proven, ...], position: int
) -> Iterator[Break]:
    for broken in proven[position].checked.broken:
        edge = graph.edges[broken.edge]
        healed = None
        for later in range(position, len(proven)):
            states = [
                proven[later].after.get(index, proven[later].before[index][0])
                for index in (edge.dialer, edge.acceptor)
            ]
            if judge.link(edge, states[0], states[1], proven[later].window.starts) is None:
                healed = later + 1
                break
        yield Break(witness=witness(graph, broken), links=edge.links, heals_after=healed)
