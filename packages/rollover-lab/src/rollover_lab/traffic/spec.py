"""What the traffic process is told to do: servers, clients and their roles, and where to report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.errors import SpecError

MAX_BYTES = 16 * 1024 * 1024


class ClientRole(StrEnum):
    """What a client does."""

    PUBLISHER = "publisher"
    """Publishes numbered core messages."""
    SUBSCRIBER = "subscriber"
    """Counts the messages of every publisher."""
    REQUESTER = "requester"
    """Sends requests, one after the other."""
    RESPONDER = "responder"
    """Answers requests, as a member of one queue group."""
    JS_PUBLISHER = "js-publisher"
    """Publishes numbered messages to the stream, each until it is acknowledged."""
    JS_CONSUMER = "js-consumer"
    """Counts the messages of the stream through a durable pull consumer of its own."""
    MQTT_PUBLISHER = "mqtt-publisher"
    """Publishes numbered messages through MQTT, each until it is acknowledged (QoS 1)."""
    MQTT_SUBSCRIBER = "mqtt-subscriber"
    """Counts the messages of every MQTT publisher, in a session that outlives connections."""


SENDERS = frozenset(
    {ClientRole.PUBLISHER, ClientRole.REQUESTER, ClientRole.JS_PUBLISHER, ClientRole.MQTT_PUBLISHER}
)
MQTT = frozenset({ClientRole.MQTT_PUBLISHER, ClientRole.MQTT_SUBSCRIBER})


class ClientProtocol(StrEnum):
    """Which of a server's ports a client comes through, and in which protocol."""

    NATS = "nats"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"


class ClientSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One client: its name, its certificates, and what it does how often."""

    name: str
    role: ClientRole
    certificate: str
    key: str
    ca: str
    servers: tuple[str, ...] = ()
    """Those that it connects to; empty: all of the traffic. `tls://`, `wss://` or `mqtts://`."""
    rate_per_second: float = 15.0
    """For the roles that send."""
    rotating: bool = True
    """Takes up new certificates while it runs. False: a nats-py client that reads its files again
    only when it has lost its connection."""
    status_file: str = ""
    """Where a rotating client says what it presents and trusts; empty for nowhere."""


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of the traffic."""

    version: int = 1
    servers: tuple[str, ...]
    clients: tuple[ClientSpec, ...]
    report: str
    """The file that gets the snapshots and the final report."""
    subject: str = "lab.numbers"
    """Every subject of the traffic begins with this."""
    stream: str = "NUMBERS"
    replicas: int = 3
    duration_seconds: float | None = None
    """None: until SIGTERM or SIGINT."""
    snapshot_seconds: float = 0.25
    start_seconds: float = 30.0
    """How long the servers may take to accept every client and to make the stream."""
    finish_seconds: float = 5.0
    """How long the last core messages may take once nothing more is sent."""
    stream_finish_seconds: float = 20.0
    """The same for those of the stream: JetStream takes up to 9 s to elect another leader."""
    poll_seconds: float = 0.5
    """Between two looks of a rotating client at its files."""
    overlap_seconds: float = 0.3
    """How long both connections of a rotating client deliver."""
    ends_with_parent: bool = False
    """Stop, as at SIGTERM, when the process that started this one is gone."""


class CastClient(NamedTuple):
    """One client of a cast: who it is, before it has certificates."""

    name: str
    role: ClientRole
    rate_per_second: float = 0.0
    cluster: str = ""
    """To whose servers it connects; empty: to any."""
    port: ClientProtocol = ClientProtocol.NATS


def read(path: Path) -> TrafficSpec:
    """Return the spec in the JSON file at `path`; `SpecError` with place when it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise SpecError(f"cannot read the spec: {error.strerror}", place=str(path)) from error
    try:
        spec = msgspec.json.decode(data, type=TrafficSpec)
    except msgspec.MsgspecError as error:
        raise SpecError(f"not a traffic spec: {error}", place=str(path)) from error
    for client in spec.clients:
        if client.role in SENDERS and client.rate_per_second <= 0:
            raise SpecError("a sender needs a rate above 0", place=str(path), field=client.name)
    return spec
