"""What the lab's `create-env` takes out of an interpolated director manifest."""

from __future__ import annotations

from typing import Literal

import msgspec

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.reading import load
from rollover_lab.bosh.rendered import Timing

LAB = "lab:"
"""Scheme of releases and stemcells that are names only: `lab:NAME/VERSION`."""


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown fields are left alone: a manifest holds more than the lab needs."""


class Pair(_Part, frozen=True, kw_only=True):
    """A certificate with its private key, both PEM."""

    certificate: str
    private_key: str

    def __repr__(self) -> str:
        return "Pair(…)"


class NatsTls(_Part, frozen=True, kw_only=True):
    """`nats.tls`."""

    ca: str
    client_ca: Pair
    server: Pair
    director: Pair
    health_monitor: Pair


class Nats(_Part, frozen=True, kw_only=True):
    """`nats`."""

    address: str
    port: int = 4222
    enable_metrics_endpoint: bool = False
    tls: NatsTls


class Agent(_Part, frozen=True, kw_only=True):
    """`agent`."""

    mbus: str


class Account(_Part, frozen=True, kw_only=True):
    """A user of the director."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.name!r}, …)"


class LocalUsers(_Part, frozen=True, kw_only=True):
    """`director.user_management.local`."""

    users: tuple[Account, ...] = ()


class UaaTrust(_Part, frozen=True, kw_only=True):
    """`director.user_management.uaa`."""

    url: str
    public_key: str


class UserManagement(_Part, frozen=True, kw_only=True):
    """`director.user_management`: passwords of its own, or tokens of a UAA."""

    provider: Literal["local", "uaa"] = "local"
    local: LocalUsers = LocalUsers()
    uaa: UaaTrust | None = None

    @property
    def issuer(self) -> UaaTrust | None:
        """Whose tokens count; None: passwords do."""
        return self.uaa if self.provider == "uaa" else None


class Ssl(_Part, frozen=True, kw_only=True):
    """`director.ssl`."""

    cert: str
    key: str

    def __repr__(self) -> str:
        return "Ssl(…)"


class Director(_Part, frozen=True, kw_only=True):
    """`director`. Defaults are those of the real release."""

    name: str
    address: str
    port: int = 25555
    workers: int = 3
    max_threads: int = 32
    ssl: Ssl
    user_management: UserManagement
    trusted_certs: str = ""
    enable_short_lived_nats_bootstrap_credentials: bool = True


class DirectorAccount(_Part, frozen=True, kw_only=True):
    """How a job of the director VM talks to the director: as a user, or as a client of the UAA."""

    user: str = ""
    password: str = ""
    client_id: str = ""
    client_secret: str = ""
    ca_cert: str

    def __repr__(self) -> str:
        return f"DirectorAccount({self.user or self.client_id!r}, …)"


class HealthMonitor(_Part, frozen=True, kw_only=True):
    """`hm`."""

    director_account: DirectorAccount
    resurrector_enabled: bool = True


class UaaClient(_Part, frozen=True, kw_only=True):
    """One of `uaa.clients`. Names as the real job has them; lists are texts with commas."""

    secret: str = ""
    grants: str = msgspec.field(name="authorized-grant-types")
    scope: str = ""
    """What people may be given through it."""
    authorities: str = "uaa.none"
    """What it may do itself."""
    access_seconds: float = msgspec.field(name="access-token-validity", default=43200.0)
    refresh_seconds: float = msgspec.field(name="refresh-token-validity", default=2592000.0)

    def __repr__(self) -> str:
        return "UaaClient(…)"


class ScimUser(_Part, frozen=True, kw_only=True):
    """One of `uaa.scim.users`."""

    name: str
    password: str
    groups: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ScimUser({self.name!r}, …)"


class Scim(_Part, frozen=True, kw_only=True):
    """`uaa.scim`."""

    users: tuple[ScimUser, ...] = ()


class JwtKey(_Part, frozen=True, kw_only=True):
    """One of `uaa.jwt.policy.keys`."""

    signing_key: str = msgspec.field(name="signingKey")

    def __repr__(self) -> str:
        return "JwtKey(…)"


