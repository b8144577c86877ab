"""Brings a manifest and what there is together: asks every agent, and plans every instance.

`assembler.rb`: one agent that does not answer fails the whole deploy before anything changes,
unless the command says `--fix`. Ignored instances are not even asked.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec

from rollover_lab.bosh.director import desired, placement, pool
from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.manifest import CloudConfig, Manifest
from rollover_lab.bosh.director.nouns import Instance, Vm
from rollover_lab.bosh.director.order import ALL_GROUPS, Change, DeployOrder
from rollover_lab.bosh.director.plan import UNRESPONSIVE, Current, Demand, Plan, Wish, differences
from rollover_lab.bosh.director.refusals import (
    InstanceIgnored,
    InvalidConfigReference,
    RemoteException,
    RpcTimeout,
)
from rollover_lab.bosh.director.work import Work

JobStates = dict[int, str]


class GroupPlans(NamedTuple):
    """What has to be done to the instances of one group."""

    group: Group
    plans: tuple[Plan, ...]
    obsolete: tuple[Plan, ...]

    @property
    def starts(self) -> bool:
        """Whether a deploy works on this group: errands only count while they have a VM."""
        if self.group.spec.lifecycle == "service":
            return True
        return any(plan.instance.vm for plan in self.plans)


class Bound(NamedTuple):
    """What has to be done to a deployment."""

    groups: tuple[GroupPlans, ...]
    obsolete: tuple[Plan, ...]
    """Instances of groups that the manifest does not have any more."""

    @property
    def ignored(self) -> bool:
        """Whether instances are left out."""
        return any(plan.instance.ignore for each in self.groups for plan in each.plans)


def current(work: Work) -> Current:
    """Return what the director would give a VM today."""
    credentials = work.director.credentials
    return Current(
        nats_config_sha1=credentials.nats_config_sha1,
        trusted_certs_sha1=credentials.trusted_certs_sha1,
        no_trusted_certs_sha1=hashlib.sha1(b"", usedforsecurity=False).hexdigest(),
    )


def wanted_groups(work: Work, manifest: Manifest, order: DeployOrder) -> tuple[Group, ...]:
    """Return the groups that a manifest asks for."""
    return desired.groups(
        manifest,
        cloud=_cloud_config(work, order),
        stock=work.director.stock,
        overrides=order.overrides,
        watch_minimum=work.director.config.timing.watch_minimum,
    )


def bind(work: Work, manifest: Manifest, order: DeployOrder) -> Bound:
    """Return what has to be done; makes rows for instances that are new."""
    groups = wanted_groups(work, manifest, order)
    existing = work.director.instances.of(manifest.name)
    states = agent_states(work, existing, fix=order.fix)
    names = {group.name for group in groups}
    gone = [each for each in existing if each.group not in names]
    placement.check_none_ignored(gone)
    return Bound(
        tuple(_bind_group(work, manifest.name, group, order, states) for group in groups),
        tuple(_obsolete(each, order, states) for each in gone),
    )


def agent_states(work: Work, instances: Sequence[Instance], *, fix: bool) -> JobStates:
    """Ask every agent for its state; `RpcTimeout` or `RemoteException`, unless `fix`."""
    states: JobStates = {}
    turn = threading.Lock()

    def ask(instance: Instance, vm: Vm) -> None:
        state = job_state(work, instance, vm, fix=fix)
        with turn:
            states[instance.id] = state

    asked = (partial(ask, each, each.vm) for each in instances if each.vm and not each.ignore)
    pool.run_all(asked, at_once=work.director.config.max_threads)
    return states


def job_state(work: Work, instance: Instance, vm: Vm, *, fix: bool) -> str:
    """Ask one agent for its state (`agent_state_migrator.rb`)."""
    work.checkpoint()
    try:
        state = work.agent(instance, vm).call("get_state")
    except (RpcTimeout, RemoteException) as error:
        if fix:
            return UNRESPONSIVE
        raise type(error)(f"{instance.name}: {error.message}") from None
    return str(state.get("job_state", "")) if isinstance(state, dict) else ""


def skips_drain(order: DeployOrder, group: str) -> bool:
    """Tell whether the command leaves drains out for a group."""
    return order.skip_drain == ALL_GROUPS or group in order.skip_drain.split(",")


def _bind_group(
    work: Work, deployment: str, group: Group, order: DeployOrder, states: JobStates
) -> GroupPlans:
    instances = work.director.instances
    existing = [each for each in instances.of(deployment) if each.group == group.name]
    _check_ignored(existing, order.change)
    placed = placement.place(existing, size=group.size, azs=group.azs)
    made = [
        instances.create(deployment, group=group.name, index=each.index, az=each.az)
        for each in placed.new
    ]
    _elect_bootstrap(work, (*placed.kept, *made))
    fresh = {each.id for each in made}
    now, demand = current(work), _demand(order)
    plans = []
    for each in (*placed.kept, *made):
        plan = Plan(
            instance=instances.get(each.id),
            group=group,
            wish=_wish(each, order.change),
            job_state=states.get(each.id),
            new=each.id in fresh,
            skip_drain=skips_drain(order, group.name),
        )
        found = differences(plan, demand=demand, current=now)
        plans.append(msgspec.structs.replace(plan, changes=found))
    plans.sort(key=lambda plan: (not plan.instance.bootstrap, plan.instance.index))
    return GroupPlans(
        group, tuple(plans), tuple(_obsolete(each, order, states) for each in placed.obsolete)
    )


def _obsolete(instance: Instance, order: DeployOrder, states: JobStates) -> Plan:
    return Plan(
        instance=instance,
        group=None,
        wish=Wish.STOPPED,
        job_state=states.get(instance.id),
        skip_drain=skips_drain(order, instance.group),
    )


def _wish(instance: Instance, change: Change | None) -> Wish:
    if change is None or not _covers(change, instance):
        return Wish(instance.state.value)
    return change.wish


def _covers(change: Change, instance: Instance) -> bool:
    return change.group in {ALL_GROUPS, instance.group} and change.index in {None, instance.index}


def _check_ignored(existing: Sequence[Instance], change: Change | None) -> None:
    for each in existing:
        named = change is not None and change.index is not None and _covers(change, each)
        if each.ignore and named:
            raise InstanceIgnored(
                f"You are trying to change the state of the ignored instance '{each.name}'. "
                "This operation is not allowed. You need to unignore it first."
            )


def _elect_bootstrap(work: Work, instances: Sequence[Instance]) -> None:
    if not instances or sum(each.bootstrap for each in instances) == 1:
        return
    lowest = min(instances, key=lambda each: each.index)
    for each in instances:
        work.director.instances.change(each, bootstrap=int(each.id == lowest.id))


def _demand(order: DeployOrder) -> Demand:
    before = order.created_before
    return Demand(
        recreate=order.recreate,
        recreate_persistent_disks=order.recreate_persistent_disks,
        created_before=datetime.fromisoformat(before) if before else None,
    )


def _cloud_config(work: Work, order: DeployOrder) -> CloudConfig:
    """Return the cloud configs of an order as one; the first that defines a name wins."""
    versions = {each.id: each for each in work.director.configs.find(limit=2**31)}
    merged = CloudConfig()
    for number in order.cloud_configs:
        if number not in versions:
            raise InvalidConfigReference("Context includes invalid config ID")
        found = manifests.parse_cloud_config(versions[number].content.encode())
        merged = CloudConfig(
            vm_types=(*found.vm_types, *merged.vm_types),
            vm_extensions=(*found.vm_extensions, *merged.vm_extensions),
            disk_types=(*found.disk_types, *merged.disk_types),
        )
    return merged
