"""What runs in a lab: the file `lab.json`, kept by the supervisor and read by everybody else."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from rollover.errors import SpecError
from rollover.lab import private_files
from rollover.lab.children import ProcessId
from rollover.lab.spec import LabSpec

MAX_BYTES = 16 * 1024 * 1024
TRAFFIC = "traffic"
"""The name of the process that plays all clients."""

LAST_LINES = 12
_TAIL_BYTES = 16 * 1024


class ProcessState(StrEnum):
    """How a process of the lab stands."""

    WAITING = "waiting"
    """Not started yet."""
    RUNNING = "running"
    STOPPED = "stopped"
    """It was asked to stop, and did."""
    CRASHED = "crashed"
    """It ended by itself. Nothing restarts it but who is asked to."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to start, and where it leaves its words. `logs`: the most telling one first."""

    name: str
    argv: tuple[str, ...]
    directory: str
    output: str
    logs: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every file that may hold its words, the most telling one first."""
        return tuple(Path(each) for each in (*self.logs, self.output))


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the lab."""

    program: Program
    state: ProcessState = ProcessState.WAITING
    process: ProcessId | None = None
    """Which one runs now, or ran last."""
    exit_code: int | None = None
    """Negative: the number of the signal that ended it."""
    log_sizes: tuple[int, ...] = ()
    """How long its logs were when it was started: what it said begins there."""
    last_lines: tuple[str, ...] = ()
    """The end of what it said, when it crashed."""

    @property
    def name(self) -> str:
        """The name of the server, or `traffic`."""
        return self.program.name


class LabRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole lab."""

    version: Literal[1] = 1
    spec: LabSpec
    processes: tuple[ProcessRecord, ...]
    supervisor: ProcessId | None = None

    def process(self, name: str) -> ProcessRecord:
        """Return the process of that name; KeyError when there is none."""
        for each in self.processes:
            if each.name == name:
                return each
        raise KeyError(name)

    def ids(self) -> tuple[ProcessId, ...]:
        """Return every process that may still run, the supervisor last."""
        own = tuple(each.process for each in self.processes if each.process is not None)
        return own if self.supervisor is None else (*own, self.supervisor)


def read(path: Path) -> LabRecord:
    """Return the record; `SpecError` when there is no lab."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=LabRecord)
    except OSError as error:
        raise SpecError(
            f"there is no lab in `{path.parent}`: {error.strerror}",
            place=str(path),
            hint="`rollover lab up` starts one",
        ) from None
    except msgspec.MsgspecError as error:
        raise SpecError(
            f"not the record of a lab: {error}",
            place=str(path),
            hint="remove the directory, and start the lab again",
        ) from None


def write(path: Path, record: LabRecord) -> None:
    """Replace the record at once."""
    private_files.write(path, msgspec.json.format(msgspec.json.encode(record), indent=1))


def log_sizes(program: Program) -> tuple[int, ...]:
    """Return how long a program's logs are now."""
    return tuple(log.stat().st_size if log.exists() else 0 for log in program.sources)


def last_lines(known: ProcessRecord) -> tuple[str, ...]:
    """Return the end of what a process said since it was started, from the first telling log."""
    sizes = known.log_sizes or (0,) * len(known.program.sources)
    for log, size in zip(known.program.sources, sizes, strict=True):
        lines = _tail(log, size)
        if lines:
            return tuple(lines[-LAST_LINES:])
    return ()


def _tail(log: Path, size_before: int) -> list[str]:
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(size_before, end - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
