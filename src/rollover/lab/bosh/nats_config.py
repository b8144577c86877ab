"""The configuration of the director VM's NATS server, as the real `nats` job has it.

Source: bosh, jobs/nats/templates: mutual TLS, users by the subject of their certificate, and a
file of users beside it that bosh-nats-sync keeps.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

DIRECTOR_PERMISSIONS = {
    "publish": ["agent.*", "hm.director.alert"],
    "subscribe": ["director.>"],
}
HEALTH_MONITOR_PERMISSIONS: dict[str, list[str]] = {
    "publish": [],
    "subscribe": [
        "hm.agent.heartbeat.*",
        "hm.agent.alert.*",
        "hm.agent.shutdown.*",
        "hm.director.alert",
    ],
}
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
{monitoring}pid_file: {_quoted(places.pid_file)}
log_file: {_quoted(places.log_file)}
logtime: true
max_payload: 1048576
ping_interval: "5s"
ping_max: 2

authorization {{
  timeout: 10
  users: [
    {{user: "{_NEVER}default.director.bosh-internal", permissions: {_json(DIRECTOR_PERMISSIONS)}}}
    {{user: "{_NEVER}default.hm.bosh-internal", permissions: {_json(HEALTH_MONITOR_PERMISSIONS)}}}
  ]
}}

tls {{
  cert_file: {_quoted(places.certificate)}
  key_file: {_quoted(places.private_key)}
  ca_file: {_quoted(places.ca)}
  verify_and_map: true
  timeout: 30
}}

include {_quoted(places.auth)}
""".encode()


def placeholder(director: str, health_monitor: str) -> bytes:
    """Return the file of users before bosh-nats-sync has written it: no agent is in it.

    It is included last, and its list replaces the other one.
    """
    users = [
        {"user": director, "permissions": DIRECTOR_PERMISSIONS},
        {"user": health_monitor, "permissions": HEALTH_MONITOR_PERMISSIONS},
    ]
    return json.dumps({"authorization": {"users": users}}, indent=2).encode()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
