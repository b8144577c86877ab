"""The proof: every step of a plan replayed on everything that instances may hold.

The search works with what was observed; the proof with all states that an instance may be in,
and without the instances that cannot be changed now. It ends where a step would break a link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.fleet.plan import Proof, Violation
from rollover.planner.explain import cut_off, left_behind, violation
from rollover.planner.graph import Choice, Graph, Possible, Unit, Vector
from rollover.planner.moves import dictated, resolve, window
from rollover.planner.safety import Checked, Judge, Window
from rollover.planner.search import Step

MOST_VIOLATIONS = 10


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


def replay(
    graph: Graph, judge: Judge, steps: Sequence[Step], *, now: datetime, margin: timedelta
) -> Replay:
    """Prove steps in order, up to the first that would break a link."""
    proven: list[Proven] = []
    last: tuple[Possible, ...] = tuple(node.states for node in graph.nodes)
    for each in examine(graph, judge, steps, now=now, margin=margin):
        if lacking := tuple(starved(graph, each)):
            return Replay(steps=tuple(proven), blocked=lacking, complete=False)
        if not each.proof.holds:
            found = tuple(
                violation(graph, broken) for broken in each.checked.broken[:MOST_VIOLATIONS]
            )
            return Replay(steps=tuple(proven), blocked=found, complete=False)
        proven.append(each)
        last = following(each)
    return ended(graph, proven, last)


def ended(graph: Graph, proven: Sequence[Proven], last: Sequence[Possible]) -> Replay:
    """Return steps of which nothing stops the last; who is not at the goal then is left behind."""
    behind = tuple(left_behind(graph, last))
    return Replay(steps=tuple(proven), blocked=behind, complete=not behind)


def starved(graph: Graph, proven: Proven) -> Iterator[Violation]:
    """Yield what a step would need of its sources and cannot get, because they are out of reach."""
    unit = graph.units[proven.step.unit]
    given = dictated(graph, unit, proven.before)
    wanted = dict(zip(unit.slot_names, proven.step.choice, strict=True))
    actual = tuple(given.get(name, stage) for name, stage in wanted.items())
    if _after(graph, unit, actual, proven.before) == proven.after:
        return
    for source in dict.fromkeys(feed.group for feed in unit.feeds):
        for node in (graph.nodes[index] for index in graph.units[source].nodes):
            if node.frozen:
                yield cut_off(node, unit.group.name)


def examine(
    graph: Graph, judge: Judge, steps: Sequence[Step], *, now: datetime, margin: timedelta
) -> Iterator[Proven]:
    """Yield every step with its proof, or with what it breaks, as if all of them were taken.

    Steps that change no instance that can be changed now are left out.
    """
    possible: tuple[Possible, ...] = tuple(node.states for node in graph.nodes)
    starts = now
    for step in steps:
        unit = graph.units[step.unit]
        after = _after(graph, unit, step.choice, possible)
        if not after:
            continue
        during = window(graph, unit, starts, margin)
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
        possible = following(proven)
        starts += unit.group.rollout_time + margin


def following(proven: Proven) -> tuple[Possible, ...]:
    """Return what every class may hold once a step has ended."""
    held = list(proven.before)
    for index, vector in proven.after.items():
        held[index] = (vector,)
    return tuple(held)


def _after(
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
