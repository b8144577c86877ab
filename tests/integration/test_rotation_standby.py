"""A fleet that trusts its next CA ahead of time: one rollout for each group, again and again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rigs.rotating import (
    SMALL,
    UNHARMED,
    Losses,
    holds,
    request,
    roll_back,
    rotate,
    trusted_and_presented,
)
from rollover.engine.events import Ending
from rollover.errors import SpecError
from rollover_lab.nats.lab import running


def test_a_standby_ca_takes_one_rollout_for_each_group_for_ever(tmp_path: Path) -> None:
    """Each rotation goes to the standby and adds the next: two groups, two rollouts, thrice."""
    spec = msgspec.structs.replace(SMALL, standby=True)
    with running(spec, tmp_path / "lab") as lab:
        losses = Losses(lab)
        for generation in (2, 3, 4):
            outcome = rotate(lab, request(standby=True))
            assert (outcome.ending, len(outcome.rollouts)) == (Ending.DONE, 2), outcome.message
            trusted, presented = trusted_and_presented(lab)
            assert presented == {f"CN=Demo NATS CA {generation}"}
            assert trusted == {
                f"CN=Demo NATS CA {index}" for index in range(generation - 1, generation + 2)
            }
            assert holds(lab)
        with pytest.raises(SpecError, match="another goal is asked for"):
            rotate(lab, request(again=False, cross_sign=True))
        outcome = roll_back(lab)
        assert outcome.ending == Ending.DONE, outcome.message
        trusted, presented = trusted_and_presented(lab)
        assert presented == {"CN=Demo NATS CA 3"}
        assert trusted == {f"CN=Demo NATS CA {literal}" for literal in (2, 3, 4)}
        assert losses.since() == UNHARMED
