"""A CA whose key leaked: its trust goes first, and the plan says what dies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.rotating import (
    SMALL,
    await_connected,
    conduct,
    first,
    holds,
    library,
    request,
    roll_back,
    rotate,
    trusted_and_presented,
)
from rollover.engine import events
from rollover.engine.events import Ending
from rollover.errors import SpecError
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.plan import Rollout
from rollover_lab.nats.lab import running
from rollover_lab.nats.naive_swap import broken_links


def test_what_the_plan_says_breaks_breaks_and_heals_when_it_says(tmp_path: Path) -> None:
    """Behind each rollout exactly the links that the plan gave up are broken; in the end none."""
    with running(SMALL, tmp_path / "lab") as lab:
        before = trusted_and_presented(lab)[0]
        with library(lab) as rollover:
            plan = rollover.plan(request(compromised=True))
        assert sum(_standing(plan.rollouts)) > 0
        broken: list[int] = []

        def note(event: events.Event) -> None:
            if isinstance(event, events.RolloutFinished):
                broken.append(len(broken_links(lab.description)))

        outcome = rotate(lab, request(compromised=True), conduct(tell=note))
        assert outcome.ending is Ending.DONE, outcome.message
        assert len(outcome.rollouts) == len(plan.rollouts) == len(broken)
        assert broken == _standing(plan.rollouts)
        assert broken[-1] == 0
        trusted, presented = trusted_and_presented(lab)
        assert trusted == presented
        assert not trusted & before
        await_connected(lab)
        assert holds(lab)
        with pytest.raises(SpecError, match="leaked"):
            roll_back(lab)


def _standing(rollouts: tuple[Rollout, ...]) -> list[int]:
    """Return how many links are broken behind each rollout, by the plan's word."""
    return [
        sum(
            item.links
            for earlier in rollouts[: done + 1]
            for item in earlier.breaks
            if item.heals_after is None or item.heals_after > done + 1
        )
        for done in range(len(rollouts))
    ]


def test_an_ordinary_rotation_becomes_an_emergency_half_way(tmp_path: Path) -> None:
    """`--compromised` during a rotation goes to the same new CA, by the other order."""
    with running(SMALL, tmp_path / "lab") as lab:
        outcome = rotate(lab, steered=first(1))
        assert outcome.last_plan is not None
        begun = outcome.last_plan.goal
        assert isinstance(begun, RotateAuthority)
        outcome = rotate(lab, request(compromised=True))
        assert outcome.ending is Ending.DONE, outcome.message
        assert outcome.last_plan is not None
        goal = outcome.last_plan.goal
        assert isinstance(goal, RotateAuthority)
        assert goal.target == begun.target
        trusted, presented = trusted_and_presented(lab)
        assert trusted == presented == {"CN=Demo NATS CA 2"}
        await_connected(lab)
        assert holds(lab)
