"""What a deployment shall be, what it is, and what therefore has to change."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import msgspec

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.instances import (
    DeployedInstance,
    InstanceSpec,
    InstanceState,
    InstanceVm,
)
from rollover_lab.bosh.director.manifest import (
    CloudConfig,
    DeploymentManifest,
    ManifestInstanceGroup,
    UpdateRules,
    WatchTime,
    fingerprint,
)
from rollover_lab.bosh.director.records import Stock, UploadedStemcell
from rollover_lab.bosh.director.refusals import (
    IgnoredInDeletion,
    InstanceIgnored,
    InvalidConfigReference,
    RemoteException,
    RpcTimeout,
    UnknownStemcell,
)
from rollover_lab.bosh.director.work import TaskWork, run_all

# What a manifest, the cloud config and the flags of a command ask of each group.


WATCH_SECONDS = 300.0
"""How long an instance may take to come up when the manifest does not say."""


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of a command that go before what the manifest says."""

    canaries: str | None = None
    max_in_flight: str | None = None


class DesiredGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it shall be."""

    name: str
    size: int
    azs: tuple[str, ...]
    spec: InstanceSpec
    update: UpdateRules
    links: tuple[str, ...]
    """Names that its jobs provide: they are in its DNS records, and nowhere else."""


def desired_groups(
    manifest: DeploymentManifest,
    *,
    cloud: CloudConfig,
    stock: Stock,
    overrides: Overrides,
    watch_minimum: float,
) -> tuple[DesiredGroup, ...]:
    """Return every group; stemcells and releases that it names are in stock afterwards."""
    stemcells = {
        stemcell.alias: stock.stemcell(
            name=stemcell.name, operating_system=stemcell.os, version=str(stemcell.version)
        )
        for stemcell in manifest.stemcells
    }
    releases = _release_versions(manifest, stock)
    watch = WatchTime(first=watch_minimum, last=watch_minimum + WATCH_SECONDS)
    return tuple(
        DesiredGroup(
            name=group.name,
            size=group.instances,
            azs=group.azs,
            spec=_desired_spec(
                group,
                manifest,
                cloud,
                stemcell=_stemcell_of_alias(group, stemcells),
                used=releases,
            ),
            update=_update_rules(group, manifest, overrides=overrides, watch=watch),
            links=_provided_links(group),
        )
        for group in manifest.instance_groups
    )


def _release_versions(manifest: DeploymentManifest, stock: Stock) -> dict[str, str]:
    jobs = [job for group in manifest.instance_groups for job in group.jobs]
    return {
        release.name: stock.release(
            name=release.name,
            version=str(release.version),
            jobs=tuple(job.name for job in jobs if job.release == release.name),
        ).version
        for release in manifest.releases
    }


def _stemcell_of_alias(
    group: ManifestInstanceGroup, stemcells: dict[str, UploadedStemcell]
) -> UploadedStemcell:
    found = stemcells.get(group.stemcell or "default")
    if found is None and len(stemcells) == 1 and not group.stemcell:
        found = next(iter(stemcells.values()))
    if found is None:
        raise UnknownStemcell(
            f"Instance group '{group.name}' references an unknown stemcell '{group.stemcell}'"
        )
    return found


def _desired_spec(
    group: ManifestInstanceGroup,
    manifest: DeploymentManifest,
    cloud: CloudConfig,
    *,
    stemcell: UploadedStemcell,
    used: dict[str, str],
) -> InstanceSpec:
    types = {vm_type.name: vm_type.cloud_properties for vm_type in cloud.vm_types}
    extensions = {extension.name: extension.cloud_properties for extension in cloud.vm_extensions}
    return InstanceSpec(
        stemcell_name=stemcell.name,
        stemcell_version=stemcell.version,
        vm_type=group.vm_type,
        cloud_properties=fingerprint(
            types.get(group.vm_type),
            [extensions.get(name) for name in group.vm_extensions],
            group.vm_resources,
        ),
        env=fingerprint(group.env),
        networks=fingerprint(group.networks),
        jobs=tuple(job.name for job in group.jobs),
        configuration=fingerprint(
            group.properties,
            [(job.name, job.properties, used.get(job.release)) for job in group.jobs],
        ),
        persistent_disk=_desired_disk_size(group, cloud),
        lifecycle=group.lifecycle,
        tags=fingerprint(manifest.tags),
    )


def _desired_disk_size(group: ManifestInstanceGroup, cloud: CloudConfig) -> int:
    if not group.persistent_disk_type:
        return group.persistent_disk
    sizes = {disk_type.name: disk_type.disk_size for disk_type in cloud.disk_types}
    return sizes.get(group.persistent_disk_type, manifests.DEFAULT_DISK_MEBIBYTES)


def _update_rules(
    group: ManifestInstanceGroup,
    manifest: DeploymentManifest,
    *,
    overrides: Overrides,
    watch: WatchTime,
) -> UpdateRules:
    own, common = group.update, manifest.update
    canary = manifests.watch_time(common.canary_watch_time, otherwise=watch)
    update = manifests.watch_time(common.update_watch_time, otherwise=watch)
    serial = common.serial if own.serial is None else own.serial
    return UpdateRules(
        canaries=overrides.canaries or _desired_number(own.canaries, common.canaries),
        max_in_flight=overrides.max_in_flight
        or _desired_number(own.max_in_flight, common.max_in_flight),
        canary_watch=manifests.watch_time(own.canary_watch_time, otherwise=canary),
        update_watch=manifests.watch_time(own.update_watch_time, otherwise=update),
        serial=True if serial is None else serial,
    )


def _desired_number(own: manifests.Number, common: manifests.Number) -> str:
    return str(next((value for value in (own, common) if value is not None), 1))


def _provided_links(group: ManifestInstanceGroup) -> tuple[str, ...]:
    """Return the names under which jobs provide links: `provides: {link: {as: NAME}}`."""
    names: set[str] = set()
    for job in group.jobs:
        if not isinstance(job.provides, dict):
            continue
        for link, said in job.provides.items():
            renamed = said.get("as") if isinstance(said, dict) else None
            names.add(str(renamed or link))
    return tuple(sorted(names))


# Which instances of a group stay, which are new, which go. Pure.


class NewInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that has to be made."""

    index: int
    az: str | None


