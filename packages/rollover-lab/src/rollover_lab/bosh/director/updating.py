"""Brings instances into the state of a plan: stops, recreates, starts, deletes, some at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Protocol

import msgspec

from rollover.errors import RolloverError
from rollover_lab.bosh.director import vms
from rollover_lab.bosh.director.agent_client import AgentClient
from rollover_lab.bosh.director.deployment_plan import (
    RUNNING,
    DeleteOrder,
    DesiredGroup,
    GroupPlans,
    InstancePlan,
    Wish,
    dns_records,
    full_update,
)
from rollover_lab.bosh.director.instances import DeployedInstance, InstanceState, InstanceVm
from rollover_lab.bosh.director.manifest import WatchTime
from rollover_lab.bosh.director.refusals import (
    DirectorError,
    IgnoredInDeletion,
    JobNotRunning,
    as_director_error,
)
from rollover_lab.bosh.director.task_records import EventStage
from rollover_lab.bosh.director.work import TaskWork, run_all


class Progress(Protocol):
    """Told how far an update is."""

    def advance(self, percent: int, status: str) -> None:
        """Tell what is done now."""


class Quiet:
    """Where nobody is told."""

    def advance(self, percent: int, status: str) -> None:
        """Tell nobody."""


KEEP = "keep"
DELETE_VM = "delete_vm"
DELETE_INSTANCE = "delete_instance"
DELETE_DEPLOYMENT = "delete_deployment"

_INTENTS = (DELETE_VM, DELETE_INSTANCE, DELETE_DEPLOYMENT)
_NEXT_STATES = (
    "BOSH_VM_NEXT_STATE",
    "BOSH_INSTANCE_NEXT_STATE",
    "BOSH_DEPLOYMENT_NEXT_STATE",
)


def stop_jobs(
    work: TaskWork,
    instance: DeployedInstance,
    vm: InstanceVm,
    *,
    spec: vms.JsonDocument,
    intent: str,
    shutdown: bool,
    skip_drain: bool,
    step: Progress,
) -> None:
    """Run pre-stop, drain, stop, post-stop (`stopper.rb`)."""
    agent = work.agent(instance, vm)
    if skip_drain:
        step.advance(10, "skipped pre-stop & drain")
    else:
        step.advance(5, "executing pre-stop")
        _run_script(agent, "pre-stop", {"env": _next_states(intent)})
        step.advance(5, "executing drain")
        _drain(work, agent, "shutdown" if shutdown else "update", spec)
    step.advance(20, "stopping jobs")
    agent.stop()
    step.advance(10, "executing post-stop")
    _run_script(agent, "post-stop", {})


def apply_jobs(
    work: TaskWork,
    instance: DeployedInstance,
    vm: InstanceVm,
    *,
    group: DesiredGroup,
    step: Progress,
) -> None:
    """Tell the agent what to be, and write down that it was told."""
    step.advance(10, "installing packages")
    work.agent(instance, vm).call("apply", vms.apply_spec(instance, group))
    work.director.instances.keep_spec(instance, group.spec)
    step.advance(10, "configuring jobs")


def start_jobs(
    work: TaskWork,
    instance: DeployedInstance,
    vm: InstanceVm,
    *,
    watch: WatchTime | None,
    step: Progress,
    seconds: float | None = None,
) -> None:
    """Run pre-start, start, wait until it runs, post-start (`starter.rb`).

    `watch` None: do not wait. `seconds` is for one answer of the agent, when it differs from the
    usual.
    """
    agent = work.agent(instance, vm, seconds=seconds)
    step.advance(10, "executing pre-start")
    _run_script(agent, "pre-start", {})
    step.advance(20, "starting jobs")
    agent.call("start")
    if watch is None:
        return
    _wait_until_running(work, instance, agent, watch)
    step.advance(10, "executing post-start")
    _run_script(agent, "post-start", {})


def run_post_deploy(work: TaskWork, deployment: str) -> None:
    """Run post-deploy on every instance that is up and not ignored."""
    for instance in work.director.instances.of(deployment):
        if instance.vm and instance.state is InstanceState.STARTED and not instance.ignore:
            _run_script(work.agent(instance, instance.vm), "post-deploy", {})


def _run_script(agent: AgentClient, script: str, options: vms.JsonDocument) -> None:
    agent.call_if_known("run_script", script, options)


def _next_states(intent: str) -> vms.JsonDocument:
    """Return what a pre-stop script is told; each intent takes along those before it."""
    going = _INTENTS.index(intent) + 1 if intent in _INTENTS else 0
    return {
        name: "delete" if number < going else "keep" for number, name in enumerate(_NEXT_STATES)
    }


def _drain(work: TaskWork, agent: AgentClient, kind: str, spec: vms.JsonDocument) -> None:
    """Drain; a negative answer asks to be asked again after so many seconds."""
    seconds = agent.drain(kind, spec)
    while True:
        if seconds:
            time.sleep(abs(seconds))
        work.checkpoint()
        if seconds >= 0:
            return
        seconds = agent.drain("status")


def _wait_until_running(
    work: TaskWork, instance: DeployedInstance, agent: AgentClient, watch: WatchTime
) -> None:
    for seconds in watch.waits():
        work.checkpoint()
        time.sleep(seconds)
        state = agent.call("get_state")
        if isinstance(state, dict) and state.get("job_state") == RUNNING:
            return
    raise JobNotRunning(f"'{instance.label}' is not running after update.")


# Brings one instance to what it shall be (`update_procedure.rb`).
#
# Hazard H5 lives here: an instance that is stopped returns before its agent gets new settings.


def update_instance(work: TaskWork, plan: InstancePlan, step: Progress, *, canary: bool) -> None:
    """Do what the plan says; whatever fails leaves the instance marked as not completed."""
    instance = plan.instance
    work.log(f"Updating instance {instance.label}, changes: {', '.join(plan.changes)}")
    work.director.instances.change(instance, update_completed=0)
    error = ""
    try:
        _perform_update(work, plan, step, canary=canary)
        work.director.instances.change(instance, update_completed=1)
    except Exception as caught:
        error = as_director_error(caught).message
        raise
    finally:
        work.happened(_action_of(plan), "instance", instance.name, error=error)


def _perform_update(work: TaskWork, plan: InstancePlan, step: Progress, *, canary: bool) -> None:
    group = plan.group
    if group is None:
        raise AssertionError("instances that are not wanted are deleted, not updated")
    instance, instances = plan.instance, work.director.instances
    if not full_update(plan.changes):
        if "dns" in plan.changes:
            instances.change(instance, dns=dns_records(group, instance))
        return
    if plan.new or instance.state is not InstanceState.DETACHED:
        _stop_instance(work, plan, group, step)
        if plan.state is InstanceState.STOPPED:  # H5: its agent is not told of new credentials
            instances.change(instance, state=InstanceState.STOPPED)
            return
        vm = instances.get(instance.id).vm
        if plan.state is InstanceState.DETACHED and vm is not None:
            vms.detach_disk(work, instance, vm)
            vms.delete_vm(work, instance, vm)
    if plan.state is not InstanceState.DETACHED:
        _converge_instance(work, plan, group)
    instances.change(instance, state=plan.state, dns=dns_records(group, instance))
    if plan.state is InstanceState.STARTED:
        vm = _vm_for(work, instance)
        apply_jobs(work, instance, vm, group=group, step=step)
        rules = group.update
        watch = rules.canary_watch if canary else rules.update_watch
        start_jobs(work, instance, vm, watch=watch, step=step)


def _stop_instance(work: TaskWork, plan: InstancePlan, group: DesiredGroup, step: Progress) -> None:
    instance = plan.instance
    spec = vms.apply_spec(instance, group)
    leaves = plan.recreates or plan.state is InstanceState.DETACHED
    if not leaves:
        work.agent(instance, _vm_for(work, instance)).call("prepare", spec)
    vm = work.director.instances.get(instance.id).vm
    if instance.state is InstanceState.STOPPED or vm is None or plan.unresponsive:
        return
    stop_jobs(
        work,
        instance,
        vm,
        spec=spec,
        intent=DELETE_VM if leaves else KEEP,
        shutdown=plan.state is not InstanceState.STARTED or plan.recreates,
        skip_drain=plan.skip_drain,
        step=step,
    )


def _converge_instance(work: TaskWork, plan: InstancePlan, group: DesiredGroup) -> None:
    """Recreate the VM, or give its agent new settings; both bring new credentials."""
    instance = plan.instance
    vm = _vm_for(work, instance)
    # One that was missing when the deploy began was made by this deploy: it is as new as can be.
    recreates = plan.recreates and instance.vm is not None
    if recreates:
        if not plan.unresponsive:
            vms.detach_disk(work, instance, vm)
        vms.delete_vm(work, instance, vm)
        vm = vms.create_vm(work, instance, group)
    anew = "recreate_persistent_disks" in plan.changes
    vms.converge_disk(work, instance, vm, size=group.spec.persistent_disk, anew=anew)
    if not recreates:
        vms.update_settings(work, instance, vm)


def _vm_for(work: TaskWork, instance: DeployedInstance) -> InstanceVm:
    """Return the VM that the instance has by now."""
    vm = work.director.instances.get(instance.id).vm
    if vm is None:
        raise DirectorError("no active VM available to prepare for instance")
    return vm


def _action_of(plan: InstancePlan) -> str:
    if plan.changes in {("state",), ("restart",)}:
        return {InstanceState.STARTED: "start"}.get(plan.state, "stop")
    if plan.new:
        return "create"
    return "recreate" if plan.recreates else "update"


def delete_deployment(work: TaskWork, data: bytes) -> str:
    """Run the job that deletes a deployment (`deployment_deleter.rb`)."""
    order = msgspec.json.decode(data, type=DeleteOrder)
    name = work.task.deployment or ""
    director = work.director
    with director.locks.deployment(name, task=work.task.id):
        director.deployments.get(name)
        instances = director.instances.of(name)
        if any(instance.ignore for instance in instances):
            raise IgnoredInDeletion(
                f"You are trying to delete deployment '{name}', which contains ignored "
                "instance(s). Operation not allowed."
            )
        plans = [
            InstancePlan(instance=instance, group=None, wish=Wish.STOPPED) for instance in instances
        ]
        stage = work.events.stage("Deleting instances", len(plans))
        delete_instances(
            work,
            plans,
            stage,
            at_once=director.config.max_threads,
            intent=DELETE_DEPLOYMENT,
            force=order.force,
        )
        _remove_artifacts(work, name)
    work.happened("delete", "deployment", name)
    return f"/deployments/{name}"


def delete_instances(
    work: TaskWork,
    plans: Sequence[InstancePlan],
    stage: EventStage,
    *,
    at_once: int,
    intent: str = DELETE_INSTANCE,
    force: bool = False,
) -> None:
    """Stop instances and delete them with their VMs and disks (`instance_deleter.rb`)."""

    def delete_one(plan: InstancePlan) -> None:
        with stage.step(plan.instance.label):
            _delete_instance(work, plan, intent=intent, force=force)

    run_all((partial(delete_one, plan) for plan in plans), at_once=at_once)


def _delete_instance(work: TaskWork, plan: InstancePlan, *, intent: str, force: bool) -> None:
    instance = plan.instance
    vm = instance.vm
    if vm is not None:
        with _forgiving(work, force=force):
            if not plan.unresponsive:
                stop_jobs(
                    work,
                    instance,
                    vm,
                    spec=vms.identity_of(instance),
                    intent=intent,
                    shutdown=True,
                    skip_drain=plan.skip_drain,
                    step=Quiet(),
                )
        vms.delete_vm(work, instance, vm)
    with _forgiving(work, force=force):
        vms.delete_disk(work, instance)
    work.director.instances.delete(instance)
    work.happened("delete", "instance", instance.name)


@contextmanager
def _forgiving(work: TaskWork, *, force: bool) -> Iterator[None]:
    try:
        yield
    except RolloverError as error:
        if not force:
            raise
        work.log(f"Ignoring: {error.message}")


def _remove_artifacts(work: TaskWork, name: str) -> None:
    stage = work.events.stage("Removing deployment artifacts", 3)
    for what in ("Detaching stemcells", "Detaching releases"):
        with stage.step(what):
            work.log(what)
    with work.events.stage("Deleting properties", 0).step("Destroying deployment"):
        work.director.deployments.delete(name)


# Brings the instances of a group to what they shall be: canaries, then so many at a time.


def update_groups(work: TaskWork, groups: tuple[GroupPlans, ...]) -> bool:
    """Update groups one after another; neighbours that are not serial together (`BatchMulti…`).

    Returns whether anything was changed.
    """
    changed = [group for group in groups if group.obsolete or _needed_plans(group)]
    for serial, batch in groupby(groups, key=lambda group: group.group.update.serial):
        together = list(batch)
        work.checkpoint()
        if serial:
            for group in together:
                work.checkpoint()
                update_group(work, group)
        else:
            jobs = (partial(update_group, work, group) for group in together)
            run_all(jobs, at_once=len(together))
    return bool(changed)


def update_group(work: TaskWork, group: GroupPlans) -> None:
    """Delete instances that are not wanted, then update those that differ, zone by zone."""
    name, rules = group.group.name, group.group.update
    if group.obsolete:
        stage = work.events.stage("Deleting unneeded instances", len(group.obsolete), name)
        at_once = rules.in_flight(len(group.obsolete))
        delete_instances(work, group.obsolete, stage, at_once=at_once)
    plans = _needed_plans(group)
    if not plans:
        return
    stage = work.events.stage("Updating instance", len(plans), name)
    canaries_done = False
    for zone in dict.fromkeys(plan.instance.az for plan in plans):
        here = [plan for plan in plans if plan.instance.az == zone]
        _update_zone(work, group, here, stage, canaries_done=canaries_done)
        canaries_done = True


def _needed_plans(group: GroupPlans) -> list[InstancePlan]:
    if group.group.spec.lifecycle == "errand":
        return [plan for plan in group.plans if group.starts and not plan.instance.ignore]
    return [plan for plan in group.plans if plan.changes and not plan.instance.ignore]


def _update_zone(
    work: TaskWork,
    group: GroupPlans,
    plans: list[InstancePlan],
    stage: EventStage,
    *,
    canaries_done: bool,
) -> None:
    rules = group.group.update
    count = 0 if canaries_done else rules.canary_count(len(plans))
    at_once = rules.in_flight(len(plans))
    canaries, rest = plans[:count], plans[count:]
    for part, canary in ((canaries, True), (rest, False)):
        jobs = (partial(_update_with_step, work, plan, stage, canary=canary) for plan in part)
        run_all(jobs, at_once=at_once)


def _update_with_step(
    work: TaskWork, plan: InstancePlan, stage: EventStage, *, canary: bool
) -> None:
    label = plan.instance.label
    with stage.step(f"{label} (canary)" if canary else label) as step:
        update_instance(work, plan, step, canary=canary)
