"""Makes a VM for an instance and waits until its agent answers (`vm_creator.rb`)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec

from rollover_lab.bosh.director import disks, settings
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.errors import failure
from rollover_lab.bosh.director.nouns import Instance, Vm
from rollover_lab.bosh.director.work import Work


def create(work: Work, instance: Instance, group: Group) -> Vm:
    """Make the VM, give it its disk and its permanent credentials, and tell it who it is.

    A VM whose agent never answers is deleted again; then `RpcTimeout`.
    """
    vm = _make(work, instance, group)
    try:
        work.agent(instance, vm).wait_until_ready(vm.cid)
    except Exception:
        delete(work, instance, vm)
        raise
    disks.attach(work, instance, vm)
    permanent = work.director.config.short_lived_bootstrap_credentials
    settings.update(work, instance, vm, reissue=permanent)
    work.director.instances.change_vm(vm, permanent_nats_credentials=int(permanent))
    agent = work.agent(instance, vm)
    agent.call("apply", settings.identity(instance))
    agent.call("get_state")
    return vm


def delete(work: Work, instance: Instance, vm: Vm) -> None:
    """Delete a VM in the cloud and forget it."""
    work.log(f"Deleting VM {vm.cid} of {instance.label}")
    error = ""
    try:
        work.cpi.delete_vm(vm)
        work.director.instances.delete_vm(vm)
    except Exception as caught:
        error = failure(caught).message
        raise
    finally:
        work.happened("delete", "vm", vm.cid, error=error)


def _make(work: Work, instance: Instance, group: Group) -> Vm:
    credentials = work.director.credentials
    agent_id = str(uuid.uuid4())
    spec = group.spec
    stemcell = (spec.stemcell_name, spec.stemcell_version)
    born = settings.at_birth(
        work.director, instance, agent_id=agent_id, certificate=credentials.bootstrap(agent_id)
    )
    cid = work.cpi.create_vm(
        agent_id=agent_id, settings=msgspec.to_builtins(born), stemcell=stemcell
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
