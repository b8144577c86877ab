"""Heartbeats: every so often, and the end of the process when none gets out any more."""

from __future__ import annotations

import asyncio

import msgspec

from rollover_lab.bosh.agent.bus import Bus, BusClosed
from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.tasks import ProcessExit


async def beat(host: Host, bus: Bus) -> None:
    """Send heartbeats until the connection has been closed for too long: `ProcessExit`."""
    timing = host.surroundings.timing
    loop = asyncio.get_running_loop()
    await bus.settled.wait()
    if bus.connected:  # otherwise the first one is lost
        _send(host, bus)
    due = loop.time() + timing.heartbeat_interval
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        await _send_at_last(host, bus)
        due = max(due + timing.heartbeat_interval, loop.time())


async def _send_at_last(host: Host, bus: Bus) -> None:
    timing = host.surroundings.timing
    for _ in range(timing.heartbeat_tries):
        try:
            _send(host, bus)
        except BusClosed:
            await asyncio.sleep(timing.heartbeat_retry)
        else:
            return
    raise ProcessExit(1)


def _send(host: Host, bus: Bus) -> None:
    if host.surroundings.fault is not Fault.HUNG:
        bus.publish(
            f"hm.agent.heartbeat.{host.settings.agent_id}", msgspec.json.encode(heartbeat(host))
        )


def heartbeat(host: Host) -> dict[str, object]:
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
