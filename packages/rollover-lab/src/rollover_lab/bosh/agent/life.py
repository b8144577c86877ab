"""One life of an agent: from reading its files to the end of what would be its process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rollover_lab.bosh.agent import actions, protocol
from rollover_lab.bosh.agent.actions import RESUMED
from rollover_lab.bosh.agent.bus import (
    AgentBus,
    BadCredentials,
    BusClosed,
    ConnectionBehaviour,
    check_server,
    client_context,
)
from rollover_lab.bosh.agent.directory import AgentDirectory, UnreadableFile
from rollover_lab.bosh.agent.host import AgentFault, AgentHost, AgentSurroundings
from rollover_lab.bosh.agent.protocol import AgentTasks, ProcessExit

LOG_LIMIT = 256 * 1024
"""Octets; then the file is kept as `….1`, and a new one begun."""
INBOX_LENGTH = 65_536
"""Messages that wait for the one before; nats.go drops those beyond half a million."""


class AgentLog:
    """Appends lines to a file. Whoever calls it gives it no secrets.

    Bounded, for agents that may crash three times a second for days.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, line: str) -> None:
        """Append a line with the time."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {line}\n")
            full = file.tell() > LOG_LIMIT
        if full:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))


async def live(files: AgentDirectory, surroundings: AgentSurroundings) -> int:
    """Be the agent whose files these are; return the exit code of its process.

    1: it cannot start, or has given up on its connection. 0: it wants to be started again. Being
    cancelled is being killed.
    """
    log = AgentLog(files.log)
    log.note("started")
    try:
        code = await _live_once(files, surroundings, log)
    except (UnreadableFile, BadCredentials, ValueError) as error:
        log.note(f"cannot start: {error}")
        code = 1
    log.note(f"ended with code {code}")
    return code


async def _live_once(files: AgentDirectory, surroundings: AgentSurroundings, log: AgentLog) -> int:
    told = files.told()
    inbox: asyncio.Queue[bytes] = asyncio.Queue(INBOX_LENGTH)

    def deliver(_subject: str, payload: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            inbox.put_nowait(payload)

    bus = AgentBus(
        told.urls,
        client_context(told.credentials),
        ConnectionBehaviour(
            name=told.settings.agent_id,
            delay=surroundings.timing.reconnect_delay,
            connect_timeout=surroundings.timing.connect_timeout,
            check=check_server,
            note=log.note,
        ),
        subjects=(f"agent.{told.settings.agent_id}",),
        deliver=deliver,
    )

    def send(topic: str, content: object) -> None:
        with contextlib.suppress(BusClosed):
            bus.publish(f"hm.agent.{topic}.{told.settings.agent_id}", msgspec.json.encode(content))

    host = AgentHost(files, told, surroundings=surroundings, send=send)
    tasks = AgentTasks(files.tasks)
    return await _first_exit(
        tasks.work(),
        tasks.resume(RESUMED),
        bus.run(),
        beat(host, bus),
        _answer(host, tasks, bus, inbox),
    )


async def _answer(
    host: AgentHost, tasks: AgentTasks, bus: AgentBus, inbox: asyncio.Queue[bytes]
) -> None:
    """Answer one request after another, as a subscription of nats.go delivers them."""
    while True:
        request = protocol.parse_request(await inbox.get())
        if request is None or host.surroundings.fault is AgentFault.HUNG:
            continue
        reply = await actions.dispatch(host, tasks, request)
        if protocol.fits_a_subject(request.reply_to):
            with contextlib.suppress(BusClosed):
                bus.publish(request.reply_to, reply)


async def _first_exit(*parts: Coroutine[object, object, None]) -> int:
    """Run all parts until one ends the process; then end the others."""
    running = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*running)
    except ProcessExit as end:
        return end.code
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return 1


# Heartbeats: every so often, and the end of the process when none gets out any more.


async def beat(host: AgentHost, bus: AgentBus) -> None:
    """Send heartbeats until the connection has been closed for too long: `ProcessExit`."""
    timing = host.surroundings.timing
    loop = asyncio.get_running_loop()
    await bus.settled.wait()
    if bus.connected:  # otherwise the first one is lost
        _send_heartbeat(host, bus)
    due = loop.time() + timing.heartbeat_interval
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        await _send_at_last(host, bus)
        due = max(due + timing.heartbeat_interval, loop.time())


async def _send_at_last(host: AgentHost, bus: AgentBus) -> None:
    timing = host.surroundings.timing
    for _ in range(timing.heartbeat_tries):
        try:
            _send_heartbeat(host, bus)
        except BusClosed:
            await asyncio.sleep(timing.heartbeat_retry)
        else:
            return
    raise ProcessExit(1)


def _send_heartbeat(host: AgentHost, bus: AgentBus) -> None:
    if host.surroundings.fault is not AgentFault.HUNG:
        bus.publish(
            f"hm.agent.heartbeat.{host.settings.agent_id}", msgspec.json.encode(heartbeat(host))
        )


def heartbeat(host: AgentHost) -> dict[str, object]:
    """Return a heartbeat's content."""
    spec = host.spec
    return {
        "deployment": spec.deployment,
        "job": spec.job.name,
        "index": spec.index,
        "job_state": host.jobs.state,
        "vitals": host.jobs.vitals(),
        "node_id": spec.id,
        "number_of_processes": len(host.jobs.processes(spec)),
    }
