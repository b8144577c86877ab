"""The outputs of tasks: one directory for each task, one file for each kind of output."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


class OutputKind(StrEnum):
    """What a task writes."""

    DEBUG = "debug"
    CPI = "cpi"
    EVENT = "event"
    RESULT = "result"


class Slice(NamedTuple):
    """Part of an output: octets from `first` to before `end`, of `size` in all."""

    first: int
    end: int
    size: int


class Unsatisfiable(NamedTuple):
    """A range that begins where the output has ended; so far."""

    size: int


class Outputs:
    """Writes and reads outputs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_DIRECTORY)

    def append(self, task: int, kind: OutputKind, text: str) -> None:
        """Add a line; whoever reads sees all of it or nothing."""
        path = self.path(task, kind)
        path.parent.mkdir(exist_ok=True, mode=_PRIVATE_DIRECTORY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(path, flags, _PRIVATE_FILE)
        try:
            os.write(descriptor, text.encode() + b"\n")
        finally:
            os.close(descriptor)

    def path(self, task: int, kind: OutputKind) -> Path:
        """Return where an output is, written yet or not."""
        return self._directory / str(task) / kind

    def size(self, task: int, kind: OutputKind) -> int | None:
        """Return the size of an output in octets; None: nothing was written."""
        try:
            return self.path(task, kind).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, task: int, kind: OutputKind, part: Slice) -> bytes:
        """Return part of an output."""
        with self.path(task, kind).open("rb") as file:
            file.seek(part.first)
            return file.read(part.end - part.first)


def wanted(header: str | None, size: int) -> Slice | Unsatisfiable | None:
    """Return what a `Range` header asks for; None: everything (RFC 9110 §14.2).

    Headers that are no single range of octets are ignored, as Rack does.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        last = int(match[2])
        return Slice(max(0, size - last), size, size) if last and size else Unsatisfiable(size)
    first = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return Slice(first, end, size) if first < end else Unsatisfiable(size)
