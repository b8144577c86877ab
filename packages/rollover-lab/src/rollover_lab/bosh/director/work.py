"""What a job has at hand while its task runs: the director's parts, its outputs, its agents."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from rollover_lab.bosh.director.agent_client import AgentClient, Arguments, Surroundings
from rollover_lab.bosh.director.configs import Configs, Facts
from rollover_lab.bosh.director.cpi import Cloud, Cpi
from rollover_lab.bosh.director.credentials import Credentials
from rollover_lab.bosh.director.deployments import Deployments
from rollover_lab.bosh.director.event_log import Entry, EventLog
from rollover_lab.bosh.director.history import Happening, History
from rollover_lab.bosh.director.instances import Instances
from rollover_lab.bosh.director.locks import Locks
from rollover_lab.bosh.director.nouns import Instance, Vm
from rollover_lab.bosh.director.outputs import OutputKind, Outputs
from rollover_lab.bosh.director.problems import Problems
from rollover_lab.bosh.director.refusals import TaskCancelled
from rollover_lab.bosh.director.stock import Stock
from rollover_lab.bosh.director.task_book import Task, TaskBook
from rollover_lab.bosh.rendered import DirectorConfig


class Bus(Protocol):
    """NATS, as far as jobs use it."""

    def request(self, agent_id: str, method: str, arguments: Arguments, *, seconds: float) -> bytes:
        """Return an agent's reply, JSON; `NoReply` when none came in time."""

    def publish(self, subject: str, body: object) -> None:
        """Send a message without waiting for anything."""


class Director(NamedTuple):
    """The parts of a director that its jobs and its API share."""

    config: DirectorConfig
    deployments: Deployments
    instances: Instances
    tasks: TaskBook
    outputs: Outputs
    stock: Stock
    configs: Configs
    facts: Facts
    history: History
    locks: Locks
    problems: Problems
    credentials: Credentials
    bus: Bus
    cloud: Cloud


class Work:
    """One running task."""

    def __init__(self, director: Director, task: Task) -> None:
        self.director = director
        self.task = task
        self.events = EventLog(self._event)
        self.cpi = Cpi(director.cloud, lambda text: self._line(OutputKind.CPI, text))
        self._around = Surroundings(
            link=director.bus,
            timing=director.config.timing,
            log=self.log,
            checkpoint=self.checkpoint,
        )

    def log(self, text: str) -> None:
        """Add a line to the debug output."""
        self._line(OutputKind.DEBUG, text)

    def result(self, document: object) -> None:
        """Add a line of JSON to the result."""
        line = msgspec.json.encode(document).decode()
        self.director.outputs.append(self.task.id, OutputKind.RESULT, line)

    def checkpoint(self) -> None:
        """Raise `TaskCancelled` when somebody cancelled the task."""
        if self.director.tasks.cancelled(self.task.id):
            raise TaskCancelled(f"Task {self.task.id} cancelled")

    def agent(
        self, instance: Instance, vm: Vm, *, seconds: float | None = None, retries: bool = True
    ) -> AgentClient:
        """Return a client for the agent of a VM."""
        return AgentClient(
            self._around,
            agent_id=vm.agent_id,
            name=instance.name,
            seconds=seconds,
            retries=retries,
        )

    def happened(self, action: str, kind: str, name: str | None, *, error: str = "") -> None:
        """Write an event: who did what."""
        self.director.history.add(
            Happening(
                user=self.task.user,
                action=action,
                object_type=kind,
                object_name=name,
                error=error or None,
                task=str(self.task.id),
                deployment=self.task.deployment,
                instance=name if kind == "instance" else None,
            )
        )

    def _event(self, entry: Entry) -> None:
        line = msgspec.json.encode(entry).decode()
        self.director.outputs.append(self.task.id, OutputKind.EVENT, line)

    def _line(self, kind: OutputKind, text: str) -> None:
        at = datetime.fromtimestamp(time.time(), UTC)
        self.director.outputs.append(self.task.id, kind, f"I, [{at.isoformat()}] {text}")


Run = Callable[[Work, bytes], str]
"""A job: takes what it was told, encoded, and returns the task's result."""
