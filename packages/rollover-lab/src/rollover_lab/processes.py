"""The processes of one lab, inside the event loop of its supervisor and without threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from rollover_lab import children, state
from rollover_lab.state import LabStateFile, ProcessRecord, ProcessState, Program

STOP_SECONDS = 15.0
"""How long a process may take to end in order before it is killed: the traffic waits for its last
messages."""


class _Child:
    """A process that was started and has not been seen to end."""

    def __init__(self, process: subprocess.Popen[bytes], on_end: Callable[[], None]) -> None:
        self.process = process
        self.ended = asyncio.Event()
        self.asked_to_end = False
        # Readable once the process has ended (pidfd_open(2)): no signal handler, no thread.
        self._handle = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._handle, on_end)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self.ended.set()


class Processes:
    """Starts processes, stops and watches them, and writes down what it knows of them."""

    def __init__(self, file: LabStateFile) -> None:
        self._file = file
        self._children: dict[str, _Child] = {}

    @property
    def running(self) -> tuple[str, ...]:
        """The names of those that run."""
        self.note_ends()
        return tuple(self._children)

    def pid(self, name: str) -> int | None:
        """Return the number of a process; None when it does not run."""
        child = self._children.get(name)
        return None if child is None else child.process.pid

    def start(self, program: Program) -> None:
        """Start a process, unless it runs; `Rejected` when it cannot be started."""
        self.note_ends()
        if program.name in self._children:
            return
        sizes = state.log_sizes(program)
        process = children.start_tethered(
            program.argv, directory=Path(program.directory), output=Path(program.output)
        )
        self._children[program.name] = _Child(process, self.note_ends)
        self._file.note(
            ProcessRecord(
                program=program,
                state=ProcessState.RUNNING,
                process=children.identify(process.pid),
                log_sizes=sizes,
            )
        )

    async def await_end(self, name: str) -> None:
        """Wait until a process has ended; at once when it does not run."""
        child = self._children.get(name)
        if child is not None:
            await child.ended.wait()

    async def run(self, program: Program) -> None:
        """Start a process and wait for its end; being cancelled stops it."""
        self.start(program)
        try:
            await self.await_end(program.name)
        except asyncio.CancelledError:
            await self.stop(program.name)
            raise

    async def stop(
        self, name: str, *, kill: bool = False, grace_seconds: float = STOP_SECONDS
    ) -> None:
        """Stop a process and wait for its end; it is killed when it takes too long."""
        self.note_ends()
        child = self._children.get(name)
        if child is None:
            return
        child.asked_to_end = True
        child.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await child.ended.wait()
            return
        child.process.kill()
        await child.ended.wait()

    async def stop_all(self) -> None:
        """Stop everything that runs, all at the same time."""
        await asyncio.gather(*(self.stop(name) for name in self.running))

    def note_ends(self) -> None:
        """Take down which processes have ended."""
        for name, child in tuple(self._children.items()):
            if child.process.poll() is not None:
                del self._children[name]
                self._file.note(self._ended(name, child))
                child.close()

    def _ended(self, name: str, child: _Child) -> ProcessRecord:
        before = self._file.now.process(name)
        asked = child.asked_to_end
        return msgspec.structs.replace(
            before,
            state=ProcessState.STOPPED if asked else ProcessState.CRASHED,
            exit_code=child.process.returncode,
            last_lines=() if asked else state.last_lines(before),
        )
