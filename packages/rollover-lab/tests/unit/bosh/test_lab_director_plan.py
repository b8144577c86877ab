"""What differs on an instance, in the order of the real director, and what follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rollover_lab.bosh.director.deployment_plan import (
    RUNNING,
    UNRESPONSIVE,
    CurrentVersions,
    DeployDemand,
    DesiredGroup,
    InstancePlan,
    Wish,
    differences,
    dns_records,
    full_update,
)
from rollover_lab.bosh.director.instances import (
    DeployedInstance,
    InstanceSpec,
    InstanceState,
    InstanceVm,
)
from rollover_lab.bosh.director.manifest import UpdateRules, WatchTime

BORN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = CurrentVersions(
    nats_config_sha1="now", trusted_certs_sha1="none", no_trusted_certs_sha1="none"
)
WATCH = WatchTime(first=0, last=1)
SPEC = InstanceSpec(
    stemcell_name="jammy",
    stemcell_version="1.1",
    vm_type="default",
    cloud_properties="cloud",
    env="env",
    networks="networks",
    jobs=("zookeeper",),
    configuration="configuration",
    persistent_disk=0,
    lifecycle="service",
    tags="tags",
)
GROUP = DesiredGroup(
    name="zookeeper",
    size=1,
    azs=(),
    spec=SPEC,
    update=UpdateRules(
        canaries="1", max_in_flight="1", canary_watch=WATCH, update_watch=WATCH, serial=True
    ),
    links=(),
)


def vm(**changes: Any) -> InstanceVm:
    """Return a VM that is up to date, but for these changes."""
    known = InstanceVm(
        id=1,
        instance_id=1,
        active=True,
        agent_id="agent",
        cid="vm",
        ip="10.244.0.3",
        created_at=BORN,
        stemcell_name="jammy",
        stemcell_version="1.1",
        permanent_nats_credentials=True,
        nats_config_sha1="now",
        trusted_certs_sha1="none",
    )
    return msgspec.structs.replace(known, **changes)


def instance(**changes: Any) -> DeployedInstance:
    """Return an instance that is up to date, but for these changes."""
    known = DeployedInstance(
        id=1,
        uuid="uuid",
        deployment="zk",
        group="zookeeper",
        index=0,
        az=None,
        bootstrap=True,
        state=InstanceState.STARTED,
        ignore=False,
        update_completed=True,
        spec=SPEC,
        dns=None,
        vm=vm(),
        disk=None,
    )
    known = msgspec.structs.replace(known, dns=dns_records(GROUP, known))
    return msgspec.structs.replace(known, **changes)


def found(
    known: DeployedInstance,
    *,
    group: DesiredGroup = GROUP,
    wish: Wish = Wish.STARTED,
    job_state: str = RUNNING,
    demand: DeployDemand | None = None,
) -> tuple[str, ...]:
    """Return what differs on an instance."""
    plan = InstancePlan(instance=known, group=group, wish=wish, job_state=job_state)
    return differences(plan, demand=demand or DeployDemand(), current=NOW)


def wanting(**changes: Any) -> DesiredGroup:
    """Return the group with another spec."""
    return msgspec.structs.replace(GROUP, spec=msgspec.structs.replace(SPEC, **changes))


def test_nothing_differs_on_an_instance_that_is_up_to_date() -> None:
    """A second deploy of the same manifest changes nothing."""
    assert found(instance()) == ()


def test_another_nats_fingerprint_is_one_change_in_place() -> None:
    """New credentials alone are a full update without a new VM."""
    changes = found(instance(vm=vm(nats_config_sha1="before")))
    assert changes == ("nats_config",)
    assert full_update(changes)
    assert not InstancePlan(
        instance=instance(), group=GROUP, wish=Wish.STARTED, changes=changes
    ).recreates


def test_dns_and_nats_config_together_leave_credentials_alone() -> None:
    """Hazard H3: exactly {dns, nats_config} counts as a change of DNS only."""
    changes = found(instance(dns="before", vm=vm(nats_config_sha1="before")))
    assert changes == ("dns", "nats_config")
    assert not full_update(changes)


def test_a_third_change_makes_the_update_full_again() -> None:
    """With more than two changes nothing is left out."""
    known = instance(dns="before", vm=vm(nats_config_sha1="before", trusted_certs_sha1="other"))
    changes = found(known)
    assert changes == ("dns", "trusted_certs", "nats_config")
    assert full_update(changes)


@pytest.mark.parametrize(
    ("spec", "change", "recreates"),
    [
        ({"cloud_properties": "x"}, "cloud_properties", True),
        ({"stemcell_version": "1.2"}, "stemcell", True),
        ({"env": "x"}, "env", True),
        ({"networks": "x"}, "network", True),
        ({"persistent_disk": 10}, "persistent_disk", False),
        ({"configuration": "x"}, "configuration", False),
        ({"jobs": ("other",)}, "job", False),
        ({"tags": "x"}, "tags", False),
    ],
)
def test_each_part_of_a_manifest_is_a_change_of_its_own(
    spec: dict[str, Any], change: str, *, recreates: bool
) -> None:
    """Stemcell, cloud properties, env and networks cost a new VM, the rest does not."""
    changes = found(instance(), group=wanting(**spec))
    assert changes == (change,)
    plan = InstancePlan(instance=instance(), group=GROUP, wish=Wish.STARTED, changes=changes)
    assert plan.recreates == recreates


def test_an_unresponsive_agent_is_recreated() -> None:
    """Under `--fix` an agent that does not answer costs its VM."""
    assert found(instance(), job_state=UNRESPONSIVE) == ("recreate", "state")


def test_changes_come_in_the_order_of_the_director() -> None:
    """The first change decides, so the order matters."""
    known = instance(update_completed=False, dns="x", vm=vm(nats_config_sha1="x"))
    changes = found(known, wish=Wish.RESTART, group=wanting(env="x"), job_state="stopped")
    assert changes == ("dirty", "restart", "env", "state", "dns", "nats_config")


@pytest.mark.parametrize(
    ("wish", "job_state", "expected"),
    [
        (Wish.STARTED, RUNNING, ()),
        (Wish.STARTED, "failing", ("state",)),
        (Wish.STOPPED, RUNNING, ("state",)),
        (Wish.STOPPED, "stopped", ()),
        (Wish.DETACHED, RUNNING, ("state",)),
        (Wish.RECREATE, RUNNING, ("recreate",)),
        (Wish.RESTART, RUNNING, ("restart",)),
    ],
)
def test_wishes_become_changes(wish: Wish, job_state: str, expected: tuple[str, ...]) -> None:
    """What a command wants differs from what the agent says, or is a change by itself."""
    assert found(instance(), wish=wish, job_state=job_state) == expected


@pytest.mark.parametrize(("days", "expected"), [(1, ("recreate",)), (-1, ())])
def test_young_vms_are_spared(days: int, expected: tuple[str, ...]) -> None:
    """`recreate_vms_created_before` leaves VMs alone that are younger."""
    demand = DeployDemand(recreate=True, created_before=BORN + timedelta(days=days))
    assert found(instance(), demand=demand) == expected


def test_an_instance_without_a_vm_has_no_credentials() -> None:
    """A detached instance counts as changed: it gets everything when it comes back."""
    known = instance(state=InstanceState.DETACHED, vm=None)
    assert found(known, wish=Wish.DETACHED, job_state="") == ("nats_config",)
