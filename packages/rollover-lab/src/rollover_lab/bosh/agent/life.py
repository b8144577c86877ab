"""One life of an agent: from reading its files to the end of what would be its process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

import msgspec

from rollover_lab.bosh.agent import actions, heartbeats, protocol
from rollover_lab.bosh.agent.about_settings import RESUMED
from rollover_lab.bosh.agent.bus import Behaviour, Bus, BusClosed
from rollover_lab.bosh.agent.credentials import BadCredentials, check_server, client_context
from rollover_lab.bosh.agent.directory import AgentDirectory, UnreadableFile
from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.host import Host, Surroundings
from rollover_lab.bosh.agent.log import Log
from rollover_lab.bosh.agent.tasks import ProcessExit, Tasks

INBOX_LENGTH = 65_536
"""Messages that wait for the one before; nats.go drops those beyond half a million."""


async def live(files: AgentDirectory, surroundings: Surroundings) -> int:
    """Be the agent whose files these are; return the exit code of its process.

    1: it cannot start, or has given up on its connection. 0: it wants to be started again. Being
    cancelled is being killed.
    """
    log = Log(files.log)
    log.note("started")
    try:
        code = await _live(files, surroundings, log)
    except (UnreadableFile, BadCredentials, ValueError) as error:
        log.note(f"cannot start: {error}")
        code = 1
    log.note(f"ended with code {code}")
    return code


async def _live(files: AgentDirectory, surroundings: Surroundings, log: Log) -> int:
    told = files.told()
    inbox: asyncio.Queue[bytes] = asyncio.Queue(INBOX_LENGTH)
    bus = Bus(
        told.urls,
        client_context(told.credentials),
        Behaviour(
            name=told.settings.agent_id,
            delay=surroundings.timing.reconnect_delay,
            connect_timeout=surroundings.timing.connect_timeout,
            check=check_server,
            note=log.note,
        ),
        subjects=(f"agent.{told.settings.agent_id}",),
        deliver=lambda _subject, payload: _put(inbox, payload),
    )

    def send(topic: str, content: object) -> None:
        with contextlib.suppress(BusClosed):
            bus.publish(f"hm.agent.{topic}.{told.settings.agent_id}", msgspec.json.encode(content))

    host = Host(files, told, surroundings=surroundings, send=send)
    tasks = Tasks(files.tasks)
    return await _first_exit(
        tasks.work(),
        tasks.resume(RESUMED),
        bus.run(),
        heartbeats.beat(host, bus),
        _answer(host, tasks, bus, inbox),
    )


async def _answer(host: Host, tasks: Tasks, bus: Bus, inbox: asyncio.Queue[bytes]) -> None:
    """Answer one request after another, as a subscription of nats.go delivers them."""
    while True:
        request = protocol.parse(await inbox.get())
        if request is None or host.surroundings.fault is Fault.HUNG:
            continue
        reply = await actions.dispatch(host, tasks, request)
        if protocol.fits_a_subject(request.reply_to):
            with contextlib.suppress(BusClosed):
                bus.publish(request.reply_to, reply)


def _put(inbox: asyncio.Queue[bytes], payload: bytes) -> None:
    with contextlib.suppress(asyncio.QueueFull):
        inbox.put_nowait(payload)


async def _first_exit(*parts: Coroutine[object, object, None]) -> int:
    """Run all parts until one ends the process; then end the others."""
    running = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*running)
    except ProcessExit as end:
        return end.code
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return 1
