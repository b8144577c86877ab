"""Deletes instances and deployments (`instance_deleter.rb`, `deployment_deleter.rb`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec

from rollover.errors import RolloverError
from rollover_lab.bosh.director import disks, jobs_running, pool, settings, vm_creating
from rollover_lab.bosh.director.event_log import Stage
from rollover_lab.bosh.director.order import DeleteOrder
from rollover_lab.bosh.director.plan import Plan, Wish
from rollover_lab.bosh.director.refusals import IgnoredInDeletion
from rollover_lab.bosh.director.work import Work


def delete_deployment(work: Work, data: bytes) -> str:
    """Run the job that deletes a deployment."""
    order = msgspec.json.decode(data, type=DeleteOrder)
    name = work.task.deployment or ""
    director = work.director
    with director.locks.deployment(name, task=work.task.id):
        director.deployments.get(name)
        instances = director.instances.of(name)
        if any(each.ignore for each in instances):
            raise IgnoredInDeletion(
                f"You are trying to delete deployment '{name}', which contains ignored "
                "instance(s). Operation not allowed."
            )
        plans = [Plan(instance=each, group=None, wish=Wish.STOPPED) for each in instances]
        stage = work.events.stage("Deleting instances", len(plans))
        delete_instances(
            work,
            plans,
            stage,
            at_once=director.config.max_threads,
            intent=jobs_running.DELETE_DEPLOYMENT,
            force=order.force,
        )
        _remove_artifacts(work, name)
    work.happened("delete", "deployment", name)
    return f"/deployments/{name}"


def delete_instances(
    work: Work,
    plans: Sequence[Plan],
    stage: Stage,
    *,
    at_once: int,
    intent: str = jobs_running.DELETE_INSTANCE,
    force: bool = False,
) -> None:
    """Stop instances and delete them with their VMs and disks."""

    def delete_one(plan: Plan) -> None:
        with stage.step(plan.instance.label):
            _delete(work, plan, intent=intent, force=force)

    pool.run_all((partial(delete_one, plan) for plan in plans), at_once=at_once)


def _delete(work: Work, plan: Plan, *, intent: str, force: bool) -> None:
    instance = plan.instance
    vm = instance.vm
    if vm is not None:
        with _forgiving(work, force=force):
            if not plan.unresponsive:
                jobs_running.stop(
                    work,
                    instance,
                    vm,
                    spec=settings.identity(instance),
                    intent=intent,
                    shutdown=True,
                    skip_drain=plan.skip_drain,
                    step=jobs_running.Quiet(),
                )
        vm_creating.delete(work, instance, vm)
    with _forgiving(work, force=force):
        disks.delete(work, instance)
    work.director.instances.delete(instance)
    work.happened("delete", "instance", instance.name)


@contextmanager
def _forgiving(work: Work, *, force: bool) -> Iterator[None]:
    try:
        yield
    except RolloverError as error:
        if not force:
            raise
        work.log(f"Ignoring: {error.message}")


def _remove_artifacts(work: Work, name: str) -> None:
    stage = work.events.stage("Removing deployment artifacts", 3)
    for what in ("Detaching stemcells", "Detaching releases"):
        with stage.step(what):
            work.log(what)
    with work.events.stage("Deleting properties", 0).step("Destroying deployment"):
        work.director.deployments.delete(name)
