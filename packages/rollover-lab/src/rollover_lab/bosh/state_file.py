"""`state.json` of `create-env`, in the shape and with the rules of the bosh CLI.

Sources: bosh-cli, config/deployment_state_service.go, deployment/record.go.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import msgspec

from bosh_interpolate.errors import ManifestError
from rollover import replacing
from rollover.errors import Rejected

_MODE = 0o600
_LIMIT = 4 * 1024 * 1024


class StemcellRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stemcell that was uploaded."""

    id: str
    name: str
    version: str
    api_version: int = 0
    cid: str


class DiskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The persistent disk of the director VM; size in MB."""

    id: str
    cid: str
    size: int
    cloud_properties: dict[str, str] = {}


class ReleaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is deployed."""

    id: str
    name: str
    version: str


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, its fields in the order of the real one; null: never set."""

    director_id: str = ""
    installation_id: str = ""
    current_vm_cid: str = ""
    current_stemcell_id: str = ""
    current_disk_id: str = ""
    current_release_ids: tuple[str, ...] | None = None
    current_manifest_sha: str = ""
    disks: tuple[DiskRecord, ...] | None = None
    stemcells: tuple[StemcellRecord, ...] | None = None
    releases: tuple[ReleaseRecord, ...] | None = None

    def deploys(
        self, sha: str, *, releases: tuple[tuple[str, str], ...], stemcell: tuple[str, str]
    ) -> bool:
        """Say whether exactly this is deployed: nothing is to be done then."""
        current = [each for each in self.stemcells or () if each.id == self.current_stemcell_id]
        return (
            self.current_manifest_sha == sha
            and bool(current)
            and (current[0].name, current[0].version) == stemcell
            and {(each.name, each.version) for each in self.releases or ()} == set(releases)
        )


class StateFile:
    """Keeps the state; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = _load(path)
        self.change(
            director_id=self.now.director_id or new_id(),
            installation_id=self.now.installation_id or new_id(),
        )

    def change(self, **fields: object) -> None:
        """Set these fields."""
        self.now = msgspec.structs.replace(self.now, **fields)
        content = json.dumps(msgspec.to_builtins(self.now), indent=4).encode()
        try:
            replacing.replace(self.path, content, mode=_mode(self.path), durable=True)
        except OSError as error:
            raise Rejected(
                f"`{self.path}`: {error.strerror}",
                system="create-env",
                operation="write the state file",
                hint="check that its directory is writable and has room",
            ) from None

    def clear(self) -> None:
        """Forget what is deployed, before it changes."""
        self.change(current_manifest_sha="", current_release_ids=(), releases=())

    def record(self, sha: str, releases: tuple[tuple[str, str], ...]) -> None:
        """Remember what is deployed now."""
        found = tuple(
            ReleaseRecord(id=new_id(), name=name, version=version) for name, version in releases
        )
        self.change(
            current_manifest_sha=sha,
            releases=found,
            current_release_ids=tuple(each.id for each in found),
        )


def manifest_sha(interpolated: str) -> str:
    """Return what the CLI compares: SHA-512 of the interpolated manifest's text, hexadecimal."""
    return hashlib.sha512(interpolated.encode("utf-8", "surrogateescape")).hexdigest()


def default_path(manifest: Path) -> Path:
    """Return where the CLI keeps the state when it is not told: `bosh.yml` → `bosh-state.json`."""
    return manifest.with_name(f"{manifest.stem}-state.json")


def new_id() -> str:
    """Return a new random UUID."""
    return str(uuid.uuid4())


def _load(path: Path) -> DeploymentState:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LIMIT), type=DeploymentState)
    except FileNotFoundError:
        return DeploymentState()
    except OSError as error:
        raise ManifestError(
            f"Reading deployment state file '{path}'", cause=ManifestError(error.strerror or "")
        ) from None
    except msgspec.MsgspecError as error:
        raise ManifestError(
            f"Unmarshalling deployment state file '{path}'", cause=ManifestError(str(error))
        ) from None


def _mode(path: Path) -> int:
    """Return the mode that the file has: whoever opened it to others wants it so."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return _MODE
