"""Events of a task, in whatever pieces they come."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from rollover.errors import Unreachable
from rollover.platforms.bosh.director_http import HttpResponse
from rollover.platforms.bosh.director_records import DirectorTask, TaskEvent, TaskState
from rollover.platforms.bosh.director_tasks import (
    MOST_LINE,
    EventReader,
    TaskCalls,
    TaskPace,
    follow_task,
    read_event,
    unread_part,
)


def line(**fields: object) -> bytes:
    """One event."""
    return json.dumps({"time": 1, **fields}).encode() + b"\n"


def read(reader: EventReader, *answers: HttpResponse) -> list[TaskEvent]:
    """All events of these answers."""
    return [task_event for answer in answers for task_event in reader.take(answer)]


def partial(text: bytes, begin: int) -> HttpResponse:
    """A 206 as the director gives it."""
    size = len(text)
    return HttpResponse(
        status=206, body=text[begin:], content_range=f"bytes {begin}-{size - 1}/{size}"
    )


def test_an_event_says_which_instance_and_how_far() -> None:
    """As in the director's own format."""
    text = line(
        stage="Updating instance", tags=["router"], total=3, task="router/1 (0) (canary)", index=1,
        state="in_progress", progress=20, data={"status": "executing drain", "more": {}},
    )  # fmt: skip
    (found,) = read_event(text)
    assert (found.stage, found.tags, found.task) == (
        "Updating instance", ("router",), "router/1 (0) (canary)",
    )  # fmt: skip
    assert (found.state, found.progress, found.status) == ("in_progress", 20, "executing drain")


def test_errors_of_an_instance_and_of_the_task_are_errors() -> None:
    """The task's has a code; warnings are none."""
    (instance,) = read_event(line(stage="s", state="failed", data={"error": "not running"}))
    (task,) = read_event(line(error={"code": 450001, "message": "Timed out"}))
    (warning,) = read_event(line(type="deprecation", message="old syntax"))
    assert (instance.error, instance.code) == ("not running", 0)
    assert (task.error, task.code) == ("Timed out", 450001)
    assert (warning.warning, warning.error) == ("old syntax", "")


def test_lines_that_are_no_events_are_skipped() -> None:
    """Blank ones, text, other JSON, times out of this world."""
    for bad in (b"", b"  ", b"Traceback", b"[1]", b"null", b"{}", b'{"time":1e300}', b"\xff\xfe"):
        assert list(read_event(bad)) == []


def test_keys_in_events_are_left_out() -> None:
    """An error may quote what a job printed."""
    (found,) = read_event(line(data={"error": "-----BEGIN RSA PRIVATE KEY-----\nabc"}))
    assert "BEGIN" not in found.error


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_every_event_comes_once_whatever_the_pieces(cuts: list[int], ranges: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """With a server that honours ranges, and with one that sends everything each time."""
    text = b"".join(line(index=number, stage="s" * number) for number in range(6)) + b"garbage\n"
    reader, found = EventReader(), []
    for size in [*sorted(cuts), len(text)]:
        there = text[:size]
        if not ranges:
            found += read(reader, HttpResponse(status=200, body=there))
        elif reader.offset >= len(there):
            found += read(reader, HttpResponse(status=416))
        else:
            found += read(reader, partial(there, reader.offset))
    found += reader.rest()
    assert [task_event.index for task_event in found] == list(range(6))


def test_a_last_line_without_end_is_an_event_too() -> None:
    """When the task has ended it will not grow any more."""
    reader = EventReader()
    assert read(reader, HttpResponse(status=200, body=line(index=5).rstrip(b"\n"))) == []
    assert [task_event.index for task_event in reader.rest()] == [5]


def test_a_range_that_begins_elsewhere_gives_what_is_new() -> None:
    """And nothing where something would be missing in between."""
    earlier = HttpResponse(status=206, body=b"abcdef", content_range="bytes 0-5/6")
    later = HttpResponse(status=206, body=b"abcdef", content_range="bytes 9-14/15")
    assert unread_part(earlier, 4) == b"ef"
    assert unread_part(later, 4) == b""
    assert unread_part(HttpResponse(status=206, body=b"abc"), 4) == b"abc"
    assert unread_part(HttpResponse(status=204), 4) == b""
    assert unread_part(HttpResponse(status=200, body=b"ab"), 4) == b""


def test_a_line_without_end_takes_no_memory() -> None:
    """What comes after it is read again."""
    reader = EventReader()
    piece = b"x" * (MOST_LINE // 2 + 1)
    for _ in range(5):
        assert read(reader, HttpResponse(status=206, body=piece)) == []
        assert len(reader._partial) <= MOST_LINE
    assert [
        e.index for e in read(reader, HttpResponse(status=206, body=b"x\n" + line(index=7)))
    ] == [7]


class _Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


def _states(*states: TaskState) -> Iterator[DirectorTask]:
    for state in states:
        yield DirectorTask(id=1, state=state)


def test_it_asks_ever_more_seldom_and_at_once_when_something_happens() -> None:
    """Short tasks are not waited for, long ones not disturbed."""
    clock = _Clock()
    tasks = _states(*[TaskState.PROCESSING] * 9, TaskState.DONE)
    outputs = iter([HttpResponse(status=204)] * 7 + [HttpResponse(status=200, body=line())] * 3)
    calls = TaskCalls(
        state=lambda: next(tasks), output=lambda _: next(outputs), cancel=lambda: None
    )
    pace = TaskPace(poll_seconds=1.0, clock=lambda: clock.now, pause=clock.pause)
    assert (
        len(list(follow_task(calls, number=1, system="d", stopping=lambda: False, pace=pace))) == 1
    )
    assert clock.pauses[:7] == sorted(clock.pauses[:7])
    assert max(clock.pauses) == 1.0
    assert clock.pauses[7] < 0.2


def test_a_director_that_stays_away_ends_the_patience() -> None:
    """Its own error is told, after the time that was given."""
    clock = _Clock()

    def state() -> DirectorTask:
        raise Unreachable("nobody answers", system="d", operation="GET /tasks/1")

    calls = TaskCalls(state=state, output=lambda _: HttpResponse(status=204), cancel=lambda: None)
    pace = TaskPace(patience_seconds=30, clock=lambda: clock.now, pause=clock.pause)
    following = follow_task(calls, number=1, system="d", stopping=lambda: False, pace=pace)
    try:
        next(following)
    except Unreachable:
        assert 30 < clock.now < 35
    else:
        raise AssertionError
