"""The configuration files of the director VM's jobs, that of NATS as BOSH writes it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class _Rendered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown fields are refused. All paths are absolute."""


class DirectorUser(_Rendered, frozen=True, kw_only=True):
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


class UaaUser(_Rendered, frozen=True, kw_only=True):
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
    members: tuple[UaaUser, ...]


class TokenIssuer(_Rendered, frozen=True, kw_only=True):
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


class DirectorTiming(_Rendered, frozen=True, kw_only=True):
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
    users: tuple[DirectorUser, ...] = ()
    uaa: TokenIssuer | None = None
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
    timing: DirectorTiming = msgspec.field(default_factory=DirectorTiming)


class HealthMonitorConfig(_Rendered, frozen=True, kw_only=True):
    """`health_monitor.json`."""

    nats: MessageBus
    director: str
    """URL of the director's API."""
    director_ca: str
    """Of the director's API, and of the UAA."""
    user: DirectorUser
    """Or a client of the UAA."""
    uaa: str | None = None
    """URL of the UAA, where there is one."""
    resurrection: bool = True
    agent_timeout: float = 60.0
    analyze_interval: float = 60.0
    status_file: str
    """Which it writes: agents and when each was heard last."""


# The configuration of the director VM's NATS server, as the real `nats` job has it.
#
# Source: bosh, jobs/nats/templates: mutual TLS, users by the subject of their certificate, and a
# file of users beside it that bosh-nats-sync keeps.


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class NatsUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user: the subject of a certificate."""

    user: str
    permissions: Permissions


DIRECTOR_PERMISSIONS = Permissions(
    publish=("agent.*", "hm.director.alert"), subscribe=("director.>",)
)
HEALTH_MONITOR_PERMISSIONS = Permissions(
    publish=(),
    subscribe=(
        "hm.agent.heartbeat.*",
        "hm.agent.alert.*",
        "hm.agent.shutdown.*",
        "hm.director.alert",
    ),
)
_NEVER = "C=USA, O=Cloud Foundry, CN="
"""How the real job writes the two: `create-env` makes certificates of `C=US`, which never match."""


class NatsConfigPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where NATS listens, and its files, which are absolute paths; `auth` lies beside the file."""

    host: str
    port: int
    monitor_port: int | None
    """None: no monitoring."""
    pid_file: str
    log_file: str
    auth: str
    certificate: str
    private_key: str
    ca: str


def nats_config_text(places: NatsConfigPaths) -> bytes:
    """Return `nats.cfg`."""
    monitoring = (
        "" if places.monitor_port is None else f'http: "{places.host}:{places.monitor_port}"\n'
    )
    return f"""\
net: "{places.host}"
port: {places.port}
{monitoring}pid_file: {_json(places.pid_file)}
log_file: {_json(places.log_file)}
logtime: true
max_payload: 1048576
ping_interval: "5s"
ping_max: 2

authorization {{
  timeout: 10
  users: [
    {_user("default.director.bosh-internal", DIRECTOR_PERMISSIONS)}
    {_user("default.hm.bosh-internal", HEALTH_MONITOR_PERMISSIONS)}
  ]
}}

tls {{
  cert_file: {_json(places.certificate)}
  key_file: {_json(places.private_key)}
  ca_file: {_json(places.ca)}
  verify_and_map: true
  timeout: 30
}}

include {_json(places.auth)}
""".encode()


def auth_placeholder(director: str, health_monitor: str) -> bytes:
    """Return the file of users before bosh-nats-sync has written it: no agent is in it.

    It is included last, and its list replaces the other one.
    """
    return auth_file(
        (
            NatsUser(user=director, permissions=DIRECTOR_PERMISSIONS),
            NatsUser(user=health_monitor, permissions=HEALTH_MONITOR_PERMISSIONS),
        )
    )


def auth_file(users: Iterable[NatsUser]) -> bytes:
    """Return the file of users, `auth.json`."""
    return msgspec.json.encode({"authorization": {"users": tuple(users)}})


def _user(name: str, permissions: Permissions) -> str:
    return _json(NatsUser(user=f"{_NEVER}{name}", permissions=permissions))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
