"""Steps proven one by one: those of a plan, those that lead back, and those that do least harm."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count

import msgspec

from rollover.fleet.plan import Break, Proof, Rollout, Violation
from rollover.planner.explain import (
    cut_off_violation,
    left_behind_violations,
    violation_of,
    witness_of,
)
from rollover.planner.graph import (
    Choice,
    Edge,
    Graph,
    Node,
    Possible,
    State,
    Unit,
    Vector,
    return_slot,
)
from rollover.planner.safety import Checked, Judge, Window
from rollover.planner.search import Search, SearchTerms, Step, lower_bound, working_edges
from rollover.planner.solve import Constructor
from rollover.planner.step_limits import (
    dictated_stages,
    move_of,
    resolve,
    step_window,
    straight_choice,
)

# The proof.
#
# The search works with what was observed; the proof with all states that an instance may be in,
# and without the instances that cannot be changed now. It ends where a step would break a link.


MOST_VIOLATIONS = 10
"""As many as people read."""


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was replayed: what it changes, and its proof. It breaks nothing if `holds`."""

    step: Step
    before: tuple[Possible, ...]
    after: dict[int, Vector]
    window: Window
    checked: Checked
    proof: Proof


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as far as it can be proven: its steps, and what blocks the next."""

    steps: tuple[Proven, ...]
    blocked: tuple[Violation, ...]
    complete: bool


def replay_steps(
    graph: Graph,
    judge: Judge,
    steps: Sequence[Step],
    *,
    now: datetime,
    margin: timedelta,
    may_break: bool = False,
) -> Replay:
    """Prove steps in order, up to the first that would break a link, or whose source is away.

    `may_break`: links may be broken. Who is not at the goal after the last step is left behind.
    """
    taken: list[Proven] = []
    last: tuple[Possible, ...] = graph.possible()
    for proven in examine_steps(graph, judge, steps, now=now, margin=margin):
        if lacking := tuple(starved_groups(graph, proven)):
            return Replay(steps=tuple(taken), blocked=lacking, complete=False)
        if not (proven.proof.holds or may_break):
            found = tuple(
                violation_of(graph, broken) for broken in proven.checked.broken[:MOST_VIOLATIONS]
            )
            return Replay(steps=tuple(taken), blocked=found, complete=False)
        taken.append(proven)
        last = state_after(proven)
    behind = tuple(left_behind_violations(graph, last))
    return Replay(steps=tuple(taken), blocked=behind, complete=not behind)


def starved_groups(graph: Graph, proven: Proven) -> Iterator[Violation]:
    """Yield what a step would need of its sources and cannot get, because they are out of reach."""
    unit = graph.units[proven.step.unit]
    dictated = dictated_stages(graph, unit, proven.before)
    wanted = dict(zip(unit.slot_names, proven.step.choice, strict=True))
    actual = tuple(dictated.get(name, stage) for name, stage in wanted.items())
    if _vectors_after(graph, unit, actual, proven.before) == proven.after:
        return
    for source in dict.fromkeys(feed.group for feed in unit.feeds):
        for node in (graph.nodes[index] for index in graph.units[source].nodes):
            if node.frozen:
                yield cut_off_violation(node, unit.group.name)


def examine_steps(
    graph: Graph, judge: Judge, steps: Sequence[Step], *, now: datetime, margin: timedelta
) -> Iterator[Proven]:
    """Yield every step with its proof, or with what it breaks, as if all of them were taken.

    Steps that change no instance that can be changed now are left out.
    """
    possible: tuple[Possible, ...] = graph.possible()
    starts = now
    for step in steps:
        unit = graph.units[step.unit]
        after = _vectors_after(graph, unit, step.choice, possible)
        if not after:
            continue
        during = step_window(graph, unit, starts, margin)
        checked = judge.check(graph.edges_of[unit.index], possible, after, during)
        proven = Proven(
            step=step,
            before=possible,
            after=after,
            window=during,
            checked=checked,
            proof=_proof(judge, checked, during),
        )
        yield proven
        possible = state_after(proven)
        starts += unit.group.rollout_time + margin


def state_after(proven: Proven) -> tuple[Possible, ...]:
    """Return what every class may hold once a step has ended."""
    held = list(proven.before)
    for index, vector in proven.after.items():
        held[index] = (vector,)
    return tuple(held)


def _vectors_after(
    graph: Graph, unit: Unit, choice: Choice, possible: Sequence[Possible]
) -> dict[int, Vector]:
    after = {}
    for index in unit.nodes:
        node = graph.nodes[index]
        if node.frozen:
            continue
        vector = resolve(node, unit, choice, possible[index][0])
        if possible[index] != (vector,):
            after[index] = vector
    return after


def _proof(judge: Judge, checked: Checked, during: Window) -> Proof:
    return Proof(
        starts=during.starts,
        ends=during.ends,
        links=checked.links,
        class_links=checked.edges,
        combinations=checked.combinations,
        verdicts=judge.verdicts,
        holds=not checked.broken,
    )


# The way back: a plan from any state on the way to the state at the start, by the same rule.

MOST_STATES_BACK = 200
"""How hard a shorter way back than the one that was built is looked for."""

MOST_GROUPS_BACK = 8
"""Of more groups only the way back over the steps already taken is told, where that is safe."""


def undoable(graph: Graph, judge: Judge, now: datetime) -> bool:
    """Whether every step may be taken back as it was taken: its mixtures are the same both ways.

    Not where a step heals a link, which the rule protects from then on, and not where sources
    dictate what a rollout delivers.
    """
    heals = len(working_edges(graph, judge, graph.observed(), now)) < len(graph.edges)
    return not heals and not any(unit.feeds for unit in graph.units)


def rollback_rollouts(
    graph: Graph, judge: Judge, state: Sequence[Vector], *, now: datetime, margin: timedelta
) -> int | None:
    """Return how few rollouts lead back to the start; None when none was found."""
    nodes = tuple(_reversed_node(graph, node, state[node.index]) for node in graph.nodes)
    backward = msgspec.structs.replace(graph, nodes=nodes)
    terms = SearchTerms(
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


def _reversed_node(graph: Graph, node: Node, vector: Vector) -> Node:
    slots = tuple(
        return_slot(slot, value, origin, collides=graph.collides)
        for slot, value, origin in zip(node.slots, vector, node.states[0], strict=True)
    )
    return msgspec.structs.replace(node, slots=slots, states=(vector,))


# The plan for a compromised CA: its trust goes at once, and the plan says which links die when.
#
# Every group is rolled out once, straight to the goal. Only the order is left to choose: the one
# in which the fewest links are broken for the shortest time. Who gets its material from a source
# comes after it.


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
    # The number in a row decides between equals: steps and states have no order.
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
        (state, step, _), unit = min(tried, key=lambda result: result[0][2])
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
    choice = straight_choice(graph.units[unit])
    after = move_of(graph, graph.units[unit], choice, state).applied(state)
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
        yield Break(witness=witness_of(graph, broken), links=edge.links, heals_after=healed)
