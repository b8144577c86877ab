"""One VM: its record, its agent, and what starts the agent again, as runit does."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from pathlib import Path
from typing import Any

import msgspec

from rollover_lab import private_files
from rollover_lab.bosh.agent import directory, life
from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.settings import CertKeyPair, Mbus
from rollover_lab.bosh.agent.timing import Timing
from rollover_lab.bosh.cloud import real_agent, stemcells
from rollover_lab.bosh.cloud.places import VmPlaces
from rollover_lab.bosh.cloud.requests import StemcellRef, Vm
from rollover_lab.processes import Processes


class VmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud must not forget of a VM."""

    vm_cid: str
    agent_id: str
    stemcell: StemcellRef
    fault: Fault = Fault.NONE
    disk_cids: tuple[str, ...] = ()


class Machine:
    """A VM that runs. To its agent it is the `Surroundings`."""

    def __init__(
        self, places: VmPlaces, record: VmRecord, *, timing: Timing, processes: Processes
    ) -> None:
        self._places = places
        self._processes = processes
        self._task: asyncio.Task[None] | None = None
        self.record = record
        self.timing = timing
        self.running = False
        self.starts = 0

    @property
    def fault(self) -> Fault:
        """What is wrong with it now."""
        return self.record.fault

    @property
    def ignores_mbus(self) -> bool:
        """Whether its agent is too old to take other credentials."""
        return stemcells.ignores_mbus(self.record.stemcell.name, self.record.stemcell.version)

    def crashed(self) -> None:
        """End the fault that strikes once."""
        self._keep(fault=Fault.NONE)

    def told(self) -> Vm:
        """Return what the cloud says of it."""
        return Vm(
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
        if self._task is None and self.record.fault is not Fault.DEAD:
            self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Kill the agent and do not start it again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def suffer(self, fault: Fault) -> None:
        """Have a fault from now on. An agent that waits for its next life begins it at once."""
        self._keep(fault=fault)
        if fault is Fault.DEAD or not self.running:
            await self.stop()
        self.start()

    def save(self, settings: bytes | None = None) -> None:
        """Write the record, and before it the agent's settings when they are given."""
        if settings is not None:
            private_files.write(self._places.agent.settings, settings)
        directory.write(self._places.record, self.record)

    def attach(self, disk_cid: str, path: Path) -> None:
        """Tell the agent of a disk."""
        self._keep(disk_cids=(*self.record.disk_cids, disk_cid))
        self._change_disk(disk_cid, {"id": disk_cid, "path": str(path)})

    def detach(self, disk_cid: str) -> None:
        """Let the agent forget a disk."""
        kept = tuple(each for each in self.record.disk_cids if each != disk_cid)
        self._keep(disk_cids=kept)
        self._change_disk(disk_cid, None)

    async def rewrite(self, cert: CertKeyPair) -> None:
        """Change the credentials on the disk, those that win included, and restart the agent."""
        files = self._places.agent
        update = files.told().update
        settings = directory.read(files.settings, dict[str, Any])
        await self.stop()
        env = settings.setdefault("env", {}).setdefault("bosh", {}).setdefault("mbus", {})
        env["cert"] = msgspec.structs.asdict(cert)
        directory.write(files.settings, settings)
        if files.update_settings.exists():
            urls = update.mbus.urls if update.mbus is not None else None
            files.save_update(msgspec.structs.replace(update, mbus=Mbus(cert=cert, urls=urls)))
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
            slow = self.record.fault is Fault.SLOW
            await asyncio.sleep(self.timing.slow_restart if slow else self.timing.restart_delay)

    async def _live(self) -> None:
        binary = self.record.stemcell.agent_binary
        if binary is None:
            await life.live(self._places.agent, self)
        else:
            program = real_agent.program(self._places.agent, Path(binary), self.record.vm_cid)
            await self._processes.run(program)

    def _keep(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self.save()

    def _change_disk(self, disk_cid: str, disk: dict[str, str] | None) -> None:
        path = self._places.agent.settings
        settings = directory.read(path, dict[str, Any])
        persistent = settings.setdefault("disks", {}).setdefault("persistent", {})
        if disk is None:
            persistent.pop(disk_cid, None)
        else:
            persistent[disk_cid] = disk
        directory.write(path, settings)
