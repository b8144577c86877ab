"""The hash chain of the journal: how an entry is made from the one before, and how it is checked.

Every implementation of the journal uses these functions, so a journal can be moved from one to
another and stays valid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from rollover.errors import JournalError
from rollover.fleet.journal import GENESIS, Entry, EntryKind, Head, Plain

LARGEST_DATA = 1024 * 1024
"""Bytes of canonical JSON that one entry may hold: evidence is facts, not dumps."""

EMPTY = Head(sequence=0, hash=GENESIS)
"""The head of a journal without entries."""


def follow(
    head: Head,
    *,
    at: datetime,
    rotation: str,
    kind: EntryKind,
    subject: str = "",
    data: Mapping[str, Plain] | None = None,
) -> Entry:
    """Return the entry that comes after `head`.

    Raises `JournalError` when the data is not plain JSON, is too large or holds a private key, and
    when the time has no zone.
    """
    text = canonical({} if data is None else data)
    _refuse_keys(text, subject, rotation)
    moment = _utc(at)
    sequence = head.sequence + 1
    return Entry(
        sequence=sequence,
        at=moment,
        rotation=rotation,
        kind=kind,
        subject=subject,
        data=json.loads(text),
        previous=head.hash,
        hash=_digest(
            sequence=sequence,
            at=instant_text(moment),
            rotation=rotation,
            kind=kind.value,
            subject=subject,
            data=json.loads(text),
            previous=head.hash,
        ),
    )


def canonical(data: Mapping[str, Plain]) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN, characters as they are.

    Raises `JournalError` for what JSON cannot say and for more than `LARGEST_DATA` bytes.
    """
    try:
        text = json.dumps(
            data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        # The text of the error may quote a value; its type says enough.
        raise JournalError(
            f"journal data is not plain JSON ({type(error).__name__})",
            hint="hand over strings, numbers, booleans, lists and objects only",
        ) from None
    if size > LARGEST_DATA:
        raise JournalError(
            f"journal data has {size} bytes, at most {LARGEST_DATA} are taken",
            hint="journal a digest or a count instead of the whole",
        )
    return text


def check(head: Head, entry: Entry) -> Head:
    """Return the head that `entry` makes after `head`; `JournalError` names a broken sequence."""
    if entry.sequence != head.sequence + 1:
        raise _broken(head.sequence + 1, f"entry {entry.sequence} stands in its place")
    if entry.previous != head.hash:
        raise _broken(entry.sequence, "it does not follow from the entry before it")
    if entry.hash != digest(entry):
        raise _broken(entry.sequence, "its content does not match its hash")
    return Head(sequence=entry.sequence, hash=entry.hash)


def verify(entries: Iterable[Entry]) -> Head:
    """Walk a whole chain from its first entry and return its head, or raise `JournalError`."""
    head = EMPTY
    for entry in entries:
        head = check(head, entry)
    return head


def digest(entry: Entry) -> str:
    """Return the hash that an entry ought to have."""
    return _digest(
        sequence=entry.sequence,
        at=instant_text(entry.at),
        rotation=entry.rotation,
        kind=entry.kind.value,
        subject=entry.subject,
        data=entry.data,
        previous=entry.previous,
    )


def instant_text(at: datetime) -> str:
    """Return the one text of an instant: UTC, microseconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(**fields: Plain) -> str:
    import hashlib  # noqa: PLC0415 - `rollover status` reads entries and computes no hash

    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise JournalError(
            f"the time `{at.isoformat()}` of a journal entry has no zone",
            hint="hand over an aware datetime, best in UTC",
        )
    return at.astimezone(UTC)


def _refuse_keys(*texts: str) -> None:
    from rollover.fleet.secret import holds_private_key  # noqa: PLC0415 - for writing only

    if any(holds_private_key(text) for text in texts):
        raise JournalError(
            "a journal entry would hold a private key",
            hint="journal the fingerprint of the certificate instead",
        )


def _broken(sequence: int, reason: str) -> JournalError:
    return JournalError(
        f"the journal is broken at entry {sequence}: {reason}",
        hint="entries before it can be trusted; compare the rest with a backup of the journal",
    )
