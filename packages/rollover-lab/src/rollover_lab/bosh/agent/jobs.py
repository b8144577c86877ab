"""The jobs of a VM as monit has them: started, stopped or failing, and never really there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import UnreadableFile
from rollover_lab.bosh.agent.spec import ApplySpec

RUNNING, STOPPED, FAILING = "running", "stopped", "failing"
_MEMORY_KB = 102_400
_MEMORY_PERCENT = 1.3
_CPU_PERCENT = 0.4


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives the agent's process, as monit does."""

    stopped: bool = False
    failing: bool = False
    since: float = 0.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of a process."""

    kb: int
    percent: float


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """CPU of a process, in percent."""

    total: float


class Uptime(msgspec.Struct, frozen=True, kw_only=True):
    """How long something has been up."""

    secs: int


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `instances --ps`."""

    name: str
    state: str
    uptime: Uptime
    mem: Memory
    cpu: Cpu


class Jobs:
    """What the VM runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._kept = directory.read(path, _Kept)
        except UnreadableFile:
            self._kept = _Kept(since=time.time())

    @property
    def state(self) -> str:
        """The job state: `stopped` wins over `failing`, as in the real agent."""
        if self._kept.stopped:
            return STOPPED
        return FAILING if self._kept.failing else RUNNING

    def start(self) -> None:
        """Start the jobs."""
        since = time.time() if self._kept.stopped else self._kept.since
        self._keep(msgspec.structs.replace(self._kept, stopped=False, since=since))

    def stop(self) -> None:
        """Stop the jobs."""
        self._keep(msgspec.structs.replace(self._kept, stopped=True))

    def fail(self, *, failing: bool) -> None:
        """Let the jobs fail, or recover."""
        self._keep(msgspec.structs.replace(self._kept, failing=failing))

    def processes(self, spec: ApplySpec) -> tuple[Process, ...]:
        """Return a process for each job of the spec."""
        state = "unknown" if self._kept.stopped else self.state
        uptime = Uptime(secs=0 if self._kept.stopped else int(time.time() - self._kept.since))
        return tuple(
            Process(
                name=template.name,
                state=state,
                uptime=uptime,
                mem=Memory(kb=_MEMORY_KB, percent=_MEMORY_PERCENT),
                cpu=Cpu(total=_CPU_PERCENT),
            )
            for template in spec.job.templates or ()
        )

    def vitals(self) -> dict[str, object]:
        """Return the VM's vitals, in the real agent's form: strings, but for the uptime."""
        disk = {"inode_percent": "2", "percent": "11"}
        return {
            "cpu": {"sys": "0.3", "user": "1.2", "wait": "0.1"},
            "disk": {"system": disk, "ephemeral": disk},
            "load": [f"{each:.2f}" for each in os.getloadavg()],
            "mem": {"kb": str(_MEMORY_KB), "percent": "12"},
            "swap": {"kb": "0", "percent": "0"},
            "uptime": {"secs": int(time.time() - self._kept.since)},
        }

    def _keep(self, kept: _Kept) -> None:
        self._kept = kept
        directory.write(self._path, kept)
