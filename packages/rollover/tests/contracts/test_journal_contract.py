"""The contract of the journal, on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest

from rigs.memory_state import MemoryJournal
from rigs.stored import NOON, later, leaf
from rollover.engine.ports import Journal
from rollover.errors import JournalError
from rollover.fleet.journal import GENESIS, EntryKind, Plain
from rollover.fleet.secret import SecretBytes
from rollover.store.journal import open_journal


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """One journal of each implementation, empty."""
    if request.param == "memory":
        yield MemoryJournal()
        return
    with open_journal(tmp_path / "journal.db") as opened:
        yield opened


def test_an_appended_entry_is_returned_as_it_is_read_back(journal: Journal) -> None:
    """What append returns is what entries shows later."""
    entry = journal.append(
        "r1", EntryKind.CONFIRMED, at=NOON, subject="n1", data={"b": [1, None], "a": {"ü": 1.5}}
    )

    assert journal.entries() == (entry,)
    assert (entry.sequence, entry.previous, entry.kind) == (1, GENESIS, EntryKind.CONFIRMED)


def test_entries_are_chained_by_their_hashes(journal: Journal) -> None:
    """Each entry carries the hash of the one before."""
    first = journal.append("r1", EntryKind.STARTED, at=NOON)
    second = journal.append("r1", EntryKind.FINISHED, at=later(1))

    assert second.previous == first.hash
    assert journal.verify().hash == second.hash


def test_the_hash_depends_on_nothing_but_the_entries(journal: Journal) -> None:
    """The same entries give the same chain in every implementation, key order aside."""
    journal.append("r1", EntryKind.STARTED, at=NOON, subject="", data={"a": 1, "b": "x"})
    other = MemoryJournal()
    other.append("r1", EntryKind.STARTED, at=NOON, subject="", data={"b": "x", "a": 1})

    assert journal.verify() == other.verify()


def test_times_are_kept_in_utc(journal: Journal) -> None:
    """An instant written in another zone is the same instant."""
    zone = timezone(timedelta(hours=2))

    entry = journal.append("r1", EntryKind.STARTED, at=NOON.astimezone(zone))

    assert journal.entries()[0].at == NOON
    assert entry.at.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused(journal: Journal) -> None:
    """A naive time could mean anything."""
    with pytest.raises(JournalError, match="has no zone"):
        journal.append("r1", EntryKind.STARTED, at=datetime(2026, 1, 1))  # noqa: DTZ001 -- the point


@pytest.mark.parametrize("shape", ["value", "nested", "key", "subject"])
def test_a_private_key_is_refused_wherever_it_stands(journal: Journal, shape: str) -> None:
    """No private key gets into the journal, and none into the refusal."""
    pem = leaf().key.reveal().decode()
    shapes: dict[str, dict[str, Plain]] = {
        "value": {"output": pem},
        "nested": {"a": [{"b": f"said: {pem}"}]},
        "key": {pem: 1},
        "subject": {},
    }

    with pytest.raises(JournalError, match="private key") as refusal:
        journal.append(
            "r1",
            EntryKind.FAILED,
            at=NOON,
            subject=pem if shape == "subject" else "",
            data=shapes[shape],
        )

    assert pem.splitlines()[1] not in f"{refusal.value}{refusal.value.hint}"
    assert journal.entries() == ()


@pytest.mark.parametrize(
    "value", [SecretBytes(b"x"), b"x", {1, 2}, float("nan"), "\ud800", "x" * 2_000_000]
)
def test_data_that_is_not_plain_json_is_refused(journal: Journal, value: object) -> None:
    """Bytes, sets, NaN, lone surrogates and huge texts are refused; nothing is added."""
    with pytest.raises(JournalError, match="journal data"):
        journal.append("r1", EntryKind.EVIDENCE, at=NOON, data={"x": cast("Plain", value)})

    assert journal.entries() == ()


def test_entries_come_in_pages_and_by_rotation(journal: Journal) -> None:
    """`after` and `limit` walk through the entries of one rotation without gap or repeat."""
    for number in range(10):
        journal.append(f"r{number % 2}", EntryKind.EVIDENCE, at=later(number))

    first = journal.entries(rotation="r1", limit=2)
    rest = journal.entries(rotation="r1", after=first[-1].sequence)

    assert [entry.sequence for entry in first + rest] == [2, 4, 6, 8, 10]
    assert [entry.sequence for entry in journal.entries(after=8)] == [9, 10]


def test_rotations_are_summed_up_newest_first_in_pages(journal: Journal) -> None:
    """A summary tells when a rotation began and what was last heard of it."""
    journal.append("r1", EntryKind.STARTED, at=later(0))
    journal.append("r2", EntryKind.STARTED, at=later(1))
    journal.append("r1", EntryKind.FINISHED, at=later(2))

    newest, oldest = journal.rotations()

    assert (newest.rotation, oldest.rotation) == ("r2", "r1")
    assert (oldest.first_sequence, oldest.last_sequence, oldest.entries) == (1, 3, 2)
    assert (oldest.started_at, oldest.last_at) == (later(0), later(2))
    assert oldest.last_kind is EntryKind.FINISHED
    assert journal.rotations(limit=1) == (newest,)
    assert journal.rotations(before=newest.first_sequence) == (oldest,)


def test_threads_append_without_gap_or_fork(journal: Journal) -> None:
    """Appends of several threads end up in one chain."""
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda number: journal.append(
                    "r", EntryKind.EVIDENCE, at=NOON, subject=str(number)
                ),
                range(40),
            )
        )

    assert sorted(entry.sequence for entry in made) == list(range(1, 41))
    assert journal.verify().sequence == 40


def test_an_empty_journal_is_valid(journal: Journal) -> None:
    """There is nothing to distrust in nothing."""
    assert (journal.verify().sequence, journal.rotations()) == (0, ())
