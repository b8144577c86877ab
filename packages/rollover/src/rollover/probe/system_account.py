"""Asks one nats-server through its system account: reload, kick, lame duck, connections."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from rollover.errors import Rejected
from rollover.probe.nats_client import NatsConnection
from rollover.probe.server_views import ConnectionView, Connz, Varz, all_connections

_QUIET_SECONDS = 0.25
_PAGE = 512
"""Connections in one message; each takes about a kilobyte."""

T = TypeVar("T")


class AnsweringServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answered a ping."""

    id: str
    name: str = ""
    host: str = ""
    cluster: str = ""
    version: str = msgspec.field(default="", name="ver")


class Reloaded(msgspec.Struct, frozen=True):
    """The server runs the files as they are now. New handshakes only: open connections stay."""

    server: AnsweringServer


class ReloadRefused(msgspec.Struct, frozen=True):
    """The server keeps what it had; `description` is its own text, with file, line and column."""

    server: AnsweringServer
    description: str


class _Failure(msgspec.Struct, frozen=True):
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    server: AnsweringServer
    error: _Failure | None = None
    data: msgspec.Raw = msgspec.Raw()


def reload(
    connection: NatsConnection, server_id: str, *, timeout_seconds: float
) -> Reloaded | ReloadRefused:
    """Make the server read its configuration and files again; all of it takes, or nothing."""
    answer = _ask(connection, server_id, "RELOAD", timeout_seconds=timeout_seconds)
    if answer.error is not None:
        return ReloadRefused(answer.server, answer.error.description.strip())
    return Reloaded(answer.server)


def kick(connection: NatsConnection, server_id: str, *, cid: int, timeout_seconds: float) -> None:
    """Close one connection of a client or leaf node. `Rejected`: there is no such connection."""
    _order(connection, server_id, "KICK", cid=cid, timeout_seconds=timeout_seconds)


def lame_duck(
    connection: NatsConnection, server_id: str, *, cid: int, timeout_seconds: float
) -> None:
    """Tell one client to move elsewhere; it stays connected. `Rejected`: no such connection."""
    _order(connection, server_id, "LDM", cid=cid, timeout_seconds=timeout_seconds)


def connections(
    connection: NatsConnection, server_id: str, *, timeout_seconds: float
) -> tuple[ConnectionView, ...]:
    """Return every connection of the server with its certificates; the timeout is for each page."""

    def fetch(offset: int, limit: int) -> Connz:
        request = {"auth": True, "sort": "cid", "offset": offset, "limit": limit}
        return _view(connection, server_id, "CONNZ", Connz, request, timeout_seconds)

    return all_connections(fetch, page=_PAGE)


def varz(connection: NatsConnection, server_id: str, *, timeout_seconds: float) -> Varz:
    """Return the server's configuration as it runs."""
    return _view(connection, server_id, "VARZ", Varz, {}, timeout_seconds)


def servers(connection: NatsConnection, *, timeout_seconds: float) -> tuple[AnsweringServer, ...]:
    """Return every server that the system account reaches, as far as they answer in time."""
    answers = connection.request_many(
        "$SYS.REQ.SERVER.PING", timeout_seconds=timeout_seconds, quiet_seconds=_QUIET_SECONDS
    )
    return tuple(_decode(answer, _Answer, "PING").server for answer in answers)


def _view(
    connection: NatsConnection,
    server_id: str,
    what: str,
    into: type[T],
    request: dict[str, object],
    timeout_seconds: float,
) -> T:
    answer = _ask(connection, server_id, what, request, timeout_seconds=timeout_seconds)
    _refuse(answer, what)
    return _decode(bytes(answer.data), into, what)


def _order(
    connection: NatsConnection, server_id: str, what: str, *, cid: int, timeout_seconds: float
) -> None:
    answer = _ask(connection, server_id, what, {"cid": cid}, timeout_seconds=timeout_seconds)
    _refuse(answer, f"{what} {cid}")


def _ask(
    connection: NatsConnection,
    server_id: str,
    what: str,
    request: dict[str, object] | None = None,
    *,
    timeout_seconds: float,
) -> _Answer:
    payload = connection.request(
        f"$SYS.REQ.SERVER.{server_id}.{what}",
        msgspec.json.encode(request) if request else b"",
        timeout_seconds=timeout_seconds,
    )
    return _decode(payload, _Answer, what)


def _refuse(answer: _Answer, operation: str) -> None:
    if answer.error is not None:
        raise Rejected(
            answer.error.description, system=f"nats-server {answer.server.id}", operation=operation
        )


def _decode(payload: bytes, into: type[T], operation: str) -> T:
    try:
        return msgspec.json.decode(payload, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(
            f"an answer that cannot be read: {error}",
            system="nats-server",
            operation=operation,
            hint="is this a nats-server of version 2.10 or later?",
        ) from error
