"""All VMs and persistent disks of the cloud: made, found again after a restart, and removed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import traceback
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from rollover_lab import machine
from rollover_lab.bosh.agent import directory, life
from rollover_lab.bosh.agent.directory import (
    AgentDirectory,
    CertKeyPair,
    LabAgentSettings,
    MbusSettings,
    UnreadableFile,
)
from rollover_lab.bosh.agent.host import AgentFault, AgentTiming
from rollover_lab.bosh.cloud import client
from rollover_lab.bosh.cloud.client import CloudVm, StemcellRef
from rollover_lab.bosh.layout import CloudLayout, VmLayout
from rollover_lab.control import ControlRefusal, FailureKind
from rollover_lab.processes import Processes
from rollover_lab.state import Program


class VmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud must not forget of a VM."""

    vm_cid: str
    agent_id: str
    stemcell: StemcellRef
    fault: AgentFault = AgentFault.NONE
    disk_cids: tuple[str, ...] = ()


class CloudMachine:
    """A VM that runs, and what starts its agent again, as runit does.

    To its agent it is the `AgentSurroundings`.
    """

    def __init__(
        self, places: VmLayout, record: VmRecord, *, timing: AgentTiming, processes: Processes
    ) -> None:
        self._places = places
        self._processes = processes
        self._task: asyncio.Task[None] | None = None
        self.record = record
        self.timing = timing
        self.running = False
        self.starts = 0

    @property
    def fault(self) -> AgentFault:
        """What is wrong with it now."""
        return self.record.fault

    @property
    def ignores_mbus(self) -> bool:
        """Whether its agent is too old to take other credentials."""
        return client.ignores_mbus(self.record.stemcell.name, self.record.stemcell.version)

    def crashed(self) -> None:
        """End the fault that strikes once."""
        self._keep(fault=AgentFault.NONE)

    def told(self) -> CloudVm:
        """Return what the cloud says of it."""
        return CloudVm(
            vm_cid=self.record.vm_cid,
            agent_id=self.record.agent_id,
            running=self.running,
            fault=self.record.fault,
            starts=self.starts,
            disk_cids=self.record.disk_cids,
            stemcell=self.record.stemcell,
        )

    def start(self) -> None:
        """Start the agent, unless it is to be dead."""
        if self._task is None and self.record.fault is not AgentFault.DEAD:
            self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Kill the agent and do not start it again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def suffer(self, fault: AgentFault) -> None:
        """Have a fault from now on. An agent that waits for its next life begins it at once."""
        self._keep(fault=fault)
        if fault is AgentFault.DEAD or not self.running:
            await self.stop()
        self.start()

    def save(self, settings: bytes | None = None) -> None:
        """Write the record, and before it the agent's settings when they are given."""
        if settings is not None:
            machine.write_private(self._places.agent.settings, settings)
        directory.write_json(self._places.record, self.record)

    def attach(self, disk_cid: str, path: Path) -> None:
        """Tell the agent of a disk."""
        self._keep(disk_cids=(*self.record.disk_cids, disk_cid))
        self._change_disk(disk_cid, {"id": disk_cid, "path": str(path)})

    def detach(self, disk_cid: str) -> None:
        """Let the agent forget a disk."""
        kept = tuple(cid for cid in self.record.disk_cids if cid != disk_cid)
        self._keep(disk_cids=kept)
        self._change_disk(disk_cid, None)

    async def rewrite(self, cert: CertKeyPair) -> None:
        """Change the credentials on the disk, those that win included, and restart the agent."""
        files = self._places.agent
        update = files.told().update
        settings = directory.read_json(files.settings, dict[str, Any])
        await self.stop()
        env = settings.setdefault("env", {}).setdefault("bosh", {}).setdefault("mbus", {})
        env["cert"] = msgspec.structs.asdict(cert)
        directory.write_json(files.settings, settings)
        if files.update_settings.exists():
            urls = update.mbus.urls if update.mbus is not None else None
            files.save_update(
                msgspec.structs.replace(update, mbus=MbusSettings(cert=cert, urls=urls))
            )
        self.start()

    async def _supervise(self) -> None:
        while True:
            self.starts += 1
            self.running = True
            try:
                await self._live()
            except Exception:  # noqa: BLE001 - one agent's defect must not end the others
                traceback.print_exc()
            finally:
                self.running = False
            slow = self.record.fault is AgentFault.SLOW
            await asyncio.sleep(self.timing.slow_restart if slow else self.timing.restart_delay)

    async def _live(self) -> None:
        binary = self.record.stemcell.agent_binary
        if binary is None:
            await life.live(self._places.agent, self)
        else:
            program = real_agent_program(self._places.agent, Path(binary), self.record.vm_cid)
            await self._processes.run(program)

    def _keep(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self.save()

    def _change_disk(self, disk_cid: str, disk: dict[str, str] | None) -> None:
        path = self._places.agent.settings
        settings = directory.read_json(path, dict[str, Any])
        persistent = settings.setdefault("disks", {}).setdefault("persistent", {})
        if disk is None:
            persistent.pop(disk_cid, None)
        else:
            persistent[disk_cid] = disk
        directory.write_json(path, settings)


class CloudVms:
    """What the cloud has."""

    def __init__(self, places: CloudLayout, timing: AgentTiming, processes: Processes) -> None:
        self._places = places
        self._timing = timing
        self._processes = processes
        self._machines: dict[str, CloudMachine] = {}
        for path in (places.vms, places.disks):
            path.mkdir(mode=machine.PRIVATE_DIRECTORY, parents=True, exist_ok=True)

    def bring_back(self) -> None:
        """Start every VM that was there before; remove what never became one."""
        for root in sorted(self._places.vms.iterdir()):
            try:
                record = directory.read_json(self._places.vm(root.name).record, VmRecord)
            except UnreadableFile:
                # The record is written last and removed first: this is half a VM.
                shutil.rmtree(root)
            else:
                self._start(record)

    async def end(self) -> None:
        """Stop all agents; the VMs come back with the next supervisor."""
        await asyncio.gather(*(vm.stop() for vm in self._machines.values()))

    def create_vm(self, agent_id: str, settings: bytes, stemcell: StemcellRef) -> str:
        """Make a VM and start its agent; return its cid."""
        try:
            named = msgspec.json.decode(settings, type=LabAgentSettings).agent_id
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

    def vms(self) -> tuple[CloudVm, ...]:
        """Return all VMs."""
        return tuple(self._machines[cid].told() for cid in sorted(self._machines))

    async def fault(self, agent_id: str, fault: AgentFault) -> None:
        """Let an agent have a fault."""
        await self._by_agent(agent_id).suffer(fault)

    async def rewrite_credentials(self, agent_id: str, cert: CertKeyPair) -> None:
        """Change the credentials on a VM's disk and restart its agent."""
        await self._by_agent(agent_id).rewrite(cert)

    def create_disk(self) -> str:
        """Make a disk; return its cid."""
        cid = f"disk-{uuid4()}"
        (self._places.disks / cid).mkdir(mode=machine.PRIVATE_DIRECTORY)
        return cid

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Give a disk to a VM that may have it already, but no other."""
        vm = self._machine(vm_cid)
        self._check_disk(disk_cid)
        owner = self._owner(disk_cid)
        if owner is not None and owner is not vm:
            raise ControlRefusal(
                FailureKind.REJECTED,
                f"disk `{disk_cid}` is attached to VM `{owner.record.vm_cid}`",
                hint="detach it there, or delete that VM",
            )
        if owner is None:
            vm.attach(disk_cid, self._places.disks / disk_cid)

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk away from a VM, if it has it."""
        vm = self._machine(vm_cid)
        if disk_cid in vm.record.disk_cids:
            vm.detach(disk_cid)

    def delete_disk(self, disk_cid: str) -> None:
        """Remove a disk that no VM has."""
        self._check_disk(disk_cid)
        owner = self._owner(disk_cid)
        if owner is not None:
            raise ControlRefusal(
                FailureKind.REJECTED, f"disk `{disk_cid}` is attached to VM `{owner.record.vm_cid}`"
            )
        shutil.rmtree(self._places.disks / disk_cid)

    def _start(self, record: VmRecord, settings: bytes | None = None) -> CloudMachine:
        vm = CloudMachine(
            self._places.vm(record.vm_cid),
            record,
            timing=self._timing,
            processes=self._processes,
        )
        vm.save(settings)
        self._machines[record.vm_cid] = vm
        vm.start()
        return vm

    def _machine(self, vm_cid: str) -> CloudMachine:
        if vm_cid not in self._machines:
            raise ControlRefusal(FailureKind.NOT_FOUND, f"there is no VM `{vm_cid}`")
        return self._machines[vm_cid]

    def _by_agent(self, agent_id: str) -> CloudMachine:
        for vm in self._machines.values():
            if vm.record.agent_id == agent_id:
                return vm
        raise ControlRefusal(FailureKind.NOT_FOUND, f"no VM has the agent `{agent_id}`")

    def _owner(self, disk_cid: str) -> CloudMachine | None:
        owners = (vm for vm in self._machines.values() if disk_cid in vm.record.disk_cids)
        return next(owners, None)

    def _check_disk(self, disk_cid: str) -> None:
        known = {path.name for path in self._places.disks.iterdir()}
        if disk_cid not in known:
            raise ControlRefusal(FailureKind.NOT_FOUND, f"there is no disk `{disk_cid}`")


def real_agent_program(files: AgentDirectory, binary: Path, vm_cid: str) -> Program:
    """Return how to run a real bosh-agent once, with dummy platform and jobs; make its directory.

    Its settings are those of `files`; everything else it keeps in `base` beside them
    (reference/bosh.md §4.2).
    """
    base = files.root / "base"
    for path in (base / "bosh", base / "etc" / "logrotate.d", base / "tmp"):
        path.mkdir(mode=machine.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    source = {"Type": "File", "SettingsPath": str(files.settings)}
    configuration = base / "config.json"
    directory.write_json(
        configuration,
        {"Platform": {}, "Infrastructure": {"Settings": {"Sources": [source]}}},
    )
    temporary = f"TMPDIR={base / 'tmp'}"
    agent = (str(binary), "-b", str(base), "-P", "dummy", "-M", "dummy-nats")
    return Program(
        name=f"agent of {vm_cid}",
        argv=("/usr/bin/env", temporary, *agent, "-C", str(configuration)),
        directory=str(base),
        output=str(files.log),
    )
