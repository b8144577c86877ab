"""What has to be done to one instance, and why (`instance_plan.rb`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import msgspec

from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.manifest import fingerprint
from rollover_lab.bosh.director.nouns import Instance, State

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
    def state(self) -> State:
        """The state that an instance has afterwards."""
        return State.STARTED if self in {Wish.RESTART, Wish.RECREATE} else State(self.value)


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What the director would give a VM today."""

    nats_config_sha1: str
    trusted_certs_sha1: str
    no_trusted_certs_sha1: str
    """Stands for an instance without a VM."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of a deploy that concern every instance."""

    recreate: bool = False
    recreate_persistent_disks: bool = False
    created_before: datetime | None = None
    """VMs that are younger are not recreated."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, what it shall be, and what differs.

    `group` None: the instance is not wanted any more. `job_state` is what its agent said, None
    when it was not asked.
    """

    instance: Instance
    group: Group | None
    wish: Wish
    job_state: str | None = None
    new: bool = False
    skip_drain: bool = False
    changes: tuple[str, ...] = ()

    @property
    def state(self) -> State:
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


def dns_records(group: Group, instance: Instance) -> str:
    """Return a hash that stands for the DNS records of an instance."""
    return fingerprint(instance.deployment, group.name, instance.az, instance.ip, group.links)


def full_update(changes: tuple[str, ...]) -> bool:
    """Tell whether jobs are stopped and started again (`update_procedure.rb`).

    Hazard H3: {dns, nats_config} counts as a change of DNS only, and credentials stay as they are.
    """
    if len(changes) > _MANY:
        return True
    return changes[:1] not in {("dns",), ("tags",)}


def differences(plan: Plan, *, demand: Demand, current: Current) -> tuple[str, ...]:
    """Return what differs, in the order in which the director looks."""
    return tuple(_differences(plan, demand, current))


def _differences(plan: Plan, demand: Demand, current: Current) -> Iterator[str]:
    instance, vm = plan.instance, plan.instance.vm
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
    if _tags_differ(plan):
        yield "tags"


def _spec_differences(plan: Plan) -> Iterator[str]:
    wanted = plan.group.spec if plan.group else None
    had = plan.instance.spec
    if wanted is None:
        return
    if had is None:
        yield from ("configuration", "job")
        return
    if had.cloud_properties != wanted.cloud_properties:
        yield "cloud_properties"
    if _stemcell(plan.instance) != (wanted.stemcell_name, wanted.stemcell_version):
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


def _stemcell(instance: Instance) -> tuple[str, str] | None:
    """Return what the VM was made from, or would be."""
    if instance.vm is not None:
        return instance.vm.stemcell_name, instance.vm.stemcell_version
    spec = instance.spec
    return (spec.stemcell_name, spec.stemcell_version) if spec else None


def _recreation_wanted(plan: Plan, demand: Demand) -> bool:
    if plan.unresponsive:
        return True
    if not demand.recreate and plan.wish is not Wish.RECREATE:
        return False
    vm = plan.instance.vm
    if demand.created_before is None or not plan.instance.update_completed or vm is None:
        return True
    return vm.created_at < demand.created_before


def _state_differs(plan: Plan) -> bool:
    if plan.state is State.DETACHED and plan.instance.state is not State.DETACHED:
        return True
    if plan.unresponsive:
        return True
    running = plan.job_state == RUNNING
    if plan.state is State.STOPPED:
        return running
    return plan.state is State.STARTED and not running


def _tags_differ(plan: Plan) -> bool:
    had, group = plan.instance.spec, plan.group
    return had is not None and group is not None and had.tags != group.spec.tags
