"""The configuration of the director VM's NATS server, as the real `nats` job has it.

Source: bosh, jobs/nats/templates: mutual TLS, users by the subject of their certificate, and a
file of users beside it that bosh-nats-sync keeps.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class NatsUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user: the subject of a certificate."""

    user: str
    permissions: Permissions


DIRECTOR = Permissions(publish=("agent.*", "hm.director.alert"), subscribe=("director.>",))
HEALTH_MONITOR = Permissions(
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


class NatsPlaces(msgspec.Struct, frozen=True, kw_only=True):
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


def config(places: NatsPlaces) -> bytes:
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
    {_user("default.director.bosh-internal", DIRECTOR)}
    {_user("default.hm.bosh-internal", HEALTH_MONITOR)}
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


def placeholder(director: str, health_monitor: str) -> bytes:
    """Return the file of users before bosh-nats-sync has written it: no agent is in it.

    It is included last, and its list replaces the other one.
    """
    return user_file(
        (
            NatsUser(user=director, permissions=DIRECTOR),
            NatsUser(user=health_monitor, permissions=HEALTH_MONITOR),
        )
    )


def user_file(users: Iterable[NatsUser]) -> bytes:
    """Return the file of users, `auth.json`."""
    return msgspec.json.encode({"authorization": {"users": tuple(users)}})


def _user(name: str, permissions: Permissions) -> str:
    return _json(NatsUser(user=f"{_NEVER}{name}", permissions=permissions))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
