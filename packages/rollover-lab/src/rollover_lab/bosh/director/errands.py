"""Runs errands: groups whose VMs come for a run and go afterwards (`jobs/run_errand.rb`)."""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.director import jobs_running, settings, vm_creating
from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.binding import Bound, GroupPlans, bind
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.event_log import Stage
from rollover_lab.bosh.director.jobs_running import Quiet
from rollover_lab.bosh.director.nouns import Instance, State, Vm
from rollover_lab.bosh.director.order import DeployOrder, ErrandOrder
from rollover_lab.bosh.director.refusals import BadManifest, ErrandFailed
from rollover_lab.bosh.director.work import Work


def names(manifest: manifests.Manifest) -> tuple[str, ...]:
    """Return the errands of a manifest; those inside service groups are not known to the lab."""
    return tuple(each.name for each in manifest.instance_groups if each.lifecycle == "errand")


def run(work: Work, data: bytes) -> str:
    """Run the job: one line of result for each instance."""
    order = msgspec.json.decode(data, type=ErrandOrder)
    name = work.task.deployment or ""
    with work.director.locks.deployment(name, task=work.task.id):
        stage = work.events.stage("Preparing deployment", 1)
        with stage.step("Preparing deployment"):
            errand = _errand(_bind(work, name), order)
        chosen = [plan.instance for plan in errand.plans if _covers(order, plan.instance)]
        running = work.events.stage("Running errand", len(chosen))
        codes = [_run_one(work, each, errand.group, order, running) for each in chosen]
    if not codes:
        raise ErrandFailed(f"No instances match selection criteria: {list(order.instances)}")
    failed = sum(code != 0 for code in codes)
    return f"{len(codes) - failed} succeeded, {failed} errored, 0 canceled"


def _bind(work: Work, name: str) -> Bound:
    deployment = work.director.deployments.get(name)
    if deployment.manifest is None:
        raise BadManifest("No successful BOSH deployment manifest available")
    order = DeployOrder(manifest=deployment.manifest, cloud_configs=deployment.cloud_configs)
    return bind(work, manifests.parse(deployment.manifest.encode()), order)


def _errand(bound: Bound, order: ErrandOrder) -> GroupPlans:
    for each in bound.groups:
        if each.group.name == order.name and each.group.spec.lifecycle == "errand":
            return each
    raise ErrandFailed(f"Errand '{order.name}' doesn't exist")


def _covers(order: ErrandOrder, instance: Instance) -> bool:
    shown = {instance.group, instance.name, f"{instance.group}/{instance.index}"}
    return not order.instances or not shown.isdisjoint(order.instances)


def _run_one(work: Work, instance: Instance, group: Group, order: ErrandOrder, stage: Stage) -> int:
    vm = instance.vm or vm_creating.create(work, instance, group)
    jobs_running.apply(work, instance, vm, group=group, step=Quiet())
    work.director.instances.change(instance, state=State.STARTED, update_completed=1)
    try:
        with stage.step(instance.label):
            return _run_on(work, instance, vm, group)
    finally:
        if not order.keep_alive:
            vm_creating.delete(work, instance, vm)


def _run_on(work: Work, instance: Instance, vm: Vm, group: Group) -> int:
    work.log(f"Running errand on {instance.label}: {settings.identity(instance)['id']}")
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
