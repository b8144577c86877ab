"""Deploys a manifest, or changes states with the last one (`jobs/update_deployment.rb`)."""

from __future__ import annotations

import time
import uuid
from functools import partial

import msgspec

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director import updating, vms
from rollover_lab.bosh.director.deployment_plan import (
    BoundDeployment,
    DeployOrder,
    DesiredGroup,
    InstancePlan,
    bind_deployment,
    dns_records,
)
from rollover_lab.bosh.director.instances import DeployedInstance, DeploymentRecord, InstanceState
from rollover_lab.bosh.director.manifest import DeploymentManifest
from rollover_lab.bosh.director.refusals import BadManifest, as_director_error
from rollover_lab.bosh.director.work import TaskWork, run_all

ALERTS = "hm.director.alert"
_ERROR, _WARNING = 3, 4


def deploy(work: TaskWork, data: bytes) -> str:
    """Run the job."""
    order = msgspec.json.decode(data, type=DeployOrder)
    name = work.task.deployment or ""
    error = ""
    try:
        with work.director.locks.deployment(name, task=work.task.id):
            _deploy_locked(work, order, name)
    except Exception as caught:
        error = as_director_error(caught).message
        _tell(work, name, _ERROR, "error during", f"Error during update deployment: {error}")
        raise
    finally:
        work.happened("create" if order.new else "update", "deployment", name, error=error)
    return f"/deployments/{name}"


def _deploy_locked(work: TaskWork, order: DeployOrder, name: str) -> None:
    if order.manifest is None:
        raise BadManifest("No successful BOSH deployment manifest available")
    _tell(work, name, _WARNING, "begin", "Begin update deployment")
    manifest = manifests.parse(order.manifest.encode())
    bound = _prepare(work, manifest, order)
    if order.dry_run:
        return
    _delete_obsolete(work, bound)
    _create_missing_vms(work, bound)
    changed = updating.update_groups(work, bound.groups)
    _keep(work, manifest, order)
    if changed:
        updating.run_post_deploy(work, name)
    _tell(work, name, _WARNING, "finish", "Finish update deployment")


def _prepare(work: TaskWork, manifest: DeploymentManifest, order: DeployOrder) -> BoundDeployment:
    stage = work.events.stage("Preparing deployment", 1)
    with stage.step("Preparing deployment"):
        bound = bind_deployment(work, manifest, order)
    if bound.ignored:
        work.events.warn("You have ignored instances. They will not be changed.")
    with stage.step("Rendering templates"):
        work.checkpoint()
    with work.events.stage("Preparing package compilation", 1).step("Finding packages to compile"):
        work.checkpoint()
    return bound


def _delete_obsolete(work: TaskWork, bound: BoundDeployment) -> None:
    if bound.obsolete:
        stage = work.events.stage("Deleting unneeded instances", len(bound.obsolete))
        updating.delete_instances(
            work, bound.obsolete, stage, at_once=work.director.config.max_threads
        )


def _create_missing_vms(work: TaskWork, bound: BoundDeployment) -> None:
    """Make the VMs that are missing, all groups together."""
    missing = [
        (group.group, plan)
        for group in bound.groups
        for plan in group.plans
        if group.starts and _lacks_vm(plan)
    ]
    if not missing:
        return
    stage = work.events.stage("Creating missing vms", len(missing))

    def create(group: DesiredGroup, instance: DeployedInstance) -> None:
        with stage.step(instance.label):
            vms.create_vm(work, instance, group)
        work.director.instances.change(instance, dns=dns_records(group, instance))

    jobs = (partial(create, group, plan.instance) for group, plan in missing)
    run_all(jobs, at_once=work.director.config.max_threads)
    work.checkpoint()


def _lacks_vm(plan: InstancePlan) -> bool:
    ignored = plan.instance.ignore
    return plan.instance.vm is None and not ignored and plan.state is not InstanceState.DETACHED


def _keep(work: TaskWork, manifest: DeploymentManifest, order: DeployOrder) -> None:
    """Write down what was deployed; a deploy that failed half-way never comes here (H6)."""
    deployments = work.director.deployments
    deployments.keep_manifest(
        DeploymentRecord(
            name=manifest.name,
            manifest=order.manifest,
            cloud_configs=order.cloud_configs,
            runtime_configs=order.runtime_configs,
        )
    )
    prefix = f"/{work.director.config.name}/{manifest.name}/"
    names = (variable.name for variable in manifest.variables)
    absolute = (name if name.startswith("/") else prefix + name for name in names)
    deployments.keep_variables(manifest.name, tuple(absolute))


def _tell(work: TaskWork, name: str, severity: int, what: str, summary: str) -> None:
    """Tell the health monitor (`notifier.rb`)."""
    director = work.director
    director.bus.publish(
        ALERTS,
        {
            "id": str(uuid.uuid4()),
            "severity": severity,
            "source": "director",
            "title": f"director - {what} update deployment",
            "summary": f"{summary} for '{name}' against Director '{director.config.uuid}'",
            "created_at": int(time.time()),
            "deployment": name,
        },
    )
