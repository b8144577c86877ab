"""Requests and replies of the agent protocol: JSON, with the subject for the reply inside."""

from __future__ import annotations

from typing import TypeVar

import msgspec

REPLY_LIMIT = 1024 * 1024
"""Octets; a longer reply is replaced by an exception (bosh-agent, mbus/nats_handler.go)."""
_TOO_LONG = "Response exceeded maximum allowed length"

T = TypeVar("T")


class ActionFailed(Exception):
    """An action cannot be done; the text goes to whoever asked."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the director sends to `agent.<id>`."""

    method: str = ""
    protocol: int = 0
    reply_to: str = ""
    arguments: tuple[msgspec.Raw, ...] | None = None
    status: str = ""
    """Only of `set_dummy_status`, which has no arguments."""

    def argument(self, position: int, kind: type[T]) -> T:
        """Return an argument; raise `ActionFailed` with the real agent's words."""
        given = self.arguments or ()
        if position >= len(given):
            raise ActionFailed(
                "Extracting method arguments from payload: Not enough arguments, "
                f"expected {position + 1}, got {len(given)}"
            )
        try:
            return msgspec.json.decode(given[position], type=kind)
        except msgspec.ValidationError as error:
            raise ActionFailed(
                f"Extracting method arguments from payload: Unmarshalling action argument: {error}"
            ) from None

    def has_argument(self, position: int) -> bool:
        """Say whether there is an argument at a position."""
        return position < len(self.arguments or ())


class _Failure(msgspec.Struct, frozen=True):
    message: str


class _Value(msgspec.Struct, frozen=True):
    value: object


class _Exception(msgspec.Struct, frozen=True):
    exception: _Failure


def parse(payload: bytes) -> Request | None:
    """Return the request; None for what is not one: it gets no reply."""
    try:
        return msgspec.json.decode(payload, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def value(content: object) -> bytes:
    """Return the reply that carries a result."""
    reply = msgspec.json.encode(_Value(content))
    return reply if len(reply) <= REPLY_LIMIT else failure(_TOO_LONG)


def failure(message: str) -> bytes:
    """Return the reply that carries an error."""
    reply = msgspec.json.encode(_Exception(_Failure(message)))
    return reply if len(reply) <= REPLY_LIMIT else failure(_TOO_LONG)


def fits_a_subject(text: str) -> bool:
    """Say whether a reply can be published there."""
    return bool(text) and not any(each.isspace() or not each.isprintable() for each in text)
