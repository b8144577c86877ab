"""Asks the supervisor of a BOSH lab as its cloud: the requests, the answers, and the client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from rollover_lab.bosh.agent.directory import CertKeyPair
from rollover_lab.bosh.agent.host import AgentFault
from rollover_lab.control import Control, LabRequest

SYSTEM = "cloud"
_FIRST_WITH_MBUS = {"bionic": (1, 36), "windows2019": (2019, 41)}
"""The first stemcells with an agent of 2.388 or later (reference/bosh.md §2.1)."""
_ALL_OLDER = ("trusty", "xenial", "windows2012", "windows2016", "windows1803")
"""Lines that had ended, or never got it."""


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
    kind: AgentFault


class DirectorVmAction(StrEnum):
    """What to do with the director VM."""

    START = "start"
    STOP = "stop"
    STATUS = "status"


class OnDirectorVm(LabRequest, frozen=True, kw_only=True, tag="director_vm"):
    """Start or stop the processes of the director VM, or say what they do."""

    action: DirectorVmAction


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


class CloudVm(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud says of a VM."""

    vm_cid: str
    agent_id: str
    running: bool
    """Whether its agent's process is there; it may be between two lives, or have a fault."""
    fault: AgentFault
    starts: int
    """Lives of the agent since the supervisor began."""
    disk_cids: tuple[str, ...] = ()
    stemcell: StemcellRef


class JobProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
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
    processes: tuple[JobProcessStatus, ...]

    @property
    def running(self) -> bool:
        """Whether all its processes run."""
        return bool(self.processes) and all(process.running for process in self.processes)


TIMEOUT_SECONDS: Final = 60.0
"""Stopping a director VM takes longest: each of its processes has some seconds to end."""


class LabCloud:
    """The cloud behind a supervisor's socket: calls block. Safe to share between threads.

    Every method raises `NotFound` for VMs, disks and agents that do not exist, `Rejected` for what
    cannot be done, `Unreachable` when the lab has ended, `TimedOut`.
    """

    def __init__(
        self, socket_path: Path | str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._control = Control(
            Path(socket_path),
            timeout_seconds=timeout_seconds,
            system=SYSTEM,
            up="rollover lab up bosh",
        )

    def create_vm(
        self,
        *,
        agent_id: str,
        settings: Mapping[str, object],
        stemcell: Mapping[str, str] | StemcellRef,
    ) -> str:
        """Make a VM, start its agent with `settings` (reference/bosh.md §4.2); return its cid."""
        request = CreateVm(
            agent_id=agent_id,
            settings=msgspec.Raw(msgspec.json.encode(settings)),
            stemcell=msgspec.convert(stemcell, type=StemcellRef, from_attributes=True),
        )
        return self._control.ask(request, str)

    def delete_vm(self, vm_cid: str) -> None:
        """Remove a VM with its ephemeral disk."""
        self._control.tell(DeleteVm(vm_cid=vm_cid))

    def has_vm(self, vm_cid: str) -> bool:
        """Say whether there is such a VM."""
        return self._control.ask(HasVm(vm_cid=vm_cid), bool)

    def create_disk(self, size: int) -> str:
        """Make a persistent disk of `size` MiB; return its cid."""
        return self._control.ask(CreateDisk(size=size), str)

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Give a disk to a VM. The agent mounts it at `mount_disk`."""
        self._control.tell(AttachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk away from a VM."""
        self._control.tell(DetachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def delete_disk(self, disk_cid: str) -> None:
        """Remove a disk that no VM has."""
        self._control.tell(DeleteDisk(disk_cid=disk_cid))

    def vms(self) -> tuple[CloudVm, ...]:
        """Return all VMs, by cid."""
        return self._control.ask(Vms(), tuple[CloudVm, ...])

    def fault(self, agent_id: str, kind: AgentFault | str) -> None:
        """Let something be wrong with an agent; `none` heals it."""
        self._control.tell(SetFault(agent_id=agent_id, kind=AgentFault(kind)))

    def director_vm(self, action: DirectorVmAction | str) -> DirectorVmStatus:
        """Start or stop the director VM's processes, or only say what they do."""
        return self._control.ask(OnDirectorVm(action=DirectorVmAction(action)), DirectorVmStatus)

    def rewrite_credentials(self, agent_id: str, cert: CertKeyPair | Mapping[str, str]) -> None:
        """Put other credentials on a VM's disk and restart its agent."""
        pair = msgspec.convert(cert, type=CertKeyPair, from_attributes=True)
        self._control.tell(RewriteCredentials(agent_id=agent_id, cert=pair))


def ignores_mbus(name: str, version: str) -> bool:
    """Say whether the agent is older than 2.388: it answers `ok`, and keeps its credentials."""
    for line, first in _FIRST_WITH_MBUS.items():
        if line in name:
            return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < first
    return any(line in name for line in _ALL_OLDER)
