"""Instances, their VMs and disks, and deployments: as they are, and in the database."""

from __future__ import annotations

import re
import sqlite3
import uuid
from datetime import datetime
from enum import StrEnum

import msgspec

from rollover_lab.bosh.director.database import DirectorDatabase, Value
from rollover_lab.bosh.director.refusals import DeploymentNotFound, InstanceNotFound, InvalidIndex


class InstanceState(StrEnum):
    """What an instance shall be."""

    STARTED = "started"
    STOPPED = "stopped"
    DETACHED = "detached"


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True):
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


class InstanceVm(msgspec.Struct, frozen=True, kw_only=True):
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


class PersistentDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A persistent disk of an instance; it outlives VMs."""

    id: int
    instance_id: int
    cid: str
    size: int


class DeployedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a deployment, as the database has it at one moment."""

    id: int
    uuid: str
    deployment: str
    group: str
    index: int
    az: str | None
    bootstrap: bool
    state: InstanceState
    ignore: bool
    update_completed: bool
    spec: InstanceSpec | None
    dns: str | None
    """Hash of its DNS records; None: it has none yet."""
    vm: InstanceVm | None
    disk: PersistentDisk | None

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
        return service and self.state is not InstanceState.DETACHED


_UUID = re.compile(r"[A-Fa-f0-9]{8}-[A-Fa-f0-9-]{27}")


class InstanceTable:
    """Finds and changes instances; what it returns is a picture of that moment."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def of(self, deployment: str) -> tuple[DeployedInstance, ...]:
        """Return the instances of a deployment, by group and index."""
        rows = self._database.rows(
            'SELECT * FROM instances WHERE deployment = ? ORDER BY "group", "index"', deployment
        )
        return tuple(self._instance(row) for row in rows)

    def get(self, number: int) -> DeployedInstance:
        """Return the instance with this id; `InstanceNotFound`."""
        row = self._database.row("SELECT * FROM instances WHERE id = ?", number)
        if row is None:
            raise InstanceNotFound(f"Instance {number} doesn't exist")
        return self._instance(row)

    def vms(self) -> tuple[InstanceVm, ...]:
        """Return the active VMs of all deployments, the oldest first."""
        rows = self._database.rows("SELECT * FROM vms WHERE active ORDER BY id")
        return tuple(_vm_of_row(row) for row in rows)

    def find(self, deployment: str, group: str, index_or_id: str) -> DeployedInstance:
        """Return an instance by index or id; `InvalidIndex`, `InstanceNotFound`."""
        if not index_or_id.isdecimal() and not _UUID.fullmatch(index_or_id):
            raise InvalidIndex(f"Invalid instance index or id '{index_or_id}'")
        for instance in self.of(deployment):
            if instance.group == group and index_or_id in (instance.uuid, str(instance.index)):
                return instance
        raise InstanceNotFound(f"Instance '{deployment}/{group}/{index_or_id}' doesn't exist")

    def create(
        self, deployment: str, *, group: str, index: int, az: str | None
    ) -> DeployedInstance:
        """Make an instance that has no VM yet."""
        number = self._database.insert(
            "instances",
            uuid=str(uuid.uuid4()),
            deployment=deployment,
            group=group,
            index=index,
            az=az,
            update_completed=1,
        )
        return self.get(number)

    def change(self, instance: DeployedInstance, **columns: Value) -> DeployedInstance:
        """Change columns of an instance; return it as it is now."""
        self._database.update("instances", instance.id, **columns)
        return self.get(instance.id)

    def keep_spec(self, instance: DeployedInstance, spec: InstanceSpec) -> None:
        """Write down what the instance was set up from."""
        self.change(instance, spec=msgspec.json.encode(spec).decode())

    def delete(self, instance: DeployedInstance) -> None:
        """Forget an instance, its VM and its disk."""
        self._database.run("DELETE FROM instances WHERE id = ?", instance.id)

    def add_vm(
        self,
        instance: DeployedInstance,
        *,
        agent_id: str,
        cid: str,
        created_at: datetime,
        stemcell: tuple[str, str],
        nats_config_sha1: str,
        trusted_certs_sha1: str,
    ) -> InstanceVm:
        """Write down a VM that was just made; it is the active one."""
        self._database.insert(
            "vms",
            instance_id=instance.id,
            active=1,
            agent_id=agent_id,
            cid=cid,
            ip=instance.ip,
            created_at=created_at.isoformat(),
            stemcell_name=stemcell[0],
            stemcell_version=stemcell[1],
            nats_config_sha1=nats_config_sha1,
            trusted_certs_sha1=trusted_certs_sha1,
        )
        vm = self.get(instance.id).vm
        if vm is None:
            raise AssertionError("the VM was inserted in the line above")
        return vm

    def change_vm(self, vm: InstanceVm, **columns: Value) -> None:
        """Change columns of a VM."""
        self._database.update("vms", vm.id, **columns)

    def delete_vm(self, vm: InstanceVm) -> None:
        """Forget a VM."""
        self._database.run("DELETE FROM vms WHERE id = ?", vm.id)

    def replace_disk(self, instance: DeployedInstance, *, cid: str, size: int) -> None:
        """Write down the persistent disk of an instance in place of the one it had."""
        with self._database.transaction():
            self._database.run("DELETE FROM persistent_disks WHERE instance_id = ?", instance.id)
            self._database.insert("persistent_disks", instance_id=instance.id, cid=cid, size=size)

    def forget_disk(self, instance: DeployedInstance) -> None:
        """Write down that an instance has no persistent disk."""
        self._database.run("DELETE FROM persistent_disks WHERE instance_id = ?", instance.id)

    def _instance(self, row: sqlite3.Row) -> DeployedInstance:
        vm = self._database.row("SELECT * FROM vms WHERE instance_id = ? AND active", row["id"])
        disk = self._database.row(
            "SELECT * FROM persistent_disks WHERE instance_id = ? ORDER BY id DESC", row["id"]
        )
        return DeployedInstance(
            id=row["id"],
            uuid=row["uuid"],
            deployment=row["deployment"],
            group=row["group"],
            index=row["index"],
            az=row["az"],
            bootstrap=bool(row["bootstrap"]),
            state=InstanceState(row["state"]),
            ignore=bool(row["ignore"]),
            update_completed=bool(row["update_completed"]),
            spec=msgspec.json.decode(row["spec"], type=InstanceSpec) if row["spec"] else None,
            dns=row["dns"],
            vm=_vm_of_row(vm) if vm is not None else None,
            disk=msgspec.convert(dict(disk), PersistentDisk) if disk is not None else None,
        )


def _vm_of_row(row: sqlite3.Row) -> InstanceVm:
    return msgspec.convert(dict(row), InstanceVm, strict=False)


_DEPLOYMENT_IDS = msgspec.json.Decoder(tuple[int, ...])


class DeploymentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment; `manifest` is the last one that was deployed with success, None before."""

    name: str
    manifest: str | None
    cloud_configs: tuple[int, ...]
    runtime_configs: tuple[int, ...]


