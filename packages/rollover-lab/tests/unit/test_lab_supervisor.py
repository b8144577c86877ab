"""The supervisor of a lab: one in a directory, tied to who started it, owner of all processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigs.bosh_nats_rig import BoshAuthority, cloud_process, settings, wait_until
from rollover.errors import ExitCode, Rejected, Unreachable
from rollover_lab import children, state
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.control import Control, ReleaseLab, ReportState, StartProcess
from rollover_lab.state import BoshContent, LabDirectory, LabState, ProcessState

PATIENCE_SECONDS = 60.0
CA = BoshAuthority()
NOWHERE = "nats://127.0.0.1:1"
STARTER = """
import sys
from pathlib import Path
from rollover_lab import lifecycle, state
from rollover_lab.state import BoshContent, LabDirectory, LabState
lab = LabDirectory(Path(sys.argv[1]))
with lifecycle.claimed_directory(lab) as lock:
    state.write(lab.state, LabState(content=BoshContent(name="lab")))
    lifeline = lifecycle.spawn(lab, lock)
    print("deploying", flush=True)
    sys.stdin.read()
"""


def _control(lab: LabDirectory) -> Control:
    return Control(lab.control, timeout_seconds=PATIENCE_SECONDS)


def _answers(lab: LabDirectory) -> bool:
    try:
        _control(lab).tell(ReportState())
    except Unreachable:
        return False
    return True


@contextmanager
def _started(directory: Path) -> Iterator[tuple[LabDirectory, subprocess.Popen[bytes]]]:
    """Start a supervisor; closing its standard input is what the end of its starter does."""
    lab = LabDirectory(directory)
    state.write(lab.state, LabState(content=BoshContent(name="lab")))
    argv = (sys.executable, "-m", "rollover_lab.supervisor", str(directory))
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        try:
            wait_until(lambda: _answers(lab), "the supervisor answers")
            yield lab, process
        finally:
            process.kill()


def _sleeping_agent(directory: Path) -> dict[str, str]:
    """Return a stemcell whose agent does nothing, in a process of its own."""
    binary = directory / "agent"
    binary.write_text("#!/bin/sh\nexec sleep 600\n")
    binary.chmod(0o700)
    return {"name": "jammy", "version": "1", "agent_binary": str(binary)}


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_a_lab_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Nobody is left who could end it otherwise."""
    with _started(tmp_path) as (lab, process):
        _close(process)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not lab.control.exists()


def test_a_bosh_lab_ends_when_its_starter_is_killed_while_it_deploys(tmp_path: Path) -> None:
    """Nothing of it runs on half-made: not the supervisor, and nothing that it had started."""
    lab = LabDirectory(tmp_path / "lab")
    argv = (sys.executable, "-c", STARTER, str(lab.root))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"deploying\n"
        cloud = LabCloud(lab.control, timeout_seconds=PATIENCE_SECONDS)
        told = settings("a", NOWHERE, CA, (CA,))
        cloud.create_vm(agent_id="a", settings=told, stemcell=_sleeping_agent(tmp_path))
        wait_until(lambda: bool(state.read(lab.state).processes), "the agent is started")
        running = state.read(lab.state).ids()
        assert len(running) == 2, "the agent and the supervisor"
        starter.kill()
    wait_until(lambda: not any(map(children.is_alive, running)), "all of it has ended")
    assert not lab.control.exists()


def test_a_lab_that_was_released_goes_on(tmp_path: Path) -> None:
    """It answers after the end of its starter, and ends by its recorded number."""
    with _started(tmp_path) as (lab, process):
        _control(lab).tell(ReleaseLab())
        _close(process)
        told = _control(lab).ask(ReportState(), LabState)
        assert told.up
        assert told.supervisor == children.identify(process.pid)
        assert told == state.read(lab.state)


def test_a_directory_has_one_supervisor(tmp_path: Path) -> None:
    """The second one says that a lab runs, and leaves it alone."""
    with cloud_process(tmp_path) as cloud:
        second = subprocess.run(
            (sys.executable, "-m", "rollover_lab.supervisor", str(tmp_path)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert second.returncode == ExitCode.WAITING
        assert "a lab runs in" in second.stderr
        assert cloud.vms() == ()


def test_a_lab_is_asked_only_for_what_its_kind_can_do(tmp_path: Path) -> None:
    """The servers of a BOSH lab are not started one by one."""
    with (
        cloud_process(tmp_path),
        pytest.raises(Rejected, match="start `n1`: not a request"),
    ):
        _control(LabDirectory(tmp_path)).tell(StartProcess(name="n1"))


def test_the_process_of_a_real_agent_is_on_record(tmp_path: Path) -> None:
    """It is started again when it ends, and gone with its VM."""
    lab = LabDirectory(tmp_path / "lab")
    with cloud_process(lab.root, pace=0.1) as cloud:
        told = settings("a", NOWHERE, CA, (CA,))
        cid = cloud.create_vm(agent_id="a", settings=told, stemcell=_sleeping_agent(tmp_path))
        wait_until(lambda: bool(state.read(lab.state).processes), "the agent is started")
        (first,) = state.read(lab.state).processes
        assert first.process is not None
        assert children.send_signal(first.process, signal.SIGKILL)
        wait_until(lambda: cloud.vms()[0].starts > 1, "the agent is started again")
        wait_until(
            lambda: state.read(lab.state).process(first.name).state is ProcessState.RUNNING,
            "the new process is on record",
        )
        second = state.read(lab.state).process(first.name).process
        assert second is not None
        assert second != first.process
        cloud.delete_vm(cid)
        assert not children.is_alive(second)
        assert state.read(lab.state).process(first.name).state is ProcessState.STOPPED
