"""The rotation of a BOSH is killed, or interrupted, at the worst moments: the next run goes on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import rollover
from rigs.bosh_lab import NAMES, BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import (
    backups,
    begin,
    count,
    create_envs,
    ended,
    machines,
    ops_files,
    rotate,
    trusted_by_nats,
    until,
    variables,
)
from rollover.errors import AdapterError, ExitCode
from rollover.fleet.journal import EntryKind
from rollover_lab.bosh.director_access import AUTHORITY

MOST_CREATE_ENVS = 3
"""Two are needed; one that was begun by a run that was killed may have to be run again."""
SECOND = frozenset(f"{name}_2" for name in NAMES)


def _killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def _authorities(lab: BoshLab) -> int:
    """Return how many CAs there have been."""
    with rollover.open_fleet(lab.layout.fleet) as fleet:
        return len(fleet.site.authorities.certificates(AUTHORITY))


def _deploys(lab: BoshLab) -> bool:
    return any(task.description.startswith("create dep") for task in lab.director.tasks())


def _seen_to_deploy(lab: BoshLab) -> bool:
    """Say the same while `create-env` may take the director away."""
    try:
        return _deploys(lab)
    except AdapterError:
        return False


def _finished(lab: BoshLab, group: str) -> int:
    return count(lab, EntryKind.ROLLOUT_FINISHED, group)


def test_a_rotation_that_is_killed_again_and_again_gets_there(tmp_path: Path) -> None:
    """During `create-env`, during a deploy, and between; then Ctrl-C ends a deploy in order."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2, max_in_flight=1)) as lab:
        names, before = variables(lab).keys(), machines(lab)

        process = begin(lab, "rotate", "--yes")
        until(lambda: create_envs(lab) == 1, while_runs=process)
        _killed(process)
        assert names < variables(lab).keys() <= names | SECOND
        assert len(ops_files(lab)) == 1

        process = begin(lab, "rotate", "--yes")
        until(lambda: _seen_to_deploy(lab), while_runs=process)
        _killed(process)
        assert (_authorities(lab), trusted_by_nats(lab)) == (2, 2)

        # What the runs before had begun is seen to be done: the next is the second `create-env`.
        finished = _finished(lab, "director")
        process = begin(lab, "rotate", "--yes")
        until(lambda: _finished(lab, "director") > finished, while_runs=process)
        _killed(process)
        assert create_envs(lab) <= MOST_CREATE_ENVS
        assert (_authorities(lab), trusted_by_nats(lab)) == (2, 1)

        process = begin(lab, "rotate", "--yes")
        until(lambda: _seen_to_deploy(lab), while_runs=process)
        process.send_signal(signal.SIGINT)
        interrupted = ended(process)
        assert interrupted.code == ExitCode.STOPPED, interrupted.said
        assert "rollover rotate" in interrupted.said
        assert variables(lab).keys() == names | SECOND
        assert not _deploys(lab)

        done = rotate(lab)
        assert done.code == ExitCode.DONE, done.said
        eventually(lab.all_answer)
        assert machines(lab) == before
        assert (_authorities(lab), trusted_by_nats(lab)) == (2, 1)
        assert variables(lab).keys() == names
        assert len(backups(lab)) == 1
        assert ops_files(lab) == ()
        assert "Skipping deploy." in lab.create_env()
