"""Agents that cannot get new credentials: the rotation stops in time, names them, and goes on."""

from __future__ import annotations

from pathlib import Path

from rigs.bosh_lab import BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import (
    Run,
    announced,
    create_envs,
    instance,
    machines,
    rotate,
    trusted_by_nats,
)
from rollover.errors import ExitCode
from rollover.platforms.bosh.director_records import BoshInstance, DeployExtent, TaskState
from rollover_lab.bosh.agent.host import AgentFault


def _stop(lab: BoshLab, stopped: BoshInstance) -> None:
    """Stop an instance's jobs; its agent goes on."""
    _end(lab, lab.director._change(stopped.deployment, "stopped", _only(stopped)))


def _start(lab: BoshLab, stopped: BoshInstance) -> None:
    _end(lab, lab.director._change(stopped.deployment, "started", _only(stopped)))


def _only(one: BoshInstance) -> DeployExtent:
    return DeployExtent(group=one.group, instance=one.id)


def _end(lab: BoshLab, task: int) -> None:
    assert lab.ended(task) is TaskState.DONE


def _fault(lab: BoshLab, one: BoshInstance, fault: AgentFault) -> None:
    assert one.agent_id is not None
    lab.cloud.fault(one.agent_id, fault)


def _names(run: Run, *instances: BoshInstance) -> bool:
    """Say whether the outcome itself, the last that is said, names these."""
    return "waiting: " in run.output and all(
        str(bosh_instance.name) in run.output for bosh_instance in instances
    )


def test_ignored_and_stopped_agents_are_waited_for(tmp_path: Path) -> None:
    """All others are given the new credentials; then it waits, and goes on when they are back.

    One on an old stemcell stands in nobody's way: its VM is made anew, the others' are not.
    """
    spec = in_a_hurry(agents=5, deployments=2, max_in_flight=3, old_stemcell=1)
    with bosh_lab(tmp_path / "lab", spec) as lab:
        before = machines(lab)
        old = instance(lab, "cf", "legacy")
        ignored = instance(lab, "cf", "router")
        stopped = instance(lab, "redis", "router")
        lab.director.ignore(ignored, ignored=True)
        _stop(lab, stopped)

        waiting = rotate(lab)
        assert waiting.code == ExitCode.WAITING, waiting.said
        assert _names(waiting, ignored, stopped), waiting.said
        assert "bosh-recreate-needed: cf" in waiting.said
        assert trusted_by_nats(lab) == 2
        assert [pair.group for pair in announced(lab)] == ["director", "agents"]
        again = rotate(lab, "--output", "json")
        assert again.code == ExitCode.WAITING
        assert all(
            str(bosh_instance.name) in again.output for bosh_instance in (ignored, stopped)
        ), again.output
        assert [pair.group for pair in announced(lab)] == ["director", "agents"]

        lab.director.ignore(ignored, ignored=False)
        _start(lab, stopped)
        done = rotate(lab)
        assert done.code == ExitCode.DONE, done.said
        assert lab.all_answer()
        assert trusted_by_nats(lab) == 1
        after = machines(lab)
        assert {name for name in after if after[name] != before[name]} == {str(old.name)}


def test_a_hung_agent_and_a_deploy_that_fails_are_named(tmp_path: Path) -> None:
    """Before the first step nothing is begun; half-way nothing is lost, and it goes on from there.

    The agent that takes too long to restart fails the deploy of its deployment.
    """
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2, max_in_flight=1)) as lab:
        hung, slow = instance(lab, "cf", "router"), instance(lab, "redis", "api")
        _fault(lab, hung, AgentFault.HUNG)
        waiting = rotate(lab)
        assert waiting.code == ExitCode.WAITING, waiting.said
        assert _names(waiting, hung), waiting.said
        assert (create_envs(lab), announced(lab)) == (0, ())

        _fault(lab, hung, AgentFault.NONE)
        _fault(lab, slow, AgentFault.SLOW)
        failed = rotate(lab)
        assert failed.code == ExitCode.STOPPED, failed.said
        assert f"failed: `{slow.name}` did not take its new material" in failed.said
        assert "Timed out sending 'get_task'" in failed.said
        assert [pair.group for pair in announced(lab)] == ["director"]
        assert trusted_by_nats(lab) == 2

        _fault(lab, slow, AgentFault.NONE)
        # What failed half-way has its jobs stopped still.
        eventually(lambda: lab.states() <= {"running", "stopped"})
        done = rotate(lab)
        assert done.code == ExitCode.DONE, done.said
        assert lab.all_answer()
        assert trusted_by_nats(lab) == 1
