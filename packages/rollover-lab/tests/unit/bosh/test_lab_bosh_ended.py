"""A BOSH lab that has ended is known by its state, and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollover.errors import Unreachable
from rollover_lab import children, state
from rollover_lab.bosh import lab
from rollover_lab.children import ProcessId
from rollover_lab.nats.spec import LabSpec
from rollover_lab.state import BoshContent, LabState, NatsContent


def _gone(directory: Path) -> None:
    """Write the state of a lab that has ended: its supervisor's number is another process now."""
    other = children.identify(1)
    assert other is not None
    supervisor = ProcessId(pid=1, started=other.started + 1)
    ended = LabState(content=BoshContent(name="lab"), supervisor=supervisor)
    state.write(directory / "lab.json", ended)


def test_a_state_says_that_it_is_of_a_bosh_lab(tmp_path: Path) -> None:
    """Other labs, and no lab at all, are told apart."""
    _gone(tmp_path)
    assert state.holds_bosh(tmp_path / "lab.json")
    cluster = LabState(content=NatsContent(spec=LabSpec(name="cluster")))
    state.write(tmp_path / "other.json", cluster)
    assert not state.holds_bosh(tmp_path / "other.json")
    assert not state.holds_bosh(tmp_path / "none.json")


def test_the_end_of_a_lab_that_has_ended_touches_nobody(tmp_path: Path) -> None:
    """A process that has its number today is not its process."""
    _gone(tmp_path)
    assert not lab.status(tmp_path).up
    assert lab.down(tmp_path) == ()
    assert lab.down(tmp_path, remove=True) == ()
    assert not tmp_path.exists()


def test_a_lab_that_has_ended_cannot_be_disturbed(tmp_path: Path) -> None:
    """Who wants something of it is told how to start one."""
    _gone(tmp_path)
    with pytest.raises(Unreachable, match="no BOSH lab runs in") as caught:
        lab.attach_cloud(tmp_path)
    assert "rollover lab up bosh" in caught.value.hint
