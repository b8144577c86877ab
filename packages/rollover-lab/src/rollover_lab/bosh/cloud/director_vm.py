"""The director VM: its processes, started in order, restarted when they die, as monit does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover_lab import binary, private_files
from rollover_lab.bosh.cloud.places import Places
from rollover_lab.bosh.cloud.requests import Action, DirectorVmStatus, ProcessStatus
from rollover_lab.control import ControlRefusal, FailureKind
from rollover_lab.processes import Processes
from rollover_lab.record import Program

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
            return (str(binary.find(None)), "-c", str(self.configuration))
        return (sys.executable, "-m", self.module, "--config", str(self.configuration))


class _Kept:
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
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._processes.stop(self._job.name, grace_seconds=GRACE_SECONDS)

    def status(self) -> ProcessStatus:
        pid = self._processes.pid(self._job.name)
        return ProcessStatus(
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


class DirectorVm:
    """NATS, director and health monitor, and perhaps a UAA."""

    def __init__(
        self, places: Places, processes: Processes, *, wanted: bool, keep_wanted: KeepWanted
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
        places.logs.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self._kept = tuple(
            _Kept(job, places.logs / f"{job.name}.log", processes) for job in self._jobs
        )

    def _present(self) -> tuple[_Kept, ...]:
        return tuple(kept for kept in self._kept if kept.there)

    async def bring_back(self) -> None:
        """Start it if it ran before; one that lost its files since stays down."""
        if self._wanted:
            with contextlib.suppress(ControlRefusal):
                await self.act(Action.START)

    async def end(self) -> None:
        """Stop its processes, the last one first; it comes back with the next supervisor."""
        for kept in reversed(self._kept):
            await kept.stop()

    async def act(self, action: Action) -> DirectorVmStatus:
        """Do what is asked, one thing after another, and say what runs."""
        async with self._lock:
            if action is Action.START:
                self._check_rendered()
                self._want(wanted=True)
                for kept in self._present():
                    kept.start()
                    await asyncio.sleep(0)  # it is started now, before the next one
            elif action is Action.STOP:
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
