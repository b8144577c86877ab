"""The journal: how entries follow one another, and how far a rotation is by them alone.

Light to import, for `status` must start fast.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from rollover.engine.ports import Journal, every_entry
from rollover.errors import JournalError
from rollover.fleet.journal import GENESIS, Entry, EntryKind, Head, Plain

# The chain of hashes. Every implementation of the journal uses these functions, so that a journal
# can be moved from one to another and stays valid.

LARGEST_DATA = 1024 * 1024
"""Bytes of canonical JSON that one entry may hold: evidence is facts, not dumps."""

EMPTY_HEAD = Head(sequence=0, hash=GENESIS)
"""The head of a journal without entries."""


def next_entry(
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
    text = canonical_json({} if data is None else data)
    _refuse_keys(text, subject, rotation)
    moment = _utc(at)
    sequence = head.sequence + 1
    return Entry(
        sequence=sequence,
        at=moment,
        rotation=rotation,
        kind=kind,
        subject=subject,
        # As whoever reads the entry will have it: tuples are lists by then.
        data=json.loads(text),
        previous=head.hash,
        hash=_digest_of_fields(
            sequence=sequence,
            at=instant_text(moment),
            rotation=rotation,
            kind=kind.value,
            subject=subject,
            data=json.loads(text),
            previous=head.hash,
        ),
    )


def canonical_json(data: Mapping[str, Plain]) -> str:
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


def check_entry(head: Head, entry: Entry) -> Head:
    """Return the head that `entry` makes after `head`; `JournalError` names a broken sequence."""
    if entry.sequence != head.sequence + 1:
        raise _broken_chain(head.sequence + 1, f"entry {entry.sequence} stands in its place")
    if entry.previous != head.hash:
        raise _broken_chain(entry.sequence, "it does not follow from the entry before it")
    if entry.hash != entry_digest(entry):
        raise _broken_chain(entry.sequence, "its content does not match its hash")
    return Head(sequence=entry.sequence, hash=entry.hash)


def verify_entries(entries: Iterable[Entry]) -> Head:
    """Walk a whole chain from its first entry and return its head, or raise `JournalError`."""
    head = EMPTY_HEAD
    for entry in entries:
        head = check_entry(head, entry)
    return head


def entry_digest(entry: Entry) -> str:
    """Return the hash that an entry ought to have."""
    return _digest_of_fields(
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


def _digest_of_fields(**fields: Plain) -> str:
    import hashlib  # noqa: PLC0415 - `rollover status` reads entries and computes no hash

    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


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


def _broken_chain(sequence: int, reason: str) -> JournalError:
    return JournalError(
        f"the journal is broken at entry {sequence}: {reason}",
        hint="entries before it can be trusted; compare the rest with a backup of the journal",
    )


# How far a rotation is.

MOST_LEFT_BEHIND = 6
ENDED_UNHEARD = "the process that ran it ended without a word"


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is left behind, or something that stands in the way, and what lifts it."""

    rule: str
    message: str
    lift: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where the last rotation of a fleet stands."""

    rotation: str
    fleet: str
    authority: str
    kind: str
    """`rotation` or `rollback`."""
    state: str
    """`running`, `waiting`, `stopped`, `finished`."""
    started_at: datetime
    last_at: datetime
    done: int
    of: int
    phases: tuple[str, ...] = ()
    """What the next rollout does, or the running one."""
    group: str = ""
    confirmed: int = 0
    instances: int = 0
    left_behind: tuple[LeftBehind, ...] = ()
    point_of_no_return: int | None = None
    overridden: tuple[str, ...] = ()
    message: str = ""
    next_command: str = ""


class _StatusReading:
    """What the entries of one rotation add up to."""

    def __init__(self) -> None:
        self.plan: Mapping[str, object] = {}
        self.rollout: Mapping[str, object] = {}
        self.confirmed = 0
        self.done = 0
        self.failures: list[LeftBehind] = []
        self.overridden: list[str] = []
        self.end: Entry | None = None
        self.last: Entry | None = None

    def take(self, entry: Entry) -> None:
        self.last = entry
        match entry.kind:
            case EntryKind.PLANNED:
                self.plan, self.rollout, self.confirmed = entry.data, {}, 0
                self.failures, self.end = [], None
            case EntryKind.ROLLOUT_STARTED:
                self.rollout, self.confirmed = entry.data, 0
            case EntryKind.CONFIRMED:
                self.confirmed += 1
            case EntryKind.FAILED:
                self.failures.append(_failure(entry))
            case EntryKind.OVERRIDDEN:
                self.overridden.append(f"{entry.data.get('rule')}: {entry.data.get('reason')}")
            case EntryKind.ROLLOUT_FINISHED:
                self.done += 1
                self.rollout = {}
            case EntryKind.REFUSED | EntryKind.INTERRUPTED:
                self.end = entry
            case EntryKind.FINISHED:
                self.end, self.failures = entry, []
            case _:
                pass


def _failure(entry: Entry) -> LeftBehind:
    return LeftBehind(
        rule=str(entry.data.get("code", "failed")),
        message=f"`{entry.subject}`: {entry.data.get('message', '')}",
        lift=str(entry.data.get("hint", "")),
    )


def read_status(
    journal: Journal,
    *,
    runs: Callable[[str], bool] = lambda _fleet: True,
    paused: bool = False,
) -> Status | None:
    """Return where the last rotation stands; None when there never was one.

    `runs(fleet)` says whether a live process holds the lease of that fleet: a rotation whose
    process was killed has written no last word. `paused`: a pause was asked for.
    """
    for summary in journal.rotations(limit=1):
        reading = _StatusReading()
        first: Entry | None = None
        for entry in every_entry(journal, summary.rotation):
            first = first or entry
            reading.take(entry)
        if first is not None and reading.last is not None:
            return _status(first, reading, reading.last, runs=runs, paused=paused)
    return None


def _status(
    first: Entry,
    reading: _StatusReading,
    last: Entry,
    *,
    runs: Callable[[str], bool],
    paused: bool,
) -> Status:
    intent = _mapping(first.data.get("intent"))
    fleet = str(first.data.get("fleet", ""))
    authority = str(first.data.get("about") or _mapping(intent.get("goal")).get("authority", ""))
    upcoming = reading.rollout or next(map(_mapping, _sequence(reading.plan.get("rollouts"))), {})
    state = _state(reading, alive=runs(fleet))
    unheard = ENDED_UNHEARD if state == "stopped" else ""
    return Status(
        rotation=first.rotation,
        fleet=fleet,
        authority=authority,
        kind="rollback" if intent.get("rollback") else "rotation",
        state=state,
        started_at=first.at,
        last_at=last.at,
        done=reading.done,
        of=max(reading.done, _number(reading.plan.get("whole"))),
        phases=tuple(map(str, _sequence(upcoming.get("phases")))),
        group=str(upcoming.get("group", "")),
        confirmed=reading.confirmed,
        instances=_number(upcoming.get("instances")),
        left_behind=tuple(_left(reading))[:MOST_LEFT_BEHIND],
        point_of_no_return=_number(reading.plan.get("point_of_no_return")) or None,
        overridden=tuple(reading.overridden),
        message=str(reading.end.data.get("message", "")) if reading.end else unheard,
        next_command=_next_command(state, authority, paused=paused),
    )


def _state(reading: _StatusReading, *, alive: bool) -> str:
    if reading.end is None:
        return "running" if alive else "stopped"
    if reading.end.kind is EntryKind.FINISHED:
        return "finished"
    return "waiting" if reading.end.kind is EntryKind.REFUSED else "stopped"


def _next_command(state: str, authority: str, *, paused: bool) -> str:
    if state == "running":
        return "rollover status"
    verb = {"finished": "verify"}.get(state, "resume" if paused else "rotate")
    return f"rollover {verb} --authority {shlex.quote(authority)}"


def _left(reading: _StatusReading) -> Iterator[LeftBehind]:
    yield from reading.failures
    for blocked in map(_mapping, _sequence(reading.plan.get("blocked"))):
        yield LeftBehind(
            rule=str(blocked.get("rule", "")),
            message=str(blocked.get("message", "")),
            lift=str(blocked.get("lift", "")),
        )


# Entries may come from another version of Rollover: what is not what it should be counts as absent.


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
