"""What a task of the director works with: its parts, the cloud, the agents, and threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from rollover.errors import NotFound
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.director.agent_client import AgentClient, AgentClientContext, NatsLink
from rollover_lab.bosh.director.credentials import AgentCertificateIssuer
from rollover_lab.bosh.director.instances import (
    DeployedInstance,
    DeploymentTable,
    InstanceTable,
    InstanceVm,
    PersistentDisk,
)
from rollover_lab.bosh.director.records import (
    ConfigTable,
    DirectorFacts,
    Happening,
    History,
    LockTable,
    ProblemTable,
    Stock,
)
from rollover_lab.bosh.director.refusals import TaskCancelled
from rollover_lab.bosh.director.task_records import (
    EventEntry,
    EventLog,
    OutputKind,
    Outputs,
    TaskRecord,
    TaskTable,
)
from rollover_lab.bosh.job_config import DirectorConfig

PooledJob = Callable[[], None]


def run_all(jobs: Iterable[PooledJob], *, at_once: int) -> None:
    """Run every job, in order, `at_once` of them together, and wait for them (`thread_pool.rb`).

    After the first that fails no other begins; those under way are waited for, then its error is
    raised. The threads do not keep a process alive.
    """
    waiting = deque(jobs)
    failed: list[Exception] = []

    def work() -> None:
        while not failed:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            try:
                job()
            except Exception as error:  # noqa: BLE001 - handed to the caller below
                failed.append(error)

    count = min(max(1, at_once), len(waiting))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


SettingsDocument = dict[str, object]


class Cpi:
    """What a task asks of the cloud, with a note of each call in its CPI output."""

    def __init__(self, cloud: LabCloud, log: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._log = log

    def create_vm(
        self, *, agent_id: str, settings: SettingsDocument, stemcell: tuple[str, str]
    ) -> str:
        """Make a VM; its settings hold a private key and are not noted."""
        self._log(f"create_vm agent_id={agent_id} stemcell={'/'.join(stemcell)}")
        name, version = stemcell
        wanted = {"name": name, "version": version}
        cid = self._cloud.create_vm(agent_id=agent_id, settings=settings, stemcell=wanted)
        self._log(f"create_vm -> {cid}")
        return cid

    def delete_vm(self, vm: InstanceVm) -> None:
        """Delete a VM; one that is gone already is no error."""
        self._log(f"delete_vm {vm.cid}")
        try:
            self._cloud.delete_vm(vm.cid)
        except NotFound:
            self._log(f"VM '{vm.cid}' might have already been deleted from the cloud")

    def has_vm(self, vm: InstanceVm) -> bool:
        """Tell whether the cloud still has the VM."""
        self._log(f"has_vm {vm.cid}")
        return self._cloud.has_vm(vm.cid)

    def create_disk(self, instance: DeployedInstance, size: int) -> str:
        """Make a persistent disk."""
        self._log(f"create_disk {size} for {instance.name}")
        return self._cloud.create_disk(size)

    def attach_disk(self, vm: InstanceVm, disk_cid: str) -> None:
        """Attach a persistent disk."""
        self._log(f"attach_disk {vm.cid} {disk_cid}")
        self._cloud.attach_disk(vm.cid, disk_cid)

    def detach_disk(self, vm: InstanceVm, disk: PersistentDisk) -> None:
        """Take a persistent disk off a VM."""
        self._log(f"detach_disk {vm.cid} {disk.cid}")
        self._cloud.detach_disk(vm.cid, disk.cid)

    def delete_disk(self, disk: PersistentDisk) -> None:
        """Delete a persistent disk."""
        self._log(f"delete_disk {disk.cid}")
        self._cloud.delete_disk(disk.cid)


class LabDirector(NamedTuple):
    """The parts of a director that its jobs and its API share."""

    config: DirectorConfig
    deployments: DeploymentTable
    instances: InstanceTable
    tasks: TaskTable
    outputs: Outputs
    stock: Stock
    configs: ConfigTable
    facts: DirectorFacts
    history: History
    locks: LockTable
    problems: ProblemTable
    credentials: AgentCertificateIssuer
    bus: NatsLink
    cloud: LabCloud


class TaskWork:
    """One running task."""

    def __init__(self, director: LabDirector, task: TaskRecord) -> None:
        self.director = director
        self.task = task
        self.events = EventLog(self._event)
        self.cpi = Cpi(director.cloud, lambda text: self._line(OutputKind.CPI, text))
        self._agent_context = AgentClientContext(
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
        self,
        instance: DeployedInstance,
        vm: InstanceVm,
        *,
        seconds: float | None = None,
        retries: bool = True,
    ) -> AgentClient:
        """Return a client for the agent of a VM."""
        return AgentClient(
            self._agent_context,
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

    def _event(self, entry: EventEntry) -> None:
        line = msgspec.json.encode(entry).decode()
        self.director.outputs.append(self.task.id, OutputKind.EVENT, line)

    def _line(self, kind: OutputKind, text: str) -> None:
        at = datetime.now(UTC)
        self.director.outputs.append(self.task.id, kind, f"I, [{at.isoformat()}] {text}")


RunTask = Callable[[TaskWork, bytes], str]
"""A job: takes what it was told, encoded, and returns the task's result."""
