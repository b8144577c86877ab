"""What the director's database holds beside instances: stock, configs, events, problems, locks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from rollover_lab.bosh.director.database import DirectorDatabase, Value
from rollover_lab.bosh.director.refusals import ConfigNotFound, LockBusy

CPI = "rollover_lab"
LATEST = "latest"
FIRST_VERSION = "1.500"
"""Of a stemcell or release that a manifest wants in its latest version, and none is there."""


class UploadedStemcell(msgspec.Struct, frozen=True, kw_only=True):
    """What VMs are made from."""

    name: str
    version: str
    operating_system: str
    cid: str
    cpi: str = CPI
    api_version: int = 3
    id: int = 0


class UploadedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a release, and the names of its jobs as far as manifests name them."""

    name: str
    version: str
    jobs: tuple[str, ...] = ()

    @property
    def commit_hash(self) -> str:
        """Something that looks like one, the same for each version."""
        known = f"{self.name}/{self.version}".encode()
        return hashlib.sha1(known, usedforsecurity=False).hexdigest()[:10]


class Stock:
    """Finds and adds stemcells and releases.

    The lab has no files of them: what a manifest names counts as uploaded when it is first
    deployed.
    """

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def stemcells(self) -> tuple[UploadedStemcell, ...]:
        """Return every stemcell, by name and version."""
        rows = self._database.rows("SELECT * FROM stemcells ORDER BY name, id")
        return tuple(msgspec.convert(dict(row), UploadedStemcell) for row in rows)

    def releases(self) -> tuple[UploadedRelease, ...]:
        """Return every version of every release."""
        rows = self._database.rows("SELECT * FROM releases ORDER BY name, version")
        return tuple(
            UploadedRelease(
                name=row["name"], version=row["version"], jobs=tuple(row["jobs"].split())
            )
            for row in rows
        )

    def stemcell(self, *, name: str, operating_system: str, version: str) -> UploadedStemcell:
        """Return the stemcell that a manifest names; it is added when it is not there."""
        name = name or f"bosh-lab-{operating_system}-go_agent"
        known = [stemcell for stemcell in self.stemcells() if stemcell.name == name]
        if version == LATEST:
            version = known[-1].version if known else FIRST_VERSION
        for stemcell in known:
            if stemcell.version == version:
                return stemcell
        # The operating system is in the name: `bosh-IAAS-HYPERVISOR-OS-go_agent`.
        named = "-".join(name.removesuffix("-go_agent").split("-")[-2:])
        self._database.insert(
            "stemcells",
            name=name,
            version=version,
            operating_system=operating_system or named,
            cid=f"stemcell-{name}-{version}",
        )
        return self.stemcell(name=name, operating_system=operating_system, version=version)

    def release(self, *, name: str, version: str, jobs: tuple[str, ...]) -> UploadedRelease:
        """Return the release that a manifest names; it is added when it is not there."""
        known = [release for release in self.releases() if release.name == name]
        if version == LATEST:
            version = known[-1].version if known else FIRST_VERSION
        had = next((release.jobs for release in known if release.version == version), ())
        found = UploadedRelease(
            name=name, version=version, jobs=tuple(dict.fromkeys((*had, *jobs)))
        )
        self._database.run(
            "INSERT OR REPLACE INTO releases (name, version, jobs) VALUES (?, ?, ?)",
            name,
            version,
            " ".join(found.jobs),
        )
        return found


_RESURRECTION_PAUSED = "resurrection_paused"


class StoredConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a config; `current`: it is the newest of its type and name."""

    id: int
    type: str
    name: str
    content: str
    created_at: str
    current: bool


class ConfigTable:
    """Finds, adds and deletes configs (cloud, runtime, …); versions are never changed."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def find(
        self, *, kind: str | None = None, name: str | None = None, limit: int = 1
    ) -> tuple[StoredConfig, ...]:
        """Return up to `limit` newest versions of each config, by type and name."""
        rows = self._database.rows(
            "SELECT * FROM configs WHERE NOT deleted ORDER BY type, name, id DESC"
        )
        found: list[StoredConfig] = []
        counts: dict[tuple[str, str], int] = {}
        for row in rows:
            if (kind or row["type"]) != row["type"] or (name or row["name"]) != row["name"]:
                continue
            count = counts[row["type"], row["name"]] = counts.get((row["type"], row["name"]), 0) + 1
            if count <= limit:
                found.append(msgspec.convert({**row, "current": count == 1}, StoredConfig))
        return tuple(found)

    def get(self, number: str) -> StoredConfig:
        """Return the config with this id; `ConfigNotFound`."""
        for config in self.find(limit=2**31):
            if str(config.id) == number:
                return config
        raise ConfigNotFound(f"Config {number} not found")

    def add(self, *, kind: str, name: str, content: str) -> StoredConfig:
        """Add a version, unless the newest one has the same content; return the newest."""
        newest = next(iter(self.find(kind=kind, name=name)), None)
        if newest is not None and newest.content == content:
            return newest
        number = self._database.insert(
            "configs",
            type=kind,
            name=name,
            content=content,
            created_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S UTC}",
        )
        return self.get(str(number))

    def delete(self, *, kind: str, name: str) -> bool:
        """Delete every version of a config; False when there is none."""
        statement = "UPDATE configs SET deleted = 1 WHERE type = ? AND name = ? AND NOT deleted"
        return self._database.run(statement, kind, name) > 0

    def delete_version(self, number: str) -> bool:
        """Delete one version; False when there is none."""
        statement = "UPDATE configs SET deleted = 1 WHERE id = ? AND NOT deleted"
        return self._database.run(statement, number) > 0


