"""What the supervisor of a BOSH lab is asked as its cloud, and what it answers."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.settings import CertKeyPair
from rollover_lab.control import LabRequest

SYSTEM = "cloud"


class StemcellRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a VM is made from."""

    name: str
    version: str
    agent_binary: str | None = None
    """A real bosh-agent to run in place of the lab's own."""


class CreateVm(LabRequest, frozen=True, kw_only=True, tag="create_vm"):
    """Make a VM and start its agent; returns its cid."""

    agent_id: str
    settings: msgspec.Raw
    stemcell: StemcellRef


class DeleteVm(LabRequest, frozen=True, kw_only=True, tag="delete_vm"):
    """Remove a VM with its ephemeral disk; its persistent disks stay."""

    vm_cid: str


class HasVm(LabRequest, frozen=True, kw_only=True, tag="has_vm"):
    """Say whether there is such a VM."""

    vm_cid: str


class CreateDisk(LabRequest, frozen=True, kw_only=True, tag="create_disk"):
    """Make a persistent disk; returns its cid. `size` in MiB is taken note of, no more."""

    size: int


class AttachDisk(LabRequest, frozen=True, kw_only=True, tag="attach_disk"):
    """Give a disk to a VM; its agent mounts it when the director tells it to."""

    vm_cid: str
    disk_cid: str


class DetachDisk(LabRequest, frozen=True, kw_only=True, tag="detach_disk"):
    """Take a disk away from a VM."""

    vm_cid: str
    disk_cid: str


class DeleteDisk(LabRequest, frozen=True, kw_only=True, tag="delete_disk"):
    """Remove a disk and what is on it."""

    disk_cid: str


class Vms(LabRequest, frozen=True, kw_only=True, tag="vms"):
    """List the VMs."""


class SetFault(LabRequest, frozen=True, kw_only=True, tag="fault"):
    """Let something be wrong with an agent, or heal it."""

    agent_id: str
    kind: Fault


class Action(StrEnum):
    """What to do with the director VM."""

    START = "start"
    STOP = "stop"
    STATUS = "status"


class OnDirectorVm(LabRequest, frozen=True, kw_only=True, tag="director_vm"):
    """Start or stop the processes of the director VM, or say what they do."""

    action: Action


class RewriteCredentials(LabRequest, frozen=True, kw_only=True, tag="rewrite_credentials"):
    """Change the credentials on a VM's disk behind its agent's back, and restart the agent."""

    agent_id: str
    cert: CertKeyPair


CLOUD_REQUESTS: tuple[type[LabRequest], ...] = (
    CreateVm,
    DeleteVm,
    HasVm,
    CreateDisk,
    AttachDisk,
    DetachDisk,
    DeleteDisk,
    Vms,
    SetFault,
    OnDirectorVm,
    RewriteCredentials,
)


class Vm(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of a VM."""

    vm_cid: str
    agent_id: str
    running: bool
    """Whether its agent's process is there; it may be between two lives, or have a fault."""
    fault: Fault
    starts: int
    """Lives of the agent since the supervisor began."""
    disk_cids: tuple[str, ...] = ()
    stemcell: StemcellRef


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of a process of the director VM."""

    name: str
    running: bool
    pid: int | None = None
    starts: int = 0
    """Since the supervisor began."""


class DirectorVmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of the director VM."""

    wanted: bool
    """Whether it was started, and not stopped since."""
    processes: tuple[ProcessStatus, ...]

    @property
    def running(self) -> bool:
        """Whether all its processes run."""
        return bool(self.processes) and all(each.running for each in self.processes)
