"""The director's manifest: its text with `((variables))`, and what `create-env` reads of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.reading import load
from rollover_lab.bosh.job_config import DirectorTiming

# The manifest of the lab's director, shaped like bosh-deployment's `bosh.yml`.
#
# What ops files for NATS certificates point at has the same paths, names and options there, so
# that those of the documentation apply to both. Releases and stemcell are names only: the lab
# brings its own programs. `lab` holds what only a lab has.


MANIFEST_TEXT = """\
---
name: bosh

releases:
- name: bosh
  version: 283.1.6
  url: lab:bosh/283.1.6
- name: bpm
  version: 1.4.38
  url: lab:bpm/1.4.38

resource_pools:
- name: vms
  network: default
  stemcell:
    url: lab:bosh-openstack-kvm-ubuntu-noble/1.484
  env:
    bosh:
      password: '*'
      mbus:
        cert: ((mbus_bootstrap_ssl))

disk_pools:
- name: disks
  disk_size: 65536

networks:
- name: default
  type: manual
  subnets:
  - range: ((internal_cidr))
    gateway: ((internal_gw))
    static: [((internal_ip))]

instance_groups:
- name: bosh
  instances: 1
  jobs:
  - {name: bpm, release: bpm}
  - {name: nats, release: bosh}
  - {name: director, release: bosh}
  - {name: health_monitor, release: bosh}
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - name: default
    static_ips: [((internal_ip))]
  properties:
    agent:
      mbus: nats://((internal_ip)):((nats_port))
    nats:
      address: ((internal_ip))
      port: ((nats_port))
      user: nats
      password: ((nats_password))
      enable_metrics_endpoint: true
      director_account:
        user: nats
        password: ((nats_sync_password))
        ca_cert: ((director_ssl.ca))
      tls:
        ca: ((nats_server_tls.ca))
        client_ca:
          certificate: ((nats_ca.certificate))
          private_key: ((nats_ca.private_key))
        server:
          certificate: ((nats_server_tls.certificate))
          private_key: ((nats_server_tls.private_key))
        director:
          certificate: ((nats_clients_director_tls.certificate))
          private_key: ((nats_clients_director_tls.private_key))
        health_monitor:
          certificate: ((nats_clients_health_monitor_tls.certificate))
          private_key: ((nats_clients_health_monitor_tls.private_key))
    director:
      address: ((internal_ip))
      port: ((director_port))
      name: ((director_name))
      workers: 4
      enable_dedicated_status_worker: true
      enable_nats_delivered_templates: true
      enable_post_deploy: true
      enable_short_lived_nats_bootstrap_credentials: ((short_lived_bootstrap_credentials))
      ssl:
        key: ((director_ssl.private_key))
        cert: ((director_ssl.certificate))
      user_management:
        provider: local
        local:
          users:
          - name: admin
            password: ((admin_password))
          - name: hm
            password: ((hm_password))
          - name: nats
            password: ((nats_sync_password))
    hm:
      director_account:
        user: hm
        password: ((hm_password))
        ca_cert: ((director_ssl.ca))
      resurrector_enabled: ((resurrector_enabled))
    lab: ((lab))

cloud_provider:
  mbus: https://mbus:((mbus_bootstrap_password))@((internal_ip)):6868
  cert: ((mbus_bootstrap_ssl))
  properties:
    lab:
      directory: ((lab_directory))

variables:
- name: admin_password
  type: password
- name: hm_password
  type: password
- name: mbus_bootstrap_password
  type: password
- name: nats_password
  type: password
- name: nats_sync_password
  type: password
- name: default_ca
  type: certificate
  options:
    is_ca: true
    common_name: ca
- name: mbus_bootstrap_ssl
  type: certificate
  options:
    ca: default_ca
    common_name: ((internal_ip))
    alternative_names: [((internal_ip))]
- name: director_ssl
  type: certificate
  options:
    ca: default_ca
    common_name: ((internal_ip))
    alternative_names: [((internal_ip))]
- name: nats_ca
  type: certificate
  options:
    is_ca: true
    common_name: default.nats-ca.bosh-internal
- name: nats_server_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.nats.bosh-internal
    alternative_names: [((internal_ip))]
    extended_key_usage:
    - server_auth
- name: nats_clients_director_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.director.bosh-internal
    extended_key_usage:
    - client_auth
- name: nats_clients_health_monitor_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.hm.bosh-internal
    extended_key_usage:
    - client_auth
"""
"""The text of `bosh.yml`."""

UAA_OPS_TEXT = """\
- type: replace
  path: /releases/-
  value:
    name: uaa
    version: 78.5.0
    url: lab:uaa/78.5.0
- type: replace
  path: /instance_groups/name=bosh/jobs/-
  value: {name: uaa, release: uaa}
- type: replace
  path: /instance_groups/name=bosh/properties/uaa?
  value:
    url: https://((internal_ip)):((uaa_port))
    sslCertificate: ((uaa_ssl.certificate))
    sslPrivateKey: ((uaa_ssl.private_key))
    jwt:
      policy:
        active_key_id: key-1
        keys:
          key-1:
            signingKey: ((uaa_jwt_signing_key.private_key))
    scim:
      users:
      - name: admin
        password: ((admin_password))
        groups: [bosh.admin]
    clients:
      bosh_cli:
        override: true
        authorized-grant-types: password,refresh_token
        scope: openid,bosh.admin,bosh.read
        authorities: uaa.none
        access-token-validity: ((uaa_token_seconds))
        refresh-token-validity: 86400
        secret: ""
      admin:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((admin_password))
      hm:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((hm_password))
      nats:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((nats_sync_password))
