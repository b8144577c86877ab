"""What the director keeps about deployments: instances, their VMs and their disks."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class State(StrEnum):
    """What an instance shall be."""

    STARTED = "started"
    STOPPED = "stopped"
    DETACHED = "detached"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance was made and set up from; each part is compared with what is wanted.

    The hashes stand for parts of the manifest which only matter as equal or not.
    """

    stemcell_name: str
    stemcell_version: str
    vm_type: str
    cloud_properties: str
    env: str
    networks: str
    jobs: tuple[str, ...]
    configuration: str
    persistent_disk: int
    lifecycle: str
    tags: str


class Vm(msgspec.Struct, frozen=True, kw_only=True):
    """A VM of an instance."""

    id: int
    instance_id: int
    active: bool
    agent_id: str
    cid: str
    ip: str
    created_at: datetime
    stemcell_name: str
    stemcell_version: str
    permanent_nats_credentials: bool
    nats_config_sha1: str
    trusted_certs_sha1: str


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A persistent disk of an instance; it outlives VMs."""

    id: int
    instance_id: int
    cid: str
    size: int


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a deployment, as the database has it at one moment."""

    id: int
    uuid: str
    deployment: str
    group: str
    index: int
    az: str | None
    bootstrap: bool
    state: State
    ignore: bool
    update_completed: bool
    spec: Spec | None
    dns: str | None
    """Hash of its DNS records; None: it has none yet."""
    vm: Vm | None
    disk: Disk | None

    @property
    def name(self) -> str:
        """How messages name it: `group/uuid`."""
        return f"{self.group}/{self.uuid}"

    @property
    def label(self) -> str:
        """How events name it: `group/uuid (index)`."""
        return f"{self.name} ({self.index})"

    @property
    def ip(self) -> str:
        """Its address, the same for all its VMs; nobody dials it in the lab."""
        return f"10.244.{self.id // 250}.{self.id % 250 + 2}"

    @property
    def expects_vm(self) -> bool:
        """Whether it should have a VM that answers."""
        service = self.spec is not None and self.spec.lifecycle == "service"
        return service and self.state is not State.DETACHED
