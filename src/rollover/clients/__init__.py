"""NATS connections that take up new certificates while they run, without losing messages.

::

    from pathlib import Path

    import rollover.clients

    files = rollover.clients.MaterialFiles.in_directory(Path("/etc/orders/tls"))
    async with rollover.clients.connect(
        ["tls://nats-1:4222", "tls://nats-2:4222"], material=files, name="orders"
    ) as nc:
        await nc.subscribe("orders.>", cb=on_order)
        await nc.publish("orders.new", b"...")
"""

from rollover.clients.backoff import Backoff
from rollover.clients.errors import (
    ConnectError,
    MaterialError,
    OptionError,
    RotatingClientError,
    ServerRefused,
    ServerSilent,
    ServerUnreachable,
    StatusFileError,
)
from rollover.clients.events import Event, EventKind
from rollover.clients.files import MaterialFiles
from rollover.clients.jetstream import JetStream, PullConsumer
from rollover.clients.message import Message
from rollover.clients.nats import Connection, connect, open_connection
from rollover.clients.rotation import Pace
from rollover.clients.status_file import ConnectionStatus
from rollover.clients.subscription import Duplicates, Subscription

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
