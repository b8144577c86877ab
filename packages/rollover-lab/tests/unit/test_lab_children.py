"""Processes that end with the one that started them, and are told apart from all others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rollover.errors import Rejected
from rollover_lab import children
from rollover_lab.children import ProcessId

PATIENCE_SECONDS = 60.0
PARENT = """
import sys
from pathlib import Path
from rollover_lab import children
here = Path(sys.argv[1])
child = children.start_tethered(["sleep", "600"], directory=here, output=here / "out")
print(child.pid, flush=True)
sys.stdin.read()
"""


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])  # noqa: S607 - coreutils


def _known(pid: int) -> ProcessId:
    known = children.identify(pid)
    assert known is not None
    return known


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    """SIGKILL to the parent, which can do nothing about it, ends the child too."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = _known(int(parent.stdout.readline()))
        assert children.is_alive(child)
        parent.kill()
    assert children.await_end(child, seconds=PATIENCE_SECONDS)


def test_a_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    """What a terminal sends to the parent's group does not reach the child."""
    child = children.start_tethered(["sleep", "600"], directory=tmp_path, output=tmp_path / "out")
    try:
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
    finally:
        child.kill()
        child.wait()


def test_a_reused_number_is_another_process() -> None:
    """A process of the same number that began at another time is neither alive nor signalled."""
    with _sleeper() as process:
        known = _known(process.pid)
        earlier = ProcessId(pid=known.pid, started=known.started - 1)
        assert not children.is_alive(earlier)
        assert not children.send_signal(earlier, signal.SIGKILL)
        assert children.is_alive(known)
        assert children.send_signal(known, signal.SIGKILL)


def test_a_zombie_is_not_alive() -> None:
    """A process that has ended and was not reaped yet counts as ended, and is reaped."""
    process = _sleeper()
    known = _known(process.pid)
    process.kill()
    assert children.await_end(known, seconds=PATIENCE_SECONDS)
    process.wait()
    assert children.identify(process.pid) is None


def test_waiting_for_an_end_has_a_limit() -> None:
    """A process that goes on is reported as such, in time."""
    with _sleeper() as process:
        assert not children.await_end(_known(process.pid), seconds=0.1)
        process.kill()


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    """Starting what is no program is an error with its path."""
    plain = tmp_path / "plain.txt"
    plain.write_text("no program\n")
    with pytest.raises(Rejected, match=r"plain\.txt`: Permission denied"):
        children.start_tethered([str(plain)], directory=tmp_path, output=tmp_path / "out")
