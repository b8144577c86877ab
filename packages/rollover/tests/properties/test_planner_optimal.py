"""A plan costs what brute force finds to be the least, and exists exactly where one exists."""

from __future__ import annotations

from hypothesis import assume, given

from rigs import builders as build
from rigs.examples_budget import examples
from rigs.planner_fleets import Case, fleets
from rigs.planner_oracle import Cheapest, Oracle
from rollover.fleet.plan import Plan
from rollover.planner.planner import SearchLimits, plan


def planned(case: Case, *, most_states: int = 20_000) -> Plan:
    """The plan of a case."""
    return plan(
        case.fleet,
        case.goal,
        knowledge=case.world.knowledge(),
        now=build.NOW,
        limits=SearchLimits(most_states=most_states, ways_back=False),
    )


def cheapest(case: Case) -> Cheapest | None:
    """What brute force finds; fleets that it cannot get through are left out."""
    try:
        return Oracle(case.fleet, case.goal).cheapest()
    except OverflowError:
        assume(False)
        raise


@examples(60)
@given(fleets())
def test_no_safe_plan_is_cheaper(case: Case) -> None:
    """Weight, then rollouts, are the least of all interleavings; no plan is missed or invented."""
    best, found = cheapest(case), planned(case)
    assert found.complete == (best is not None)
    if best is not None:
        assert (found.weight, len(found.rollouts)) == (best.weight, best.rollouts)
        assert found.weight_lower_bound == best.weight


@examples(30)
@given(fleets())
def test_fewest_rollouts_are_the_fewest_at_any_weight(case: Case) -> None:
    """`lower_bound` is the least number of rollouts of any safe plan, and it is reached."""
    even = Oracle(case.fleet, case.goal)
    found = planned(case)
    assume(found.complete)
    even.groups = tuple(build.with_weight(group, 1) for group in even.groups)
    try:
        best = even.cheapest()
    except OverflowError:
        return
    assert best is not None
    assert found.lower_bound == best.rollouts


@examples(40)
@given(fleets())
def test_a_built_plan_is_complete_and_its_bounds_hold(case: Case) -> None:
    """Where the search may not open a single state, the plan is dearer at most, and says so."""
    best = cheapest(case)
    assume(best is not None)
    found = planned(case, most_states=0)
    assert best is not None
    if found.complete:
        assert found.weight_lower_bound <= best.weight <= found.weight
        assert found.lower_bound <= len(found.rollouts)
        assert found.lower_bound <= best.rollouts
