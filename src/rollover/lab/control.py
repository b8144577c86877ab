"""How a lab's supervisor is asked: one JSON line each way on a socket in the lab's directory."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollover.errors import Rejected, TimedOut, Unreachable
from rollover.lab.record import LabRecord

LINE_LIMIT = 16 * 1024 * 1024
SYSTEM = "lab supervisor"


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a process that does not run."""

    name: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop a process and wait until it has ended: SIGTERM, or with `kill` SIGKILL."""

    name: str
    kill: bool = False


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Say what runs."""


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Go on when the process that started the lab ends."""


Request = Start | Stop | Report | Release


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It was done; this is what runs now."""

    record: LabRecord


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It could not be done."""

    message: str
    hint: str = ""


Answer = Done | Refused


def ask(path: Path, request: Request, *, timeout_seconds: float) -> LabRecord:
    """Ask the supervisor behind the socket at `path`, and return what runs afterwards.

    `Unreachable`: there is no supervisor. `Rejected`: it could not do it.
    """
    try:
        with contextlib.closing(_connect(path, timeout_seconds=timeout_seconds)) as connection:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = read_line(connection)
        answer: Answer = msgspec.json.decode(line, type=Answer)
    except TimeoutError:
        raise TimedOut(
            f"no answer in {timeout_seconds:g} s", system=SYSTEM, operation=_operation(request)
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise Unreachable(
            f"no supervisor answers in `{path.parent}` ({error})",
            system=SYSTEM,
            operation=_operation(request),
            hint="the lab has ended; `rollover lab up` starts one",
        ) from None
    if isinstance(answer, Refused):
        raise Rejected(
            answer.message, system=SYSTEM, operation=_operation(request), hint=answer.hint
        )
    return answer.record


def listen(path: Path) -> socket.socket:
    """Return the listening socket at `path`, which is made anew."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _short(path) as name:
        listener.bind(name)
    listener.listen()
    return listener


def read_line(connection: socket.socket) -> bytes:
    """Return what comes up to the end of the line, or of the connection."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= LINE_LIMIT:
        part = connection.recv(64 * 1024)
        if not part:
            break
        line += part
    return bytes(line)


def _connect(path: Path, *, timeout_seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_seconds)
    try:
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield another name of `path`: a socket's name has at most 107 bytes (unix(7))."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _operation(request: Request) -> str:
    match request:
        case Start(name=name):
            return f"start `{name}`"
        case Stop(name=name):
            return f"stop `{name}`"
        case Report():
            return "report"
        case Release():
            return "release"
