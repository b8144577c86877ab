"""What is left of a lab's directory when starting it comes to nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rollover.errors import SpecError, TimedOut
from rollover_lab.lifecycle import claimed_directory, filled_directory
from rollover_lab.state import LabDirectory

LATE = TimedOut("too late", system="lab", operation="wait")


def _fill(layout: LabDirectory, failure: BaseException, *, recorded: bool) -> None:
    with claimed_directory(layout), filled_directory(layout):
        (layout.root / "n1").mkdir()
        if recorded:
            layout.state.write_text("{}")
        raise failure


def test_an_interrupted_start_leaves_no_directory(tmp_path: Path) -> None:
    """The next `lab up` in the same place finds nothing in its way."""
    layout = LabDirectory(tmp_path / "lab")
    with pytest.raises(KeyboardInterrupt):
        _fill(layout, KeyboardInterrupt(), recorded=True)
    assert not layout.root.exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_failed_start_leaves_what_down_can_remove(tmp_path: Path, *, recorded: bool) -> None:
    """Logs stay where `lab down --remove` knows the lab; what nobody would know goes."""
    layout = LabDirectory(tmp_path / "lab")
    with pytest.raises(TimedOut):
        _fill(layout, LATE, recorded=recorded)
    assert layout.root.exists() is recorded


def test_a_full_disk_is_told_with_its_place(tmp_path: Path) -> None:
    """No trace reaches the user."""
    layout, place = LabDirectory(tmp_path / "lab"), str(tmp_path / "lab" / "n1" / "n1.conf")
    full = OSError(errno.ENOSPC, "No space left on device", place)
    with pytest.raises(SpecError, match="No space left on device") as caught:
        _fill(layout, full, recorded=False)
    assert caught.value.place == place
    assert "make room" in caught.value.hint


def test_a_directory_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """It is refused before anything in it is touched."""
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(SpecError, match="it is not empty"):
        _fill(LabDirectory(tmp_path), LATE, recorded=False)
    assert (tmp_path / "thesis.tex").exists()
