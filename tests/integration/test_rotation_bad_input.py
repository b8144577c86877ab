"""Servers that are not what they should be: each is named, keeps what it has, and is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.rotating import (
    SMALL,
    UNHARMED,
    Losses,
    command,
    entries,
    holds,
    request,
    rotate,
    trusted_and_presented,
)
from rollover.engine.events import Ending
from rollover.errors import ExitCode
from rollover_lab.nats.lab import Lab, running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet."""
    with running(SMALL, tmp_path_factory.mktemp("bad") / "lab") as fleet:
        yield fleet


def _garbled(lab: Lab) -> tuple[Path, bytes]:
    path = lab.layout.config("n1")
    return path, path.read_bytes() + b"\nno_such_option: {\n"


def _mismatched(lab: Lab) -> tuple[Path, bytes]:
    return lab.layout.client_port("n1").key, lab.layout.client_port("n2").key.read_bytes()


def _truncated(lab: Lab) -> tuple[Path, bytes]:
    path = lab.layout.client_port("n1").certificate
    return path, path.read_bytes()[:200]


@pytest.mark.parametrize("damage", [_garbled, _mismatched, _truncated])
def test_a_server_that_cannot_reload_is_named_and_keeps_what_it_has(
    lab: Lab, damage: Callable[[Lab], tuple[Path, bytes]]
) -> None:
    """Damaged on its disk: the rotation stops at it, and goes on once that is mended."""
    losses, before = Losses(lab), trusted_and_presented(lab)
    path, content = damage(lab)
    sound = path.read_bytes()
    path.write_bytes(content)
    try:
        code, said = command(lab, "rotate", "--yes", "--new")
        assert code in {ExitCode.WAITING, ExitCode.STOPPED}, said
        assert "n1" in said
        assert "hint: " in said
        assert "PRIVATE KEY" not in said
    finally:
        path.write_bytes(sound)
    assert before[1] <= trusted_and_presented(lab)[0]
    outcome = rotate(lab, request(again=False))
    assert outcome.ending is Ending.DONE, outcome.message
    assert holds(lab)
    assert losses.since() == UNHARMED


def test_a_file_that_the_rotation_replaces_anyway_is_mended_by_it(lab: Lab) -> None:
    """A key where the CA certificates should be: the server runs without, and gets a new file."""
    losses = Losses(lab)
    files = lab.layout.client_port("n1")
    files.ca.write_bytes(files.key.read_bytes())
    assert rotate(lab).ending is Ending.DONE
    assert holds(lab)
    assert losses.since() == UNHARMED


def test_a_fleet_file_with_an_unknown_field_is_refused(lab: Lab) -> None:
    """File, line and field are named; nothing is begun."""
    rotate(lab, request(again=False))
    before = lab.layout.fleet.read_bytes()
    written = entries(lab)
    lab.layout.fleet.write_bytes(before + b"colour: blue\n")
    try:
        code, said = command(lab, "rotate", "--yes", "--new")
    finally:
        lab.layout.fleet.write_bytes(before)
    assert code == ExitCode.USAGE
    assert "colour" in said
    assert f"fleet.yml:{before.count(bytes([10])) + 1}" in said
    assert entries(lab) == written
