"""NATS connections that take up new certificates while they run, without losing messages.

::

    from pathlib import Path

    import nats_rotating_client

    files = nats_rotating_client.MaterialFiles.in_directory(Path("/etc/orders/tls"))
    async with nats_rotating_client.connect(
        ["tls://nats-1:4222", "tls://nats-2:4222"], material=files, name="orders"
    ) as nc:
        await nc.subscribe("orders.>", cb=on_order)
        await nc.publish("orders.new", b"...")
"""

from nats_rotating_client.connection import Connection, connect, open_connection
from nats_rotating_client.errors import (
    ConnectError,
    MaterialError,
    OptionError,
    RotatingClientError,
    ServerRefused,
    ServerSilent,
    ServerUnreachable,
    StatusFileError,
)
from nats_rotating_client.jetstream import JetStream, PullConsumer
from nats_rotating_client.link import NatsMessage
from nats_rotating_client.material import MaterialFiles
from nats_rotating_client.rotation import Backoff, Pace
from nats_rotating_client.status import ConnectionStatus, Event, EventKind
from nats_rotating_client.subscription import Duplicates, Subscription

__all__ = [
    "Backoff",
    "ConnectError",
    "Connection",
    "ConnectionStatus",
    "Duplicates",
    "Event",
    "EventKind",
    "JetStream",
    "MaterialError",
    "MaterialFiles",
    "NatsMessage",
    "OptionError",
    "Pace",
    "PullConsumer",
    "RotatingClientError",
    "ServerRefused",
    "ServerSilent",
    "ServerUnreachable",
    "StatusFileError",
    "Subscription",
    "connect",
    "open_connection",
]
