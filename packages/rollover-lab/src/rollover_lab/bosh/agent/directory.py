"""The files of an agent: the settings it was given, the spec it applied, and where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from rollover_lab import machine

T = TypeVar("T")


class CertKeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials for the message bus, PEM. Taken as they come: nothing checks them."""

    ca: str = ""
    certificate: str = ""
    private_key: str = ""

    def __repr__(self) -> str:
        return "CertKeyPair(***)"


class MbusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the message bus; `urls` None is not the same as none of them."""

    cert: CertKeyPair = CertKeyPair()
    urls: tuple[str, ...] | None = None


_NO_MBUS = MbusSettings()


class DiskAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """The name that jobs know a persistent disk by."""

    name: str
    cid: str


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of `update_settings`, and the file in which all of them are merged."""

    blobstores: tuple[object, ...] | None = None
    disk_associations: tuple[DiskAssociation, ...] | None = None
    mbus: MbusSettings | None = None
    trusted_certs: str | None = None

    def merged(self, new: UpdateSettings) -> tuple[UpdateSettings, bool]:
        """Return these settings with the new ones laid over, and whether a restart is needed.

        Trusted certificates and disk associations are always those of `new`, even when it has
        none; the message bus and blobstores only when it has some and they differ
        (bosh-agent, settings/update_settings.go).
        """
        known, wanted = self.mbus or _NO_MBUS, new.mbus or _NO_MBUS
        bus_changed = wanted not in (known, _NO_MBUS)
        blobs_changed = new.blobstores is not None and new.blobstores != self.blobstores
        together = UpdateSettings(
            blobstores=new.blobstores if blobs_changed else self.blobstores,
            disk_associations=new.disk_associations,
            mbus=wanted if bus_changed else known,
            trusted_certs=new.trusted_certs or "",
        )
        return together, bus_changed or blobs_changed


class BoshEnv(msgspec.Struct, frozen=True, kw_only=True):
    """`env.bosh` of the settings."""

    mbus: MbusSettings = MbusSettings()


class EnvSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`env` of the settings."""

    bosh: BoshEnv = BoshEnv()


class DisksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`disks` of the settings: the persistent ones by their cid."""

    persistent: dict[str, DiskSettings] = {}


class DiskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One persistent disk; in the lab its `path` is a directory."""

    id: str = ""
    path: str = ""


class VmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`vm` of the settings."""

    name: str = ""


class LabAgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`settings.json`, as far as the agent acts on it."""

    agent_id: str
    mbus: str = ""
    env: EnvSettings = EnvSettings()
    disks: DisksSettings = DisksSettings()
    networks: dict[str, object] = {}
    vm: VmSettings = VmSettings()


class AgentInput(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent was told, from both files."""

    settings: LabAgentSettings
    update: UpdateSettings = UpdateSettings()

    @property
    def credentials(self) -> CertKeyPair:
        """Those of the last update, if it has a CA; else those that the VM was born with."""
        updated = (self.update.mbus or _NO_MBUS).cert
        return updated if updated.ca else self.settings.env.bosh.mbus.cert

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the message bus is."""
        updated, initial = self.update.mbus or _NO_MBUS, self.settings.env.bosh.mbus
        return updated.urls or initial.urls or ((self.settings.mbus,) if self.settings.mbus else ())


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One job of an instance group."""

    name: str = ""
    version: str = ""
    sha1: str = ""
    blobstore_id: str = ""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`job` of the spec."""

    name: str | None = None
    release: str | None = ""
    template: str | None = ""
    version: str | None = ""
    templates: tuple[Template, ...] | None = None


class ApplySpec(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` brings, and `get_state` gives back word for word, acted on or not."""

    properties: object = msgspec.field(
        default_factory=lambda: {"logging": {"max_log_file_size": ""}}
    )
    job: JobSpec = JobSpec()
    packages: dict[str, object] = {}
    configuration_hash: str = ""
    networks: dict[str, object] = {}
    resource_pool: object = msgspec.field(default_factory=dict)
    deployment: str = ""
    name: str = ""
    index: int | None = None
    id: str = ""
    az: str | None = ""
    persistent_disk: int | None = 0
    rendered_templates_archive: object = None


class UnreadableFile(Exception):
    """A file of the agent is missing or damaged; the text holds nothing of its content."""


class AgentDirectory(NamedTuple):
    """The directory of one agent."""

    root: Path

    @property
    def settings(self) -> Path:
        """Written by the cloud, read at each start."""
        return self.root / "settings.json"

    @property
    def update_settings(self) -> Path:
        """What `update_settings` brought."""
        return self.root / "update_settings.json"

    @property
    def tasks(self) -> Path:
        """Tasks whose results must be known after a restart."""
        return self.root / "tasks.json"

    @property
    def spec(self) -> Path:
        """What was applied last."""
        return self.root / "spec.json"

    @property
    def jobs(self) -> Path:
        """What monit is told: whether jobs are stopped or failing."""
        return self.root / "jobs.json"

    @property
    def log(self) -> Path:
        """Starts, ends and connections; never a message."""
        return self.root / "agent.log"

    @property
    def store(self) -> Path:
        """Where the persistent disk is mounted: a symbolic link."""
        return self.root / "store"

    @property
    def store_migration(self) -> Path:
        """Where a second disk is mounted, for `migrate_disk`."""
        return self.root / "store_migration_target"

    def told(self) -> AgentInput:
        """Read both files of settings; `UnreadableFile`: the agent cannot start with them."""
        update = UpdateSettings()
        if self.update_settings.exists():
            update = read_json(self.update_settings, UpdateSettings)
        return AgentInput(settings=read_json(self.settings, LabAgentSettings), update=update)

    def save_update(self, update: UpdateSettings) -> None:
        """Write `update_settings.json` as the real agent does: truncated, then written.

        One that dies in between never starts again.
        """
        descriptor = os.open(
            self.update_settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, machine.PRIVATE_FILE
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(update))


def read_json(path: Path, kind: type[T]) -> T:
    """Return the content of a JSON file; raise `UnreadableFile`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path.name}: {type(error).__name__}") from None


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file."""
    machine.write_private(path, msgspec.json.encode(content))
