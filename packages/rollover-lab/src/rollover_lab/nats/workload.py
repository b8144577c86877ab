"""What a lab of nats-servers runs: the servers from the beginning, then the traffic."""

from __future__ import annotations

import asyncio

from rollover_lab import state
from rollover_lab.control import ControlRefusal, FailureKind, LabRequest, StartProcess, StopProcess
from rollover_lab.processes import Processes
from rollover_lab.state import LabState, LabStateFile, NatsContent, Program


class NatsWorkload:
    """Nats-servers and the process that plays their clients. Nothing restarts what crashed."""

    request_kinds: tuple[type[LabRequest], ...] = (StartProcess, StopProcess)

    def __init__(self, content: NatsContent, file: LabStateFile, processes: Processes) -> None:
        self._content = content
        self._file = file
        self._processes = processes
        self._changing = asyncio.Lock()

    async def begin(self) -> None:
        """Start all servers."""
        for name in self._content.spec.servers:
            self._processes.start(self._program(name))

    async def answer(self, request: LabRequest) -> LabState:
        """Start or stop a process, one after the other."""
        async with self._changing:
            match request:
                case StartProcess(name=name):
                    self._processes.start(self._program(name))
                case StopProcess(name=name, kill=kill):
                    await self._processes.stop(self._program(name).name, kill=kill)
        return self._file.now

    async def end(self) -> None:
        """Stop everything: first the traffic, which then still has servers to finish with.

        Where none is left, the traffic would wait in vain, and is killed.
        """
        running = self._processes.running
        if state.TRAFFIC in running:
            await self._processes.stop(state.TRAFFIC, kill=len(running) == 1)
        await self._processes.stop_all()

    def _program(self, name: str) -> Program:
        known = {process.name: process.program for process in self._file.now.processes}
        if name not in known:
            raise ControlRefusal(
                FailureKind.REJECTED,
                f"there is no process `{name}` in this lab",
                hint=f"it has {', '.join(known)}",
            )
        return known[name]
