"""Agent settings: what a VM is born with, and how its agent gets new credentials."""

from __future__ import annotations

from rollover_lab.bosh.director.credentials import MbusCertificate
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.nouns import Instance, Vm
from rollover_lab.bosh.director.work import Director, Work

Document = dict[str, object]


def at_birth(
    director: Director, instance: Instance, *, agent_id: str, certificate: MbusCertificate
) -> Document:
    """Return the settings of a new VM, as a CPI would write them."""
    url = director.credentials.url
    name = director.config.name
    parts = (name, instance.deployment, instance.group)
    mbus: Document = {"cert": certificate, "urls": [url]}
    return {
        "agent_id": agent_id,
        "blobstore": {"provider": "dummy", "options": {}},
        "disks": {"persistent": {}},
        "env": {"bosh": {"mbus": mbus, "group": "-".join(parts), "groups": _groups(*parts)}},
        "mbus": url,
        "networks": networks(instance),
        "ntp": [],
        "vm": {"name": f"vm-{agent_id}"},
    }


def networks(instance: Instance) -> Document:
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


def identity(instance: Instance) -> Document:
    """Return who an agent is: all that a new VM is told at first."""
    return {
        "deployment": instance.deployment,
        "job": {"name": instance.group},
        "index": instance.index,
        "id": instance.uuid,
        "networks": networks(instance),
    }


def apply_spec(instance: Instance, group: Group) -> Document:
    """Return everything that an agent is to apply."""
    spec = group.spec
    return identity(instance) | {
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


def update(work: Work, instance: Instance, vm: Vm, *, reissue: bool = False) -> None:
    """Send an agent its settings, with a fresh certificate when its record is out of date.

    The record is brought up to date whenever the agent did not refuse: hazards H1 and H2.
    """
    credentials = work.director.credentials
    message: Document = {"trusted_certs": credentials.trusted_certs, "disk_associations": []}
    if reissue or vm.nats_config_sha1 != credentials.nats_config_sha1:
        message["mbus"] = {"cert": credentials.permanent(vm.agent_id)}
    work.agent(instance, vm).call_if_known("update_settings", message)
    work.director.instances.change_vm(
        vm,
        nats_config_sha1=credentials.nats_config_sha1,
        trusted_certs_sha1=credentials.trusted_certs_sha1,
    )


def _groups(director: str, deployment: str, group: str) -> list[str]:
    return [
        director,
        deployment,
        group,
        f"{director}-{deployment}",
        f"{deployment}-{group}",
        f"{director}-{deployment}-{group}",
    ]
