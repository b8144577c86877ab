"""Persistent disks: attached to new VMs, taken off old ones, made where they are missing."""

from __future__ import annotations

from rollover_lab.bosh.director.nouns import Instance, Vm
from rollover_lab.bosh.director.work import Work


def attach(work: Work, instance: Instance, vm: Vm) -> None:
    """Attach and mount the disk that an instance has, if it has one."""
    disk = work.director.instances.get(instance.id).disk
    if disk is not None:
        _mount(work, instance, vm, disk.cid)


def detach(work: Work, instance: Instance, vm: Vm) -> None:
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


def converge(work: Work, instance: Instance, vm: Vm, *, size: int, anew: bool) -> None:
    """Give an instance a disk of this size, or none (0); what a replaced one held is lost here.

    The real director migrates the content; the lab's disks hold nothing that would be missed.
    """
    instances = work.director.instances
    disk = instances.get(instance.id).disk
    had = disk.size if disk else 0
    if had == size and not anew:
        return
    if disk is not None:
        detach(work, instance, vm)
        work.cpi.delete_disk(disk)
        instances.forget_disk(instance)
    if size:
        cid = work.cpi.create_disk(instance, size)
        instances.replace_disk(instance, cid=cid, size=size)
        _mount(work, instance, vm, cid)


def delete(work: Work, instance: Instance) -> None:
    """Delete the disk of an instance that goes."""
    disk = work.director.instances.get(instance.id).disk
    if disk is not None:
        work.cpi.delete_disk(disk)
        work.director.instances.forget_disk(instance)


def _mount(work: Work, instance: Instance, vm: Vm, disk_cid: str) -> None:
    work.cpi.attach_disk(vm, disk_cid)
    agent = work.agent(instance, vm)
    agent.wait_until_ready(vm.cid)
    work.log(f"Mounting disk '{disk_cid}' for instance '{instance.label}'")
    agent.call("mount_disk", disk_cid)
