"""Stops, starts, restarts or recreates one instance by itself (`jobs/update_instance.rb`).

`--no-converge`: nothing else of the deployment is looked at, and a VM that stays gets no new
settings: `restart` and `start` do not rotate credentials, `recreate` does.
"""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.director import disks, jobs_running, settings, vm_creating
from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.binding import job_state, wanted_groups
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.event_log import Stage
from rollover_lab.bosh.director.jobs_running import Quiet
from rollover_lab.bosh.director.nouns import Instance, State
from rollover_lab.bosh.director.order import Action, DeployOrder, InstanceOrder
from rollover_lab.bosh.director.plan import RUNNING, UNRESPONSIVE
from rollover_lab.bosh.director.refusals import BadManifest, IgnoredInModification, InstanceNotFound
from rollover_lab.bosh.director.work import Work

START_PATIENCE = 2
"""While jobs start an agent may take this many times as long to answer: 90 s, not 45."""


def act(work: Work, data: bytes) -> str:
    """Run the job."""
    order = msgspec.json.decode(data, type=InstanceOrder)
    deployment = work.task.deployment or ""
    with work.director.locks.deployment(deployment, task=work.task.id):
        instance = work.director.instances.get(order.instance_id)
        if instance.ignore:
            raise IgnoredInModification(
                f"You are trying to change the state of the ignored instance '{instance.name}'."
                "This operation is not allowed. You need to unignore it first."
            )
        group = group_of(work, instance)
        stage = work.events.stage(f"Updating instance {instance.label}", 0)
        if order.action is not Action.START:
            _stop(work, instance, group, order, stage)
        if order.action is not Action.STOP:
            _start(work, work.director.instances.get(instance.id), group, stage)
        recreated = order.action is Action.RESTART and order.hard
        work.happened("recreate" if recreated else order.action, "instance", instance.name)
    return instance.name


def group_of(work: Work, instance: Instance) -> Group:
    """Return the group of an instance as the last manifest has it."""
    deployment = work.director.deployments.get(instance.deployment)
    if deployment.manifest is None:
        raise BadManifest("No successful BOSH deployment manifest available")
    order = DeployOrder(manifest=deployment.manifest, cloud_configs=deployment.cloud_configs)
    manifest = manifests.parse(deployment.manifest.encode())
    for group in wanted_groups(work, manifest, order):
        if group.name == instance.group:
            return group
    raise InstanceNotFound(f"Instance group '{instance.group}' is not in the manifest")


def _stop(work: Work, instance: Instance, group: Group, order: InstanceOrder, stage: Stage) -> None:
    stopped = instance.state is State.STOPPED and not order.hard
    if stopped or instance.state is State.DETACHED:
        return
    vm = instance.vm
    ignore = order.ignore_unresponsive_agent
    responds = vm is not None and job_state(work, instance, vm, fix=ignore) != UNRESPONSIVE
    with stage.step("Stopping instance"):
        work.checkpoint()
        if vm is not None and responds:
            jobs_running.stop(
                work,
                instance,
                vm,
                spec=settings.apply_spec(instance, group),
                intent=jobs_running.DELETE_VM if order.hard else jobs_running.KEEP,
                shutdown=True,
                skip_drain=order.skip_drain,
                step=Quiet(),
            )
        work.director.instances.change(instance, state=State.STOPPED)
    if order.hard:
        with stage.step("Deleting VM"):
            if vm is not None:
                if responds:
                    disks.detach(work, instance, vm)
                vm_creating.delete(work, instance, vm)
            work.director.instances.change(instance, state=State.DETACHED)


def _start(work: Work, instance: Instance, group: Group, stage: Stage) -> None:
    vm = instance.vm
    state = job_state(work, instance, vm, fix=False) if vm is not None else ""
    if vm is None:
        with stage.step("Creating VM"):
            work.checkpoint()
            vm = vm_creating.create(work, instance, group)
    if state == RUNNING:
        return
    with stage.step("Starting instance"):
        work.checkpoint()
        work.director.instances.change(instance, state=State.STARTED, update_completed=0)
        jobs_running.apply(work, instance, vm, group=group, step=Quiet())
        jobs_running.start(
            work,
            instance,
            vm,
            watch=group.update.update_watch,
            step=Quiet(),
            seconds=START_PATIENCE * work.director.config.timing.rpc_timeout,
        )
        work.director.instances.change(instance, update_completed=1)
