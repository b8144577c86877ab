"""What runs of a BOSH lab, as its record and the system tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rollover.errors import Unreachable
from rollover.lab import children
from rollover.lab.bosh import lifecycle, record
from rollover.lab.bosh.record import BoshRecord
from rollover.lab.children import ProcessId

WITH_A_CHILD = """
import subprocess, sys
child = subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate()
"""


def _gone(directory: Path) -> None:
    """Write the record of a lab whose cloud has ended: its number means another process now."""
    other = children.identity(1)
    assert other is not None
    cloud = ProcessId(pid=1, started=other.started + 1)
    record.write(directory / "lab.json", BoshRecord(name="lab", cloud=cloud))


def test_a_record_says_that_it_is_of_a_bosh_lab(tmp_path: Path) -> None:
    """Other labs, and no lab at all, are told apart."""
    _gone(tmp_path)
    assert record.holds_bosh(tmp_path / "lab.json")
    (tmp_path / "other.json").write_text('{"version": 1, "spec": {"name": "cluster"}}')
    assert not record.holds_bosh(tmp_path / "other.json")
    assert not record.holds_bosh(tmp_path / "none.json")


def test_every_process_below_another_is_found() -> None:
    """Children of children too, and nobody else's."""
    with subprocess.Popen(
        (sys.executable, "-c", WITH_A_CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        own = children.identity(parent.pid)
        assert own is not None
        assert [each.pid for each in record.below(own)] == [child]
        assert parent.pid in {each.pid for each in record.below(ProcessId(pid=_self(), started=0))}
        parent.communicate(b"\n")


def _self() -> int:
    import os  # noqa: PLC0415 - for this alone

    return os.getpid()


def test_the_end_of_a_lab_that_has_ended_touches_nobody(tmp_path: Path) -> None:
    """A process that has its number today is not its process."""
    _gone(tmp_path)
    assert not lifecycle.status(tmp_path).up
    assert lifecycle.down(tmp_path) == ()
    assert lifecycle.down(tmp_path, remove=True) == ()
    assert not tmp_path.exists()


def test_a_lab_that_has_ended_cannot_be_disturbed(tmp_path: Path) -> None:
    """Who wants something of it is told how to start one."""
    _gone(tmp_path)
    with pytest.raises(Unreachable, match="no BOSH lab runs in") as caught:
        lifecycle.attached(tmp_path)
    assert "rollover lab up bosh" in caught.value.hint
