"""The SQLite files of the stores: private, migrated, with errors that name cause and remedy."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from rigs.small_disk import mounted
from rigs.stored import NOON
from rollover.errors import JournalError, RolloverError, StoreError
from rollover.fleet.journal import EntryKind
from rollover.store import migrations
from rollover.store.credentials import open_credentials
from rollover.store.database import explained, open_database
from rollover.store.journal import SqliteJournal, open_journal
from rollover.store.leases import open_leases
from rollover.store.sealing import keys_from_file


class Closable(Protocol):
    """What all stores have in common."""

    def close(self) -> None:
        """Close the file."""


Opener = Callable[[Path], Closable]


def _credentials(path: Path) -> Closable:
    return open_credentials(path, keys=keys_from_file(path.parent.parent / "master.key"))


OPENERS = pytest.mark.parametrize(
    ("opener", "failure"),
    [(open_journal, JournalError), (open_leases, StoreError), (_credentials, StoreError)],
    ids=["journal", "leases", "credentials"],
)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_files_and_their_directory_are_private(tmp_path: Path) -> None:
    """Database, write-ahead log and shared memory are 0600 in a 0700 directory, whatever umask."""
    before = os.umask(0)
    try:
        with open_journal(tmp_path / "state" / "journal.db") as journal:
            journal.append("r", EntryKind.STARTED, at=NOON)
            modes = {path.name: _mode(path) for path in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)

    assert _mode(tmp_path / "state") == 0o700
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


def test_writes_are_durable_and_keys_enforced(tmp_path: Path) -> None:
    """WAL, synchronous=FULL and foreign keys are on in every connection."""
    names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    with (
        open_database(tmp_path / "x.db", component="journal", failure=StoreError) as database,
        database.reading() as connection,
    ):
        settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert settings == ["wal", 2, 1, 1]


def test_several_components_share_one_file(tmp_path: Path) -> None:
    """Journal and leases can live in one database."""
    path = tmp_path / "state" / "rollover.db"
    with open_journal(path) as journal, open_leases(path) as leases:
        journal.append("r", EntryKind.STARTED, at=NOON)

        assert leases.current("nats-ca") is None
        assert journal.verify().sequence == 1


def test_migrations_are_recorded_and_applied_once(tmp_path: Path) -> None:
    """Opening again changes nothing."""
    path = tmp_path / "journal.db"
    for _ in range(2):
        open_journal(path).close()

    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT component, number, name FROM migrations").fetchall()
    connection.close()
    assert rows == [("journal", 1, "0001_entries")]


@pytest.mark.parametrize("component", ["journal", "leases", "credentials"])
def test_migrations_are_numbered_without_gaps(component: str) -> None:
    """The number of a file is its place."""
    numbers = [migration.number for migration in migrations.shipped(component)]

    assert numbers == list(range(1, len(numbers) + 1))


def test_triggers_are_one_statement_each() -> None:
    """A trigger's body does not end at its first semicolon."""
    sql = "CREATE TABLE t (a);\nCREATE TRIGGER x BEFORE DELETE ON t\nBEGIN\n SELECT 1;\nEND;\n"

    assert len(list(migrations.statements(sql))) == 2


