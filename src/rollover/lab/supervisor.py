"""The process that owns a lab's processes: `python -m rollover.lab.supervisor DIRECTORY`.

It has one thread. It ends the lab at SIGTERM, or when its standard input ends (the process that
started the lab is gone) unless it was released before. When it is killed, the kernel kills
everything that it started.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec

from rollover.errors import NotFound, RolloverError
from rollover.lab import children, control, record
from rollover.lab.control import Answer, Done, Refused, Release, Report, Request, Start, Stop
from rollover.lab.layout import Layout
from rollover.lab.record import LabRecord, ProcessRecord, ProcessState

STOP_SECONDS = 15.0
"""How long a process may take to end in order before it is killed: the traffic waits for its last
messages."""
_REQUEST_SECONDS = 5.0
_STANDARD_INPUT = 0


class Supervisor:
    """Starts, stops and watches the processes of one lab, and writes down what it knows."""

    def __init__(self, layout: Layout, known: LabRecord) -> None:
        self._layout = layout
        self._records = {each.name: each for each in known.processes}
        self._spec = known.spec
        self._self = children.identity(os.getpid())
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: set[str] = set()
        self.released = False

    def record(self) -> LabRecord:
        """Return what runs."""
        return LabRecord(
            spec=self._spec, processes=tuple(self._records.values()), supervisor=self._self
        )

    def save(self) -> None:
        """Write down what runs."""
        record.write(self._layout.record, self.record())

    def answer(self, request: Request) -> Answer:
        """Do what is asked."""
        try:
            match request:
                case Start(name=name):
                    self.start(name)
                case Stop(name=name, kill=kill):
                    self.stop(name, kill=kill)
                case Release():
                    self.released = True
                case Report():
                    self.look()
        except RolloverError as error:
            return Refused(error.message, error.hint)
        return Done(self.record())

    def start(self, name: str) -> None:
        """Start a process, unless it runs."""
        self.look()
        if name in self._running:
            return
        program = self._known(name).program
        sizes = record.log_sizes(program)
        child = children.start(
            program.argv, directory=Path(program.directory), output=Path(program.output)
        )
        self._running[name] = child
        self._note(
            name,
            ProcessRecord(
                program=program,
                state=ProcessState.RUNNING,
                process=children.identity(child.pid),
                log_sizes=sizes,
            ),
        )

    def stop(self, name: str, *, kill: bool) -> None:
        """Stop a process and wait for its end; it is killed when it takes too long."""
        self.look()
        self._known(name)
        child = self._running.get(name)
        if child is None:
            return
        self._ending.add(name)
        child.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self.look()

    def look(self) -> None:
        """Note which processes have ended."""
        for name, child in tuple(self._running.items()):
            if child.poll() is not None:
                del self._running[name]
                self._note(name, self._ended(name, child))

    def end(self) -> None:
        """End everything: first the traffic, which then still has servers to finish with.

        Where none is left, the traffic would wait in vain, and is killed.
        """
        self.look()
        if record.TRAFFIC in self._running:
            self.stop(record.TRAFFIC, kill=len(self._running) == 1)
        for name, child in self._running.items():
            self._ending.add(name)
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()
            child.wait()
        self.look()

    def _known(self, name: str) -> ProcessRecord:
        if name not in self._records:
            raise NotFound(
                f"there is no process `{name}` in this lab",
                system="lab",
                operation="look it up",
                hint=f"it has {', '.join(self._records)}",
            )
        return self._records[name]

    def _ended(self, name: str, child: subprocess.Popen[bytes]) -> ProcessRecord:
        asked = name in self._ending
        self._ending.discard(name)
        before = self._records[name]
        return msgspec.structs.replace(
            before,
            state=ProcessState.STOPPED if asked else ProcessState.CRASHED,
            exit_code=child.returncode,
            last_lines=() if asked else record.last_lines(before),
        )

    def _note(self, name: str, known: ProcessRecord) -> None:
        self._records[name] = known
        self.save()


class Events:
    """Waits for signals, for requests, and for the end of standard input."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._woken, self._waker = socket.socketpair()
        for each in (self._woken, self._waker):
            each.setblocking(False)
        self.ending = False
        self.orphaned = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(_STANDARD_INPUT, selectors.EVENT_READ)

    def catch_signals(self) -> None:
        """Have signals end the waiting, instead of the process."""
        signal.set_wakeup_fd(self._waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_end)
        signal.signal(signal.SIGCHLD, _nothing)

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        self.ending = True

    def each(self) -> Iterator[socket.socket | None]:
        """Yield a connection for each request, and None whenever something else has happened."""
        while not self.ending:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    yield self._listener.accept()[0]
                elif key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                    yield None
                elif not os.read(_STANDARD_INPUT, 4096):
                    self._selector.unregister(_STANDARD_INPUT)
                    self.orphaned = True
                    yield None


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up is what matters."""


def serve(layout: Layout) -> None:
    """Start all servers and look after them until the lab is to end."""
    supervisor = Supervisor(layout, record.read(layout.record))
    with contextlib.closing(control.listen(layout.control)) as listener:
        events = Events(listener)
        events.catch_signals()
        try:
            for name in supervisor.record().spec.servers:
                supervisor.start(name)
            for connection in events.each():
                supervisor.look()
                if connection is not None:
                    _converse(supervisor, connection)
                if events.orphaned and not supervisor.released:
                    break
        finally:
            supervisor.end()
            layout.control.unlink(missing_ok=True)


def _converse(supervisor: Supervisor, connection: socket.socket) -> None:
    """Answer one request; one that breaks off or makes no sense is dropped."""
    with contextlib.closing(connection), contextlib.suppress(OSError, msgspec.MsgspecError):
        connection.settimeout(_REQUEST_SECONDS)
        request = msgspec.json.decode(control.read_line(connection), type=Request)
        connection.sendall(msgspec.json.encode(supervisor.answer(request)) + b"\n")


def main() -> int:
    """Supervise the lab in the directory that the first argument names."""
    try:
        serve(Layout(Path(sys.argv[1]).absolute()))
    except RolloverError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
