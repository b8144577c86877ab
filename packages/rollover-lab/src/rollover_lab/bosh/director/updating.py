"""Brings one instance to what it shall be (`update_procedure.rb`).

Hazard H5 lives here: an instance that is stopped returns before its agent gets new settings.
"""

from __future__ import annotations

from rollover_lab.bosh.director import disks, jobs_running, settings, vm_creating
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.errors import failure
from rollover_lab.bosh.director.jobs_running import Progress
from rollover_lab.bosh.director.nouns import Instance, State, Vm
from rollover_lab.bosh.director.plan import Plan, dns_records, full_update
from rollover_lab.bosh.director.refusals import DirectorError
from rollover_lab.bosh.director.work import Work


def update(work: Work, plan: Plan, step: Progress, *, canary: bool) -> None:
    """Do what the plan says; whatever fails leaves the instance marked as not completed."""
    instance = plan.instance
    work.log(f"Updating instance {instance.label}, changes: {', '.join(plan.changes)}")
    work.director.instances.change(instance, update_completed=0)
    error = ""
    try:
        _perform(work, plan, step, canary=canary)
        work.director.instances.change(instance, update_completed=1)
    except Exception as caught:
        error = failure(caught).message
        raise
    finally:
        work.happened(_action(plan), "instance", instance.name, error=error)


def _perform(work: Work, plan: Plan, step: Progress, *, canary: bool) -> None:
    group = plan.group
    if group is None:
        raise AssertionError("instances that are not wanted are deleted, not updated")
    instance, instances = plan.instance, work.director.instances
    if not full_update(plan.changes):
        if "dns" in plan.changes:
            instances.change(instance, dns=dns_records(group, instance))
        return
    if plan.new or instance.state is not State.DETACHED:
        _stop(work, plan, group, step)
        if plan.state is State.STOPPED:
            instances.change(instance, state=State.STOPPED)
            return
        if plan.state is State.DETACHED:
            _detach(work, instance)
    if plan.state is not State.DETACHED:
        _converge(work, plan, group)
    instances.change(instance, state=plan.state, dns=dns_records(group, instance))
    if plan.state is State.STARTED:
        vm = _vm(work, instance)
        jobs_running.apply(work, instance, vm, group=group, step=step)
        rules = group.update
        watch = rules.canary_watch if canary else rules.update_watch
        jobs_running.start(work, instance, vm, watch=watch, step=step)


def _stop(work: Work, plan: Plan, group: Group, step: Progress) -> None:
    instance = plan.instance
    spec = settings.apply_spec(instance, group)
    leaves = plan.recreates or plan.state is State.DETACHED
    if not leaves:
        work.agent(instance, _vm(work, instance)).call("prepare", spec)
    vm = work.director.instances.get(instance.id).vm
    if instance.state is State.STOPPED or vm is None or plan.unresponsive:
        return
    jobs_running.stop(
        work,
        instance,
        vm,
        spec=spec,
        intent=jobs_running.DELETE_VM if leaves else jobs_running.KEEP,
        shutdown=plan.state is not State.STARTED or plan.recreates,
        skip_drain=plan.skip_drain,
        step=step,
    )


def _detach(work: Work, instance: Instance) -> None:
    vm = work.director.instances.get(instance.id).vm
    if vm is not None:
        disks.detach(work, instance, vm)
        vm_creating.delete(work, instance, vm)


def _converge(work: Work, plan: Plan, group: Group) -> None:
    """Recreate the VM, or give its agent new settings; both bring new credentials."""
    instance = plan.instance
    vm = _vm(work, instance)
    # One that was missing when the deploy began was made by this deploy: it is as new as can be.
    recreates = plan.recreates and instance.vm is not None
    if recreates:
        if not plan.unresponsive:
            disks.detach(work, instance, vm)
        vm_creating.delete(work, instance, vm)
        vm = vm_creating.create(work, instance, group)
    anew = "recreate_persistent_disks" in plan.changes
    disks.converge(work, instance, vm, size=group.spec.persistent_disk, anew=anew)
    if not recreates:
        settings.update(work, instance, vm)


def _vm(work: Work, instance: Instance) -> Vm:
    """Return the VM that the instance has by now."""
    vm = work.director.instances.get(instance.id).vm
    if vm is None:
        raise DirectorError("no active VM available to prepare for instance")
    return vm


def _action(plan: Plan) -> str:
    if plan.changes in {("state",), ("restart",)}:
        return {State.STARTED: "start"}.get(plan.state, "stop")
    if plan.new:
        return "create"
    return "recreate" if plan.recreates else "update"
