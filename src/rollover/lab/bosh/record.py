"""What runs of a BOSH lab: its file `lab.json`, and the processes below the cloud's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from rollover.lab import children, private_files
from rollover.lab.children import ProcessId

MAX_BYTES = 1024 * 1024
_PARENT = 1
"""Field 4 of proc_pid_stat(5), counted behind the name in brackets (field 2)."""


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


class BoshRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. Everything that a lab runs is the cloud's process, or below it."""

    version: Literal[1] = 1
    kind: Literal["bosh"] = "bosh"
    name: str
    cloud: ProcessId


def holds_bosh(path: Path) -> bool:
    """Say whether a `lab.json` is that of a BOSH lab; False when it cannot be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=_Kind).kind == "bosh"
    except (OSError, msgspec.MsgspecError):
        return False


def read(path: Path) -> BoshRecord:
    """Return the record of a file for which `holds_bosh` is true."""
    return msgspec.json.decode(path.read_bytes(), type=BoshRecord)


def write(path: Path, record: BoshRecord) -> None:
    """Replace the record at once."""
    private_files.write(path, msgspec.json.format(msgspec.json.encode(record), indent=1))


def below(process: ProcessId) -> tuple[ProcessId, ...]:
    """Return every process that this one started, theirs too; each with its start time."""
    parents = _parents()
    found: list[ProcessId] = []
    waiting = [process.pid]
    while waiting:
        parent = waiting.pop()
        for pid in (pid for pid, its in parents.items() if its == parent):
            child = children.identity(pid)
            if child is not None:
                found.append(child)
                waiting.append(pid)
    return tuple(found)


def _parents() -> dict[int, int]:
    """Return the parent of every process there is (proc_pid_stat(5), fields 1 and 4)."""
    found: dict[int, int] = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            status = (directory / "stat").read_text("latin-1")
        except OSError:
            continue
        found[int(directory.name)] = int(status.rpartition(")")[2].split()[_PARENT])
    return found
