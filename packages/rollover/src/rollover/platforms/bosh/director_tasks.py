"""Follows a task: its state, and its events as they come, each once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime

import msgspec

from rollover.errors import AdapterError, TimedOut
from rollover.fleet.secret import redacted
from rollover.platforms.bosh.director_http import HttpResponse
from rollover.platforms.bosh.director_records import DirectorTask, TaskEvent

MOST_LINE = 1024 * 1024
"""Octets of one event; a longer line is no event."""
FIRST_POLL_SECONDS, POLL_SECONDS = 0.1, 1.0
"""Listings end within tenths of a second; the bosh CLI asks every half second."""
PATIENCE_SECONDS = 120.0
"""How long a director may be away while one of its tasks is followed."""
_GROWTH = 1.5
_OK, _PARTIAL = 200, 206
_RANGE = re.compile(r"bytes (\d+)-")


class TaskPace(msgspec.Struct, frozen=True, kw_only=True):
    """How often to ask, and how long. Times in seconds, the clock is monotonic."""

    poll_seconds: float = POLL_SECONDS
    deadline_seconds: float | None = None
    patience_seconds: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


class TaskCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to follow one task."""

    state: Callable[[], DirectorTask]
    output: Callable[[int], HttpResponse]
    """The event output from this octet on."""
    cancel: Callable[[], None]


class EventReader:
    """Turns answers with parts of an event output into events. Knows no network.

    A server may answer with the part that was asked for (206), with everything (200), or with
    nothing (204, 416): every octet counts once.
    """

    def __init__(self) -> None:
        self.offset = 0
        """How many octets were read; the next part begins there."""
        self._partial = b""
        self._skipping = False

    def take(self, answer: HttpResponse) -> Iterator[TaskEvent]:
        """Yield the events whose lines are complete now."""
        piece = unread_part(answer, self.offset)
        self.offset += len(piece)
        *lines, self._partial = (self._partial + piece).split(b"\n")
        for line in lines:
            if not self._skipping:
                yield from read_event(line)
            self._skipping = False
        if len(self._partial) > MOST_LINE:
            self._partial, self._skipping = b"", True

    def rest(self) -> Iterator[TaskEvent]:
        """Yield the last event, whose line may have no end."""
        line, self._partial = self._partial, b""
        if not self._skipping:
            yield from read_event(line)


def unread_part(answer: HttpResponse, offset: int) -> bytes:
    """Return the octets of an answer that come from `offset` on; nothing where a gap would be."""
    if answer.status == _OK:
        return answer.body[offset:]
    if answer.status != _PARTIAL:
        return b""
    found = _RANGE.match(answer.content_range)
    begins = int(found[1]) if found else offset
    return answer.body[offset - begins :] if begins <= offset else b""


def follow_task(
    calls: TaskCalls, *, number: int, system: str, stopping: Callable[[], bool], pace: TaskPace
) -> Generator[TaskEvent, None, DirectorTask]:
    """Yield the events of a task until it has ended; return it as it is then.

    Once `stopping()` is true the task is cancelled, one time, and followed on: what it had begun
    it finishes. A director that is away for a while is waited for. Raises `TimedOut` when the
    deadline is over; the task then goes on by itself.
    """
    begun = pace.clock()
    reader, connection = EventReader(), _PatientCalls(pace)
    seconds, cancelled = FIRST_POLL_SECONDS, False
    while True:
        if stopping() and not cancelled:
            cancelled = connection.tried(calls.cancel)
        task, answer = connection.ask(calls, reader.offset)
        before = reader.offset
        if answer is not None:
            yield from reader.take(answer)
        if task is not None and task.state.ended:
            yield from reader.rest()
            return task
        if pace.deadline_seconds is not None and pace.clock() - begun > pace.deadline_seconds:
            raise TimedOut(
                f"it has not ended after {pace.deadline_seconds:,.0f} seconds and goes on",
                system=system,
                operation=f"task {number}",
                hint=f"look at it with `bosh task {number}`; `bosh cancel-task {number}` ends it",
            )
        seconds = FIRST_POLL_SECONDS if reader.offset > before else seconds * _GROWTH
        seconds = min(seconds, pace.poll_seconds)
        pace.pause(seconds)


class _PatientCalls:
    """Forgives a director that is away for as long as patience lasts."""

    def __init__(self, pace: TaskPace) -> None:
        self._pace = pace
        self._away_since: float | None = None

    def ask(self, calls: TaskCalls, offset: int) -> tuple[DirectorTask | None, HttpResponse | None]:
        """Return the task's state, then what it has put out by then; nothing while it is away."""
        try:
            # In this order the output is complete once the task has ended.
            task = calls.state()
            answer = calls.output(offset)
        except AdapterError as error:
            self._away(error)
            return None, None
        self._away_since = None
        return task, answer

    def tried(self, call: Callable[[], None]) -> bool:
        """Make a call; False when the director is away."""
        try:
            call()
        except AdapterError as error:
            self._away(error)
            return False
        return True

    def _away(self, error: AdapterError) -> None:
        now = self._pace.clock()
        if self._away_since is None:
            self._away_since = now
        if not error.retryable or now - self._away_since > self._pace.patience_seconds:
            raise error


class _EventData(msgspec.Struct):
    error: str | None = None
    status: str | None = None


class _EventFailure(msgspec.Struct):
    code: int | None = None
    message: str | None = None


class _WireEvent(msgspec.Struct):
    time: float
    type: str | None = None
    message: str | None = None
    stage: str | None = None
    tags: tuple[str, ...] | None = None
    total: int | None = None
    task: str | None = None
    index: int | None = None
    state: str | None = None
    progress: int | None = None
    data: _EventData | None = None
    error: _EventFailure | None = None


def read_event(line: bytes) -> Iterator[TaskEvent]:
    """Yield the event that a line holds; nothing for a line that is none."""
    try:
        wire = msgspec.json.decode(line, type=_WireEvent, strict=False)
        at = datetime.fromtimestamp(wire.time, UTC)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, ValueError, OSError):
        return
    data, failure = wire.data or _EventData(), wire.error or _EventFailure()
    yield TaskEvent(
        time=at,
        stage=wire.stage or "",
        tags=wire.tags or (),
        total=wire.total or 0,
        task=wire.task or "",
        index=wire.index or 0,
        state=wire.state or "",
        progress=wire.progress or 0,
        status=redacted(data.status or ""),
        error=redacted(failure.message or data.error or ""),
        code=failure.code or 0,
        warning=redacted(wire.message or "") if wire.type else "",
    )
