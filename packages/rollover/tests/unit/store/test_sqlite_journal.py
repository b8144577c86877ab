"""The journal's file: changes are refused or found, and kill -9 loses nothing that was returned."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.stored import NOON, later
from rollover.errors import JournalError
from rollover.fleet.journal import EntryKind
from rollover.store.journal import open_journal

COPY = "INSERT INTO entries SELECT"
LAST = "FROM entries WHERE sequence = 6"

UNLOCK = (
    "DROP TRIGGER entries_are_never_changed",
    "DROP TRIGGER entries_are_never_removed",
    "DROP TRIGGER entries_follow_each_other",
)


def _written(path: Path, *, entries: int = 6) -> Path:
    with open_journal(path) as journal:
        for number in range(entries):
            journal.append("r", EntryKind.EVIDENCE, at=later(number), data={"n": number})
    return path


def _execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET subject = 'x'",
        "DELETE FROM entries WHERE sequence = 3",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE sequence = 3",
        f"{COPY} 13, at, rotation, kind, subject, data, hash, {'e' * 64!r} {LAST}",
        f"{COPY} 7, at, rotation, kind, subject, data, previous, {'e' * 64!r} {LAST}",
    ],
    ids=["update", "delete", "replace", "gap", "fork"],
)
def test_the_database_refuses_what_is_not_an_append(tmp_path: Path, statement: str) -> None:
    """Also other programs cannot change an entry by a plain statement."""
    path = _written(tmp_path / "journal.db")

    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|must follow"):
        _execute(path, statement)
    with open_journal(path) as journal:
        assert journal.verify().sequence == 6


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE entries SET subject = 'x' WHERE sequence = 3", 3),
        ("UPDATE entries SET data = '{}' WHERE sequence = 1", 1),
        ("UPDATE entries SET at = '2020-01-01T00:00:00.000000Z' WHERE sequence = 4", 4),
        ("UPDATE entries SET kind = 'approved' WHERE sequence = 6", 6),
        ("UPDATE entries SET kind = 'unheard-of' WHERE sequence = 2", 2),
        ("UPDATE entries SET data = '{broken' WHERE sequence = 5", 5),
        ("DELETE FROM entries WHERE sequence = 2", 2),
        ("UPDATE entries SET previous = hash WHERE sequence = 5", 5),
    ],
)
def test_verify_names_the_first_entry_that_was_changed(
    tmp_path: Path, statement: str, broken: int
) -> None:
    """Who gets past the triggers is found by the chain."""
    path = _written(tmp_path / "journal.db")
    _execute(path, *UNLOCK, statement)

    with open_journal(path) as journal, pytest.raises(JournalError, match=f"entry {broken}:"):
        journal.verify()


def test_nothing_is_appended_behind_a_changed_entry(tmp_path: Path) -> None:
    """An append checks the entry that it follows."""
    path = _written(tmp_path / "journal.db")
    _execute(path, *UNLOCK, "UPDATE entries SET subject = 'x' WHERE sequence = 6")

    with open_journal(path) as journal:
        with pytest.raises(JournalError, match="entry 6"):
            journal.append("r", EntryKind.FINISHED, at=NOON)
        assert len(journal.entries()) == 6


def test_a_cut_off_end_shows_in_the_head(tmp_path: Path) -> None:
    """A chain cannot tell that its end is missing; the head noted earlier can."""
    path = _written(tmp_path / "journal.db")
    with open_journal(path) as journal:
        noted = journal.verify()
    _execute(path, *UNLOCK, "DELETE FROM entries WHERE sequence = 6")

    with open_journal(path) as journal:
        assert journal.verify() != noted


APPENDING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from rollover.fleet.journal import EntryKind
from rollover.store.journal import open_journal
path, rotation, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with open_journal(path) as journal:
    for number in range(count):
        entry = journal.append(rotation, EntryKind.EVIDENCE, at=datetime.now(UTC))
        print(entry.sequence, entry.hash, flush=True)
"""


def _appending(path: Path, rotation: str, *, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(path), rotation, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("heard", [1, 7, 40])
def test_what_append_returned_survives_kill_9(tmp_path: Path, heard: int) -> None:
    """Every entry that the killed process told of is there, and the chain is whole."""
    path = tmp_path / "journal.db"
    process = _appending(path, "r", count=1_000_000)
    assert process.stdout is not None
    told = [process.stdout.readline().split() for _ in range(heard)]
    process.send_signal(signal.SIGKILL)
    told += [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
    process.stdout.close()
    process.wait(timeout=600)

    with open_journal(path) as journal:
        head = journal.verify()
        kept = {str(e.sequence): e.hash for e in journal.entries(limit=head.sequence)}
        assert journal.append("r", EntryKind.STARTED, at=NOON).sequence == head.sequence + 1
    assert len(told) >= heard
    assert all(kept[sequence] == digest for sequence, digest in told)


def test_processes_append_to_one_chain(tmp_path: Path) -> None:
    """Appends of several processes are serialised."""
    path = tmp_path / "journal.db"
    processes = [_appending(path, f"r{number}", count=25) for number in range(3)]
    for process in processes:
        process.communicate(timeout=600)

    with open_journal(path) as journal:
        assert journal.verify().sequence == 75
        assert {s.rotation: s.entries for s in journal.rotations()} == {
            "r0": 25,
            "r1": 25,
            "r2": 25,
        }
