"""What the director asks of the cloud, and a note of each call in the task's CPI output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rollover.errors import NotFound
from rollover_lab.bosh.director.nouns import Disk, Instance, Vm

Settings = dict[str, object]


class Cloud(Protocol):
    """The cloud to rehearse on, as far as a director uses it."""

    def create_vm(self, *, agent_id: str, settings: Settings, stemcell: dict[str, str]) -> str:
        """Make a VM whose agent starts with these settings; return its cid."""

    def delete_vm(self, vm_cid: str) -> None:
        """Delete a VM; its persistent disks stay."""

    def has_vm(self, vm_cid: str) -> bool:
        """Tell whether there is such a VM."""

    def create_disk(self, size: int) -> str:
        """Make a persistent disk of so many MiB; return its cid."""

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Attach a disk to a VM."""

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk off a VM."""

    def delete_disk(self, disk_cid: str) -> None:
        """Delete a disk that no VM has."""


class Cpi:
    """The cloud, for one task."""

    def __init__(self, cloud: Cloud, log: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._log = log

    def create_vm(self, *, agent_id: str, settings: Settings, stemcell: tuple[str, str]) -> str:
        """Make a VM; its settings hold a private key and are not noted."""
        self._log(f"create_vm agent_id={agent_id} stemcell={'/'.join(stemcell)}")
        name, version = stemcell
        wanted = {"name": name, "version": version}
        cid = self._cloud.create_vm(agent_id=agent_id, settings=settings, stemcell=wanted)
        self._log(f"create_vm -> {cid}")
        return cid

    def delete_vm(self, vm: Vm) -> None:
        """Delete a VM; one that is gone already is no error."""
        self._log(f"delete_vm {vm.cid}")
        try:
            self._cloud.delete_vm(vm.cid)
        except NotFound:
            self._log(f"VM '{vm.cid}' might have already been deleted from the cloud")

    def has_vm(self, vm: Vm) -> bool:
        """Tell whether the cloud still has the VM."""
        self._log(f"has_vm {vm.cid}")
        return self._cloud.has_vm(vm.cid)

    def create_disk(self, instance: Instance, size: int) -> str:
        """Make a persistent disk."""
        self._log(f"create_disk {size} for {instance.name}")
        return self._cloud.create_disk(size)

    def attach_disk(self, vm: Vm, disk_cid: str) -> None:
        """Attach a persistent disk."""
        self._log(f"attach_disk {vm.cid} {disk_cid}")
        self._cloud.attach_disk(vm.cid, disk_cid)

    def detach_disk(self, vm: Vm, disk: Disk) -> None:
        """Take a persistent disk off a VM."""
        self._log(f"detach_disk {vm.cid} {disk.cid}")
        self._cloud.detach_disk(vm.cid, disk.cid)

    def delete_disk(self, disk: Disk) -> None:
        """Delete a persistent disk."""
        self._log(f"delete_disk {disk.cid}")
        self._cloud.delete_disk(disk.cid)
