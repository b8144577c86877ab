"""Looks for VMs that do not answer, and does something about them (`jobs/cloud_check/`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from rollover.errors import RolloverError
from rollover_lab.bosh.director import updating, vms
from rollover_lab.bosh.director.deployment_plan import ApplyOrder, ScanAndFixOrder
from rollover_lab.bosh.director.instance_tasks import group_of
from rollover_lab.bosh.director.instances import DeployedInstance, InstanceState, InstanceVm
from rollover_lab.bosh.director.records import BY_ITSELF, InstanceProblem, ProblemType, Resolution
from rollover_lab.bosh.director.refusals import (
    DirectorError,
    LockBusy,
    RpcTimeout,
    as_director_error,
)
from rollover_lab.bosh.director.task_records import EventStage
from rollover_lab.bosh.director.updating import Quiet
from rollover_lab.bosh.director.work import TaskWork, run_all

AGENT_SECONDS = 10.0
"""For one answer, in a hurry less; nobody is asked twice (`vm_scan_stage.rb`)."""
_LOCKED = "Unable to get deployment lock, maybe a deployment is in progress. Try again later."


def scan_deployment(work: TaskWork, _data: bytes) -> str:
    """Run the job that looks at every VM of a deployment."""
    name = work.task.deployment or ""
    try:
        # Not waited for: whoever asked is told to come again later.
        with work.director.locks.deployment(name, task=work.task.id, seconds=0):
            _scan(work, name, work.director.instances.of(name))
    except LockBusy:
        raise DirectorError(_LOCKED) from None
    return "scan complete"


def apply_resolutions(work: TaskWork, data: bytes) -> str:
    """Run the job that resolves problems as it is told."""
    order = msgspec.json.decode(data, type=ApplyOrder)
    name = work.task.deployment or ""
    with work.director.locks.deployment(name, task=work.task.id):
        wanted = {
            problem: order.resolutions[str(problem.id)]
            for problem in work.director.problems.open(name)
            if str(problem.id) in order.resolutions
        }
        count = _resolve(work, wanted)
        updating.run_post_deploy(work, name)
    return f"{count} resolved"


def scan_and_fix(work: TaskWork, data: bytes) -> str:
    """Run the job of the resurrector: recreate those of these VMs that do not answer."""
    order = msgspec.json.decode(data, type=ScanAndFixOrder)
    name = work.task.deployment or ""
    director = work.director
    chosen = [
        director.instances.find(name, group, str(number))
        for group, numbers in order.jobs.items()
        for number in numbers
    ]
    try:
        with director.locks.deployment(name, task=work.task.id, seconds=0):
            _scan(work, name, chosen)
            known = {instance.id for instance in chosen}
            found = [
                problem for problem in director.problems.open(name) if problem.instance_id in known
            ]
            if _resolve(work, dict.fromkeys(found, Resolution.RECREATE)):
                updating.run_post_deploy(work, name)
    except LockBusy:
        raise DirectorError(_LOCKED) from None
    return "scan and fix complete"


def _scan(work: TaskWork, deployment: str, instances: Sequence[DeployedInstance]) -> None:
    work.director.problems.close_all(deployment)
    expected = [instance for instance in instances if instance.expects_vm]
    ignored = sum(instance.ignore for instance in expected)
    counts: Counter[str] = Counter()
    stage = work.events.stage(f"Scanning {len(expected)} VMs", 2)

    def observe(instance: DeployedInstance) -> None:
        counts[_observe_instance(work, deployment, instance)] += 1

    with stage.step("Checking VM states"):
        jobs = (partial(observe, instance) for instance in expected if not instance.ignore)
        run_all(jobs, at_once=work.director.config.max_threads)
    kinds = ("OK", "unresponsive", "missing", "unbound")
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
    with stage.step(summary + (f", {ignored} ignored" if ignored else "")):
        pass
    _scan_disks(work, expected)


def _scan_disks(work: TaskWork, instances: Sequence[DeployedInstance]) -> None:
    """Say that disks are as they should be: nothing in the lab takes one away."""
    count = sum(instance.disk is not None and not instance.ignore for instance in instances)
    stage = work.events.stage(f"Scanning {count} persistent disks", 2)
    summary = f"{count} OK, 0 missing, 0 inactive, 0 mount-info mismatch"
    for step in ("Looking for inactive disks", summary):
        with stage.step(step):
            pass


def _observe_instance(work: TaskWork, deployment: str, instance: DeployedInstance) -> str:
    kind = _problem(work, instance, instance.vm)
    if kind is None:
        return "OK"
    work.director.problems.add(deployment=deployment, instance_id=instance.id, kind=kind)
    return "missing" if kind is ProblemType.MISSING else "unresponsive"


def _problem(
    work: TaskWork, instance: DeployedInstance, vm: InstanceVm | None
) -> ProblemType | None:
    if vm is None:
        return ProblemType.MISSING
    seconds = min(AGENT_SECONDS, work.director.config.timing.get_state_timeout)
    try:
        work.agent(instance, vm, seconds=seconds, retries=False).call("get_state")
    except RpcTimeout:
        return ProblemType.UNRESPONSIVE if work.cpi.has_vm(vm) else ProblemType.MISSING
    return None


def _resolve(work: TaskWork, wanted: dict[InstanceProblem, str | None]) -> int:
    """Do what is wanted about each problem; `DirectorError` at the end when some failed."""
    stage = work.events.stage("Applying problem resolutions", len(wanted))
    errors: list[str] = []

    def resolve_one(problem: InstanceProblem, wish: str | None) -> None:
        try:
            _resolve_one(work, problem, wish, stage)
        except (RolloverError, ValueError) as error:
            errors.append(
                f"Error resolving problem '{problem.id}': {as_director_error(error).message}"
            )
        work.director.problems.close(problem)

    jobs = (partial(resolve_one, problem, wish) for problem, wish in wanted.items())
    run_all(jobs, at_once=work.director.config.max_threads)
    if errors:
        raise DirectorError("\n".join(errors))
    return len(wanted)


def _resolve_one(
    work: TaskWork, problem: InstanceProblem, wish: str | None, stage: EventStage
) -> None:
    resolution = Resolution(wish) if wish else BY_ITSELF[problem.type]
    instance = work.director.instances.get(problem.instance_id)
    what = f"({problem.type} {problem.instance_id}): {problem.plan(resolution)}"
    with stage.step(f"{describe_problem(instance, problem.type)} {what}"):
        if resolution is Resolution.IGNORE:
            return
        if problem.type is ProblemType.UNRESPONSIVE and _answers(work, instance):
            raise DirectorError("Agent is responding now, skipping resolution")
        _RESOLVE[resolution](work, instance)


def describe_problem(instance: DeployedInstance, kind: ProblemType) -> str:
    """Return a problem in words, as the real director has them."""
    cid = f" with cloud ID '{instance.vm.cid}'" if instance.vm else ""
    ending = "missing." if kind is ProblemType.MISSING else "is not responding."
    return f"VM for '{instance.label}'{cid} {ending}"


def _answers(work: TaskWork, instance: DeployedInstance) -> bool:
    if instance.vm is None:
        return False
    try:
        work.agent(instance, instance.vm).call("ping")
    except RpcTimeout:
        return False
    return True


def _recreate(work: TaskWork, instance: DeployedInstance, *, wait: bool) -> None:
    """Make a new VM, whatever the old one does: like every new VM with today's credentials."""
    group = group_of(work, instance)
    _delete(work, instance)
    vm = vms.create_vm(work, instance, group)
    work.director.instances.change(instance, update_completed=0)
    updating.apply_jobs(work, instance, vm, group=group, step=Quiet())
    if instance.state is InstanceState.STARTED:
        watch = group.update.update_watch if wait else None
        updating.start_jobs(work, instance, vm, watch=watch, step=Quiet())
    work.director.instances.change(instance, update_completed=1)


def _reboot(work: TaskWork, instance: DeployedInstance) -> None:
    """Wait for the agent once more: the lab's cloud has no power button."""
    if instance.vm is not None:
        work.agent(instance, instance.vm).wait_until_ready(instance.vm.cid)


def _delete(work: TaskWork, instance: DeployedInstance) -> None:
    if instance.vm is not None:
        vms.delete_vm(work, instance, instance.vm)


def _delete_reference(work: TaskWork, instance: DeployedInstance) -> None:
    if instance.vm is not None:
        work.director.instances.delete_vm(instance.vm)


_RESOLVE: dict[Resolution, Callable[[TaskWork, DeployedInstance], None]] = {
    Resolution.REBOOT: _reboot,
    Resolution.RECREATE: partial(_recreate, wait=True),
    Resolution.RECREATE_WITHOUT_WAIT: partial(_recreate, wait=False),
    Resolution.DELETE: _delete,
    Resolution.DELETE_REFERENCE: _delete_reference,
}
