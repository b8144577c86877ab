"""What the health monitor writes down for whoever wants to know: a JSON file, replaced whole."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from rollover.errors import SpecError
from rollover_lab import private_files


class Health(StrEnum):
    """How a deployment is, as the resurrector sees it."""

    NORMAL = "normal"
    MANAGED = "managed"
    """Some agents are silent: their VMs are to be recreated."""
    MELTDOWN = "meltdown"
    """So many are silent that it looks like a fault of something else: it keeps its hands off."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent that the director knows."""

    agent_id: str
    deployment: str
    job: str
    instance_id: str
    heard_at: datetime | None = None
    """When the last heartbeat came; None: none yet."""
    missing: bool = False
    job_state: str | None = None


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment."""

    name: str
    agents: int
    unhealthy: int
    """Instances with an alert in the last ten minutes, those that came back included."""
    health: Health
    locked: bool = False


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an agent, the director or the monitor itself has to say."""

    created_at: datetime
    title: str
    source: str
    summary: str = ""


class MonitorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    written_at: datetime
    connected: bool
    heartbeats: int
    resurrections: int
    """How often it has asked the director to recreate VMs."""
    agents: tuple[AgentStatus, ...] = ()
    deployments: tuple[DeploymentStatus, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """The last ones, oldest first."""


def write(path: Path, status: MonitorStatus) -> None:
    """Replace the file."""
    private_files.write(path, msgspec.json.encode(status))


def read(path: Path) -> MonitorStatus:
    """Return what the monitor wrote last; `SpecError` when it has not written yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=MonitorStatus)
    except (OSError, msgspec.MsgspecError) as error:
        raise SpecError(
            f"no status of a health monitor ({type(error).__name__})",
            place=str(path),
            hint="does the director VM run?",
        ) from None
