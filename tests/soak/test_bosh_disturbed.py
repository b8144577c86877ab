"""Rotations of a BOSH while others are at work on it: they get there, or say what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.bosh_lab import BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import (
    Run,
    begin,
    count,
    ended,
    machines,
    placed,
    rotate,
    trusted_by_nats,
    until,
    variables,
)
from rollover.errors import AdapterError, ExitCode
from rollover.fleet.journal import EntryKind
from rollover.platforms.bosh.director_http import HttpRequest
from rollover_lab.bosh.agent.host import AgentFault

pytestmark = pytest.mark.soak


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[BoshLab]:
    """Four agents in two deployments, one at a time."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2, max_in_flight=1)) as found:
        yield found


def _all_answer(lab: BoshLab) -> bool:
    try:
        return lab.all_answer()
    except AdapterError:
        return False


def _deploys(lab: BoshLab) -> list[int]:
    """Return the deploys that go on."""
    return [task.id for task in lab.director.tasks() if task.description.startswith("create dep")]


def _after(lab: BoshLab, kind: EntryKind, group: str) -> subprocess.Popen[str]:
    """Begin a rotation; return it once it has come that far."""
    process = begin(lab, "rotate", "--yes")
    until(lambda: count(lab, kind, group) > 0, while_runs=process)
    return process


def _amid_a_deploy(lab: BoshLab) -> subprocess.Popen[str]:
    process = _after(lab, EntryKind.ROLLOUT_STARTED, "agents")
    until(lambda: bool(_deploys(lab)), while_runs=process)
    return process


def _gets_there(lab: BoshLab, run: Run) -> None:
    """Check that it is done, at the latest by the next run, and everybody answers."""
    if run.code != ExitCode.DONE:
        assert run.code in {ExitCode.WAITING, ExitCode.STOPPED}, run.said
        assert "hint: " in run.output, run.said
        eventually(lambda: lab.states() <= {"running", "stopped"})
        run = rotate(lab)
    assert run.code == ExitCode.DONE, run.said
    eventually(lambda: _all_answer(lab))
    assert trusted_by_nats(lab) == 1
    assert not {name for name in variables(lab) if name.endswith("_2")}


def _scaled_out(lab: BoshLab) -> int:
    manifest = lab.director.manifest("redis")
    assert "instances: 1\n" in manifest
    return lab.director.deploy("redis", manifest.replace("instances: 1\n", "instances: 2\n", 1))


def _recreated(lab: BoshLab) -> int:
    return lab.director.recreate("redis")


def _deleted(lab: BoshLab) -> int:
    request = HttpRequest(method="DELETE", path="/deployments/redis", query=(("force", "true"),))
    return lab.director._start(request)


@pytest.mark.parametrize("disturb", [_scaled_out, _recreated, _deleted])
def test_another_operator_changes_a_deployment_after_the_director(
    lab: BoshLab, disturb: Callable[[BoshLab], int]
) -> None:
    """VMs that are made right after a `create-env` are of no doubtful CA."""
    process = _after(lab, EntryKind.ROLLOUT_FINISHED, "director")
    task = disturb(lab)
    run = ended(process)
    lab.ended(task)
    _gets_there(lab, run)


def test_another_operator_cancels_our_deploy(lab: BoshLab) -> None:
    """What was done stays done; no VM is made anew."""
    before = machines(lab)
    process = _amid_a_deploy(lab)
    for number in _deploys(lab):
        lab.director.cancel(number)
    _gets_there(lab, ended(process))
    assert machines(lab) == before


def test_the_director_starts_anew_amid_a_deploy(lab: BoshLab) -> None:
    """Its task is lost, and done again."""
    process = _amid_a_deploy(lab)
    lab.cloud.director_vm("stop")
    lab.cloud.director_vm("start")
    _gets_there(lab, ended(process))


def test_the_operators_own_line_takes_the_new_ca_away(lab: BoshLab) -> None:
    """Agents are cut off by it; the next run brings them back, and makes no VM anew."""
    before = machines(lab)
    process = _after(lab, EntryKind.ROLLOUT_FINISHED, "agents")
    process.kill()
    process.communicate()
    lab.create_env()
    assert trusted_by_nats(lab) == 1
    run = rotate(lab)
    assert "it may have a certificate of a CA that NATS does not trust now" in run.said
    _gets_there(lab, run)
    assert machines(lab) == before


def test_an_agent_hangs_amid_a_deploy(lab: BoshLab) -> None:
    """It is named with one remedy; once it is back the rotation goes on."""
    process = _amid_a_deploy(lab)
    hung = placed(lab)[-1]
    lab.cloud.fault(hung.agent_id or "", AgentFault.HUNG)
    run = ended(process)
    if run.code != ExitCode.DONE:  # it may have been done before it hung
        assert str(hung.name) in run.output
        assert f"recreate {hung.group}/{hung.id} --fix" in run.output
    lab.cloud.fault(hung.agent_id or "", AgentFault.NONE)
    _gets_there(lab, run)
