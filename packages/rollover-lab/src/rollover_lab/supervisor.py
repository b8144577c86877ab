"""The process that owns a lab's processes: `python -m rollover_lab.supervisor DIRECTORY`.

It has one thread. It ends the lab at SIGTERM, or when its standard input ends (the process that
started the lab is gone) unless it was released before. When it is killed, the kernel kills
everything that it started.

What runs in the lab, and what else it can be asked, comes from a `Workload`: one for nats-servers
with their clients, one for BOSH.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import functools
import operator
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from rollover.errors import RolloverError, StaleError
from rollover_lab import children, control
from rollover_lab.control import (
    ControlAnswer,
    ControlFailure,
    ControlRefusal,
    FailureKind,
    LabRequest,
    ReleaseLab,
    ReportState,
)
from rollover_lab.machine import PRIVATE_FILE
from rollover_lab.processes import Processes
from rollover_lab.state import BoshContent, LabDirectory, LabStateFile, NatsContent

_REQUEST_SECONDS = 10.0
_STANDARD_INPUT = 0
_PRIVATE_UMASK = 0o077


class Workload(Protocol):
    """What one kind of lab runs."""

    @property
    def request_kinds(self) -> tuple[type[LabRequest], ...]:
        """The requests that `answer` takes."""
        ...

    async def begin(self) -> None:
        """Start what runs from the beginning; what it raises ends the lab."""
        ...

    async def answer(self, request: LabRequest) -> object:
        """Do what is asked, and return what is to be answered; `ControlRefusal`."""
        ...

    async def end(self) -> None:
        """Stop everything, in order."""
        ...


class Supervisor:
    """Answers the socket of one lab, and knows when the lab is to end."""

    def __init__(self, file: LabStateFile, processes: Processes, workload: Workload) -> None:
        self._file = file
        self._processes = processes
        self._workload = workload
        kinds = (ReportState, ReleaseLab, *workload.request_kinds)
        self._decoder: msgspec.json.Decoder[LabRequest] = msgspec.json.Decoder(
            functools.reduce(operator.or_, kinds)
        )
        self._released = False
        self.ending = asyncio.Event()

    def hear_starter(self) -> None:
        """Read from the process that started the lab: its end is the lab's, if not released."""
        # Nobody writes there: it becomes readable when the other end is closed.
        if not os.read(_STANDARD_INPUT, 4096):
            asyncio.get_running_loop().remove_reader(_STANDARD_INPUT)
            if not self._released:
                self.ending.set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection; one that breaks off is dropped."""
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

    async def _answer(self, line: bytes) -> ControlAnswer:
        try:
            result = await self._do(line)
        except ControlRefusal as refusal:
            return ControlAnswer(error=refusal.failure)
        except RolloverError as error:
            return ControlAnswer(error=ControlFailure(message=error.message, hint=error.hint))
        except OSError as error:
            return ControlAnswer(error=ControlFailure(message=str(error)))
        return ControlAnswer(result=msgspec.Raw(msgspec.json.encode(result)))

    async def _do(self, line: bytes) -> object:
        try:
            request = self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ControlRefusal(FailureKind.REJECTED, f"not a request: {error}") from None
        match request:
            case ReportState():
                self._processes.note_ends()
                return self._file.now
            case ReleaseLab():
                self._released = True
                return None
            case _:
                return await self._workload.answer(request)


async def serve(lab: LabDirectory) -> None:
    """Start what the lab's state names, and look after it until the lab is to end."""
    os.umask(_PRIVATE_UMASK)
    file = LabStateFile(lab.state)
    file.change(supervisor=children.identify(os.getpid()))
    processes = Processes(file)
    workload = _workload(lab, file, processes)
    supervisor = Supervisor(file, processes, workload)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.ending.set)
    loop.add_reader(_STANDARD_INPUT, supervisor.hear_starter)
    # Before anything is started: a lab that nobody can ask would have to be killed. Who asks
    # meanwhile waits, and is answered once everything was begun.
    listener = control.listen(lab.control)
    try:
        await workload.begin()
        server = await asyncio.start_unix_server(
            supervisor.converse, sock=listener, limit=control.LINE_LIMIT
        )
        await supervisor.ending.wait()
        server.close()
    finally:
        listener.close()
        await workload.end()
        lab.control.unlink(missing_ok=True)


def _workload(lab: LabDirectory, file: LabStateFile, processes: Processes) -> Workload:
    """Return what the lab runs. The other kind is not even imported: its start would be slower."""
    match file.now.content:
        case NatsContent() as content:
            from rollover_lab.nats.workload import NatsWorkload  # noqa: PLC0415 - see above

            return NatsWorkload(content, file, processes)
        case BoshContent() as content:
            from rollover_lab.bosh.cloud.workload import BoshWorkload  # noqa: PLC0415 - see above

            return BoshWorkload(lab.root, content, file=file, processes=processes)


@contextlib.contextmanager
def _locked(lab: LabDirectory, inherited: int | None) -> Iterator[None]:
    """Hold the lab's lock: the one that was inherited, or a new one. `StaleError`: another does."""
    descriptor = inherited
    if descriptor is None:
        descriptor = os.open(lab.lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        # A lock belongs to the open file (flock(2)): whoever was given the descriptor has it
        # already, and the starter's end does not give it back.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StaleError(
            f"a lab runs in `{lab.root}`", hint="`rollover lab down` ends it"
        ) from None
    finally:
        os.close(descriptor)


def main() -> int:
    """Supervise the lab in a directory."""
    parser = argparse.ArgumentParser(prog="rollover_lab.supervisor")
    parser.add_argument("directory", type=Path, help="the lab's directory")
    parser.add_argument("--lock", type=int, help="the descriptor of its lock, already held")
    arguments = parser.parse_args()
    lab = LabDirectory(arguments.directory.absolute())
    try:
        with _locked(lab, arguments.lock):
            asyncio.run(serve(lab))
    except RolloverError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
