"""The rotator is killed, again and again: the next run goes on from what the fleet is."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import msgspec
import pytest

from rigs.patience import Patience
from rigs.rotating import SMALL, begin, command, entries, holds, trusted_and_presented
from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.fleet.journal import EntryKind
from rollover_lab.nats.lab import Lab, running

KILLS = 13
"""Behind each of five rollouts, at each other kind of step, and twice at any moment."""
SOAK_KILLS = 50
SEED = 20261122
LATEST_SECONDS = 1.2
"""Random kills come within this time after a run has written its first entry."""
RUN_SECONDS = 60.0
CONFIRM_SECONDS = 300.0

EACH_ROLLOUT = [EntryKind.ROLLOUT_FINISHED] * 5
OTHER_STEPS = (
    EntryKind.STARTED,
    EntryKind.GATE,
    EntryKind.PLANNED,
    EntryKind.APPROVED,
    EntryKind.ROLLOUT_STARTED,
    EntryKind.CONFIRMED,
)
STEPS = {*OTHER_STEPS, EntryKind.ROLLOUT_FINISHED}


def _give_time(lab: Lab) -> None:
    """Let a busy machine take its time over a confirmation: only kills are to end a run here."""
    path = lab.layout.fleet
    described = read_fleet(path.read_bytes(), place=str(path))
    groups = tuple(
        msgspec.structs.replace(group, confirm_seconds=CONFIRM_SECONDS)
        for group in described.groups
    )
    path.write_bytes(write_fleet(msgspec.structs.replace(described, groups=groups)))


def _moments() -> Iterator[EntryKind | float]:
    """Yield when to kill: behind each rollout of one rotation, at each step, then at any time."""
    chosen = random.Random(SEED)  # noqa: S311 - moments, not secrets
    kinds = cycle(OTHER_STEPS)
    yield from EACH_ROLLOUT
    yield from OTHER_STEPS
    while True:
        yield chosen.uniform(0, LATEST_SECONDS)
        yield chosen.uniform(0, LATEST_SECONDS)
        yield next(kinds)


class _Watched:
    """The journal as another process sees it: which entries came since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._last() if path.exists() else 0

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)

    def _last(self) -> int:
        connection = self._connect()
        try:
            return int(connection.execute("SELECT max(sequence) FROM entries").fetchone()[0] or 0)
        finally:
            connection.close()

    def kinds(self) -> list[str]:
        """Return the kinds of the new entries, in order."""
        if not self._path.exists():
            return []
        connection = self._connect()
        try:
            rows = connection.execute(
                "SELECT kind FROM entries WHERE sequence > ? ORDER BY sequence", (self._seen,)
            ).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()
        return [str(row[0]) for row in rows]


def _killed(process: subprocess.Popen[str], watched: _Watched, moment: EntryKind | float) -> bool:
    """Kill the process at the moment; false when it ended before."""
    begun: float | None = None
    patience = Patience(RUN_SECONDS)
    while process.poll() is None:
        assert patience.lasts(), "the run does not end"
        kinds = watched.kinds()
        if kinds and begun is None:
            begun = time.monotonic()
        due = (
            moment in kinds
            if isinstance(moment, EntryKind)
            else begun is not None and time.monotonic() - begun >= moment
        )
        if due:
            process.kill()
            process.wait()
            return process.returncode < 0
        time.sleep(0.008)
    return False


@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(SOAK_KILLS, marks=pytest.mark.soak, id="soak")]
)
def test_a_rotator_killed_again_and_again_gets_there_and_loses_nothing(
    tmp_path: Path, kills: int
) -> None:
    """SIGKILL behind every rollout, at every kind of step and at random moments: runs go on."""
    with running(SMALL, tmp_path / "lab") as lab:
        _give_time(lab)
        killed_at = _run_and_kill(lab, kills)
        code, said = command(lab, "rotate", "--yes")
        assert code == 0, said
        trusted, presented = trusted_and_presented(lab)
        assert trusted == presented
        assert len(trusted) == 1
        assert holds(lab)
        finished = [entry for entry in entries(lab) if entry.kind is EntryKind.FINISHED]
        assert finished
    report = lab.traffic()
    assert report.final
    assert (report.lost, report.failures, report.disconnects) == (0, 0, 0)
    assert len(killed_at) == kills
    assert {entry_kind for entry_kind in killed_at if isinstance(entry_kind, EntryKind)} == STEPS


def _run_and_kill(lab: Lab, kills: int) -> list[EntryKind | float]:
    killed_at: list[EntryKind | float] = []
    moments = _moments()
    moment = next(moments)
    while len(killed_at) < kills:
        watched = _Watched(lab.layout.state / "journal.db")
        with begin(lab, "rotate", "--yes", "--new") as process:
            try:
                if _killed(process, watched, moment):
                    killed_at.append(moment)
                    moment = next(moments)
                    continue
                said = process.communicate()[0]
                assert process.returncode == 0, said
                # What had been begun is finished; a beginning comes with the next run.
                if moment is not EntryKind.STARTED:
                    moment = next(moments)
            finally:
                process.kill()
    return killed_at