class GroupPlacement(NamedTuple):
    """What becomes of a group's instances."""

    kept: tuple[DeployedInstance, ...]
    new: tuple[NewInstance, ...]
    obsolete: tuple[DeployedInstance, ...]


def place_instances(
    existing: Sequence[DeployedInstance], *, size: int, azs: Sequence[str]
) -> GroupPlacement:
    """Keep as many instances as the group shall have, in zones that it has, ignored ones first.

    Raises `IgnoredInDeletion` when an ignored one would have to go.
    """
    fitting = [instance for instance in existing if not azs or instance.az in azs]
    preferred = sorted(fitting, key=lambda instance: (not instance.ignore, instance.index))[:size]
    kept = tuple(sorted(preferred, key=lambda instance: instance.index))
    obsolete = tuple(instance for instance in existing if instance not in kept)
    check_none_ignored(obsolete)
    return GroupPlacement(kept, _new_instance(existing, kept, size=size, azs=azs), obsolete)


def check_none_ignored(going: Sequence[DeployedInstance]) -> None:
    """Raise `IgnoredInDeletion` when one of these instances is ignored."""
    for instance in going:
        if instance.ignore:
            raise IgnoredInDeletion(
                f"You are trying to delete instance group '{instance.group}', which contains "
                "ignored instance(s). Operation not allowed."
            )


def _new_instance(
    existing: Sequence[DeployedInstance],
    kept: Sequence[DeployedInstance],
    *,
    size: int,
    azs: Sequence[str],
) -> tuple[NewInstance, ...]:
    taken = {instance.index for instance in existing}
    loads = Counter(instance.az for instance in kept)
    new: list[NewInstance] = []
    for _ in range(size - len(kept)):
        az = min(azs, key=lambda name: loads[name]) if azs else None
        index = next(number for number in range(len(taken) + 1) if number not in taken)
        loads[az] += 1
        taken.add(index)
        new.append(NewInstance(index=index, az=az))
    return tuple(new)


# What has to be done to one instance, and why (`instance_plan.rb`). Pure.


RUNNING, UNRESPONSIVE = "running", "unresponsive"
_MANY = 2
"""With more changes than this every update is a full one."""


class Wish(StrEnum):
    """What a command wants an instance to become; `restart` and `recreate` end up started."""

    STARTED = "started"
    STOPPED = "stopped"
    DETACHED = "detached"
    RESTART = "restart"
    RECREATE = "recreate"

    @property
    def state(self) -> InstanceState:
        """The state that an instance has afterwards."""
        return (
            InstanceState.STARTED
            if self in {Wish.RESTART, Wish.RECREATE}
            else InstanceState(self.value)
        )


