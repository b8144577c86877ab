"""Deployments, their manifests and the names of their variables in the database."""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.director.database import Database
from rollover_lab.bosh.director.refusals import DeploymentNotFound

_IDS = msgspec.json.Decoder(tuple[int, ...])


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment; `manifest` is the last one that was deployed with success, None before."""

    name: str
    manifest: str | None
    cloud_configs: tuple[int, ...]
    runtime_configs: tuple[int, ...]


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of a manifest; the lab has no config server, so a name is all there is."""

    id: str
    name: str


class Deployments:
    """Finds and changes deployments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[Deployment, ...]:
        """Return every deployment, by name."""
        rows = self._database.rows("SELECT name FROM deployments ORDER BY name")
        return tuple(self.get(row["name"]) for row in rows)

    def exists(self, name: str) -> bool:
        """Tell whether there is such a deployment."""
        return self._database.row("SELECT 1 FROM deployments WHERE name = ?", name) is not None

    def get(self, name: str) -> Deployment:
        """Return a deployment; `DeploymentNotFound`."""
        row = self._database.row("SELECT * FROM deployments WHERE name = ?", name)
        if row is None:
            raise DeploymentNotFound(f"Deployment '{name}' doesn't exist")
        return Deployment(
            name=row["name"],
            manifest=row["manifest"],
            cloud_configs=_IDS.decode(row["cloud_configs"]),
            runtime_configs=_IDS.decode(row["runtime_configs"]),
        )

    def create(self, name: str) -> None:
        """Make a deployment without a manifest, unless there is one of that name."""
        self._database.run("INSERT OR IGNORE INTO deployments (name) VALUES (?)", name)

    def keep_manifest(self, deployment: Deployment) -> None:
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

    def variables(self, deployment: str) -> tuple[Variable, ...]:
        """Return the variables of a deployment."""
        rows = self._database.rows(
            "SELECT id, name FROM variables WHERE deployment = ? ORDER BY id", deployment
        )
        return tuple(Variable(id=str(row["id"]), name=row["name"]) for row in rows)
