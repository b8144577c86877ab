"""Makes and removes VMs of instances, with the settings of their agents and their disks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec

from rollover_lab.bosh.director.credentials import MbusCertificate
from rollover_lab.bosh.director.deployment_plan import DesiredGroup
from rollover_lab.bosh.director.instances import DeployedInstance, InstanceVm
from rollover_lab.bosh.director.refusals import as_director_error
from rollover_lab.bosh.director.work import LabDirector, TaskWork

JsonDocument = dict[str, object]


def initial_settings(
    director: LabDirector,
    instance: DeployedInstance,
    *,
    agent_id: str,
    certificate: MbusCertificate,
) -> JsonDocument:
    """Return the settings of a new VM, as a CPI would write them."""
    url = director.credentials.url
    name = director.config.name
    parts = (name, instance.deployment, instance.group)
    mbus: JsonDocument = {"cert": certificate, "urls": [url]}
    return {
        "agent_id": agent_id,
        "blobstore": {"provider": "dummy", "options": {}},
        "disks": {"persistent": {}},
        "env": {"bosh": {"mbus": mbus, "group": "-".join(parts), "groups": _group_names(*parts)}},
        "mbus": url,
        "networks": networks_of(instance),
        "ntp": [],
        "vm": {"name": f"vm-{agent_id}"},
    }


def networks_of(instance: DeployedInstance) -> JsonDocument:
    """Return the only network that there is; nobody dials addresses of the lab's VMs."""
    return {
        "default": {
            "type": "manual",
            "ip": instance.ip,
            "netmask": "255.255.0.0",
            "default": ["dns", "gateway"],
            "gateway": "10.244.0.1",
            "dns": [],
        }
    }


def identity_of(instance: DeployedInstance) -> JsonDocument:
    """Return who an agent is: all that a new VM is told at first."""
    return {
        "deployment": instance.deployment,
        "job": {"name": instance.group},
        "index": instance.index,
        "id": instance.uuid,
        "networks": networks_of(instance),
    }


def apply_spec(instance: DeployedInstance, group: DesiredGroup) -> JsonDocument:
    """Return everything that an agent is to apply."""
    spec = group.spec
    return identity_of(instance) | {
        "name": group.name,
        "az": instance.az or "",
        "job": {"name": group.name, "templates": [{"name": name} for name in spec.jobs]},
        "packages": {},
        "properties": {},
        "resource_pool": "",
        "configuration_hash": spec.configuration,
        "persistent_disk": spec.persistent_disk,
        "rendered_templates_archive": {},
        "template_hashes": {},
    }


def update_settings(
    work: TaskWork, instance: DeployedInstance, vm: InstanceVm, *, reissue: bool = False
) -> None:
    """Send an agent its settings, with a fresh certificate when its record is out of date.

    The record is brought up to date whenever the agent did not refuse: hazards H1 and H2.
    """
    credentials = work.director.credentials
    message: JsonDocument = {"trusted_certs": credentials.trusted_certs, "disk_associations": []}
    if reissue or vm.nats_config_sha1 != credentials.nats_config_sha1:
        message["mbus"] = {"cert": credentials.permanent(vm.agent_id)}
    work.agent(instance, vm).call_if_known("update_settings", message)
    work.director.instances.change_vm(
        vm,
        nats_config_sha1=credentials.nats_config_sha1,
        trusted_certs_sha1=credentials.trusted_certs_sha1,
    )


def _group_names(director: str, deployment: str, group: str) -> list[str]:
    return [
        director,
        deployment,
        group,
        f"{director}-{deployment}",
        f"{deployment}-{group}",
        f"{director}-{deployment}-{group}",
    ]


# Persistent disks: attached to new VMs, taken off old ones, made where they are missing.


def attach_disk(work: TaskWork, instance: DeployedInstance, vm: InstanceVm) -> None:
    """Attach and mount the disk that an instance has, if it has one."""
    disk = work.director.instances.get(instance.id).disk
    if disk is not None:
        _mount_disk(work, instance, vm, disk.cid)


