"""Rotations, one after another, under traffic: a command of its own (`make soak`)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import rollover
from rollover.engine.events import Conduct
from rollover.engine.goals import Request
from rollover_lab.nats.lab import running
from rollover_lab.nats.spec import preset_named

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))


@pytest.mark.soak
def test_rotations_under_traffic_lose_nothing_however_often(tmp_path: Path) -> None:
    """Half an hour of rotations, plain and cross-signed in turn, loses no message."""
    conduct = Conduct(
        approve=lambda _plan, _rollout: True, tell=lambda _event: None, stopping=lambda: False
    )
    ends = time.monotonic() + SECONDS
    rotations = 0
    with running(preset_named("cluster"), tmp_path / "lab") as lab:
        while time.monotonic() < ends:
            with rollover.open_fleet(lab.layout.fleet) as fleet:
                request = Request(
                    authority=fleet.authority(), again=True, cross_sign=rotations % 2 == 1
                )
                outcome = fleet.rotate(request, conduct)
            assert outcome.ending == "done", outcome.message
            rotations += 1
    report = lab.traffic()
    assert rotations > 0
    assert (report.lost, report.disconnects) == (0, 0)