- type: replace
  path: /instance_groups/name=bosh/properties/director/user_management
  value:
    provider: uaa
    uaa:
      url: https://((internal_ip)):((uaa_port))
      public_key: ((uaa_jwt_signing_key.public_key))
- type: replace
  path: /instance_groups/name=bosh/properties/hm/director_account
  value:
    client_id: hm
    client_secret: ((hm_password))
    ca_cert: ((director_ssl.ca))
- type: replace
  path: /instance_groups/name=bosh/properties/nats/director_account
  value:
    client_id: nats
    client_secret: ((nats_sync_password))
    ca_cert: ((director_ssl.ca))
- type: replace
  path: /variables/-
  value:
    name: uaa_jwt_signing_key
    type: rsa
- type: replace
  path: /variables/-
  value:
    name: uaa_ssl
    type: certificate
    options:
      ca: default_ca
      common_name: ((internal_ip))
      alternative_names: [((internal_ip))]
"""
"""The text of `uaa.yml`, an ops file shaped like bosh-deployment's."""


LAB = "lab:"
"""Scheme of releases and stemcells that are names only: `lab:NAME/VERSION`."""


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown fields are left alone: a manifest holds more than the lab needs."""


class CertificateProperties(_Part, frozen=True, kw_only=True):
    """A certificate with its private key, both PEM."""

    certificate: str
    private_key: str

    def __repr__(self) -> str:
        return "CertificateProperties(…)"


class NatsTlsProperties(_Part, frozen=True, kw_only=True):
    """`nats.tls`."""

    ca: str
    client_ca: CertificateProperties
    server: CertificateProperties
    director: CertificateProperties
    health_monitor: CertificateProperties


class NatsProperties(_Part, frozen=True, kw_only=True):
    """`nats`."""

    address: str
    port: int = 4222
    enable_metrics_endpoint: bool = False
    tls: NatsTlsProperties


class AgentProperties(_Part, frozen=True, kw_only=True):
    """`agent`."""

    mbus: str


class DirectorAccountProperties(_Part, frozen=True, kw_only=True):
    """A user of the director."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"DirectorAccountProperties({self.name!r}, …)"


class LocalUsers(_Part, frozen=True, kw_only=True):
    """`director.user_management.local`."""

    users: tuple[DirectorAccountProperties, ...] = ()


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


class DirectorJobProperties(_Part, frozen=True, kw_only=True):
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


class HealthMonitorProperties(_Part, frozen=True, kw_only=True):
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


class UaaProperties(_Part, frozen=True, kw_only=True):
    """`uaa`: as far as the lab's goes along with the real job."""

    url: str
    certificate: str = msgspec.field(name="sslCertificate")
    private_key: str = msgspec.field(name="sslPrivateKey")
    clients: dict[str, UaaClient]
    scim: Scim = Scim()
    jwt: Jwt

    def __repr__(self) -> str:
        return f"UaaProperties({self.url!r}, …)"


class LabProperties(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`lab`: what only a lab has. Durations in seconds."""

    monitor_port: int = 8222
    """Of NATS; the real one is fixed."""
    timing: DirectorTiming = msgspec.field(default_factory=DirectorTiming)
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


class JobProperties(_Part, frozen=True, kw_only=True):
    """The properties of the director VM."""

    agent: AgentProperties
    nats: NatsProperties
    director: DirectorJobProperties
    hm: HealthMonitorProperties
    uaa: UaaProperties | None = None
    lab: LabProperties = msgspec.field(default_factory=LabProperties)


class ReleaseReference(_Part, frozen=True, kw_only=True):
    """A release: `lab:NAME/VERSION` or anything else."""

    name: str
    version: str = ""


class DirectorInstanceGroup(_Part, frozen=True, kw_only=True):
    """The one instance group."""

    name: str
    instances: int
    properties: JobProperties


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
    releases: tuple[ReleaseReference, ...]
    instance_groups: tuple[DirectorInstanceGroup, ...]
    resource_pools: tuple[ResourcePool, ...]
    disk_pools: tuple[DiskPool, ...]
    cloud_provider: CloudProvider

    @property
    def group(self) -> DirectorInstanceGroup:
        """The one instance group."""
        return self.instance_groups[0]

    @property
    def stemcell(self) -> tuple[str, str]:
        """Name and version."""
        name, _, version = self.resource_pools[0].stemcell.url.removeprefix(LAB).rpartition("/")
        return name, version


def read_director_manifest(text: str, *, path: str) -> DirectorManifest:
    """Return the manifest of that text; `ManifestError` when something is missing."""
    try:
        manifest = msgspec.convert(load(text.encode("utf-8", "surrogateescape")), DirectorManifest)
    except msgspec.ValidationError as error:
        raise ManifestError(
            f"Parsing deployment manifest '{path}'", cause=ManifestError(str(error))
        ) from None
    for present, purpose in (
        (len(manifest.instance_groups) == 1, "There must only be one job"),
        (
            all(group.instances == 1 for group in manifest.instance_groups),
            "It must have 1 instance",
        ),
        (bool(manifest.resource_pools), "There must be a resource pool"),
        (bool(manifest.disk_pools), "There must be a disk pool"),
    ):
        if not present:
            raise ManifestError("Validating deployment manifest", cause=ManifestError(purpose))
    return manifest
