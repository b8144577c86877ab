"""Rotations taken back, from every point of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.rotating import (
    AUTHORITY,
    SMALL,
    UNHARMED,
    Losses,
    first,
    holds,
    library,
    of_last_rotation,
    request,
    roll_back,
    rotate,
    trusted_and_presented,
)
from rollover.engine.events import Ending
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.journal import EntryKind
from rollover_lab.nats.lab import Lab, running

ROLLOUTS = 5


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet."""
    with running(SMALL, tmp_path_factory.mktemp("back") / "lab") as fleet:
        yield fleet


@pytest.mark.parametrize("count", range(1, ROLLOUTS + 1))
def test_a_rotation_is_taken_back_from_behind_each_rollout(lab: Lab, count: int) -> None:
    """Wherever it stops, a rollback leads to the old CA alone, proven, with nothing lost."""
    before, losses = trusted_and_presented(lab), Losses(lab)
    outcome = rotate(lab, steered=first(count))
    assert len(outcome.rollouts) == count
    assert outcome.ending is (Ending.DONE if count == ROLLOUTS else Ending.DECLINED)
    assert trusted_and_presented(lab) != before
    back = roll_back(lab)
    assert back.ending is Ending.DONE, back.message
    assert trusted_and_presented(lab) == before
    assert holds(lab)
    assert losses.since() == UNHARMED


def test_the_plan_says_how_far_the_way_back_is(lab: Lab) -> None:
    """A rollback takes as many rollouts as the plan, made at the start, had said."""
    with library(lab) as rollover:
        plan = rollover.plan(request())
    rotate(lab, steered=first(2))
    assert len(roll_back(lab).rollouts) == plan.rollouts[1].rollback_rollouts


def test_a_cross_signed_rotation_is_taken_back_too(lab: Lab) -> None:
    """The bridge stands in nobody's way back."""
    before, losses = trusted_and_presented(lab), Losses(lab)
    outcome = rotate(lab, request(cross_sign=True), first(1))
    assert outcome.ending is Ending.DECLINED
    assert roll_back(lab).ending is Ending.DONE
    assert trusted_and_presented(lab) == before
    assert losses.since() == UNHARMED


def test_what_was_taken_back_is_not_taken_up_again(lab: Lab) -> None:
    """After a rollback `rotate` finds nothing to do; `--new` goes to a CA of its own."""
    rotate(lab, steered=first(3))
    with library(lab) as rollover:
        left = rollover.site.authorities.versions(AUTHORITY).versions[-1]
    assert roll_back(lab).ending is Ending.DONE
    assert roll_back(lab).rollouts == ()
    idle = rotate(lab, request(again=False))
    assert (idle.ending, idle.rollouts) == (Ending.DONE, ())
    outcome = rotate(lab)
    assert outcome.ending is Ending.DONE
    assert outcome.last_plan is not None
    goal = outcome.last_plan.goal
    assert isinstance(goal, RotateAuthority)
    assert goal.target != left
    assert left in goal.retired


def test_an_interrupted_rollback_goes_on_as_one(lab: Lab) -> None:
    """`rollback` again, and `rotate` too, go on with a rollback that is unfinished."""
    before = trusted_and_presented(lab)
    rotate(lab, steered=first(3))
    assert roll_back(lab, first(1)).ending is Ending.DECLINED
    outcome = rotate(lab, request(again=False))
    assert outcome.ending is Ending.DONE
    assert trusted_and_presented(lab) == before
    assert len(of_last_rotation(lab, EntryKind.FINISHED)) == 1
