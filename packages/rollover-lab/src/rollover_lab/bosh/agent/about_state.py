"""Actions that tell: `ping`, `info`, `get_state`."""

from __future__ import annotations

from typing import Final

import msgspec

from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.protocol import Request

API_VERSION: Final = 1


def ping(_host: Host, _request: Request) -> object:
    """Answer."""
    return "pong"


def info(_host: Host, _request: Request) -> object:
    """Return the version of the protocol between agent and director."""
    return {"api_version": API_VERSION}


def get_state(host: Host, request: Request) -> object:
    """Return the spec, the job state and the processes, with `full` the vitals too."""
    state: dict[str, object] = msgspec.structs.asdict(host.spec)
    state["agent_id"] = host.settings.agent_id
    state["job_state"] = host.jobs.state
    if request.has_argument(0) and request.argument(0, str) == "full":
        state["vitals"] = host.jobs.vitals()
    if processes := host.jobs.processes(host.spec):
        state["processes"] = processes
    state["vm"] = host.settings.vm
    return state