class DirectorFacts:
    """What the director remembers about itself."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    @property
    def resurrection_paused(self) -> bool:
        """Whether the resurrector may not recreate VMs."""
        row = self._database.row("SELECT value FROM facts WHERE name = ?", _RESURRECTION_PAUSED)
        return row is not None and row["value"] == "true"

    def pause_resurrection(self, *, paused: bool) -> None:
        """Forbid or allow the resurrector to act."""
        self._database.run(
            "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)",
            _RESURRECTION_PAUSED,
            "true" if paused else "false",
        )


_EVENTS_LIMIT = 200
_EVENT_FILTERS = ("task", "deployment", "instance", "user", "action", "object_type", "object_name")


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event is about."""

    user: str
    action: str
    object_type: str
    object_name: str | None = None
    parent_id: int | None = None
    error: str | None = None
    task: str | None = None
    deployment: str | None = None
    instance: str | None = None
    context: dict[str, object] = {}


class History:
    """Who did what when: adds and finds events."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def add(self, happening: Happening) -> int:
        """Write down an event that happens now; return its id."""
        columns: dict[str, Value] = {
            name: getattr(happening, name) for name in happening.__struct_fields__
        }
        columns["context"] = msgspec.json.encode(happening.context).decode()
        return self._database.insert("events", timestamp=int(time.time()), **columns)

    def find(self, wanted: dict[str, str]) -> list[dict[str, object]]:
        """Return the newest events that fit, as clients see them, at most 200.

        `wanted` may have `before_id`, `before_time`, `after_time` (Unix seconds) and columns.
        """
        conditions = {
            "id < ?": wanted.get("before_id"),
            "timestamp < ?": wanted.get("before_time"),
            "timestamp > ?": wanted.get("after_time"),
            **{f"{name} = ?": wanted.get(name) for name in _EVENT_FILTERS},
        }
        bound = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join(bound) or "1"
        # The texts above are all there are; values are bound.
        statement = f"SELECT * FROM events WHERE {where} ORDER BY id DESC LIMIT {_EVENTS_LIMIT}"  # noqa: S608
        return [_shown_event(dict(row)) for row in self._database.rows(statement, *bound.values())]

    def get(self, number: str) -> dict[str, object] | None:
        """Return one event as clients see it."""
        row = self._database.row("SELECT * FROM events WHERE id = ?", number)
        return None if row is None else _shown_event(dict(row))


def _shown_event(row: dict[str, object]) -> dict[str, object]:
    parent = row["parent_id"]
    shown = {
        **row,
        "id": str(row["id"]),
        "parent_id": "" if parent is None else str(parent),
        "context": msgspec.json.decode(str(row["context"])),
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}


class ProblemType(StrEnum):
    """What can be wrong with a VM."""

    UNRESPONSIVE = "unresponsive_agent"
    MISSING = "missing_vm"


class Resolution(StrEnum):
    """What can be done about a problem (`problem_handlers/`)."""

    IGNORE = "ignore"
    REBOOT = "reboot_vm"
    RECREATE_WITHOUT_WAIT = "recreate_vm_without_wait"
    RECREATE = "recreate_vm"
    DELETE = "delete_vm"
    DELETE_REFERENCE = "delete_vm_reference"


PLANS: Final = {
    Resolution.IGNORE: "Skip for now",
    Resolution.REBOOT: "Reboot VM",
    Resolution.RECREATE_WITHOUT_WAIT: "Recreate VM without waiting for processes to start",
    Resolution.RECREATE: "Recreate VM and wait for processes to start",
    Resolution.DELETE: "Delete VM",
    Resolution.DELETE_REFERENCE: "Delete VM reference",
}
_FORCEFUL: Final = (
    " (forceful; may need to manually delete VM from the Cloud to avoid IP conflicts)"
)
OFFERED: Final = {
    ProblemType.UNRESPONSIVE: tuple(Resolution),
    ProblemType.MISSING: (
        Resolution.IGNORE,
        Resolution.RECREATE_WITHOUT_WAIT,
        Resolution.RECREATE,
        Resolution.DELETE_REFERENCE,
    ),
}
BY_ITSELF: Final = {
    ProblemType.UNRESPONSIVE: Resolution.IGNORE,
    ProblemType.MISSING: Resolution.RECREATE_WITHOUT_WAIT,
}
"""What `cloud-check --auto` does."""


class InstanceProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An open problem of an instance."""

    id: int
    deployment: str
    instance_id: int
    type: ProblemType

    def plan(self, resolution: Resolution) -> str:
        """Return what a resolution means, for people."""
        text = PLANS[resolution]
        forceful = (Resolution.DELETE_REFERENCE, ProblemType.UNRESPONSIVE)
        return text + _FORCEFUL if (resolution, self.type) == forceful else text


