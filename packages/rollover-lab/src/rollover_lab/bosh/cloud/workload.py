"""What a BOSH lab runs: the VMs of the cloud with their agents, and the director VM."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover_lab import machine
from rollover_lab.bosh.agent.directory import UnreadableFile
from rollover_lab.bosh.agent.host import AgentTiming
from rollover_lab.bosh.cloud import client
from rollover_lab.bosh.cloud.client import DirectorVmAction, DirectorVmStatus, JobProcessStatus
from rollover_lab.bosh.cloud.vms import CloudVms
from rollover_lab.bosh.layout import CloudLayout
from rollover_lab.control import ControlRefusal, FailureKind, LabRequest
from rollover_lab.processes import Processes
from rollover_lab.state import BoshContent, LabStateFile, Program

RESTART_SECONDS = 2.0
"""Until a process that died is started again."""
GRACE_SECONDS = 8.0
"""How long a process may take to end in order before it is killed."""

KeepWanted = Callable[[bool], None]
"""Writes down whether the director VM is to run."""


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    configuration: Path
    module: str | None = None
    """A module of Rollover; None: nats-server."""
    optional: bool = False
    """Not every director VM has it."""

    @property
    def there(self) -> bool:
        """Whether it is among the jobs of this director VM."""
        return not self.optional or self.configuration.is_file()

    def argv(self) -> tuple[str, ...]:
        if self.module is None:
            return (str(machine.find_nats_server(None)), "-c", str(self.configuration))
        return (sys.executable, "-m", self.module, "--config", str(self.configuration))


class _KeptJob:
    """A job whose process is kept running."""

    def __init__(self, job: _Job, output: Path, processes: Processes) -> None:
        self._job = job
        self._output = output
        self._processes = processes
        self._starts = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def there(self) -> bool:
        return self._job.there

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        # First what would start the process again, then the process.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._processes.stop(self._job.name, grace_seconds=GRACE_SECONDS)

    def status(self) -> JobProcessStatus:
        pid = self._processes.pid(self._job.name)
        return JobProcessStatus(
            name=self._job.name, running=pid is not None, pid=pid, starts=self._starts
        )

    async def _keep(self) -> None:
        while True:
            try:
                self._processes.start(
                    Program(
                        name=self._job.name,
                        argv=self._job.argv(),
                        directory=str(self._job.configuration.parent),
                        output=str(self._output),
                    )
                )
                self._starts += 1
                await self._processes.await_end(self._job.name)
            except (OSError, RolloverError):
                traceback.print_exc()
            await asyncio.sleep(RESTART_SECONDS)


class DirectorVmJobs:
    """NATS, director, health monitor and perhaps a UAA: restarted when they die, as by monit."""

    def __init__(
        self, places: CloudLayout, processes: Processes, *, wanted: bool, keep_wanted: KeepWanted
    ) -> None:
        self._lock = asyncio.Lock()
        self._wanted = wanted
        self._keep_wanted = keep_wanted
        self._jobs = (
            _Job(name="nats-server", configuration=places.jobs("nats", "nats.cfg")),
            _Job(
                name="uaa",
                configuration=places.jobs("uaa", "uaa.json"),
                module="rollover_lab.bosh.uaa",
                optional=True,
            ),
            _Job(
                name="director",
                configuration=places.jobs("director", "director.json"),
                module="rollover_lab.bosh.director",
            ),
            _Job(
                name="health_monitor",
                configuration=places.jobs("health_monitor", "health_monitor.json"),
                module="rollover_lab.bosh.health_monitor",
            ),
        )
        places.logs.mkdir(mode=machine.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self._kept = tuple(
            _KeptJob(job, places.logs / f"{job.name}.log", processes) for job in self._jobs
        )

    def _present(self) -> tuple[_KeptJob, ...]:
        return tuple(kept for kept in self._kept if kept.there)

    async def bring_back(self) -> None:
        """Start it if it ran before; one that lost its files since stays down."""
        if self._wanted:
            with contextlib.suppress(ControlRefusal):
                await self.act(DirectorVmAction.START)

    async def end(self) -> None:
        """Stop its processes, the last one first; it comes back with the next supervisor."""
        for kept in reversed(self._kept):
            await kept.stop()

    async def act(self, action: DirectorVmAction) -> DirectorVmStatus:
        """Do what is asked, one thing after another, and say what runs."""
        async with self._lock:
            if action is DirectorVmAction.START:
                self._check_rendered()
                self._want(wanted=True)
                for kept in self._present():
                    kept.start()
                    await asyncio.sleep(0)  # it is started now, before the next one
            elif action is DirectorVmAction.STOP:
                self._want(wanted=False)
                await self.end()
            return DirectorVmStatus(
                wanted=self._wanted, processes=tuple(kept.status() for kept in self._present())
            )

    def _want(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._keep_wanted(wanted)

    def _check_rendered(self) -> None:
        for job in self._jobs:
            if job.there and not job.configuration.is_file():
                raise ControlRefusal(
                    FailureKind.REJECTED,
                    f"the director VM cannot start: `{job.configuration}` is missing",
                    hint="`create-env` renders it",
                )


class BoshWorkload:
    """The cloud of one lab. What it ran before comes back when it begins."""

    request_kinds: tuple[type[LabRequest], ...] = client.CLOUD_REQUESTS

    def __init__(
        self, lab: Path, content: BoshContent, *, file: LabStateFile, processes: Processes
    ) -> None:
        places = CloudLayout(lab)
        places.cloud.mkdir(mode=machine.PRIVATE_DIRECTORY, exist_ok=True)
        self._content = content
        self._file = file
        self._vms = CloudVms(places, AgentTiming().hurried(content.pace), processes)
        self._director_vm = DirectorVmJobs(
            places, processes, wanted=content.director_vm, keep_wanted=self._keep_wanted
        )

    async def begin(self) -> None:
        """Bring back what ran before."""
        self._vms.bring_back()
        await self._director_vm.bring_back()

    async def end(self) -> None:
        """Stop everything; it comes back with the next supervisor."""
        await asyncio.gather(self._director_vm.end(), self._vms.end())

    async def answer(self, request: LabRequest) -> object:
        """Do what is asked."""
        try:
            return await self._do(request)
        except UnreadableFile as error:
            raise ControlRefusal(FailureKind.REJECTED, str(error)) from None

    async def _do(self, request: LabRequest) -> object:
        match request:
            case client.OnDirectorVm(action=action):
                return await self._director_vm.act(action)
            case client.CreateVm(agent_id=agent, settings=settings, stemcell=stemcell):
                return self._vms.create_vm(agent, bytes(settings), stemcell)
            case client.HasVm(vm_cid=vm):
                return self._vms.has_vm(vm)
            case client.Vms():
                return self._vms.vms()
            case client.CreateDisk():
                return self._vms.create_disk()
            case _:
                await self._change(request)
                return None

    async def _change(self, request: LabRequest) -> None:
        match request:
            case client.DeleteVm(vm_cid=vm):
                await self._vms.delete_vm(vm)
            case client.AttachDisk(vm_cid=vm, disk_cid=disk):
                self._vms.attach_disk(vm, disk)
            case client.DetachDisk(vm_cid=vm, disk_cid=disk):
                self._vms.detach_disk(vm, disk)
            case client.DeleteDisk(disk_cid=disk):
                self._vms.delete_disk(disk)
            case client.SetFault(agent_id=agent, kind=fault):
                await self._vms.fault(agent, fault)
            case client.RewriteCredentials(agent_id=agent, cert=cert):
                await self._vms.rewrite_credentials(agent, cert)

    def _keep_wanted(self, wanted: bool) -> None:  # noqa: FBT001 - a callback
        self._content = msgspec.structs.replace(self._content, director_vm=wanted)
        self._file.change(content=self._content)
