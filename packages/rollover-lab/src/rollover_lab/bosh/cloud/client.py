"""Asks the supervisor of a BOSH lab as its cloud: blocking, with a timeout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.settings import CertKeyPair
from rollover_lab.bosh.cloud import requests
from rollover_lab.bosh.cloud.requests import SYSTEM, Action, DirectorVmStatus, StemcellRef, Vm
from rollover_lab.control import Control

TIMEOUT_SECONDS: Final = 60.0
"""Stopping a director VM takes longest: each of its processes has some seconds to end."""


class Cloud:
    """The cloud behind a supervisor's socket. Safe to share between threads.

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
        request = requests.CreateVm(
            agent_id=agent_id,
            settings=msgspec.Raw(msgspec.json.encode(settings)),
            stemcell=msgspec.convert(stemcell, type=StemcellRef, from_attributes=True),
        )
        return self._control.ask(request, str)

    def delete_vm(self, vm_cid: str) -> None:
        """Remove a VM with its ephemeral disk."""
        self._control.tell(requests.DeleteVm(vm_cid=vm_cid))

    def has_vm(self, vm_cid: str) -> bool:
        """Say whether there is such a VM."""
        return self._control.ask(requests.HasVm(vm_cid=vm_cid), bool)

    def create_disk(self, size: int) -> str:
        """Make a persistent disk of `size` MiB; return its cid."""
        return self._control.ask(requests.CreateDisk(size=size), str)

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Give a disk to a VM. The agent mounts it at `mount_disk`."""
        self._control.tell(requests.AttachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk away from a VM."""
        self._control.tell(requests.DetachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def delete_disk(self, disk_cid: str) -> None:
        """Remove a disk that no VM has."""
        self._control.tell(requests.DeleteDisk(disk_cid=disk_cid))

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs, by cid."""
        return self._control.ask(requests.Vms(), tuple[Vm, ...])

    def fault(self, agent_id: str, kind: Fault | str) -> None:
        """Let something be wrong with an agent; `none` heals it."""
        self._control.tell(requests.SetFault(agent_id=agent_id, kind=Fault(kind)))

    def director_vm(self, action: Action | str) -> DirectorVmStatus:
        """Start or stop the director VM's processes, or only say what they do."""
        return self._control.ask(requests.OnDirectorVm(action=Action(action)), DirectorVmStatus)

    def rewrite_credentials(self, agent_id: str, cert: CertKeyPair | Mapping[str, str]) -> None:
        """Put other credentials on a VM's disk and restart its agent."""
        pair = msgspec.convert(cert, type=CertKeyPair, from_attributes=True)
        self._control.tell(requests.RewriteCredentials(agent_id=agent_id, cert=pair))