def detach_disk(work: TaskWork, instance: DeployedInstance, vm: InstanceVm) -> None:
    """Unmount the disk of an instance so that nothing is lost when its VM goes."""
    disk = work.director.instances.get(instance.id).disk
    if disk is None:
        return
    agent = work.agent(instance, vm)
    mounted = agent.call("list_disk")
    if isinstance(mounted, list) and disk.cid in mounted:
        work.log(f"Unmounting disk '{disk.cid}' for instance '{instance.label}'")
        agent.call("unmount_disk", disk.cid)
    agent.call_if_known("remove_persistent_disk", disk.cid)
    work.cpi.detach_disk(vm, disk)


def converge_disk(
    work: TaskWork, instance: DeployedInstance, vm: InstanceVm, *, size: int, anew: bool
) -> None:
    """Give an instance a disk of this size, or none (0); what a replaced one held is lost here.

    The real director migrates the content; the lab's disks hold nothing that would be missed.
    """
    instances = work.director.instances
    disk = instances.get(instance.id).disk
    had = disk.size if disk else 0
    if had == size and not anew:
        return
    if disk is not None:
        detach_disk(work, instance, vm)
        work.cpi.delete_disk(disk)
        instances.forget_disk(instance)
    if size:
        cid = work.cpi.create_disk(instance, size)
        instances.replace_disk(instance, cid=cid, size=size)
        _mount_disk(work, instance, vm, cid)


def delete_disk(work: TaskWork, instance: DeployedInstance) -> None:
    """Delete the disk of an instance that goes."""
    disk = work.director.instances.get(instance.id).disk
    if disk is not None:
        work.cpi.delete_disk(disk)
        work.director.instances.forget_disk(instance)


def _mount_disk(work: TaskWork, instance: DeployedInstance, vm: InstanceVm, disk_cid: str) -> None:
    work.cpi.attach_disk(vm, disk_cid)
    agent = work.agent(instance, vm)
    agent.wait_until_ready(vm.cid)
    work.log(f"Mounting disk '{disk_cid}' for instance '{instance.label}'")
    agent.call("mount_disk", disk_cid)


def create_vm(work: TaskWork, instance: DeployedInstance, group: DesiredGroup) -> InstanceVm:
    """Make the VM, give it its disk and its permanent credentials, and tell it who it is.

    As `vm_creator.rb` does. A VM whose agent never answers is deleted again; then `RpcTimeout`.
    """
    vm = _make_vm(work, instance, group)
    try:
        work.agent(instance, vm).wait_until_ready(vm.cid)
    except Exception:
        delete_vm(work, instance, vm)
        raise
    attach_disk(work, instance, vm)
    permanent = work.director.config.short_lived_bootstrap_credentials
    update_settings(work, instance, vm, reissue=permanent)
    work.director.instances.change_vm(vm, permanent_nats_credentials=int(permanent))
    agent = work.agent(instance, vm)
    agent.call("apply", identity_of(instance))
    agent.call("get_state")
    return vm


def delete_vm(work: TaskWork, instance: DeployedInstance, vm: InstanceVm) -> None:
    """Delete a VM in the cloud and forget it."""
    work.log(f"Deleting VM {vm.cid} of {instance.label}")
    error = ""
    try:
        work.cpi.delete_vm(vm)
        work.director.instances.delete_vm(vm)
    except Exception as caught:
        error = as_director_error(caught).message
        raise
    finally:
        work.happened("delete", "vm", vm.cid, error=error)


def _make_vm(work: TaskWork, instance: DeployedInstance, group: DesiredGroup) -> InstanceVm:
    credentials = work.director.credentials
    agent_id = str(uuid.uuid4())
    spec = group.spec
    stemcell = (spec.stemcell_name, spec.stemcell_version)
    settings = initial_settings(
        work.director, instance, agent_id=agent_id, certificate=credentials.bootstrap(agent_id)
    )
    cid = work.cpi.create_vm(
        agent_id=agent_id, settings=msgspec.to_builtins(settings), stemcell=stemcell
    )
    work.happened("create", "vm", cid)
    # `trusted_certs_sha1` is that of nothing until the agent has been told.
    return work.director.instances.add_vm(
        instance,
        agent_id=agent_id,
        cid=cid,
        created_at=datetime.now(UTC).replace(microsecond=0),
        stemcell=stemcell,
        nats_config_sha1=credentials.nats_config_sha1,
        trusted_certs_sha1="",
    )
