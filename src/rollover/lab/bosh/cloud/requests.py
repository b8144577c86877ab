"""What the cloud is asked, and what it answers: one JSON line each way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from rollover.lab.bosh.agent.faults import Fault
from rollover.lab.bosh.agent.settings import CertKeyPair

SYSTEM = "cloud"


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of a method; unknown ones are refused."""


class StemcellRef(_Request, frozen=True, kw_only=True):
    """What a VM is made from."""

    name: str
    version: str
    agent_binary: str | None = None
    """A real bosh-agent to run in place of the lab's own."""


class CreateVm(_Request, frozen=True, kw_only=True):
    """Make a VM and start its agent; returns its cid."""

    agent_id: str
    settings: msgspec.Raw
    stemcell: StemcellRef


class DeleteVm(_Request, frozen=True, kw_only=True):
    """Remove a VM with its ephemeral disk; its persistent disks stay."""

    vm_cid: str


class HasVm(_Request, frozen=True, kw_only=True):
    """Say whether there is such a VM."""

    vm_cid: str


class CreateDisk(_Request, frozen=True, kw_only=True):
    """Make a persistent disk; returns its cid. `size` in MiB is taken note of, no more."""

    size: int


class AttachDisk(_Request, frozen=True, kw_only=True):
    """Give a disk to a VM; its agent mounts it when the director tells it to."""

    vm_cid: str
    disk_cid: str


class DetachDisk(_Request, frozen=True, kw_only=True):
    """Take a disk away from a VM."""

    vm_cid: str
    disk_cid: str


class DeleteDisk(_Request, frozen=True, kw_only=True):
    """Remove a disk and what is on it."""

    disk_cid: str


class Vms(_Request, frozen=True, kw_only=True):
    """List the VMs."""


class SetFault(_Request, frozen=True, kw_only=True):
    """Let something be wrong with an agent, or heal it."""

    agent_id: str
    kind: Fault


class Action(StrEnum):
    """What to do with the director VM."""

    START = "start"
    STOP = "stop"
    STATUS = "status"


class OnDirectorVm(_Request, frozen=True, kw_only=True):
    """Start or stop the processes of the director VM, or say what they do."""

    action: Action


class RewriteCredentials(_Request, frozen=True, kw_only=True):
    """Change the credentials on a VM's disk behind its agent's back, and restart the agent."""

    agent_id: str
    cert: CertKeyPair


class End(_Request, frozen=True, kw_only=True):
    """End everything."""


Request = (
    CreateVm
    | DeleteVm
    | HasVm
    | CreateDisk
    | AttachDisk
    | DetachDisk
    | DeleteDisk
    | Vms
    | SetFault
    | OnDirectorVm
    | RewriteCredentials
    | End
)

METHODS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "create_vm": CreateVm,
        "delete_vm": DeleteVm,
        "has_vm": HasVm,
        "create_disk": CreateDisk,
        "attach_disk": AttachDisk,
        "detach_disk": DetachDisk,
        "delete_disk": DeleteDisk,
        "vms": Vms,
        "fault": SetFault,
        "director_vm": OnDirectorVm,
        "rewrite_credentials": RewriteCredentials,
        "stop": End,
    }
)


class Vm(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of a VM."""

    vm_cid: str
    agent_id: str
    running: bool
    """Whether its agent's process is there; it may be between two lives, or have a fault."""
    fault: Fault
    starts: int
    """Lives of the agent since the cloud's daemon began."""
    disk_cids: tuple[str, ...] = ()
    stemcell: StemcellRef


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of a process of the director VM."""

    name: str
    running: bool
    pid: int | None = None
    starts: int = 0
    """Since the cloud's daemon began."""


class DirectorVmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of the director VM."""

    wanted: bool
    """Whether it was started, and not stopped since."""
    processes: tuple[ProcessStatus, ...]

    @property
    def running(self) -> bool:
        """Whether all its processes run."""
        return bool(self.processes) and all(each.running for each in self.processes)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A line with a request."""

    method: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Kind(StrEnum):
    """Kinds of refusals: the codes of `rollover.errors`."""

    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why it was not done. Never holds settings."""

    kind: Kind
    message: str
    hint: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line with an answer: a result, or an error."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None


class Refusal(Exception):
    """The cloud does not do it."""

    def __init__(self, kind: Kind, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(kind=kind, message=message, hint=hint)
