"""What the platforms need of a director."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from rollover.platforms.bosh.parsing import Config, DiffLine
from rollover.platforms.bosh.records import (
    BoshInstance,
    Deployment,
    Extent,
    Info,
    Lock,
    Task,
    TaskEvent,
)


class DirectorApi(Protocol):
    """What is needed of `director.Director`; its docstrings are the contract."""

    def info(self) -> Info:
        """Return who the director is."""
        ...

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments."""
        ...

    def instances(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its state; each agent is asked."""
        ...

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its VM and agent, at once."""
        ...

    def manifest(self, deployment: str) -> str:
        """Return the manifest of the last successful deploy."""
        ...

    def locks(self) -> tuple[Lock, ...]:
        """Return what is locked."""
        ...

    def configs(self, kind: str | None = None) -> tuple[Config, ...]:
        """Return the present configs."""
        ...

    def resurrection(self) -> bool | None:
        """Say whether VMs may be brought back; None: nobody knows."""
        ...

    def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
        """Return what a deploy would change."""
        ...

    def last_task(self) -> int | None:
        """Return the last task that there is."""
        ...

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        ...

    def tasks(self, deployment: str | None = None) -> tuple[Task, ...]:
        """Return the tasks that have not ended."""
        ...

    def deploy(self, deployment: str, manifest: str, extent: Extent | None = None) -> int:
        """Begin a deploy; return the task."""
        ...

    def recreate(self, deployment: str, extent: Extent | None = None) -> int:
        """Begin to make VMs anew; return the task."""
        ...

    def follow(
        self,
        number: int,
        *,
        stopping: Callable[[], bool] = ...,
        deadline_seconds: float | None = None,
    ) -> Generator[TaskEvent, None, Task]:
        """Yield a task's events until it has ended."""
        ...
