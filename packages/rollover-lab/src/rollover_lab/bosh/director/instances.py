"""Instances, VMs and disks in the database."""

from __future__ import annotations

import re
import sqlite3
import uuid
from datetime import datetime

import msgspec

from rollover_lab.bosh.director.database import Database, Value
from rollover_lab.bosh.director.nouns import Disk, Instance, Spec, State, Vm
from rollover_lab.bosh.director.refusals import InstanceNotFound, InvalidIndex

_UUID = re.compile(r"[A-Fa-f0-9]{8}-[A-Fa-f0-9-]{27}")


class Instances:
    """Finds and changes instances; what it returns is a picture of that moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, deployment: str) -> tuple[Instance, ...]:
        """Return the instances of a deployment, by group and index."""
        rows = self._database.rows(
            'SELECT * FROM instances WHERE deployment = ? ORDER BY "group", "index"', deployment
        )
        return tuple(self._instance(row) for row in rows)

    def get(self, number: int) -> Instance:
        """Return the instance with this id; `InstanceNotFound`."""
        row = self._database.row("SELECT * FROM instances WHERE id = ?", number)
        if row is None:
            raise InstanceNotFound(f"Instance {number} doesn't exist")
        return self._instance(row)

    def vms(self) -> tuple[Vm, ...]:
        """Return the active VMs of all deployments, the oldest first."""
        rows = self._database.rows("SELECT * FROM vms WHERE active ORDER BY id")
        return tuple(_vm(row) for row in rows)

    def find(self, deployment: str, group: str, index_or_id: str) -> Instance:
        """Return an instance by index or id; `InvalidIndex`, `InstanceNotFound`."""
        if not index_or_id.isdecimal() and not _UUID.fullmatch(index_or_id):
            raise InvalidIndex(f"Invalid instance index or id '{index_or_id}'")
        for each in self.of(deployment):
            if each.group == group and index_or_id in (each.uuid, str(each.index)):
                return each
        raise InstanceNotFound(f"Instance '{deployment}/{group}/{index_or_id}' doesn't exist")

    def create(self, deployment: str, *, group: str, index: int, az: str | None) -> Instance:
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

    def change(self, instance: Instance, **columns: Value) -> Instance:
        """Change columns of an instance; return it as it is now."""
        self._database.update("instances", instance.id, **columns)
        return self.get(instance.id)

    def keep_spec(self, instance: Instance, spec: Spec) -> None:
        """Write down what the instance was set up from."""
        self.change(instance, spec=msgspec.json.encode(spec).decode())

    def delete(self, instance: Instance) -> None:
        """Forget an instance, its VM and its disk."""
        self._database.run("DELETE FROM instances WHERE id = ?", instance.id)

    def add_vm(
        self,
        instance: Instance,
        *,
        agent_id: str,
        cid: str,
        created_at: datetime,
        stemcell: tuple[str, str],
        nats_config_sha1: str,
        trusted_certs_sha1: str,
    ) -> Vm:
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

    def change_vm(self, vm: Vm, **columns: Value) -> None:
        """Change columns of a VM."""
        self._database.update("vms", vm.id, **columns)

    def delete_vm(self, vm: Vm) -> None:
        """Forget a VM."""
        self._database.run("DELETE FROM vms WHERE id = ?", vm.id)

    def replace_disk(self, instance: Instance, *, cid: str, size: int) -> None:
        """Write down the persistent disk of an instance in place of the one it had."""
        with self._database.transaction():
            self._database.run("DELETE FROM persistent_disks WHERE instance_id = ?", instance.id)
            self._database.insert("persistent_disks", instance_id=instance.id, cid=cid, size=size)

    def forget_disk(self, instance: Instance) -> None:
        """Write down that an instance has no persistent disk."""
        self._database.run("DELETE FROM persistent_disks WHERE instance_id = ?", instance.id)

    def _instance(self, row: sqlite3.Row) -> Instance:
        vm = self._database.row("SELECT * FROM vms WHERE instance_id = ? AND active", row["id"])
        disk = self._database.row(
            "SELECT * FROM persistent_disks WHERE instance_id = ? ORDER BY id DESC", row["id"]
        )
        return Instance(
            id=row["id"],
            uuid=row["uuid"],
            deployment=row["deployment"],
            group=row["group"],
            index=row["index"],
            az=row["az"],
            bootstrap=bool(row["bootstrap"]),
            state=State(row["state"]),
            ignore=bool(row["ignore"]),
            update_completed=bool(row["update_completed"]),
            spec=msgspec.json.decode(row["spec"], type=Spec) if row["spec"] else None,
            dns=row["dns"],
            vm=_vm(vm) if vm is not None else None,
            disk=msgspec.convert(dict(disk), Disk) if disk is not None else None,
        )


def _vm(row: sqlite3.Row) -> Vm:
    return msgspec.convert(dict(row), Vm, strict=False)
