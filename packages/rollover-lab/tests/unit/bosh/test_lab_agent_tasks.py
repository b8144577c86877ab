"""Tasks of an agent: one at a time, five waiting, some remembered."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest

from rollover_lab.bosh.agent.life import LOG_LIMIT, AgentLog
from rollover_lab.bosh.agent.protocol import (
    QUEUE_LENGTH,
    ActionFailed,
    AgentTasks,
    ProcessExit,
    Running,
)


def _explode() -> object:
    raise ActionFailed("no")


def _end() -> object:
    raise ProcessExit(0)


async def _worked(tasks: AgentTasks) -> None:
    worker = asyncio.create_task(tasks.work())
    for _ in range(20):  # nothing here waits for anything but its turn
        await asyncio.sleep(0)
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


def test_a_task_is_running_until_it_was_done(tmp_path: Path) -> None:
    """`get_task` gives the same hash as the start did, and then the result."""

    async def scene() -> None:
        tasks = AgentTasks(tmp_path / "tasks.json")
        started = await tasks.start("apply", lambda: "applied")
        assert tasks.result(started.agent_task_id) == started
        assert msgspec.to_builtins(started)["state"] == "running"
        await _worked(tasks)
        assert tasks.result(started.agent_task_id) == "applied"

    asyncio.run(scene())


def test_a_failed_task_says_which_it_was(tmp_path: Path) -> None:
    """The error of the action is wrapped as the real agent does it."""

    async def scene() -> None:
        tasks = AgentTasks(tmp_path / "tasks.json")
        task = (await tasks.start("apply", _explode)).agent_task_id
        await _worked(tasks)
        with pytest.raises(ActionFailed, match=f"Task {task} result: no"):
            tasks.result(task)

    asyncio.run(scene())


def test_the_seventh_task_waits_for_room(tmp_path: Path) -> None:
    """Whoever asks while five wait gets no answer until one of them is taken up."""

    async def scene() -> None:
        tasks = AgentTasks(tmp_path / "tasks.json")
        for _ in range(QUEUE_LENGTH):
            await tasks.start("apply", lambda: "applied")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tasks.start("apply", lambda: "applied"), 0.01)
        worker = asyncio.create_task(tasks.work())
        assert await asyncio.wait_for(tasks.start("apply", lambda: "applied"), 60)
        worker.cancel()

    asyncio.run(scene())


def test_a_persistent_task_that_ends_the_process_is_answered_by_the_next(tmp_path: Path) -> None:
    """The id outlives the process once: the next life knows the result, the one after does not."""

    async def first() -> str:
        tasks = AgentTasks(tmp_path / "tasks.json")
        task = (await tasks.start("update_settings", _end, persistent=True)).agent_task_id
        with pytest.raises(ProcessExit):
            await tasks.work()
        return task

    async def next_life(task: str) -> object:
        tasks = AgentTasks(tmp_path / "tasks.json")
        await tasks.resume("ok")
        await _worked(tasks)
        return tasks.result(task)

    task = asyncio.run(first())
    assert "private" not in (tmp_path / "tasks.json").read_text()
    assert asyncio.run(next_life(task)) == "ok"
    with pytest.raises(ActionFailed, match="could not be found"):
        asyncio.run(next_life(task))


def test_a_damaged_record_of_tasks_stops_nothing(tmp_path: Path) -> None:
    """The agent goes on without it; whoever asks for a task hears that it is unknown."""
    (tmp_path / "tasks.json").write_text("{")

    async def scene() -> None:
        tasks = AgentTasks(tmp_path / "tasks.json")
        await tasks.resume("ok")
        assert isinstance(await tasks.start("apply", lambda: "applied"), Running)

    asyncio.run(scene())


def test_the_log_of_an_agent_is_bounded(tmp_path: Path) -> None:
    """Two files at most, whatever is written."""
    log = AgentLog(tmp_path / "agent.log")
    for _ in range(35):
        log.note("x" * (LOG_LIMIT // 10))
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["agent.log", "agent.log.1"]
    assert sum(file.stat().st_size for file in files) < 3 * LOG_LIMIT
