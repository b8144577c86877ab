"""What `create-env` renders for the jobs of the director VM: one JSON file for each."""

from __future__ import annotations

import msgspec


class _Rendered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown fields are refused. All paths are absolute."""


class User(_Rendered, frozen=True, kw_only=True):
    """Who may use the director's API. The file that holds it is private."""

    name: str
    password: str


class Client(_Rendered, frozen=True, kw_only=True):
    """Who may ask the UAA for a token. The file that holds it is private."""

    name: str
    secret: str
    grants: tuple[str, ...]
    """`client_credentials`, `password`, `refresh_token`."""
    scope: tuple[str, ...]
    """What its tokens allow; of those for a person, what that person may do of it."""
    access_seconds: float
    refresh_seconds: float


class Member(_Rendered, frozen=True, kw_only=True):
    """A person that the UAA knows. The file that holds it is private."""

    name: str
    password: str
    groups: tuple[str, ...]


class UaaConfig(_Rendered, frozen=True, kw_only=True):
    """`uaa.json`."""

    url: str
    listen: str
    """`host:port`."""
    certificate: str
    private_key: str
    signing_key: str
    """PEM file of the RSA key that signs tokens."""
    clients: tuple[Client, ...]
    members: tuple[Member, ...]


class Issuer(_Rendered, frozen=True, kw_only=True):
    """Whose tokens the director takes."""

    url: str
    public_key: str
    """PEM."""


class MessageBus(_Rendered, frozen=True, kw_only=True):
    """How a job of the director VM reaches NATS. Files, all PEM."""

    address: str
    """`host:port`."""
    ca: str
    certificate: str
    private_key: str


class AgentCredentials(_Rendered, frozen=True, kw_only=True):
    """What the director makes agents' credentials from: files, all PEM."""

    client_ca_certificate: str
    client_ca_private_key: str
    bundle: str
    """`nats.tls.ca`, as it is handed out."""
    url: str
    """`nats://host:port`, where agents are to connect."""


class Timing(_Rendered, frozen=True, kw_only=True):
    """Waits of the real director, in seconds; a lab in a hurry has shorter ones."""

    rpc_timeout: float = 45.0
    get_state_timeout: float = 45.0
    """The same for `get_state`, tried 3 times."""
    get_task_timeout: float = 45.0
    """The same for `get_task`, tried 5 times: what an agent that restarts meanwhile never hears."""
    get_task_poll: float = 1.0
    agent_wait: float = 600.0
    list_timeout: float = 5.0
    """For `get_state` when VMs are listed; tried 3 times."""
    sync_interval: float = 10.0
    """Between two looks of bosh-nats-sync."""
    nats_reconnect: float = 2.0
    """Between two attempts of the director to connect to NATS."""
    watch_minimum: float = 0.0


class DirectorConfig(_Rendered, frozen=True, kw_only=True):
    """`director.json`."""

    name: str
    uuid: str
    version: str = "283.1.6 (00000000)"
    listen: str
    """`host:port` of the HTTPS API."""
    certificate: str
    private_key: str
    users: tuple[User, ...] = ()
    uaa: Issuer | None = None
    """Then it takes tokens, and no passwords."""
    nats: MessageBus
    agents: AgentCredentials
    auth_file: str
    """Which bosh-nats-sync writes, and nats-server includes."""
    nats_pid_file: str
    nats_subjects: tuple[str, str]
    """Subjects of the director's and the health monitor's certificate, for `auth_file`."""
    database: str
    tasks: str
    """Directory of the outputs of tasks."""
    cloud: str
    """The cloud's socket."""
    trusted_certs: str = ""
    workers: int = 3
    max_threads: int = 32
    short_lived_bootstrap_credentials: bool = True
    health_check: float | None = None
    """Every so many seconds a short-lived deployment comes and goes."""
    shared_keys: int | None = None
    """How many keys all agents share; None: each certificate has its own, as the real ones."""
    ready_keys: str | None = None
    """The file that keeps them for a director that starts again."""
    timing: Timing = msgspec.field(default_factory=Timing)


class HealthMonitorConfig(_Rendered, frozen=True, kw_only=True):
    """`health_monitor.json`."""

    nats: MessageBus
    director: str
    """URL of the director's API."""
    director_ca: str
    """Of the director's API, and of the UAA."""
    user: User
    """Or a client of the UAA."""
    uaa: str | None = None
    """URL of the UAA, where there is one."""
    resurrection: bool = True
    agent_timeout: float = 60.0
    analyze_interval: float = 60.0
    status_file: str
    """Which it writes: agents and when each was heard last."""
