"""Rotations of a BOSH that are killed at random points, again and again: each run goes on."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from rigs.bosh_lab import NAMES, BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import (
    backups,
    begin,
    machines,
    ops_files,
    rotate,
    trusted_by_nats,
    variables,
)
from rollover.errors import AdapterError, ExitCode

pytestmark = pytest.mark.soak

ROTATIONS = int(os.environ.get("SOAK_ROTATIONS", "5"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
LONGEST_SECONDS = 15.0
"""A rotation of this lab takes about as long."""
MOST_KILLS = 12
"""Of one rotation: after these it is left alone."""
SECOND = frozenset(f"{name}_2" for name in NAMES)


def _killed(lab: BoshLab, seconds: float, number: int) -> bool:
    """Kill a run after some time; false when it had ended by then, as it should."""
    process = begin(lab, "rotate", "--yes", *(("--new",) if number else ()))
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == ExitCode.DONE, said
    return False


def _all_answer(lab: BoshLab) -> bool:
    """Say whether all jobs run; a `create-env` that was begun goes on without whoever began it."""
    try:
        return lab.all_answer()
    except AdapterError:
        return False


def test_a_rotation_that_is_killed_anywhere_is_gone_on_with(tmp_path: Path) -> None:
    """Every agent answers after each kill, and in the end everything is in its place."""
    chance = random.Random(SEED)  # noqa: S311 - a soak's choices
    print(f"SOAK_SEED={SEED}")  # noqa: T201 - to do the same again
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2, max_in_flight=1)) as lab:
        names, before = variables(lab).keys(), machines(lab)
        for number in range(ROTATIONS):
            kills = 0
            while kills < MOST_KILLS and _killed(lab, chance.uniform(0.3, LONGEST_SECONDS), number):
                kills += 1
                assert names <= variables(lab).keys() <= names | SECOND
                eventually(lambda: _all_answer(lab))
            done = rotate(lab)
            assert done.code == ExitCode.DONE, done.said
            eventually(lambda: _all_answer(lab))
            print(f"rotation {number + 1}: killed {kills} times")  # noqa: T201 - as above
            assert machines(lab) == before
            assert trusted_by_nats(lab) == 1
            assert variables(lab).keys() == names
            assert ops_files(lab) == ()
            assert backups(lab)
            assert "Skipping deploy." in lab.create_env()
