"""What operators do with instances that are deployed: stop, start, recreate, errands, lists."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director import updating, vms
from rollover_lab.bosh.director.deployment_plan import (
    RUNNING,
    UNRESPONSIVE,
    BoundDeployment,
    DeployOrder,
    DesiredGroup,
    ErrandOrder,
    GroupPlans,
    InstanceAction,
    InstanceOrder,
    VmsOrder,
    bind_deployment,
    job_state,
    wanted_groups,
)
from rollover_lab.bosh.director.instances import DeployedInstance, InstanceState, InstanceVm
from rollover_lab.bosh.director.refusals import (
    BadManifest,
    ErrandFailed,
    IgnoredInModification,
    InstanceNotFound,
    RemoteException,
    RpcTimeout,
)
from rollover_lab.bosh.director.task_records import EventStage
from rollover_lab.bosh.director.updating import Quiet
from rollover_lab.bosh.director.work import TaskWork, run_all

# Stops, starts, restarts or recreates one instance by itself (`jobs/update_instance.rb`).
#
# `--no-converge`: nothing else of the deployment is looked at, and a VM that stays gets no new
# settings: `restart` and `start` do not rotate credentials, `recreate` does.


START_PATIENCE = 2
"""While jobs start an agent may take this many times as long to answer: 90 s, not 45."""


def act_on_instance(work: TaskWork, data: bytes) -> str:
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
        if order.action is not InstanceAction.START:
            _stop_instance(work, instance, group, order, stage)
        if order.action is not InstanceAction.STOP:
            _start_instance(work, work.director.instances.get(instance.id), group, stage)
        recreated = order.action is InstanceAction.RESTART and order.hard
        work.happened("recreate" if recreated else order.action, "instance", instance.name)
    return instance.name


def group_of(work: TaskWork, instance: DeployedInstance) -> DesiredGroup:
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


def _stop_instance(
    work: TaskWork,
    instance: DeployedInstance,
    group: DesiredGroup,
    order: InstanceOrder,
    stage: EventStage,
) -> None:
    stopped = instance.state is InstanceState.STOPPED and not order.hard
    if stopped or instance.state is InstanceState.DETACHED:
        return
    vm = instance.vm
    ignore = order.ignore_unresponsive_agent
    responds = vm is not None and job_state(work, instance, vm, fix=ignore) != UNRESPONSIVE
    with stage.step("Stopping instance"):
        work.checkpoint()
        if vm is not None and responds:
            updating.stop_jobs(
                work,
                instance,
                vm,
                spec=vms.apply_spec(instance, group),
                intent=updating.DELETE_VM if order.hard else updating.KEEP,
                shutdown=True,
                skip_drain=order.skip_drain,
                step=Quiet(),
            )
        work.director.instances.change(instance, state=InstanceState.STOPPED)
    if order.hard:
        with stage.step("Deleting VM"):
            if vm is not None:
                if responds:
                    vms.detach_disk(work, instance, vm)
                vms.delete_vm(work, instance, vm)
            work.director.instances.change(instance, state=InstanceState.DETACHED)


def _start_instance(
    work: TaskWork, instance: DeployedInstance, group: DesiredGroup, stage: EventStage
) -> None:
    vm = instance.vm
    state = job_state(work, instance, vm, fix=False) if vm is not None else ""
    if vm is None:
        with stage.step("Creating VM"):
            work.checkpoint()
            vm = vms.create_vm(work, instance, group)
    if state == RUNNING:
        return
    with stage.step("Starting instance"):
        work.checkpoint()
        work.director.instances.change(instance, state=InstanceState.STARTED, update_completed=0)
        updating.apply_jobs(work, instance, vm, group=group, step=Quiet())
        updating.start_jobs(
            work,
            instance,
            vm,
            watch=group.update.update_watch,
            step=Quiet(),
            seconds=START_PATIENCE * work.director.config.timing.rpc_timeout,
        )
        work.director.instances.change(instance, update_completed=1)


# Runs errands: groups whose VMs come for a run and go afterwards (`jobs/run_errand.rb`).


def errand_names(manifest: manifests.DeploymentManifest) -> tuple[str, ...]:
    """Return the errands of a manifest; those inside service groups are not known to the lab."""
    return tuple(group.name for group in manifest.instance_groups if group.lifecycle == "errand")


def run_errand(work: TaskWork, data: bytes) -> str:
    """Run the job: one line of result for each instance."""
    order = msgspec.json.decode(data, type=ErrandOrder)
    name = work.task.deployment or ""
    with work.director.locks.deployment(name, task=work.task.id):
        stage = work.events.stage("Preparing deployment", 1)
        with stage.step("Preparing deployment"):
            errand = _errand_group(_bind_errand(work, name), order)
        chosen = [plan.instance for plan in errand.plans if _covers_instance(order, plan.instance)]
        running = work.events.stage("Running errand", len(chosen))
        codes = [_run_on_group(work, instance, errand.group, order, running) for instance in chosen]
    if not codes:
        raise ErrandFailed(f"No instances match selection criteria: {list(order.instances)}")
    failed = sum(code != 0 for code in codes)
    return f"{len(codes) - failed} succeeded, {failed} errored, 0 canceled"


def _bind_errand(work: TaskWork, name: str) -> BoundDeployment:
    deployment = work.director.deployments.get(name)
    if deployment.manifest is None:
        raise BadManifest("No successful BOSH deployment manifest available")
    order = DeployOrder(manifest=deployment.manifest, cloud_configs=deployment.cloud_configs)
    return bind_deployment(work, manifests.parse(deployment.manifest.encode()), order)


def _errand_group(bound: BoundDeployment, order: ErrandOrder) -> GroupPlans:
    for group in bound.groups:
        if group.group.name == order.name and group.group.spec.lifecycle == "errand":
            return group
    raise ErrandFailed(f"Errand '{order.name}' doesn't exist")


def _covers_instance(order: ErrandOrder, instance: DeployedInstance) -> bool:
    shown = {instance.group, instance.name, f"{instance.group}/{instance.index}"}
    return not order.instances or not shown.isdisjoint(order.instances)


def _run_on_group(
    work: TaskWork,
    instance: DeployedInstance,
    group: DesiredGroup,
    order: ErrandOrder,
    stage: EventStage,
) -> int:
    vm = instance.vm or vms.create_vm(work, instance, group)
    updating.apply_jobs(work, instance, vm, group=group, step=Quiet())
    work.director.instances.change(instance, state=InstanceState.STARTED, update_completed=1)
    try:
        with stage.step(instance.label):
            return _run_on(work, instance, vm, group)
    finally:
        if not order.keep_alive:
            vms.delete_vm(work, instance, vm)


def _run_on(work: TaskWork, instance: DeployedInstance, vm: InstanceVm, group: DesiredGroup) -> int:
    work.log(f"Running errand on {instance.label}: {vms.identity_of(instance)['id']}")
    said = work.agent(instance, vm).call("run_errand", *group.spec.jobs[:1])
    answer: dict[object, object] = said if isinstance(said, dict) else {}
    code = answer.get("exit_code")
    code = code if isinstance(code, int) else 1
    work.result(
        {
            "instance": {"group": instance.group, "id": instance.uuid},
            "errand_name": group.name,
            "exit_code": code,
            "stdout": answer.get("stdout", ""),
            "stderr": answer.get("stderr", ""),
            "logs": {"blobstore_id": None, "sha1": None},
        }
    )
    return code


# Asks every agent of a deployment how it is (`jobs/vm_state.rb`): `bosh vms`, `bosh instances`.


UNRESPONSIVE_AGENT = "unresponsive agent"


class _VmHealth(NamedTuple):
    job_state: object = None
    vitals: object = None
    processes: object = ()


def list_vms(work: TaskWork, data: bytes) -> str:
    """Run the job: one line for each VM, or each instance."""
    order = msgspec.json.decode(data, type=VmsOrder)
    director = work.director
    instances = director.instances.of(work.task.deployment or "")
    paused = director.facts.resurrection_paused

    def list_one(instance: DeployedInstance) -> None:
        work.result(_vm_line(instance, _vm_health(work, instance), paused=paused))

    shown = (instance for instance in instances if order.instances or instance.vm)
    run_all(
        (partial(list_one, instance) for instance in shown), at_once=director.config.max_threads
    )
    return ""


def _vm_health(work: TaskWork, instance: DeployedInstance) -> _VmHealth:
    if instance.vm is None:
        return _VmHealth()
    seconds = work.director.config.timing.list_timeout
    try:
        state = work.agent(instance, instance.vm, seconds=seconds).call("get_state", "full")
    except (RpcTimeout, RemoteException):
        return _VmHealth(job_state=UNRESPONSIVE_AGENT)
    if not isinstance(state, dict):
        return _VmHealth()
    return _VmHealth(state.get("job_state"), state.get("vitals"), state.get("processes") or ())


def _vm_line(instance: DeployedInstance, health: _VmHealth, *, paused: bool) -> dict[str, object]:
    vm, disk, spec = instance.vm, instance.disk, instance.spec
    vm_type = spec.vm_type if spec else None
    return {
        "vm_cid": vm.cid if vm else None,
        "active": bool(vm),
        "vm_created_at": format_time(instance),
        "cloud_properties": {},
        "disk_cid": disk.cid if disk else None,
        "disk_cids": [disk.cid] if disk else [],
        "ips": [vm.ip] if vm else [],
        "dns": [],
        "agent_id": vm.agent_id if vm else None,
        "job_name": instance.group,
        "index": instance.index,
        "job_state": health.job_state,
        "state": instance.state,
        "resource_pool": vm_type,
        "vm_type": vm_type,
        "vitals": health.vitals,
        "processes": health.processes,
        "resurrection_paused": paused,
        "az": instance.az,
        "id": instance.uuid,
        "bootstrap": instance.bootstrap,
        "ignore": instance.ignore,
        "stemcell": {
            "name": vm.stemcell_name if vm else None,
            "version": vm.stemcell_version if vm else None,
            "api_version": None,
        },
    }


def format_time(instance: DeployedInstance) -> str | None:
    """Return when the VM was made, as clients see it."""
    vm = instance.vm
    return f"{vm.created_at:%Y-%m-%dT%H:%M:%SZ}" if vm else None
