"""What a BOSH director says about itself: the nouns of its API, parsed once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from rollover.fleet.names import InstanceName


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /info`: who the director is and how it wants to be spoken to."""

    name: str
    uuid: str
    version: tuple[int, ...]
    """The numbers of its version: `280.1.0 (00000000)` is (280, 1, 0)."""
    cpi: str = ""
    uaa: str | None = None
    """URL of the UAA that gives tokens; None: the director checks passwords itself."""
    user: str | None = None


class Stemcell(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM was made from."""

    name: str
    version: str
    operating_system: str = ""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments`."""

    name: str
    stemcells: tuple[Stemcell, ...] = ()
    teams: tuple[str, ...] = ()
    locked: bool = False


class BoshInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments/D/instances?format=full`.

    `state` is what the director wants (`started`, `stopped`, `detached`), `job_state` what the
    agent says (`running`, `failing`, `stopped`, `unresponsive agent`), None without a VM.
    """

    deployment: str
    group: str
    id: str
    index: int = 0
    az: str = ""
    bootstrap: bool = False
    agent_id: str | None = None
    vm_cid: str | None = None
    vm_created_at: datetime | None = None
    state: str = "started"
    job_state: str | None = None
    ignore: bool = False
    active: bool | None = None
    stemcell: Stemcell | None = None
    disk_cids: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    resurrection_paused: bool = False

    @property
    def name(self) -> InstanceName:
        """The instance's name in the fleet: `deployment/group/id`. It outlives its VMs."""
        return InstanceName(f"{self.deployment}/{self.group}/{self.id}")


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /locks`."""

    kind: str
    resource: tuple[str, ...]
    task_id: str = ""


class TaskState(StrEnum):
    """What a task can be; the first three have not ended."""

    QUEUED = "queued"
    PROCESSING = "processing"
    CANCELLING = "cancelling"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self not in {TaskState.QUEUED, TaskState.PROCESSING, TaskState.CANCELLING}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /tasks/N`."""

    id: int
    state: TaskState
    description: str = ""
    result: str = ""
    deployment: str | None = None
    user: str = ""


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a task's event stream.

    `stage` `Updating instance` has in `task` which one: `router/<uuid> (0) (canary)`.
    """

    time: datetime
    stage: str = ""
    tags: tuple[str, ...] = ()
    total: int = 0
    task: str = ""
    index: int = 0
    state: str = ""
    progress: int = 0
    status: str = ""
    error: str = ""
    """The message of a failure, of this instance or of the whole task."""
    code: int = 0
    warning: str = ""


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /director/certificate_expiry`."""

    path: str
    expires_at: datetime
    days_left: int


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy, recreate, restart is to cover, with the flags of the bosh CLI."""

    group: str | None = None
    instance: str | None = None
    fix: bool = False
    recreate: bool = False
    skip_drain: bool = False
    canaries: str | None = None
    max_in_flight: str | None = None
