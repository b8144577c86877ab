"""Asks every agent of a deployment how it is (`jobs/vm_state.rb`): `bosh vms`, `bosh instances`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from rollover_lab.bosh.director import pool
from rollover_lab.bosh.director.nouns import Instance
from rollover_lab.bosh.director.order import VmsOrder
from rollover_lab.bosh.director.refusals import RemoteException, RpcTimeout
from rollover_lab.bosh.director.work import Work

UNRESPONSIVE_AGENT = "unresponsive agent"


class _Health(NamedTuple):
    job_state: object = None
    vitals: object = None
    processes: object = ()


def list_vms(work: Work, data: bytes) -> str:
    """Run the job: one line for each VM, or each instance."""
    order = msgspec.json.decode(data, type=VmsOrder)
    director = work.director
    instances = director.instances.of(work.task.deployment or "")
    paused = director.facts.resurrection_paused

    def look(instance: Instance) -> None:
        work.result(_line(instance, _health(work, instance), paused=paused))

    shown = (each for each in instances if order.instances or each.vm)
    pool.run_all((partial(look, each) for each in shown), at_once=director.config.max_threads)
    return ""


def _health(work: Work, instance: Instance) -> _Health:
    if instance.vm is None:
        return _Health()
    seconds = work.director.config.timing.list_timeout
    try:
        state = work.agent(instance, instance.vm, seconds=seconds).call("get_state", "full")
    except (RpcTimeout, RemoteException):
        return _Health(job_state=UNRESPONSIVE_AGENT)
    if not isinstance(state, dict):
        return _Health()
    return _Health(state.get("job_state"), state.get("vitals"), state.get("processes") or ())


def _line(instance: Instance, health: _Health, *, paused: bool) -> dict[str, object]:
    vm, disk, spec = instance.vm, instance.disk, instance.spec
    vm_type = spec.vm_type if spec else None
    return {
        "vm_cid": vm.cid if vm else None,
        "active": bool(vm),
        "vm_created_at": shown_time(instance),
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


def shown_time(instance: Instance) -> str | None:
    """Return when the VM was made, as clients see it."""
    vm = instance.vm
    return f"{vm.created_at:%Y-%m-%dT%H:%M:%SZ}" if vm else None
