"""How far a rotation is, read off the journal alone. Light to import: `status` must start fast."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import msgspec

from rollover.engine.journal_port import Journal, every_entry
from rollover.fleet.journal import Entry, EntryKind

MOST_LEFT_BEHIND = 6
ENDED_UNHEARD = "the process that ran it ended without a word"


class Left(msgspec.Struct, frozen=True, kw_only=True):
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
    left_behind: tuple[Left, ...] = ()
    point_of_no_return: int | None = None
    overridden: tuple[str, ...] = ()
    message: str = ""
    next_command: str = ""


class _Reading:
    """What the entries of one rotation add up to."""

    def __init__(self) -> None:
        self.plan: Mapping[str, object] = {}
        self.rollout: Mapping[str, object] = {}
        self.confirmed = 0
        self.done = 0
        self.failures: list[Left] = []
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


def _failure(entry: Entry) -> Left:
    return Left(
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
        reading = _Reading()
        first: Entry | None = None
        for entry in every_entry(journal, summary.rotation):
            first = first or entry
            reading.take(entry)
        if first is not None and reading.last is not None:
            return _status(first, reading, reading.last, runs=runs, paused=paused)
    return None


def _status(
    first: Entry,
    reading: _Reading,
    last: Entry,
    *,
    runs: Callable[[str], bool],
    paused: bool,
) -> Status:
    intent = _mapping(first.data.get("intent"))
    fleet = str(first.data.get("fleet", ""))
    authority = str(first.data.get("about") or _mapping(intent.get("goal")).get("authority", ""))
    upcoming = reading.rollout or _next_rollout(reading.plan)
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
        phases=tuple(str(each) for each in _sequence(upcoming.get("phases"))),
        group=str(upcoming.get("group", "")),
        confirmed=reading.confirmed,
        instances=_number(upcoming.get("instances")),
        left_behind=tuple(_left(reading))[:MOST_LEFT_BEHIND],
        point_of_no_return=_number(reading.plan.get("point_of_no_return")) or None,
        overridden=tuple(reading.overridden),
        message=str(reading.end.data.get("message", "")) if reading.end else unheard,
        next_command=_next_command(state, authority, paused=paused),
    )


def _state(reading: _Reading, *, alive: bool) -> str:
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


def _left(reading: _Reading) -> Iterator[Left]:
    yield from reading.failures
    for each in _sequence(reading.plan.get("blocked")):
        blocked = _mapping(each)
        yield Left(
            rule=str(blocked.get("rule", "")),
            message=str(blocked.get("message", "")),
            lift=str(blocked.get("lift", "")),
        )


def _next_rollout(plan: Mapping[str, object]) -> Mapping[str, object]:
    for each in _sequence(plan.get("rollouts")):
        return _mapping(each)
    return {}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
