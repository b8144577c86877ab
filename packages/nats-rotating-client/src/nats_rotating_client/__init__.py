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

from nats_rotating_client.backoff import Backoff
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
from nats_rotating_client.events import Event, EventKind
from nats_rotating_client.files import MaterialFiles
from nats_rotating_client.jetstream import JetStream, PullConsumer
from nats_rotating_client.message import Message
from nats_rotating_client.nats import Connection, connect, open_connection
from nats_rotating_client.rotation import Pace
from nats_rotating_client.status_file import ConnectionStatus
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
    "Message",
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
