"""The VM as the actions of its agent see it: jobs, disks, faults, and how long things take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import (
    AgentDirectory,
    AgentInput,
    ApplySpec,
    DiskSettings,
    LabAgentSettings,
    UnreadableFile,
)
from rollover_lab.bosh.agent.protocol import ActionFailed


class AgentFault(StrEnum):
    """A fault of one VM; `none` heals it."""

    NONE = "none"
    HUNG = "hung"
    """Connected, and that is all: no answers, no heartbeats."""
    DEAD = "dead"
    """The process is gone and nothing starts it again."""
    SLOW = "slow"
    """A restart takes longer than a director waits."""
    CRASH_BEFORE_SAVE = "crash-before-save"
    """The next `update_settings` is accepted, answered `ok` after the restart, and lost. Once."""


class AgentTiming(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of the real agent and of what restarts it, in seconds."""

    exit_delay: float = 1.0
    """Between the settings' being saved and the end of the process: the answer gets out."""
    restart_delay: float = 0.3
    """Until the process is started again: 52 starts in 18 s were measured."""
    slow_restart: float = 140.0
    """The same for a VM with the fault `slow`: longer than three times 45 s."""
    reconnect_step: float = 2.0
    reconnect_limit: float = 10.0
    """The delay before the nth attempt is n steps, at most this."""
    heartbeat_interval: float = 30.0
    heartbeat_retry: float = 1.0
    heartbeat_tries: int = 60
    """On a closed connection, before the process gives up."""
    connect_timeout: float = 5.0
    """From dialling to the server's PONG. nats.go allows 2 s to a process of its own; here many
    share one. It is the same in a hurry: it is about the machine, not about the protocol."""

    def hurried(self, factor: float) -> AgentTiming:
        """Return these waits times `factor`."""
        return msgspec.structs.replace(
            self,
            **{
                name: getattr(self, name) * factor
                for name in self.__struct_fields__
                if name not in {"heartbeat_tries", "connect_timeout"}
            },
        )

    def reconnect_delay(self, attempt: int) -> float:
        """Return how long to wait before an attempt to reconnect; the first one is 1."""
        return min(self.reconnect_step * attempt, self.reconnect_limit)


RUNNING, STOPPED, FAILING = "running", "stopped", "failing"
_MEMORY_KB = 102_400
_MEMORY_PERCENT = 1.3
_CPU_PERCENT = 0.4


class _KeptJobs(msgspec.Struct, frozen=True, kw_only=True):
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


class JobProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `instances --ps`."""

    name: str
    state: str
    uptime: Uptime
    mem: Memory
    cpu: Cpu


class AgentJobs:
    """What the VM runs, as monit has it: started, stopped or failing, and never really there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._kept = directory.read_json(path, _KeptJobs)
        except UnreadableFile:
            self._kept = _KeptJobs(since=time.time())

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

    def processes(self, spec: ApplySpec) -> tuple[JobProcess, ...]:
        """Return a process for each job of the spec."""
        state = "unknown" if self._kept.stopped else self.state
        uptime = Uptime(secs=0 if self._kept.stopped else int(time.time() - self._kept.since))
        return tuple(
            JobProcess(
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
            "load": [f"{number:.2f}" for number in os.getloadavg()],
            "mem": {"kb": str(_MEMORY_KB), "percent": "12"},
            "swap": {"kb": "0", "percent": "0"},
            "uptime": {"secs": int(time.time() - self._kept.since)},
        }

    def _keep(self, kept: _KeptJobs) -> None:
        self._kept = kept
        directory.write_json(self._path, kept)


class AgentSurroundings(Protocol):
    """What an agent cannot know by itself; whoever runs it tells."""

    @property
    def timing(self) -> AgentTiming:
        """How long it waits for what."""
        ...

    @property
    def fault(self) -> AgentFault:
        """What is wrong with it now."""
        ...

    @property
    def ignores_mbus(self) -> bool:
        """Whether it is older than 2.388: `update_settings` changes no credentials."""
        ...

    def crashed(self) -> None:
        """Hear that the fault `crash-before-save` has struck."""
        ...


SendAlert = Callable[[str, object], None]
"""Publishes an alert or a shutdown to the health monitor: topic and content."""


class AgentHost:
    """Settings, spec, jobs and disks of one VM during one life of its agent."""

    def __init__(
        self,
        files: AgentDirectory,
        told: AgentInput,
        *,
        surroundings: AgentSurroundings,
        send: SendAlert,
    ) -> None:
        self.files = files
        self.told = told
        self.surroundings = surroundings
        self.send = send
        self.jobs = AgentJobs(files.jobs)
        try:
            self.spec = directory.read_json(files.spec, ApplySpec)
        except UnreadableFile:
            self.spec = ApplySpec()

    @property
    def settings(self) -> LabAgentSettings:
        """What the cloud said."""
        return self.told.settings

    def reload(self) -> None:
        """Read the settings again: the cloud may have attached a disk."""
        try:
            self.told = self.files.told()
        except UnreadableFile as error:
            raise ActionFailed(f"Refreshing the settings: {error}") from None

    def apply(self, spec: ApplySpec) -> None:
        """Be what a spec says; its networks must be those of the VM."""
        for name in spec.networks:
            if name not in self.settings.networks:
                raise ActionFailed(
                    f"Resolving dynamic networks: Network '{name}' is not found in settings"
                )
        directory.write_json(self.files.spec, spec)
        self.spec = spec

    def disk(self, cid: str) -> DiskSettings:
        """Return a persistent disk that the cloud has attached."""
        disk = self.settings.disks.persistent.get(cid)
        if disk is None:
            raise ActionFailed(f"Persistent disk with volume id '{cid}' could not be found")
        return disk
