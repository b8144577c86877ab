"""Events of a task are what the bosh CLI can pair and show."""

from __future__ import annotations

import threading

import pytest

from rollover_lab.bosh.director import work
from rollover_lab.bosh.director.refusals import RpcTimeout
from rollover_lab.bosh.director.task_records import EventEntry, EventLog


def test_a_step_starts_advances_and_finishes() -> None:
    """Stage, tags and task are the same in all its lines."""
    lines: list[EventEntry] = []
    stage = EventLog(lines.append).stage("Updating instance", 2, "router")
    with stage.step("router/1 (0) (canary)") as step:
        step.advance(5, "executing drain")
    assert [(line["state"], line["progress"]) for line in lines] == [
        ("started", 0),
        ("in_progress", 5),
        ("finished", 100),
    ]
    assert lines[1]["data"] == {"status": "executing drain"}
    for line in lines:
        shown = (line["stage"], line["tags"], line["total"], line["task"], line["index"])
        assert shown == ("Updating instance", ["router"], 2, "router/1 (0) (canary)", 1)


def test_a_step_that_fails_says_why() -> None:
    """And the failure goes on to whoever runs the task."""
    lines: list[EventEntry] = []
    stage = EventLog(lines.append).stage("Updating instance", 1)
    with pytest.raises(RpcTimeout), stage.step("router/1 (0)"):
        raise RpcTimeout("Timed out")
    assert (lines[-1]["state"], lines[-1]["data"]) == ("failed", {"error": "Timed out"})


def test_a_failed_task_has_a_number_and_a_message() -> None:
    """That line is what ends the CLI's output."""
    lines: list[EventEntry] = []
    EventLog(lines.append).fail(number=450002, message="Timed out")
    assert lines[0]["error"] == {"code": 450002, "message": "Timed out"}


def test_after_a_failure_nothing_new_begins() -> None:
    """What is under way is waited for, then the failure is raised (H6: half is done)."""
    done: list[int] = []

    def job(number: int) -> None:
        if number == 2:
            raise RpcTimeout("Timed out")
        done.append(number)

    with pytest.raises(RpcTimeout):
        work.run_all((lambda n=n: job(n) for n in range(1, 6)), at_once=1)  # type: ignore[misc]  # mypy cannot type the default of a lambda
    assert done == [1]


def test_no_more_than_allowed_run_together() -> None:
    """With room for two, two wait for each other and a third never joins them."""
    together = threading.Barrier(2, timeout=600)
    running: list[int] = []
    most: list[int] = []

    def job() -> None:
        running.append(1)
        most.append(len(running))
        together.wait()
        running.pop()
        together.wait()

    work.run_all((job for _ in range(6)), at_once=2)
    assert max(most) == 2
