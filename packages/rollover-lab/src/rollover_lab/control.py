"""How a lab's supervisor is asked: one JSON line each way on a socket in the lab's directory.

The requests here are those of every lab and those of labs of nats-servers; a BOSH lab adds what its
cloud is asked (`rollover_lab.bosh.cloud.client`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from rollover.errors import AdapterError, Conflict, NotFound, Rejected, TimedOut, Unreachable
from rollover_lab.machine import PRIVATE_FILE

LINE_LIMIT = 16 * 1024 * 1024
SYSTEM = "lab supervisor"
_UP: Final = "rollover lab up"

T = TypeVar("T")


class LabRequest(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="method", forbid_unknown_fields=True
):
    """Something that the supervisor can be asked; unknown fields are refused."""


class ReportState(LabRequest, frozen=True, kw_only=True, tag="report"):
    """Say what runs; answered with the `LabState`."""


class ReleaseLab(LabRequest, frozen=True, kw_only=True, tag="release"):
    """Go on when the process that started the lab ends."""


class StartProcess(LabRequest, frozen=True, kw_only=True, tag="start"):
    """Start a process that does not run; answered with the `LabState`."""

    name: str


class StopProcess(LabRequest, frozen=True, kw_only=True, tag="stop"):
    """Stop a process and wait until it has ended: SIGTERM, or with `kill` SIGKILL."""

    name: str
    kill: bool = False


class FailureKind(StrEnum):
    """Kinds of refusals: the codes of `rollover.errors`."""

    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class ControlFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why it was not done. Never holds what was asked: that may be a secret."""

    kind: FailureKind = FailureKind.REJECTED
    message: str
    hint: str = ""


class ControlAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line with an answer: a result, or an error."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ControlFailure | None = None


class ControlRefusal(Exception):
    """The supervisor does not do it."""

    def __init__(self, kind: FailureKind, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.failure = ControlFailure(kind=kind, message=message, hint=hint)


_ERRORS: Final[Mapping[FailureKind, type[AdapterError]]] = MappingProxyType(
    {
        FailureKind.NOT_FOUND: NotFound,
        FailureKind.CONFLICT: Conflict,
        FailureKind.REJECTED: Rejected,
    }
)


class Control:
    """The supervisor behind a socket: a connection for each request. Safe to share in threads.

    `system` is what errors call it, `up` the command that starts such a lab.
    """

    def __init__(
        self, path: Path, *, timeout_seconds: float, system: str = SYSTEM, up: str = _UP
    ) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._system = system
        self._up = up

    def ask(self, request: LabRequest, kind: type[T]) -> T:
        """Return the answer to a request.

        `Unreachable`: there is no supervisor. `NotFound`, `Conflict`, `Rejected`: it could not do
        it. `TimedOut`.
        """
        result = self.tell(request)
        try:
            return msgspec.json.decode(result, type=kind)
        except msgspec.MsgspecError as error:
            raise self._silence(request, error) from None

    def tell(self, request: LabRequest) -> msgspec.Raw:
        """Make a request whose answer says nothing more; raises as `ask` does."""
        try:
            with contextlib.closing(_connect(self._path, self._timeout)) as connection:
                connection.sendall(msgspec.json.encode(request) + b"\n")
                answer = msgspec.json.decode(read_line(connection), type=ControlAnswer)
        except TimeoutError:
            raise TimedOut(
                f"no answer in {self._timeout:g} s",
                system=self._system,
                operation=_operation(request),
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise self._silence(request, error) from None
        if answer.error is not None:
            raise _ERRORS[answer.error.kind](
                answer.error.message,
                system=self._system,
                operation=_operation(request),
                hint=answer.error.hint,
            )
        return answer.result

    def _silence(self, request: LabRequest, error: Exception) -> Unreachable:
        return Unreachable(
            f"no supervisor answers in `{self._path.parent}` ({error})",
            system=self._system,
            operation=_operation(request),
            hint=f"the lab has ended; `{self._up}` starts one",
        )


def _operation(request: LabRequest) -> str:
    method = str(request.__struct_config__.tag)
    match request:
        case StartProcess(name=name) | StopProcess(name=name):
            return f"{method} `{name}`"
        case _:
            return method


def listen(path: Path) -> socket.socket:
    """Return the listening socket at `path`, which is made anew, for its owner alone."""
    path.unlink(missing_ok=True)  # a supervisor that was killed leaves its own
    listener = socket.socket(socket.AF_UNIX)
    with _short_name(path) as name:
        listener.bind(name)
    path.chmod(PRIVATE_FILE)
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


def _connect(path: Path, timeout_seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_seconds)
    try:
        with _short_name(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """Yield another name of `path`: a socket's name has at most 107 bytes (unix(7))."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