@OPENERS
def test_a_database_of_a_newer_version_is_refused(
    tmp_path: Path, opener: Opener, failure: type[RolloverError]
) -> None:
    """An older program does not touch a schema that it does not know."""
    path = tmp_path / "state" / "x.db"
    opener(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE migrations SET number = 99")
    connection.commit()
    connection.close()

    with pytest.raises(failure, match=r"schema \w+/99") as refusal:
        opener(path)
    assert "newer" in refusal.value.hint


@OPENERS
def test_a_file_that_is_no_database_is_refused(
    tmp_path: Path, opener: Opener, failure: type[RolloverError]
) -> None:
    """A wrong or overwritten file is named, with the remedy."""
    path = tmp_path / "state" / "x.db"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is not a database, but long enough to be taken for one" * 20)
    path.chmod(0o600)

    with pytest.raises(failure, match="is not a database") as refusal:
        opener(path)
    assert str(path) in str(refusal.value)
    assert refusal.value.hint


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A wrong path does not get our tables."""
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    path.chmod(0o600)

    with pytest.raises(StoreError, match="another program"):
        open_leases(path)


def test_a_damaged_page_is_a_clear_error(tmp_path: Path) -> None:
    """Garbage inside the file shows as damage, not as a foreign exception."""
    path = tmp_path / "journal.db"
    with open_journal(path) as journal:
        for _ in range(200):
            journal.append("r", EntryKind.EVIDENCE, at=NOON, data={"x": "y" * 200})
    content = bytearray(path.read_bytes())
    content[4096 * 8 :] = b"\xa5" * (len(content) - 4096 * 8)
    path.write_bytes(content)

    with open_journal(path) as journal, pytest.raises(JournalError, match="is damaged"):
        journal.verify()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o400])
def test_a_database_with_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    """The remedy is the command that mends it."""
    path = tmp_path / "leases.db"
    open_leases(path).close()
    path.chmod(mode)

    with pytest.raises(StoreError, match=f"mode {mode:04o}, expected 0600") as refusal:
        open_leases(path)
    assert refusal.value.hint == f"chmod 0600 {path}"


def test_a_directory_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """Whoever can write to the directory could swap the file."""
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o770)

    with pytest.raises(StoreError, match="mode 0770") as refusal:
        open_leases(directory / "leases.db")
    assert refusal.value.hint == f"chmod go-w {directory}"


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A link could lead anywhere."""
    open_leases(tmp_path / "real.db").close()
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")

    with pytest.raises(StoreError, match="not a plain file"):
        open_leases(tmp_path / "link.db")


@pytest.mark.parametrize("failure", [JournalError, StoreError])
@pytest.mark.parametrize("directory", ["file", "/sys/kernel"])
def test_a_directory_that_cannot_be_used_is_named(
    tmp_path: Path, failure: type[JournalError | StoreError], directory: str
) -> None:
    """A file where a directory should be, and a place where even root makes no files."""
    (tmp_path / "file").write_text("")
    path = tmp_path / directory / "x.db"

    with pytest.raises(failure, match="cannot be used") as refusal:
        open_database(path, component="journal", failure=failure)
    assert refusal.value.hint


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """On a real disk without room the append fails with the remedy and the journal stays whole."""
    with (
        mounted(tmp_path / "disk") as disk,
        open_journal(disk.path / "s" / "journal.db") as journal,
    ):
        journal.append("r", EntryKind.STARTED, at=NOON)
        disk.fill()

        with pytest.raises(JournalError, match="disk is full") as refusal:
            _append_until_refused(journal)
        length = journal.verify().sequence
        assert "room" in refusal.value.hint
        (disk.path / "filler").unlink()
        assert journal.append("r", EntryKind.STARTED, at=NOON).sequence == length + 1


def _append_until_refused(journal: SqliteJournal) -> None:
    for _ in range(100):
        journal.append("r", EntryKind.EVIDENCE, at=NOON, data={"x": "y" * 3000})


def test_a_limit_on_pages_is_a_full_disk_too(tmp_path: Path) -> None:
    """SQLite's own limit gives the same error where nothing can be mounted."""
    with open_database(tmp_path / "x.db", component="journal", failure=JournalError) as database:
        with database.reading() as connection:
            connection.execute("PRAGMA max_page_count = 1")

        with pytest.raises(JournalError, match="disk is full"), database.writing() as connection:
            connection.execute("CREATE TABLE filler AS SELECT zeroblob(1000000) AS x")
        with database.writing() as connection:
            assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)


def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    """A disk that went read-only is named as such."""
    with mounted(tmp_path / "disk") as disk:
        path = disk.path / "s" / "leases.db"
        open_leases(path).close()
        disk.make_read_only()

        with pytest.raises(StoreError, match=r"read-only|cannot be opened") as refusal:
            open_leases(path)
        assert refusal.value.hint


@pytest.mark.parametrize("code", sorted(n for n in dir(sqlite3) if n.startswith("SQLITE_")))
def test_every_error_of_sqlite_has_a_remedy(code: str) -> None:
    """Whatever SQLite reports reaches a person as our error, with the file and a hint."""
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorname = code

    said = explained(error, path=Path("x.db"), failure=StoreError)

    assert "`x.db`" in str(said)
    assert said.hint


OPENING = """
import sys
from pathlib import Path
from rollover.store.leases import open_leases
open_leases(Path(sys.argv[1])).close()
"""


def test_processes_that_make_the_file_together_all_succeed(tmp_path: Path) -> None:
    """The first opening is safe against others at the same moment."""
    command = [sys.executable, "-c", OPENING, str(tmp_path / "leases.db")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(6)]

    ended = [(process.communicate(timeout=600)[1], process.returncode) for process in processes]

    assert ended == [(b"", 0)] * 6
