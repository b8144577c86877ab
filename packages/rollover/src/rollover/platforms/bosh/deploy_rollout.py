"""Gives the agents of deployments new credentials by deploys of the director, several at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from time import monotonic

import msgspec

from rollover.errors import NotFound, RolloverError
from rollover.fleet.evidence import Applied, Failed, Order, Result
from rollover.fleet.names import InstanceName
from rollover.fleet.secret import redacted
from rollover.platforms.bosh import cost
from rollover.platforms.bosh.agent_proof import AgentPatience, AgentProver
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DeployExtent,
    DirectorTask,
    TaskEvent,
    TaskState,
)
from rollover.platforms.bosh.rules.agents import DEPLOY_FAILED, LOCKED, UNCHANGED

UPDATING = ("Updating instance", "Recreating instance")
"""Stages of a task whose events are about one instance each."""
DEPLOYMENT_LOCK = "deployment"
LOCK_POLL_SECONDS = 1.0
CHECK_SECONDS = 1.0
"""Between two checks of those that a task has finished, while it goes on."""
QUEUE_POLL_SECONDS = 0.1
MOST_ROUNDS = 2
"""A deploy that changes nothing but DNS is repeated once (H3)."""

_SILENT_AGENT = re.compile(r"Timed out (?:sending|pinging)")
"""What a director says of an agent that does not answer it."""
# The id of an instance is a UUID; old directors count instead.
_INSTANCE = re.compile(r"([A-Za-z0-9_.-]+)/([0-9a-f]{8}-[0-9a-f-]{27}|[A-Za-z0-9_-]+)")


class DeploymentOrders(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment, and what its instances are to get.

    `fix`: those that do not answer are recreated without being stopped.
    """

    deployment: str
    orders: tuple[Order, ...]
    instances: tuple[BoshInstance, ...]
    """All instances of the deployment, as they were when the rollout began."""
    silent: frozenset[InstanceName] = frozenset()
    fix: bool = False


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One task to start."""

    start: Callable[[], int]
    covers: frozenset[InstanceName]
    again: bool
    """Whether it may help to do it once more."""


class DeployRollout:
    """Brings one deployment its orders, task by task. Several threads may share one."""

    def __init__(
        self,
        director: DirectorApi,
        *,
        prover: AgentProver,
        version: Sequence[int],
        patience: AgentPatience,
        task_seconds: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._director = director
        self._prover = prover
        self._version = version
        self._patience = patience
        self._task_seconds = task_seconds
        self._stopping = stopping

    def results(self, work: DeploymentOrders) -> Iterator[Result]:
        """Yield a result for each instance that was tried, as its turn ends.

        A deployment, or an instance, that has gone meanwhile needs nothing any more: it counts
        as applied.
        """
        open_orders = {order.instance: order for order in work.orders}
        begun = monotonic()
        try:
            yield from self._converge(work, open_orders, begun)
        except NotFound:
            for name in list(open_orders):
                yield gone_result(name, begun)
        except RolloverError as error:
            # One is enough: after a failure nothing further is begun.
            for name in list(open_orders)[:1]:
                yield Failed(
                    instance=name,
                    seconds=monotonic() - begun,
                    code=error.code,
                    message=f"deployment `{work.deployment}`: {error}",
                    hint=error.hint,
                    restored=False,
                )

    def _converge(
        self, work: DeploymentOrders, waiting: dict[InstanceName, Order], begun: float
    ) -> Iterator[Result]:
        unlocked = self._unlocked(work.deployment)
        if not unlocked and self._stopping():
            return
        if not unlocked:
            yield self._failed(
                next(iter(waiting)),
                begun,
                code=LOCKED.id,
                message=f"`{work.deployment}` is locked by another task for more than "
                f"{self._patience.lock:,.0f} s",
                hint=LOCKED.remedy,
                restored=True,
            )
            return
        yield from self._settled(work, waiting, begun)
        for round_number in range(1, MOST_ROUNDS + 1):
            for step in self._steps(work, frozenset(waiting)):
                if not (step.covers & waiting.keys()) or (round_number > 1 and not step.again):
                    continue
                failed = False
                for result in self._task(work, step, waiting, begun):
                    failed = failed or isinstance(result, Failed)
                    yield result
                if failed:
                    return
            if not waiting:
                return
        yield from self._unchanged(work, waiting, begun)

    def _settled(
        self, work: DeploymentOrders, waiting: dict[InstanceName, Order], begun: float
    ) -> Iterator[Result]:
        """Yield what needs nothing: who is gone, and who was given it by an earlier run."""
        placed = self._director.placed(work.deployment)
        there = {instance.name for instance in placed if instance.agent_id is not None}
        for name in [name for name in waiting if name not in there]:
            del waiting[name]
            yield gone_result(name, begun)
        yield from self._applied(waiting, placed, waiting, begun)

    def _steps(self, work: DeploymentOrders, waiting: frozenset[InstanceName]) -> Iterator[_Step]:
        """Yield the tasks that bring the rest: a deploy in place, or new VMs where that fails."""
        old = frozenset(
            instance.name
            for instance in work.instances
            if instance.name in waiting
            and cost.update_of(self._version, instance.stemcell).way is cost.UpdateWay.RECREATE
        )
        with_agent = frozenset(
            instance.name for instance in work.instances if instance.agent_id is not None
        )
        extent = DeployExtent(fix=work.fix)
        silent = work.silent & waiting if work.fix else frozenset()
        if with_agent and (with_agent <= old or with_agent <= silent):
            yield _Step(
                start=lambda: self._director.recreate(work.deployment, extent),
                covers=waiting,
                again=False,
            )
            return
        if waiting - old:
            # A deploy, not a restart: it alone sends agents what is handed out now. The manifest is
            # the director's own, so that nothing else changes.
            yield _Step(
                start=lambda: self._director.deploy(
                    work.deployment, self._director.manifest(work.deployment), extent
                ),
                covers=waiting - old,
                again=True,
            )
        for instance in work.instances:
            if instance.name in old:
                yield self._recreated(instance, fix=work.fix)

    def _recreated(self, instance: BoshInstance, *, fix: bool) -> _Step:
        extent = DeployExtent(group=instance.group, instance=instance.id, fix=fix)
        return _Step(
            start=lambda: self._director.recreate(instance.deployment, extent),
            covers=frozenset({instance.name}),
            again=False,
        )

    def _task(
        self, work: DeploymentOrders, step: _Step, waiting: dict[InstanceName, Order], begun: float
    ) -> Iterator[Result]:
        number = step.start()
        errors: dict[InstanceName, str] = {}
        finished: set[InstanceName] = set()
        checked_at = float("-inf")
        following = self._director.follow(number, deadline_seconds=self._task_seconds)
        while True:
            try:
                event = next(following)
            except StopIteration as ended:
                task: DirectorTask = ended.value
                break
            name = updated_instance(event, work.deployment)
            if name in waiting and event.state == "finished":
                finished.add(name)
            elif name in waiting and event.state == "failed":
                errors[name] = event.error
            # Who is done is told while the task goes on: a deploy of hundreds takes hours.
            if finished & waiting.keys() and monotonic() - checked_at > CHECK_SECONDS:
                checked_at = monotonic()
                placed = self._director.placed(work.deployment)
                yield from self._applied(waiting, placed, finished, begun)
        done = task.state is TaskState.DONE
        yield from self._proven(work, step.covers if done else finished, waiting, begun)
        if not done:
            yield from self._broken(work, task, errors, waiting, begun)

    def _proven(
        self,
        work: DeploymentOrders,
        names: frozenset[InstanceName] | set[InstanceName],
        waiting: dict[InstanceName, Order],
        begun: float,
    ) -> Iterator[Result]:
        """Wait for those that have been updated to show it; who is gone is told as gone."""
        left = {name: order for name, order in waiting.items() if name in names}
        deployment = work.deployment
        for checked in self._prover.awaited(
            left, lambda: self._director.placed(deployment), seconds=self._patience.prove
        ):
            for name, evidence in checked.proven.items():
                del waiting[name]
                yield Applied(instance=name, seconds=monotonic() - begun, evidence=evidence)
            for name in checked.gone:
                del waiting[name]
                yield gone_result(name, begun)

    def _applied(
        self,
        waiting: dict[InstanceName, Order],
        placed: Sequence[BoshInstance],
        names: Mapping[InstanceName, Order] | set[InstanceName],
        begun: float,
    ) -> Iterator[Result]:
        """Yield those that show already what was ordered."""
        wanted = {name: waiting[name] for name in list(names) if name in waiting}
        for name, evidence in self._prover.check(wanted, placed).proven.items():
            del waiting[name]
            yield Applied(instance=name, seconds=monotonic() - begun, evidence=evidence)

    def _broken(
        self,
        work: DeploymentOrders,
        task: DirectorTask,
        errors: Mapping[InstanceName, str],
        waiting: dict[InstanceName, Order],
        begun: float,
    ) -> Iterator[Result]:
        blamed = {name: message for name, message in errors.items() if name in waiting}
        if not blamed and waiting:
            # The task failed before any instance's turn, or at none of ours.
            first = next(iter(waiting))
            named = (name for name in waiting if name.partition("/")[2] in task.result)
            blamed = {next(named, first): task.result}
        orders = {name: waiting.pop(name) for name in blamed}
        kept = self._prover.check(orders, self._director.placed(work.deployment)).kept
        for name, message in blamed.items():
            yield self._failed(
                name,
                begun,
                code=DEPLOY_FAILED.id,
                message=f"task {task.id} ended as `{task.state.value}`"
                + (f": {redacted(message)}" if message else ""),
                hint=_remedy(task, name, message),
                restored=name in kept,
            )

    def _unchanged(
        self, work: DeploymentOrders, waiting: dict[InstanceName, Order], begun: float
    ) -> Iterator[Result]:
        checked = self._prover.check(waiting, self._director.placed(work.deployment))
        for name in list(waiting):
            del waiting[name]
            yield self._failed(
                name,
                begun,
                code=UNCHANGED.id,
                message="the director reports success, but "
                + checked.pending.get(name, "it could not be seen"),
                hint=_unchanged_remedy(name),
                restored=name in checked.kept,
            )

    @staticmethod
    def _failed(
        name: InstanceName, begun: float, *, code: str, message: str, hint: str, restored: bool
    ) -> Failed:
        return Failed(
            instance=name,
            seconds=monotonic() - begun,
            code=code,
            message=message,
            hint=hint,
            restored=restored,
        )

    def _unlocked(self, deployment: str) -> bool:
        """Wait until no task is at work on a deployment, ours of an earlier run included."""
        end = monotonic() + self._patience.lock
        while any(
            lock.kind == DEPLOYMENT_LOCK and deployment in lock.resource
            for lock in self._director.locks()
        ) or any(task.deployment == deployment for task in self._director.tasks(deployment)):
            if monotonic() >= end or self._stopping():
                return False
            Event().wait(min(LOCK_POLL_SECONDS, self._patience.lock))
        return True


def gone_result(name: InstanceName, begun: float) -> Applied:
    """Return the result for an instance that is there no more."""
    return Applied(instance=name, seconds=monotonic() - begun)


def updated_instance(event: TaskEvent, deployment: str) -> InstanceName | None:
    """Return which instance an event is about: `router/<uuid> (0) (canary)`."""
    if event.stage not in UPDATING:
        return None
    found = _INSTANCE.match(event.task)
    return InstanceName(f"{deployment}/{found[1]}/{found[2]}") if found else None


def _remedy(task: DirectorTask, name: InstanceName, message: str) -> str:
    """Return what helps after a task that failed: one thing."""
    deployment, _, instance = name.partition("/")
    if _SILENT_AGENT.search(message):
        return f"`bosh -d {deployment} recreate {instance} --fix`; then run Rollover again."
    return (
        f"Read `bosh task {task.id} --debug`, mend the cause, and run Rollover again: it goes on "
        "from there."
    )


def _unchanged_remedy(name: InstanceName) -> str:
    deployment, _, instance = name.partition("/")
    return (
        f"`bosh -d {deployment} recreate {instance}`, or, without a new VM, `in_place: direct` in "
        "the fleet file: the director takes this one as done, Rollover tells its agent itself. "
        "Then run Rollover again."
    )


# Several deployments.


def in_parallel(
    results: Callable[[DeploymentOrders], Iterator[Result]],
    works: Sequence[DeploymentOrders],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    """Yield the results of all deployments: the smallest alone, as the canary, then in parallel.

    After a failure no further deployment is begun, and none once `stopping()` is true; those
    begun are finished.
    """
    in_order = sorted(works, key=lambda work: (len(work.orders), work.deployment))
    failed = False
    for work in in_order[:1]:
        if stopping():
            return
        for result in results(work):
            failed = failed or isinstance(result, Failed)
            yield result
    if not failed:
        yield from _in_window(results, in_order[1:], width=max(1, width), stopping=stopping)


def _in_window(
    results: Callable[[DeploymentOrders], Iterator[Result]],
    works: Sequence[DeploymentOrders],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    # A generator runs in one thread: the others hand it their results by this queue.
    queue: SimpleQueue[Result] = SimpleQueue()

    def run(work: DeploymentOrders) -> bool:
        succeeded = True
        for result in results(work):
            succeeded = succeeded and not isinstance(result, Failed)
            queue.put(result)
        return succeeded

    waiting = iter(works)
    with ThreadPoolExecutor(width, thread_name_prefix="deployment") as pool:
        running: set[Future[bool]] = {
            pool.submit(run, work) for work in islice(waiting, width) if not stopping()
        }
        while running:
            done, running = wait(running, timeout=QUEUE_POLL_SECONDS, return_when=FIRST_COMPLETED)
            if stopping() or not all(future.result() for future in done):
                waiting = iter(())
            for work in islice(waiting, width - len(running)):
                running.add(pool.submit(run, work))
            yield from _queued_results(queue)
    yield from _queued_results(queue)


def _queued_results(queue: SimpleQueue[Result]) -> Iterator[Result]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
