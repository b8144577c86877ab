"""All VMs and persistent disks of the cloud: made, found again after a restart, and removed."""

from __future__ import annotations

import asyncio
import shutil
from uuid import uuid4

import msgspec

from rollover_lab import private_files
from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import UnreadableFile
from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.settings import CertKeyPair, Settings
from rollover_lab.bosh.agent.timing import Timing
from rollover_lab.bosh.cloud.machine import Machine, VmRecord
from rollover_lab.bosh.cloud.places import Places
from rollover_lab.bosh.cloud.requests import StemcellRef, Vm
from rollover_lab.control import ControlRefusal, FailureKind
from rollover_lab.processes import Processes


class Estate:
    """What the cloud has."""

    def __init__(self, places: Places, timing: Timing, processes: Processes) -> None:
        self._places = places
        self._timing = timing
        self._processes = processes
        self._machines: dict[str, Machine] = {}
        for each in (places.vms, places.disks):
            each.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)

    def bring_back(self) -> None:
        """Start every VM that was there before; remove what never became one."""
        for root in sorted(self._places.vms.iterdir()):
            try:
                record = directory.read(self._places.vm(root.name).record, VmRecord)
            except UnreadableFile:
                shutil.rmtree(root)
            else:
                self._start(record)

    async def end(self) -> None:
        """Stop all agents; the VMs come back with the next supervisor."""
        await asyncio.gather(*(each.stop() for each in self._machines.values()))

    def create_vm(self, agent_id: str, settings: bytes, stemcell: StemcellRef) -> str:
        """Make a VM and start its agent; return its cid."""
        try:
            named = msgspec.json.decode(settings, type=Settings).agent_id
        except msgspec.MsgspecError:
            raise ControlRefusal(
                FailureKind.REJECTED, "the settings are not those of an agent", hint="see §4.2"
            ) from None
        if named != agent_id:
            raise ControlRefusal(FailureKind.REJECTED, f"the settings are those of agent `{named}`")
        record = VmRecord(vm_cid=f"vm-{uuid4()}", agent_id=agent_id, stemcell=stemcell)
        return self._start(record, settings).record.vm_cid

    async def delete_vm(self, vm_cid: str) -> None:
        """Remove a VM."""
        await self._machine(vm_cid).stop()
        self._machines.pop(vm_cid, None)
        root = self._places.vm(vm_cid).root
        if root.exists():
            # The record goes first: what is left of a VM is removed at the next start.
            self._places.vm(vm_cid).record.unlink(missing_ok=True)
            shutil.rmtree(root, ignore_errors=True)

    def has_vm(self, vm_cid: str) -> bool:
        """Say whether there is such a VM."""
        return vm_cid in self._machines

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs."""
        return tuple(self._machines[cid].told() for cid in sorted(self._machines))

    async def fault(self, agent_id: str, fault: Fault) -> None:
        """Let an agent have a fault."""
        await self._by_agent(agent_id).suffer(fault)

    async def rewrite_credentials(self, agent_id: str, cert: CertKeyPair) -> None:
        """Change the credentials on a VM's disk and restart its agent."""
        await self._by_agent(agent_id).rewrite(cert)

    def create_disk(self) -> str:
        """Make a disk; return its cid."""
        cid = f"disk-{uuid4()}"
        (self._places.disks / cid).mkdir(mode=private_files.PRIVATE_DIRECTORY)
        return cid

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Give a disk to a VM that may have it already, but no other."""
        machine = self._machine(vm_cid)
        self._check_disk(disk_cid)
        owner = self._owner(disk_cid)
        if owner is not None and owner is not machine:
            raise ControlRefusal(
                FailureKind.REJECTED,
                f"disk `{disk_cid}` is attached to VM `{owner.record.vm_cid}`",
                hint="detach it there, or delete that VM",
            )
        if owner is None:
            machine.attach(disk_cid, self._places.disks / disk_cid)

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk away from a VM, if it has it."""
        machine = self._machine(vm_cid)
        if disk_cid in machine.record.disk_cids:
            machine.detach(disk_cid)

    def delete_disk(self, disk_cid: str) -> None:
        """Remove a disk that no VM has."""
        self._check_disk(disk_cid)
        owner = self._owner(disk_cid)
        if owner is not None:
            raise ControlRefusal(
                FailureKind.REJECTED, f"disk `{disk_cid}` is attached to VM `{owner.record.vm_cid}`"
            )
        shutil.rmtree(self._places.disks / disk_cid)

    def _start(self, record: VmRecord, settings: bytes | None = None) -> Machine:
        machine = Machine(
            self._places.vm(record.vm_cid),
            record,
            timing=self._timing,
            processes=self._processes,
        )
        machine.save(settings)
        self._machines[record.vm_cid] = machine
        machine.start()
        return machine

    def _machine(self, vm_cid: str) -> Machine:
        if vm_cid not in self._machines:
            raise ControlRefusal(FailureKind.NOT_FOUND, f"there is no VM `{vm_cid}`")
        return self._machines[vm_cid]

    def _by_agent(self, agent_id: str) -> Machine:
        for each in self._machines.values():
            if each.record.agent_id == agent_id:
                return each
        raise ControlRefusal(FailureKind.NOT_FOUND, f"no VM has the agent `{agent_id}`")

    def _owner(self, disk_cid: str) -> Machine | None:
        owners = (each for each in self._machines.values() if disk_cid in each.record.disk_cids)
        return next(owners, None)

    def _check_disk(self, disk_cid: str) -> None:
        known = {each.name for each in self._places.disks.iterdir()}
        if disk_cid not in known:
            raise ControlRefusal(FailureKind.NOT_FOUND, f"there is no disk `{disk_cid}`")
