"""Configs (cloud, runtime, deploy, …) and small facts in the database."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from rollover_lab.bosh.director.database import Database
from rollover_lab.bosh.director.refusals import ConfigNotFound

_RESURRECTION_PAUSED = "resurrection_paused"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a config; `current`: it is the newest of its type and name."""

    id: int
    type: str
    name: str
    content: str
    created_at: str
    current: bool


class Configs:
    """Finds, adds and deletes configs; versions are never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, *, kind: str | None = None, name: str | None = None, limit: int = 1
    ) -> tuple[Config, ...]:
        """Return up to `limit` newest versions of each config, by type and name."""
        rows = self._database.rows(
            "SELECT * FROM configs WHERE NOT deleted ORDER BY type, name, id DESC"
        )
        found: list[Config] = []
        seen: dict[tuple[str, str], int] = {}
        for row in rows:
            if (kind or row["type"]) != row["type"] or (name or row["name"]) != row["name"]:
                continue
            count = seen[row["type"], row["name"]] = seen.get((row["type"], row["name"]), 0) + 1
            if count <= limit:
                found.append(msgspec.convert({**row, "current": count == 1}, Config))
        return tuple(found)

    def get(self, number: str) -> Config:
        """Return the config with this id; `ConfigNotFound`."""
        for each in self.find(limit=2**31):
            if str(each.id) == number:
                return each
        raise ConfigNotFound(f"Config {number} not found")

    def add(self, *, kind: str, name: str, content: str) -> Config:
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


class Facts:
    """What the director remembers about itself."""

    def __init__(self, database: Database) -> None:
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