class ProblemTable:
    """Finds, adds and closes problems."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def open(self, deployment: str) -> tuple[InstanceProblem, ...]:
        """Return the open problems of a deployment, the oldest first."""
        rows = self._database.rows(
            "SELECT id, deployment, instance_id, type FROM problems "
            "WHERE deployment = ? AND state = 'open' ORDER BY id",
            deployment,
        )
        return tuple(msgspec.convert(dict(row), InstanceProblem) for row in rows)

    def add(self, *, deployment: str, instance_id: int, kind: ProblemType) -> None:
        """Write down a problem."""
        self._database.insert("problems", deployment=deployment, instance_id=instance_id, type=kind)

    def close(self, problem: InstanceProblem) -> None:
        """Write down that something was done about it."""
        self._database.update("problems", problem.id, state="resolved")

    def close_all(self, deployment: str) -> None:
        """Forget the problems of a deployment: it is looked at anew."""
        self._database.run(
            "UPDATE problems SET state = 'closed' WHERE deployment = ? AND state = 'open'",
            deployment,
        )


WAIT_SECONDS = 10.0
"""How long a task tries to get a lock (`lock_helper.rb`)."""
_TRY_SECONDS = 0.1
_SHOWN_EXPIRY_SECONDS = 11.0
"""What clients see as a lock's time; locks of this director end with their task."""


class TaskLock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock as clients see it."""

    type: str
    resource: tuple[str, ...]
    timeout: str
    task_id: str


class LockTable:
    """Takes and gives back locks: one task at a time changes a deployment."""

    def __init__(self, database: DirectorDatabase) -> None:
        self._database = database

    def all(self) -> tuple[TaskLock, ...]:
        """Return every lock that a task holds."""
        expiry = time.time() + _SHOWN_EXPIRY_SECONDS
        return tuple(
            TaskLock(
                type=row["name"].split(":")[1],
                resource=tuple(row["name"].split(":")[2:]),
                timeout=f"{expiry:.6f}",
                task_id=str(row["task_id"]),
            )
            for row in self._database.rows("SELECT * FROM locks ORDER BY name")
        )

    def locked(self, deployment: str) -> bool:
        """Tell whether a task changes a deployment."""
        name = f"lock:deployment:{deployment}"
        return self._database.row("SELECT 1 FROM locks WHERE name = ?", name) is not None

    @contextmanager
    def deployment(
        self, deployment: str, *, task: int, seconds: float = WAIT_SECONDS
    ) -> Iterator[None]:
        """Hold the lock of a deployment; `LockBusy` when another task keeps it for too long."""
        name = f"lock:deployment:{deployment}"
        deadline = time.monotonic() + seconds
        while not self._take(name, task):
            if time.monotonic() >= deadline:
                raise LockBusy(f"Failed to acquire lock for {name} {self._holder(name)}")
            time.sleep(_TRY_SECONDS)
        try:
            yield
        finally:
            self._database.run("DELETE FROM locks WHERE name = ? AND task_id = ?", name, task)

    def clear(self) -> None:
        """Forget every lock: no task outlives the director's process."""
        self._database.run("DELETE FROM locks")

    def _take(self, name: str, task: int) -> bool:
        # The primary key decides between two tasks that try at the same time.
        statement = "INSERT OR IGNORE INTO locks (name, task_id, expired_at) VALUES (?, ?, ?)"
        return self._database.run(statement, name, task, time.time()) == 1

    def _holder(self, name: str) -> str:
        row = self._database.row(
            "SELECT tasks.id, tasks.description FROM locks JOIN tasks ON tasks.id = locks.task_id "
            "WHERE locks.name = ?",
            name,
        )
        if row is None:
            return "Lock is gone"
        task = row["id"]
        described = f"Locking task id is {task}, description: '{row['description']}'"
        return f"uid: {task}. {described}"
