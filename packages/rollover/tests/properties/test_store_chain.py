"""The hash chain of the journal: any change is found, and canonical JSON is one text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover.engine import journal
from rollover.errors import JournalError
from rollover.fleet.journal import Entry, EntryKind, Plain

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DATA: st.SearchStrategy[dict[str, Plain]] = st.dictionaries(
    TEXT,
    st.recursive(
        LEAVES,
        lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


class Draft(NamedTuple):
    """An entry before it has its place in the chain."""

    at: datetime
    rotation: str
    kind: EntryKind
    subject: str
    data: dict[str, Plain]


DRAFTS = st.lists(
    st.builds(
        Draft, st.datetimes(timezones=st.just(UTC)), TEXT, st.sampled_from(EntryKind), TEXT, DATA
    ),
    min_size=1,
    max_size=5,
)


def _chained(drafts: list[Draft]) -> list[Entry]:
    entries: list[Entry] = []
    head = journal.EMPTY_HEAD
    for draft in drafts:
        entry = journal.next_entry(head, **draft._asdict())
        head = journal.check_entry(head, entry)
        entries.append(entry)
    return entries


@given(DRAFTS)
def test_a_chain_of_any_entries_is_valid_and_survives_json(
    drafts: list[Draft],
) -> None:
    """What was written can be read from its canonical JSON and still matches its hash."""
    entries = _chained(drafts)
    again = [
        msgspec.structs.replace(entry, data=json.loads(journal.canonical_json(entry.data)))
        for entry in entries
    ]

    assert journal.verify_entries(again) == journal.verify_entries(entries)


@given(DRAFTS, st.data())
def test_any_change_to_any_entry_is_found_at_its_sequence(
    drafts: list[Draft], data: st.DataObject
) -> None:
    """Subject, rotation, kind, time, data, order and absence: all are in the hash."""
    entries = _chained(drafts)
    place = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[place]
    changes: dict[str, object] = {
        "subject": entry.subject + "x",
        "rotation": entry.rotation + "x",
        "kind": next(kind for kind in EntryKind if kind is not entry.kind),
        "data": {**entry.data, "extra": 1, "more": 2} if "extra" in entry.data else {"extra": 1},
        "sequence": entry.sequence + 1,
        "previous": "f" * 64,
        "hash": "f" * 64,
    }
    field = data.draw(st.sampled_from(sorted(changes)))
    entries[place] = msgspec.structs.replace(entry, **{field: changes[field]})

    with pytest.raises(JournalError, match=f"broken at entry {place + 1}:"):
        journal.verify_entries(entries)


@given(DATA)
def test_canonical_json_does_not_depend_on_the_order_of_keys(data: dict[str, Plain]) -> None:
    """The same object in any order is one text."""
    assert journal.canonical_json(dict(reversed(data.items()))) == journal.canonical_json(data)
