"""Plans: the table of contents of everything that a plan is made from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

import msgspec

from rollover.fleet.fleet import Fleet
from rollover.fleet.goal import Approach, Goal
from rollover.fleet.plan import Plan, Rollout, Violation
from rollover.planner import explain, prove
from rollover.planner.classes import Classifier
from rollover.planner.describe import Describer, point_of_no_return
from rollover.planner.explain import NO_SAFE_PLAN, violation_of, with_lifts
from rollover.planner.graph import Graph
from rollover.planner.prove import (
    MOST_GROUPS_BACK,
    MOST_VIOLATIONS,
    Proven,
    Replay,
    examine_steps,
    replay_steps,
    rollback_rollouts,
    state_after,
    undoable,
)
from rollover.planner.safety import Judge, Knowledge
from rollover.planner.search import MOST_STATES, FoundSteps, Search, SearchTerms, Step
from rollover.planner.solve import Solved, Solver
from rollover.planner.step_limits import straight_choice

HORIZON_ROLLOUTS = 8
"""Dates are told apart as far ahead as this many rollouts of every group would take."""


class SearchLimits(msgspec.Struct, frozen=True):
    """How hard to search. `ways_back`: prove for each rollout how to return from it."""

    most_states: int = MOST_STATES
    ways_back: bool = True


class Bound(NamedTuple):
    """What any safe plan costs at least."""

    weight: int
    rollouts: int


class _Work(msgspec.Struct, frozen=True):
    """What every part of one planning shares."""

    fleet: Fleet
    goal: Goal
    knowledge: Knowledge
    graph: Graph
    judge: Judge
    now: datetime

    def search(self) -> Search:
        """Return a search from what was observed."""
        terms = SearchTerms(now=self.now, margin=self.goal.step_margin, start=self.graph.observed())
        return Search(self.graph, self.judge, terms)


def plan(
    fleet: Fleet,
    goal: Goal,
    *,
    knowledge: Knowledge,
    now: datetime,
    limits: SearchLimits | None = None,
) -> Plan:
    """Return the cheapest safe plan from what the fleet is to the goal, with its proof.

    When instances are out of reach the plan ends before the step that would cut them off, and
    `blocked` names them. The same when no safe plan exists: `blocked` says why. Pure.
    """
    limits = limits or SearchLimits()
    work = _prepare(fleet, goal, knowledge, now)
    match goal.approach:
        case Approach.LEAST_HARM:
            return _emergency(work)
        case Approach.AT_ONCE:
            return _at_once(work)
        case Approach.CHEAPEST:
            return _searched(work, limits)
        case never:
            assert_never(never)


def _searched(work: _Work, limits: SearchLimits) -> Plan:
    """Return the cheapest safe plan; where there is none, what stands in the way."""
    solved = _solved(work, limits)
    if solved.found is None:
        return _impossible(work)
    steps = solved.found.steps
    replayed = replay_steps(
        work.graph, work.judge, steps, now=work.now, margin=work.goal.step_margin
    )
    rollouts = _described(work, replayed, ways_back=limits.ways_back)
    return _plan(
        work, replayed, rollouts, found=solved.found, least=Bound(solved.weight, solved.rollouts)
    )


def naive(
    fleet: Fleet, goal: Goal, *, knowledge: Knowledge, now: datetime
) -> tuple[Violation, ...]:
    """Return what a naive swap would break: every group straight to the goal, one after another."""
    work = _prepare(fleet, goal, knowledge, now)
    return tuple(_broken(work, _straight_steps(work))[:MOST_VIOLATIONS])


def _straight_steps(work: _Work) -> list[Step]:
    """Return one step for each group, straight to the goal."""
    return [Step(unit.index, straight_choice(unit)) for unit in work.graph.units]


def _broken(work: _Work, steps: Sequence[Step]) -> list[Violation]:
    """Return everything that steps would break, if they were taken all the same."""
    examined = examine_steps(
        work.graph, work.judge, steps, now=work.now, margin=work.goal.step_margin
    )
    return [
        violation_of(work.graph, broken) for proven in examined for broken in proven.checked.broken
    ]


def _prepare(fleet: Fleet, goal: Goal, knowledge: Knowledge, now: datetime) -> _Work:
    horizon = _horizon(fleet, goal, now)
    graph = Classifier(fleet, goal, knowledge=knowledge, now=now, horizon=horizon).graph()
    return _Work(fleet, goal, knowledge, graph, Judge(graph, knowledge), now)


def _horizon(fleet: Fleet, goal: Goal, now: datetime) -> datetime:
    once = sum((group.rollout_time + goal.step_margin for group in fleet.groups), timedelta())
    return now + HORIZON_ROLLOUTS * once


def _solved(work: _Work, limits: SearchLimits) -> Solved:
    """Return the cheapest plan for all that instances may hold, or else for what was observed."""
    solved = Solved(None)
    for start in dict.fromkeys((work.graph.possible(), work.graph.observed())):
        solver = Solver(
            work.graph,
            work.judge,
            now=work.now,
            margin=work.goal.step_margin,
            start=start,
            horizon=_horizon(work.fleet, work.goal, work.now),
            most_states=limits.most_states,
        )
        solved = solver.solve()
        if solved.found is not None:
            break
    return solved


def _described(work: _Work, replayed: Replay, *, ways_back: bool) -> tuple[Rollout, ...]:
    describer = Describer(work.fleet, work.goal, work.knowledge)
    many = len(work.graph.units) > MOST_GROUPS_BACK
    by_undoing = many and undoable(work.graph, work.judge, work.now)
    rollouts = []
    for number, proven in enumerate(replayed.steps, 1):
        back = None
        if ways_back:
            back = number if by_undoing else _rollback_rollouts(work, proven)
        rollout = describer.rollout(work.graph, number, proven)
        rollouts.append(msgspec.structs.replace(rollout, rollback_rollouts=back))
    return tuple(rollouts)


def _rollback_rollouts(work: _Work, proven: Proven) -> int | None:
    state = tuple(states[0] for states in state_after(proven))
    return rollback_rollouts(
        work.graph, work.judge, state, now=work.now, margin=work.goal.step_margin
    )


def _plan(
    work: _Work,
    replayed: Replay,
    rollouts: Sequence[Rollout],
    *,
    found: FoundSteps,
    least: Bound,
) -> Plan:
    last = state_after(replayed.steps[-1]) if replayed.steps else None
    state = tuple(possible[0] for possible in last) if last else work.graph.start()
    return Plan(
        fleet=work.fleet.name,
        goal=work.goal,
        made_at=work.now,
        rollouts=tuple(rollouts),
        complete=replayed.complete,
        lower_bound=least.rollouts,
        weight=sum(rollout.weight for rollout in rollouts),
        weight_lower_bound=least.weight,
        whole=len(found.steps),
        blocked=with_lifts(work.fleet, work.goal, replayed.blocked)[:MOST_VIOLATIONS],
        cautions=tuple(
            explain.plan_cautions(work.fleet, work.graph, work.knowledge, work.now, state)
        ),
        broken=tuple(explain.broken_now(work.graph, work.judge, work.now)),
        point_of_no_return=point_of_no_return(tuple(rollouts)),
        classes=len(work.graph.nodes),
        states_searched=found.states,
    )


def _emergency(work: _Work) -> Plan:
    search = work.search()
    steps = prove.least_harm(search)
    replayed = replay_steps(
        work.graph,
        work.judge,
        steps,
        now=work.now,
        margin=work.goal.step_margin,
        may_break=True,
    )
    described = _described(work, replayed, ways_back=False)
    rollouts = prove.with_breaks(work.graph, work.judge, replayed.steps, described)
    weight = search.weighed(steps)
    found = FoundSteps(steps=steps, weight=weight, exact=True, states=0)
    return _plan(work, replayed, rollouts, found=found, least=Bound(weight, len(steps)))


def _at_once(work: _Work) -> Plan:
    """Return the plan of exactly the rollouts that bring what is supplied, safe or not."""
    moving = {node.group for node in work.graph.nodes if any(slot.moves for slot in node.slots)}
    steps = tuple(step for step in _straight_steps(work) if step.unit in moving)
    replayed = replay_steps(
        work.graph, work.judge, steps, now=work.now, margin=work.goal.step_margin
    )
    broken = tuple(_broken(work, steps))
    if broken:
        replayed = msgspec.structs.replace(replayed, blocked=broken)
    weight = sum(work.graph.units[step.unit].group.rollout_weight for step in steps)
    rollouts = _described(work, replayed, ways_back=False)
    found = FoundSteps(steps=steps, weight=weight, exact=True, states=0)
    return _plan(work, replayed, rollouts, found=found, least=Bound(weight, len(steps)))


def _impossible(work: _Work) -> Plan:
    """Return the plan of a fleet for which no safe order exists, with what stands in the way."""
    blocked = [violation for step in _straight_steps(work) for violation in _broken(work, [step])]
    if not blocked:
        blocked.append(
            Violation(
                rule=NO_SAFE_PLAN,
                message="no order of rollouts leads to the goal without breaking a link",
                lift="look at `rollover check`",
            )
        )
    replayed = Replay(steps=(), blocked=tuple(blocked), complete=False)
    found = FoundSteps(steps=(), weight=0, exact=False, states=0)
    return _plan(work, replayed, (), found=found, least=Bound(0, 0))