class DeploymentVariable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of a manifest; the lab has no config server, so a name is all there is."""

    id: str
    name: str


class DeploymentTable:
    """Finds and changes deployments."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def all(self) -> tuple[DeploymentRecord, ...]:
        """Return every deployment, by name."""
        rows = self._database.rows("SELECT name FROM deployments ORDER BY name")
        return tuple(self.get(row["name"]) for row in rows)

    def exists(self, name: str) -> bool:
        """Tell whether there is such a deployment."""
        return self._database.row("SELECT 1 FROM deployments WHERE name = ?", name) is not None

    def get(self, name: str) -> DeploymentRecord:
        """Return a deployment; `DeploymentNotFound`."""
        row = self._database.row("SELECT * FROM deployments WHERE name = ?", name)
        if row is None:
            raise DeploymentNotFound(f"Deployment '{name}' doesn't exist")
        return DeploymentRecord(
            name=row["name"],
            manifest=row["manifest"],
            cloud_configs=_DEPLOYMENT_IDS.decode(row["cloud_configs"]),
            runtime_configs=_DEPLOYMENT_IDS.decode(row["runtime_configs"]),
        )

    def create(self, name: str) -> None:
        """Make a deployment without a manifest, unless there is one of that name."""
        self._database.run("INSERT OR IGNORE INTO deployments (name) VALUES (?)", name)

    def keep_manifest(self, deployment: DeploymentRecord) -> None:
        """Write down what was deployed with success."""
        self._database.run(
            "UPDATE deployments SET manifest = ?, cloud_configs = ?, runtime_configs = ? "
            "WHERE name = ?",
            deployment.manifest,
            msgspec.json.encode(deployment.cloud_configs).decode(),
            msgspec.json.encode(deployment.runtime_configs).decode(),
            deployment.name,
        )

    def delete(self, name: str) -> None:
        """Forget a deployment and everything that belongs to it."""
        self._database.run("DELETE FROM deployments WHERE name = ?", name)

    def keep_variables(self, deployment: str, names: tuple[str, ...]) -> None:
        """Write down which variables a deployment has; known ones keep their ids."""
        with self._database.transaction():
            for name in names:
                self._database.run(
                    "INSERT OR IGNORE INTO variables (deployment, name) VALUES (?, ?)",
                    deployment,
                    name,
                )

    def variables(self, deployment: str) -> tuple[DeploymentVariable, ...]:
        """Return the variables of a deployment."""
        rows = self._database.rows(
            "SELECT id, name FROM variables WHERE deployment = ? ORDER BY id", deployment
        )
        return tuple(DeploymentVariable(id=str(row["id"]), name=row["name"]) for row in rows)