class CurrentVersions(msgspec.Struct, frozen=True, kw_only=True):
    """What the director would give a VM today."""

    nats_config_sha1: str
    trusted_certs_sha1: str
    no_trusted_certs_sha1: str
    """Stands for an instance without a VM."""


class DeployDemand(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of a deploy that concern every instance."""

    recreate: bool = False
    recreate_persistent_disks: bool = False
    created_before: datetime | None = None
    """VMs that are younger are not recreated."""


class InstancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, what it shall be, and what differs.

    `group` None: the instance is not wanted any more. `job_state` is what its agent said, None
    when it was not asked.
    """

    instance: DeployedInstance
    group: DesiredGroup | None
    wish: Wish
    job_state: str | None = None
    new: bool = False
    skip_drain: bool = False
    changes: tuple[str, ...] = ()

    @property
    def state(self) -> InstanceState:
        """What the instance shall be."""
        return self.wish.state

    @property
    def unresponsive(self) -> bool:
        """Whether its agent did not answer, and the command said to go on (`--fix`)."""
        return self.job_state == UNRESPONSIVE

    @property
    def recreates(self) -> bool:
        """Whether its VM has to go."""
        anew = {"recreate", "cloud_properties", "stemcell", "env", "network"}
        return self.group is None or not anew.isdisjoint(self.changes)


def dns_records(group: DesiredGroup, instance: DeployedInstance) -> str:
    """Return a hash that stands for the DNS records of an instance."""
    return fingerprint(instance.deployment, group.name, instance.az, instance.ip, group.links)


def full_update(changes: tuple[str, ...]) -> bool:
    """Tell whether jobs are stopped and started again (`update_procedure.rb`).

    Hazard H3: {dns, nats_config} counts as a change of DNS only, and credentials stay as they are.
    """
    if len(changes) > _MANY:
        return True
    return changes[:1] not in {("dns",), ("tags",)}


def differences(
    plan: InstancePlan, *, demand: DeployDemand, current: CurrentVersions
) -> tuple[str, ...]:
    """Return what differs, in the order in which the director looks."""
    return tuple(_differences(plan, demand, current))


def _differences(
    plan: InstancePlan, demand: DeployDemand, current: CurrentVersions
) -> Iterator[str]:
    instance, vm, had = plan.instance, plan.instance.vm, plan.instance.spec
    if not instance.update_completed:
        yield "dirty"
    if plan.wish is Wish.RESTART:
        yield "restart"
    if _recreation_wanted(plan, demand):
        yield "recreate"
    if demand.recreate_persistent_disks:
        yield "recreate_persistent_disks"
    yield from _spec_differences(plan)
    if _state_differs(plan):
        yield "state"
    if plan.group is not None and dns_records(plan.group, instance) != instance.dns:
        yield "dns"
    trusted = vm.trusted_certs_sha1 if vm else current.no_trusted_certs_sha1
    if trusted != current.trusted_certs_sha1:
        yield "trusted_certs"
    if vm is None or vm.nats_config_sha1 != current.nats_config_sha1:
        yield "nats_config"
    if plan.group is not None and had is not None and had.tags != plan.group.spec.tags:
        yield "tags"


def _spec_differences(plan: InstancePlan) -> Iterator[str]:
    wanted = plan.group.spec if plan.group else None
    had = plan.instance.spec
    if wanted is None:
        return
    if had is None:
        yield from ("configuration", "job")
        return
    if had.cloud_properties != wanted.cloud_properties:
        yield "cloud_properties"
    if _stemcell_of(plan.instance) != (wanted.stemcell_name, wanted.stemcell_version):
        yield "stemcell"
    if had.env != wanted.env:
        yield "env"
    if had.networks != wanted.networks:
        yield "network"
    if had.persistent_disk != wanted.persistent_disk:
        yield "persistent_disk"
    if had.configuration != wanted.configuration:
        yield "configuration"
    if had.jobs != wanted.jobs:
        yield "job"


def _stemcell_of(instance: DeployedInstance) -> tuple[str, str] | None:
    """Return what the VM was made from, or would be."""
    if instance.vm is not None:
        return instance.vm.stemcell_name, instance.vm.stemcell_version
    spec = instance.spec
    return (spec.stemcell_name, spec.stemcell_version) if spec else None


def _recreation_wanted(plan: InstancePlan, demand: DeployDemand) -> bool:
    if plan.unresponsive:
        return True
    if not demand.recreate and plan.wish is not Wish.RECREATE:
        return False
    vm = plan.instance.vm
    if demand.created_before is None or not plan.instance.update_completed or vm is None:
        return True
    return vm.created_at < demand.created_before


def _state_differs(plan: InstancePlan) -> bool:
    if plan.state is InstanceState.DETACHED and plan.instance.state is not InstanceState.DETACHED:
        return True
    if plan.unresponsive:
        return True
    running = plan.job_state == RUNNING
    if plan.state is InstanceState.STOPPED:
        return running
    return plan.state is InstanceState.STARTED and not running


# What jobs are told: one type for each kind of task. They are kept with the task.


ALL_GROUPS = "*"


class JobType(StrEnum):
    """The kinds of tasks."""

    DEPLOY = "update_deployment"
    DELETE = "delete_deployment"
    INSTANCE = "update_instance"
    ERRAND = "run_errand"
    VMS = "vms"
    SCAN = "cck_scan"
    APPLY = "cck_apply"
    SCAN_AND_FIX = "cck_scan_and_fix"


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state: of all groups (`*`), of one, or of one instance of it."""

    group: str
    wish: Wish
    index: int | None = None


class DeployOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Deploy a manifest, or change states with the last one."""

    manifest: str | None
    cloud_configs: tuple[int, ...] = ()
    runtime_configs: tuple[int, ...] = ()
    new: bool = False
    change: StateChange | None = None
    recreate: bool = False
    recreate_persistent_disks: bool = False
    created_before: str | None = None
    fix: bool = False
    dry_run: bool = False
    skip_drain: str = ""
    """`*`, or names of groups with commas between."""
    overrides: Overrides = Overrides()


class DeleteOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a deployment; `force`: whatever fails on the way."""

    force: bool = False


class InstanceAction(StrEnum):
    """What is done to a single instance without looking at the rest."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"


class InstanceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Act on one instance (`--no-converge`); `hard`: its VM goes."""

    instance_id: int
    action: InstanceAction
    hard: bool = False
    skip_drain: bool = False
    ignore_unresponsive_agent: bool = False


class ErrandOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Run an errand; `instances` are `group` or `group/index-or-id`."""

    name: str
    keep_alive: bool = False
    instances: tuple[str, ...] = ()


class VmsOrder(msgspec.Struct, frozen=True, kw_only=True):
    """List VMs, or instances with and without one."""

    instances: bool = False


class ScanOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Look for problems."""


class ApplyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Resolve problems: by id, what to do; None: what suits."""

    resolutions: dict[str, str | None] = {}


class ScanAndFixOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Look at these instances and recreate those that do not answer: group → ids or indexes."""

    jobs: dict[str, tuple[str | int, ...]] = {}


# Brings a manifest and what there is together: asks every agent, and plans every instance.
#
# `assembler.rb`: one agent that does not answer fails the whole deploy before anything changes,
# unless the command says `--fix`. Ignored instances are not even asked.


JobStates = dict[int, str]


class GroupPlans(NamedTuple):
    """What has to be done to the instances of one group."""

    group: DesiredGroup
    plans: tuple[InstancePlan, ...]
    obsolete: tuple[InstancePlan, ...]

    @property
    def starts(self) -> bool:
        """Whether a deploy works on this group: errands only count while they have a VM."""
        if self.group.spec.lifecycle == "service":
            return True
        return any(plan.instance.vm for plan in self.plans)


class BoundDeployment(NamedTuple):
    """What has to be done to a deployment."""

    groups: tuple[GroupPlans, ...]
    obsolete: tuple[InstancePlan, ...]
    """Instances of groups that the manifest does not have any more."""

    @property
    def ignored(self) -> bool:
        """Whether instances are left out."""
        return any(plan.instance.ignore for group in self.groups for plan in group.plans)


def current_versions(work: TaskWork) -> CurrentVersions:
    """Return what the director would give a VM today."""
    credentials = work.director.credentials
    return CurrentVersions(
        nats_config_sha1=credentials.nats_config_sha1,
        trusted_certs_sha1=credentials.trusted_certs_sha1,
        no_trusted_certs_sha1=hashlib.sha1(b"", usedforsecurity=False).hexdigest(),
    )


def wanted_groups(
    work: TaskWork, manifest: DeploymentManifest, order: DeployOrder
) -> tuple[DesiredGroup, ...]:
    """Return the groups that a manifest asks for."""
    return desired_groups(
        manifest,
        cloud=_cloud_config(work, order),
        stock=work.director.stock,
        overrides=order.overrides,
        watch_minimum=work.director.config.timing.watch_minimum,
    )


def bind_deployment(
    work: TaskWork, manifest: DeploymentManifest, order: DeployOrder
) -> BoundDeployment:
    """Return what has to be done; makes rows for instances that are new."""
    groups = wanted_groups(work, manifest, order)
    existing = work.director.instances.of(manifest.name)
    states = agent_states(work, existing, fix=order.fix)
    names = {group.name for group in groups}
    gone = [instance for instance in existing if instance.group not in names]
    check_none_ignored(gone)
    return BoundDeployment(
        tuple(_bind_group(work, manifest.name, group, order, states) for group in groups),
        tuple(_obsolete(instance, order, states) for instance in gone),
    )


def agent_states(work: TaskWork, instances: Sequence[DeployedInstance], *, fix: bool) -> JobStates:
    """Ask every agent for its state; `RpcTimeout` or `RemoteException`, unless `fix`."""
    states: JobStates = {}
    lock = threading.Lock()

    def ask(instance: DeployedInstance, vm: InstanceVm) -> None:
        state = job_state(work, instance, vm, fix=fix)
        with lock:
            states[instance.id] = state

    asked = (
        partial(ask, instance, instance.vm)
        for instance in instances
        if instance.vm and not instance.ignore
    )
    run_all(asked, at_once=work.director.config.max_threads)
    return states


def job_state(work: TaskWork, instance: DeployedInstance, vm: InstanceVm, *, fix: bool) -> str:
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
    work: TaskWork, deployment: str, group: DesiredGroup, order: DeployOrder, states: JobStates
) -> GroupPlans:
    instances = work.director.instances
    existing = [instance for instance in instances.of(deployment) if instance.group == group.name]
    _check_ignored(existing, order.change)
    placed = place_instances(existing, size=group.size, azs=group.azs)
    made = [
        instances.create(deployment, group=group.name, index=new.index, az=new.az)
        for new in placed.new
    ]
    _elect_bootstrap(work, (*placed.kept, *made))
    fresh = {instance.id for instance in made}
    now, demand = current_versions(work), _demand_of_order(order)
    plans = []
    for instance in (*placed.kept, *made):
        plan = InstancePlan(
            instance=instances.get(instance.id),  # anew: the election may have changed it
            group=group,
            wish=_wish_for(instance, order.change),
            job_state=states.get(instance.id),
            new=instance.id in fresh,
            skip_drain=skips_drain(order, group.name),
        )
        found = differences(plan, demand=demand, current=now)
        plans.append(msgspec.structs.replace(plan, changes=found))
    plans.sort(key=lambda plan: (not plan.instance.bootstrap, plan.instance.index))
    return GroupPlans(
        group,
        tuple(plans),
        tuple(_obsolete(instance, order, states) for instance in placed.obsolete),
    )


def _obsolete(instance: DeployedInstance, order: DeployOrder, states: JobStates) -> InstancePlan:
    return InstancePlan(
        instance=instance,
        group=None,
        wish=Wish.STOPPED,
        job_state=states.get(instance.id),
        skip_drain=skips_drain(order, instance.group),
    )


def _wish_for(instance: DeployedInstance, change: StateChange | None) -> Wish:
    if change is None or not _covers(change, instance):
        return Wish(instance.state.value)
    return change.wish


def _covers(change: StateChange, instance: DeployedInstance) -> bool:
    return change.group in {ALL_GROUPS, instance.group} and change.index in {None, instance.index}


def _check_ignored(existing: Sequence[DeployedInstance], change: StateChange | None) -> None:
    for instance in existing:
        named = change is not None and change.index is not None and _covers(change, instance)
        if instance.ignore and named:
            raise InstanceIgnored(
                f"You are trying to change the state of the ignored instance '{instance.name}'. "
                "This operation is not allowed. You need to unignore it first."
            )


def _elect_bootstrap(work: TaskWork, instances: Sequence[DeployedInstance]) -> None:
    if not instances or sum(instance.bootstrap for instance in instances) == 1:
        return
    lowest = min(instances, key=lambda instance: instance.index)
    for instance in instances:
        work.director.instances.change(instance, bootstrap=int(instance.id == lowest.id))


def _demand_of_order(order: DeployOrder) -> DeployDemand:
    before = order.created_before
    return DeployDemand(
        recreate=order.recreate,
        recreate_persistent_disks=order.recreate_persistent_disks,
        created_before=datetime.fromisoformat(before) if before else None,
    )


def _cloud_config(work: TaskWork, order: DeployOrder) -> CloudConfig:
    """Return the cloud configs of an order as one; the first that defines a name wins."""
    versions = {config.id: config for config in work.director.configs.find(limit=2**31)}
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
