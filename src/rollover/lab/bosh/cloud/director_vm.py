"""The director VM: its processes, started in order, restarted when they die, as monit does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover.lab import binary, private_files
from rollover.lab.bosh.agent import directory
from rollover.lab.bosh.agent.directory import UnreadableFile
from rollover.lab.bosh.cloud import processes
from rollover.lab.bosh.cloud.places import Places
from rollover.lab.bosh.cloud.requests import (
    Action,
    DirectorVmStatus,
    Kind,
    ProcessStatus,
    Refusal,
)

RESTART_SECONDS = 2.0
"""Until a process that died is started again."""


class _Wanted(msgspec.Struct, frozen=True):
    wanted: bool = False


class _Program(msgspec.Struct, frozen=True, kw_only=True):
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
    """One process that is kept running."""

    def __init__(self, program: _Program, output: Path) -> None:
        self._program = program
        self._output = output
        self._pids: list[int] = []
        self._running = False
        self._task: asyncio.Task[None] | None = None

    @property
    def there(self) -> bool:
        return self._program.there

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            name=self._program.name,
            running=self._running,
            pid=self._pids[-1] if self._running else None,
            starts=len(self._pids),
        )

    async def _keep(self) -> None:
        while True:
            self._running = True
            try:
                await processes.run(
                    self._program.argv(),
                    directory=self._program.configuration.parent,
                    output=self._output,
                    started=self._pids,
                )
            except (OSError, RolloverError):
                traceback.print_exc()
            finally:
                self._running = False
            await asyncio.sleep(RESTART_SECONDS)


class DirectorVm:
    """NATS, director and health monitor, and perhaps a UAA."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = asyncio.Lock()
        self._programs = (
            _Program(name="nats-server", configuration=places.jobs("nats", "nats.cfg")),
            _Program(
                name="uaa",
                configuration=places.jobs("uaa", "uaa.json"),
                module="rollover.lab.bosh.uaa",
                optional=True,
            ),
            _Program(
                name="director",
                configuration=places.jobs("director", "director.json"),
                module="rollover.lab.bosh.director",
            ),
            _Program(
                name="health_monitor",
                configuration=places.jobs("health_monitor", "health_monitor.json"),
                module="rollover.lab.bosh.health_monitor",
            ),
        )
        places.logs.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self._kept = tuple(_Kept(each, places.logs / f"{each.name}.log") for each in self._programs)

    def _present(self) -> tuple[_Kept, ...]:
        return tuple(each for each in self._kept if each.there)

    @property
    def wanted(self) -> bool:
        """Whether it is to run."""
        try:
            return directory.read(self._places.director_vm, _Wanted).wanted
        except UnreadableFile:
            return False

    async def bring_back(self) -> None:
        """Start it if it ran before; one that lost its files since stays down."""
        if self.wanted:
            with contextlib.suppress(Refusal):
                await self.act(Action.START)

    async def end(self) -> None:
        """Stop its processes, the last one first; it comes back with the next daemon."""
        for each in reversed(self._kept):
            await each.stop()

    async def act(self, action: Action) -> DirectorVmStatus:
        """Do what is asked, one thing after another, and say what runs."""
        async with self._lock:
            if action is Action.START:
                self._check_rendered()
                directory.write(self._places.director_vm, _Wanted(wanted=True))
                for each in self._present():
                    each.start()
                    await asyncio.sleep(0)  # it is started now, before the next one
            elif action is Action.STOP:
                directory.write(self._places.director_vm, _Wanted(wanted=False))
                await self.end()
            return DirectorVmStatus(
                wanted=self.wanted, processes=tuple(each.status() for each in self._present())
            )

    def _check_rendered(self) -> None:
        for each in self._programs:
            if each.there and not each.configuration.is_file():
                raise Refusal(
                    Kind.REJECTED,
                    f"the director VM cannot start: `{each.configuration}` is missing",
                    hint="`create-env` renders it",
                )
