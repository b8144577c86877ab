"""Workers take tasks, the oldest first, one each (`job_runner.rb`)."""

from __future__ import annotations

import logging
import threading
import traceback
from types import MappingProxyType

import msgspec

from rollover.platforms.bosh.director_records import TaskState
from rollover_lab.bosh.director import cloud_check, deploying, instance_tasks, updating
from rollover_lab.bosh.director.deployment_plan import JobType
from rollover_lab.bosh.director.refusals import TaskCancelled, as_director_error
from rollover_lab.bosh.director.task_records import TaskRecord
from rollover_lab.bosh.director.work import LabDirector, RunTask, TaskWork

JOBS = MappingProxyType[str, RunTask](
    {
        JobType.DEPLOY: deploying.deploy,
        JobType.DELETE: updating.delete_deployment,
        JobType.INSTANCE: instance_tasks.act_on_instance,
        JobType.ERRAND: instance_tasks.run_errand,
        JobType.VMS: instance_tasks.list_vms,
        JobType.SCAN: cloud_check.scan_deployment,
        JobType.APPLY: cloud_check.apply_resolutions,
        JobType.SCAN_AND_FIX: cloud_check.scan_and_fix,
    }
)
URGENT = (JobType.VMS,)
"""What the worker for status does, and nothing else: listings go on while all others deploy."""
_POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


class Workers:
    """The workers of one director; their threads do not keep its process alive."""

    def __init__(self, director: LabDirector) -> None:
        self._director = director
        self._waiting = threading.Condition()

    def start(self) -> None:
        """Start as many workers as configured, and one more that only lists VMs."""
        director = self._director
        director.tasks.give_up_running()
        director.locks.clear()
        for _ in range(director.config.workers):
            self._thread(tuple(JOBS))
        self._thread(URGENT)

    def add(
        self,
        kind: JobType,
        order: msgspec.Struct,
        *,
        description: str,
        user: str,
        deployment: str | None = None,
        context_id: str = "",
    ) -> TaskRecord:
        """Add a task and wake a worker."""
        task = self._director.tasks.add(
            kind=kind,
            description=description,
            user=user,
            deployment=deployment,
            context_id=context_id,
            order=msgspec.json.encode(order),
        )
        work = TaskWork(self._director, task)
        work.log(f"Director Version: {self._director.config.version}")
        work.log(f"Enqueuing task: {task.id}")
        with self._waiting:
            self._waiting.notify_all()
        return task

    def _thread(self, types: tuple[str, ...]) -> None:
        threading.Thread(target=self._work, args=(types,), daemon=True).start()

    def _work(self, types: tuple[str, ...]) -> None:
        while True:
            # Found and taken under one lock: two workers never have the same task.
            with self._waiting:
                task = self._director.tasks.next(types)
                if task is None:
                    self._waiting.wait(_POLL_SECONDS)
                    continue
                self._director.tasks.start(task)
            self._run(task)

    def _run(self, task: TaskRecord) -> None:
        work = TaskWork(self._director, task)
        work.log(f"Starting task: {task.id}")
        try:
            work.checkpoint()  # cancelled in the queue?
            state, result = TaskState.DONE, JOBS[task.type](work, task.order)
        except TaskCancelled as cancelled:
            work.events.fail(number=cancelled.number, message=cancelled.message)
            state, result = TaskState.CANCELLED, "task cancelled"
        except Exception as caught:  # noqa: BLE001 - whatever a job raises ends its task, not us
            error = as_director_error(caught)
            work.log("".join(traceback.format_exception(caught)))
            work.events.fail(number=error.number, message=error.message)
            state, result = TaskState.ERROR, error.message
        self._director.tasks.end(task, state=state, result=result)
        work.log(f"Task {task.id} {state}")
