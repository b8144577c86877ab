"""A lab on the disk: the paths that every lab has, and `lab.json`, which says what runs.

`lab.json` is written by the supervisor alone and read by everybody else. It has one shape for labs
of nats-servers and for BOSH labs; what only one kind has is in `content`.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from rollover.errors import SpecError
from rollover_lab import children, machine
from rollover_lab.children import ProcessId
from rollover_lab.nats.spec import LabSpec

MAX_BYTES = 16 * 1024 * 1024
TRAFFIC = "traffic"
"""The name of the process that plays all clients."""

LAST_LINES = 12
_TAIL_BYTES = 16 * 1024


class LabDirectory(NamedTuple):
    """What every lab has in its directory, which is absolute."""

    root: Path

    @property
    def state(self) -> Path:
        """What runs: process ids with their start times, and how processes ended."""
        return self.root / "lab.json"

    @property
    def lock(self) -> Path:
        """Locked as long as a supervisor lives."""
        return self.root / ".lab.lock"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.root / ".lab.socket"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor itself has to say."""
        return self.root / "supervisor.log"


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
        return tuple(Path(log) for log in (*self.logs, self.output))


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
        """The name of the server or of the job, or `traffic`."""
        return self.program.name


class NatsContent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="nats"):
    """A lab of nats-servers, and perhaps their clients."""

    spec: LabSpec

    @property
    def name(self) -> str:
        """What the lab is called."""
        return self.spec.name


class BoshContent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bosh"):
    """A BOSH lab."""

    name: str
    pace: float = 1.0
    """What every wait of an agent is multiplied with; 0.1 for a lab in a hurry."""
    director_vm: bool = False
    """Whether the director VM is to run: it was started, and not stopped since."""


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole lab."""

    version: Literal[1] = 1
    content: NatsContent | BoshContent
    processes: tuple[ProcessRecord, ...] = ()
    supervisor: ProcessId | None = None

    @property
    def up(self) -> bool:
        """Whether its supervisor runs."""
        return self.supervisor is not None and children.is_alive(self.supervisor)

    def process(self, name: str) -> ProcessRecord:
        """Return the process of that name; KeyError when there is none."""
        for process in self.processes:
            if process.name == name:
                return process
        raise KeyError(name)

    def ids(self) -> tuple[ProcessId, ...]:
        """Return every process that may still run, the supervisor last."""
        own = tuple(known.process for known in self.processes if known.process is not None)
        return own if self.supervisor is None else (*own, self.supervisor)


class LabStateFile:
    """The state of a lab in the hands of its supervisor: every change is written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.now = read(path)

    def change(self, **changes: object) -> None:
        """Replace fields of the state."""
        self.now = msgspec.structs.replace(self.now, **changes)
        write(self._path, self.now)

    def note(self, process: ProcessRecord) -> None:
        """Take down a process, in the place of what was known of the one with its name."""
        known = {record.name: record for record in self.now.processes}
        known[process.name] = process
        self.change(processes=tuple(known.values()))


def read(path: Path) -> LabState:
    """Return the state; `SpecError` when there is no lab."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=LabState)
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


def write(path: Path, state: LabState) -> None:
    """Replace the state at once."""
    machine.write_private(path, msgspec.json.format(msgspec.json.encode(state), indent=1))


def holds_bosh(path: Path) -> bool:
    """Say whether a `lab.json` is that of a BOSH lab; False when it cannot be read."""
    try:
        return isinstance(read(path).content, BoshContent)
    except SpecError:
        return False


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
            # Not before its start: what an earlier run said would explain another end.
            file.seek(max(size_before, end - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
