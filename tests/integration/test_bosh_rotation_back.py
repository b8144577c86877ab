"""The way back from half of a rotation, while a short-lived deployment comes and goes."""

from __future__ import annotations

from pathlib import Path

import msgspec

import rollover
from rigs.bosh_lab import NAMES, BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import command, machines, task_descriptions, trusted_by_nats, variables
from rigs.rotating import first, request
from rollover.engine.events import Ending
from rollover.errors import ExitCode
from rollover_lab.bosh.director_access import AUTHORITY

HEALTH_CHECK_SECONDS = 4.0
DEPLOYMENT = "cf"
LEAVES = frozenset(NAMES) - {"nats_ca"}
"""New ones are made for the way back; the CA is the one that it was."""


def _answer(lab: BoshLab) -> bool:
    return {instance.job_state for instance in lab.director.instances(DEPLOYMENT)} == {"running"}


def _came_and_went(lab: BoshLab) -> int:
    """Return how often the short-lived deployment was deleted."""
    described = task_descriptions(lab, "bosh-health-%")
    return sum(1 for text in described if text.startswith("delete deployment"))


def test_a_rollback_after_the_agents_brings_the_old_ca_back(tmp_path: Path) -> None:
    """Every agent answers, with the old CA; the health check never stands in the way."""
    spec = msgspec.structs.replace(
        in_a_hurry(agents=3, deployments=1, max_in_flight=3),
        health_check_seconds=HEALTH_CHECK_SECONDS,
    )
    with bosh_lab(tmp_path / "lab", spec) as lab:
        before, machines_before = variables(lab), _stable(lab)
        eventually(lambda: _came_and_went(lab) > 0)
        with rollover.open_fleet(lab.layout.fleet) as fleet:
            asked = msgspec.structs.replace(request(again=False), authority=AUTHORITY)
            outcome = fleet.rotate(asked, first(2))
        assert outcome.ending is Ending.DECLINED, outcome.message
        assert trusted_by_nats(lab) == 2

        back = command(lab, "rollback", "--yes")
        assert back.code == ExitCode.DONE, back.said
        eventually(lambda: _answer(lab))
        assert trusted_by_nats(lab) == 1
        after = variables(lab)
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} <= LEAVES
        assert _stable(lab) == machines_before
        assert "Skipping deploy." in lab.create_env()
        eventually(lambda: _came_and_went(lab) > 2)


def _stable(lab: BoshLab) -> dict[str, str | None]:
    """Return the VMs of the deployment that stays."""
    return {name: cid for name, cid in machines(lab).items() if name.startswith(f"{DEPLOYMENT}/")}
