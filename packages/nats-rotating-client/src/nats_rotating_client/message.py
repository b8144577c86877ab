"""The message that a subscription hands over: nats-py's, and whether it is a copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from nats.aio.client import Client
from nats.aio.msg import Msg


@dataclass
class Message(Msg):
    """A NATS message. `respond` and the acknowledgements go over the connection of that moment.

    `duplicate` is true when the same content was already handed over by the connection that this
    one replaced. It is exact for JetStream and for every message with an id or a sequence in it;
    of two messages that are equal byte for byte it may take the second for a copy.
    """

    duplicate: bool = False


class Answers(Protocol):
    """What a message publishes its answers and acknowledgements through."""

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish a message."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float = 0.5,  # noqa: ASYNC109  - nats-py's name
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Send a request and return the answer."""


def answering(received: Msg, answers: Answers) -> Message:
    """Return `received` so that its answers go through `answers`, not the link it came over."""
    if not isinstance(received, Message):
        raise TypeError(f"expected a `Message` from the link, got `{type(received).__name__}`")
    # nats-py uses nothing but `publish` and `request` of it.
    received._client = cast("Client", answers)  # noqa: SLF001  - there is no public way to set it
    return received