class JwtPolicy(_Part, frozen=True, kw_only=True):
    """`uaa.jwt.policy`."""

    active_key_id: str
    keys: dict[str, JwtKey]


class Jwt(_Part, frozen=True, kw_only=True):
    """`uaa.jwt`."""

    policy: JwtPolicy


class Uaa(_Part, frozen=True, kw_only=True):
    """`uaa`: as far as the lab's goes along with the real job."""

    url: str
    certificate: str = msgspec.field(name="sslCertificate")
    private_key: str = msgspec.field(name="sslPrivateKey")
    clients: dict[str, UaaClient]
    scim: Scim = Scim()
    jwt: Jwt

    def __repr__(self) -> str:
        return f"Uaa({self.url!r}, …)"


class LabProperties(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`lab`: what only a lab has. Durations in seconds."""

    monitor_port: int = 8222
    """Of NATS; the real one is fixed."""
    timing: Timing = msgspec.field(default_factory=Timing)
    health_check: float | None = None
    shared_keys: int | None = None
    """How many keys all agents share; None: each certificate has its own."""
    ready_keys: str | None = None
    """The file that keeps them for a director that starts again."""
    agent_timeout: float = 60.0
    """After which the health monitor takes a silent agent for lost."""
    analyze_interval: float = 60.0
    start_seconds: float = 60.0
    """How long the jobs of the director VM may take to run."""


class Properties(_Part, frozen=True, kw_only=True):
    """The properties of the director VM."""

    agent: Agent
    nats: Nats
    director: Director
    hm: HealthMonitor
    uaa: Uaa | None = None
    lab: LabProperties = msgspec.field(default_factory=LabProperties)


class Named(_Part, frozen=True, kw_only=True):
    """A release: `lab:NAME/VERSION` or anything else."""

    name: str
    version: str = ""


class InstanceGroup(_Part, frozen=True, kw_only=True):
    """The one instance group."""

    name: str
    instances: int
    properties: Properties


class Artifact(_Part, frozen=True, kw_only=True):
    """The stemcell of the VM."""

    url: str


class ResourcePool(_Part, frozen=True, kw_only=True):
    """What the VM is made of."""

    stemcell: Artifact


class DiskPool(_Part, frozen=True, kw_only=True):
    """The persistent disk, in MB."""

    disk_size: int


class CloudDirectory(_Part, frozen=True, kw_only=True):
    """Where the lab is."""

    directory: str


class CloudProperties(_Part, frozen=True, kw_only=True):
    """What the lab's infrastructure needs to know."""

    lab: CloudDirectory


class CloudProvider(_Part, frozen=True, kw_only=True):
    """Which infrastructure the VM is to be made on."""

    properties: CloudProperties


class DirectorManifest(_Part, frozen=True, kw_only=True):
    """The whole manifest."""

    name: str
    releases: tuple[Named, ...]
    instance_groups: tuple[InstanceGroup, ...]
    resource_pools: tuple[ResourcePool, ...]
    disk_pools: tuple[DiskPool, ...]
    cloud_provider: CloudProvider

    @property
    def group(self) -> InstanceGroup:
        """The one instance group."""
        return self.instance_groups[0]

    @property
    def stemcell(self) -> tuple[str, str]:
        """Name and version."""
        name, _, version = self.resource_pools[0].stemcell.url.removeprefix(LAB).rpartition("/")
        return name, version


def read(text: str, *, path: str) -> DirectorManifest:
    """Return the manifest of that text; `ManifestError` when something is missing."""
    try:
        manifest = msgspec.convert(load(text.encode("utf-8", "surrogateescape")), DirectorManifest)
    except msgspec.ValidationError as error:
        raise ManifestError(
            f"Parsing deployment manifest '{path}'", cause=ManifestError(str(error))
        ) from None
    for present, purpose in (
        (len(manifest.instance_groups) == 1, "There must only be one job"),
        (all(each.instances == 1 for each in manifest.instance_groups), "It must have 1 instance"),
        (bool(manifest.resource_pools), "There must be a resource pool"),
        (bool(manifest.disk_pools), "There must be a disk pool"),
    ):
        if not present:
            raise ManifestError("Validating deployment manifest", cause=ManifestError(purpose))
    return manifest
