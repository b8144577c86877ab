"""What an agent is told: by the cloud when its VM is made, and later by `update_settings`."""

from __future__ import annotations

import msgspec


class CertKeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials for the message bus, PEM. Taken as they come: nothing checks them."""

    ca: str = ""
    certificate: str = ""
    private_key: str = ""

    def __repr__(self) -> str:
        return "CertKeyPair(***)"


class Mbus(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the message bus; `urls` None is not the same as none of them."""

    cert: CertKeyPair = CertKeyPair()
    urls: tuple[str, ...] | None = None


_NO_MBUS = Mbus()


class DiskAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """The name that jobs know a persistent disk by."""

    name: str
    cid: str


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of `update_settings`, and the file in which all of them are merged."""

    blobstores: tuple[object, ...] | None = None
    disk_associations: tuple[DiskAssociation, ...] | None = None
    mbus: Mbus | None = None
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

    mbus: Mbus = Mbus()


class Env(msgspec.Struct, frozen=True, kw_only=True):
    """`env` of the settings."""

    bosh: BoshEnv = BoshEnv()


class Disks(msgspec.Struct, frozen=True, kw_only=True):
    """`disks` of the settings: the persistent ones by their cid."""

    persistent: dict[str, DiskSettings] = {}


class DiskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One persistent disk; in the lab its `path` is a directory."""

    id: str = ""
    path: str = ""


class Vm(msgspec.Struct, frozen=True, kw_only=True):
    """`vm` of the settings."""

    name: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`settings.json`, as far as the agent acts on it."""

    agent_id: str
    mbus: str = ""
    env: Env = Env()
    disks: Disks = Disks()
    networks: dict[str, object] = {}
    vm: Vm = Vm()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent was told, from both files."""

    settings: Settings
    update: UpdateSettings = UpdateSettings()

    @property
    def credentials(self) -> CertKeyPair:
        """Those of the last update, if it has a CA; else those that the VM was born with."""
        updated = (self.update.mbus or _NO_MBUS).cert
        return updated if updated.ca else self.settings.env.bosh.mbus.cert

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the message bus is."""
        updated, born = self.update.mbus or _NO_MBUS, self.settings.env.bosh.mbus
        return updated.urls or born.urls or ((self.settings.mbus,) if self.settings.mbus else ())
