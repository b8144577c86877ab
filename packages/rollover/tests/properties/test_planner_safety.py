"""No step of a plan breaks a link in any mixture, at any time, whoever is out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

from hypothesis import assume, given
from hypothesis import strategies as st

from rigs import builders as build
from rigs.examples_budget import examples
from rigs.planner_fleets import Case, fleets
from rigs.planner_oracle import Oracle, Wire, World
from rollover.fleet.fleet import Availability, Fleet, State
from rollover.fleet.plan import Plan, Rollout
from rollover.planner.planner import SearchLimits, plan

NO_WAY_BACK = SearchLimits(ways_back=False)


def planned(case: Case, fleet: Fleet | None = None, *, now: datetime = build.NOW) -> Plan:
    """The plan of a case, or of another fleet in its place."""
    return plan(
        fleet or case.fleet,
        case.goal,
        knowledge=case.world.knowledge(),
        now=now,
        limits=NO_WAY_BACK,
    )


def walked(oracle: Oracle, found: Plan) -> Iterator[tuple[Rollout, World, World]]:
    """Every rollout with the worlds before and after it."""
    world = oracle.start
    for rollout in found.rollouts:
        after = oracle.applied(rollout, world)
        yield rollout, world, after
        world = after


@examples(60)
@given(fleets())
def test_no_mixture_breaks_a_link_and_the_goal_is_reached(case: Case) -> None:
    """Every subset of changed instances of every rollout keeps every link that worked."""
    oracle, found = Oracle(case.fleet, case.goal), planned(case)
    world = oracle.start
    for _, before, after in walked(oracle, found):
        assert before != after
        assert not oracle.breaks(before, after)
        world = after
    assert found.complete == oracle.arrived(world)


@examples(40)
@given(fleets(), st.data())
def test_two_ends_of_a_link_say_what_all_subsets_say(case: Case, data: st.DataObject) -> None:
    """Four combinations for each link are as good as all mixtures: the premise of every proof."""
    oracle = Oracle(case.fleet, case.goal)
    world = oracle.start
    for _ in range(3):
        group = data.draw(st.sampled_from(case.fleet.groups), label="group")
        outcomes = sorted(oracle.outcomes(group, world))
        if not outcomes:
            continue
        after = data.draw(st.sampled_from(outcomes), label="after")
        assert oracle.safe(group, world, after) != oracle.breaks(world, after)
        world = after


class Interruption(NamedTuple):
    """A plan that was stopped: the world that it left, and what was still to be paid."""

    world: World
    weight_left: int
    rollouts_left: int


def interruptions(oracle: Oracle, found: Plan) -> Iterator[Interruption]:
    """Every mixture that a plan passes through, with the rollout that it is in to be redone."""
    steps = list(walked(oracle, found))
    for position, (_, before, after) in enumerate(steps):
        left = found.rollouts[position:]
        for world in oracle.mixtures(before, after):
            yield Interruption(world, sum(rollout.weight for rollout in left), len(left))


@examples(25)
@given(fleets(most_groups=3), st.data())
def test_an_interrupted_plan_is_finished_at_no_extra_cost(case: Case, data: st.DataObject) -> None:
    """Planned again from any mixture, the rest costs what was left, and every step is safe."""
    oracle, found = Oracle(case.fleet, case.goal), planned(case)
    assume(found.complete and found.rollouts)
    assume(len(oracle.working(oracle.start)) == len(oracle.wires))
    every = list(interruptions(oracle, found))
    for at in data.draw(st.lists(st.sampled_from(range(len(every))), min_size=1, max_size=4)):
        stopped = every[at]
        later = Oracle(oracle.as_fleet(stopped.world), case.goal)
        again = planned(case, later.fleet)
        assert again.complete
        assert again.weight <= stopped.weight_left
        if again.weight == stopped.weight_left:
            assert len(again.rollouts) <= stopped.rollouts_left
        world = later.start
        for _, before, after in walked(later, again):
            assert not later.breaks(before, after)
            world = after
        assert later.arrived(world)


class Unavailable(NamedTuple):
    """A case in which some instances cannot be changed, and what else they may hold."""

    case: Case
    fleet: Fleet
    names: tuple[str, ...]


@st.composite
def unavailable(draw: st.DrawFn) -> Unavailable:
    """A case with one or two instances out of reach, and one or two in doubt."""
    case = draw(fleets(most_groups=3))
    instances = list(case.fleet.instances())
    some = st.lists(st.sampled_from(instances), min_size=1, max_size=2, unique=True)
    away = [Availability.IGNORED, Availability.UNREACHABLE]
    how = {str(instance.name): draw(st.sampled_from(away)) for instance in draw(some)}
    doubts = {
        str(instance.name): tuple(draw(st.lists(_states(instance.state), max_size=2)))
        for instance in draw(some)
    }
    return Unavailable(case, build.with_availability(case.fleet, how, doubts), tuple(how))


def _states(observed: State) -> st.SearchStrategy[State]:
    """What an instance may hold besides: the other chain, another bundle, slot for slot alike."""
    chains = st.sampled_from([("old:leaf",), ("new:leaf",)])
    bundles = st.sampled_from([("old",), ("old", "new"), ("new",)])
    return st.builds(
        lambda chain, bundle: State(
            tuple(chain if present else () for present in observed.presents),
            tuple(None if trust is None else bundle for trust in observed.trusts),
        ),
        chains,
        bundles,
    )


def possible_worlds(oracle: Oracle, fleet: Fleet) -> Iterator[World]:
    """Every combination of what the instances may hold."""
    options = []
    for number, instance in enumerate(fleet.instances()):
        held = {oracle.start[number]: None}
        for state in instance.may_be:
            held[oracle.held(number, state)] = None
        options.append(tuple(held))
    yield from product(*options)


@examples(50)
@given(unavailable())
def test_nobody_out_of_reach_is_cut_off(given_case: Unavailable) -> None:
    """In every possible world no step breaks a link that worked in it; who blocks is named."""
    case, fleet, names = given_case
    oracle, found = Oracle(fleet, case.goal), planned(case, fleet)
    worlds = set(possible_worlds(oracle, fleet))
    for rollout in found.rollouts:
        changed = {name for assignment in rollout.assignments for name in assignment.instances}
        assert not changed & set(names)
        later = {world: oracle.applied(rollout, world) for world in worlds}
        assert not any(oracle.breaks(world, after) for world, after in later.items())
        worlds = set(later.values())
    assert found.complete == all(oracle.arrived(world) for world in worlds)
    whole = planned(case)
    if whole.complete and not found.complete:
        told = " ".join(f"{violation.message} {violation.lift}" for violation in found.blocked)
        in_doubt = [instance.name for instance in fleet.instances() if instance.may_be]
        assert any(name in told for name in (*names, *in_doubt))


_MINUTES = st.sampled_from([2, 7, 16, 31])


@examples(40)
@given(fleets(most_groups=3), st.sampled_from(["old", "new", "old:leaf"]), _MINUTES, st.booleans())
def test_a_certificate_that_expires_meanwhile_breaks_nothing(
    case: Case,
    name: str,
    minutes: int,
    begins: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Every step keeps every link that worked at its start until the next step can have ended."""
    passes = build.NOW + timedelta(minutes=minutes)
    dates = {"not_before": passes} if begins else {"not_after": passes}
    case.world.add(build.certificate(name, **dates))
    valid = Oracle(case.fleet, case.goal)
    invalid = Oracle(case.fleet, case.goal, frozenset({name}))

    def at(instant: datetime) -> Oracle:
        return valid if (instant >= passes if begins else instant <= passes) else invalid

    for rollout, before, after in walked(valid, planned(case)):
        first, last = at(rollout.proof.starts), at(rollout.proof.ends)
        touched = [wire for wire in first.working(before) if touches(wire, before, after)]
        for world in valid.mixtures(before, after):
            for wire in touched:
                ends = world[wire.dialer], world[wire.acceptor]
                assert first.works(wire, *ends)
                assert last.works(wire, *ends)


def touches(wire: Wire, before: World, after: World) -> bool:
    """Whether a rollout changes an end of a link."""
    return (
        before[wire.dialer] != after[wire.dialer] or before[wire.acceptor] != after[wire.acceptor]
    )
