"""Reads the monitoring port of a nats-server over HTTP or HTTPS into typed values."""

from __future__ import annotations

import http.client
import io
from contextlib import closing
from typing import TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec

from rollover.errors import Denied, NotFound, Rejected, SpecError
from rollover.probe.identity import ClientIdentity
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.server_views import (
    PAGE,
    ConnectionView,
    Connz,
    Gatewayz,
    Healthz,
    Leafz,
    Routez,
    Varz,
    all_connections,
)
from rollover.probe.stream import Deadline, Stream, Trust, adapter_errors, dial, secure
from rollover.probe.target import Address, parse_address

BODY_LIMIT = 64 * 1024 * 1024
"""Octets of one answer; a page of connections takes about one megabyte."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNHEALTHY = 503

T = TypeVar("T")


class Monitor:
    """The monitoring port at `http(s)://host:port`, with the base path if the server has one.

    `ca` is the PEM bundle for https (None: the trust of the operating system); `timeout_seconds`
    bounds each request as a whole. Every method raises `Unreachable`, `TimedOut`, `Denied`,
    `NotFound` or `Rejected`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        ca: bytes | None = None,
        identity: ClientIdentity | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._ca = ca
        self._identity = identity
        _locate(self._url)

    def varz(self) -> Varz:
        """Return the server's configuration as it runs."""
        return self._read("varz", Varz)

    def connections(self, *, page: int = PAGE) -> tuple[ConnectionView, ...]:
        """Return all connections with their certificates, page by page; none there is missed."""

        def fetch(offset: int, limit: int) -> Connz:
            query = {"auth": "true", "sort": "cid", "offset": offset, "limit": limit}
            return self._read(f"connz?{urlencode(query)}", Connz)

        return all_connections(fetch, page=page)

    def routez(self) -> Routez:
        """Return the routes."""
        return self._read("routez", Routez)

    def gatewayz(self) -> Gatewayz:
        """Return the gateways, in both directions."""
        return self._read("gatewayz", Gatewayz)

    def leafz(self) -> Leafz:
        """Return the leaf nodes."""
        return self._read("leafz", Leafz)

    def healthz(self) -> Healthz:
        """Return the server's opinion of its health, good or bad."""
        return self._read("healthz", Healthz)

    def _read(self, path: str, into: type[T]) -> T:
        return read_page(
            f"{self._url}/{path}",
            into=into,
            timeout_seconds=self._timeout_seconds,
            ca=self._ca,
            identity=self._identity,
        )


def read_page(
    url: str,
    *,
    into: type[T],
    timeout_seconds: float,
    ca: bytes | None = None,
    identity: ClientIdentity | None = None,
) -> T:
    """Fetch one monitoring page and return it as a value of `rollover.probe.server_views`."""
    parts = _locate(url)
    system = f"{parts.scheme}://{parts.netloc}"
    deadline = Deadline(timeout_seconds)

    with (
        adapter_errors(system=system, operation=f"GET {parts.path}"),
        closing(dial(_address(parts), deadline)) as carrier,
    ):
        stream: Stream = carrier
        if parts.scheme == "https":
            stream = secure(
                carrier,
                identity=identity,
                trust=Trust.SYSTEM if ca is None else ca,
                server_name=_address(parts).host,
                deadline=deadline,
            )
        status, body = _get(parts, _Socket(stream, deadline))
    _check_status(status, healthz=into is Healthz, system=system, operation=f"GET {parts.path}")
    return _decode(body, into, system=system, operation=f"GET {parts.path}")


def _locate(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise SpecError(
            f"`{parts.scheme}://{parts.hostname or ''}` is no monitoring address",
            hint="write `http://host:port` or `https://host:port`, without user or password",
        )
    _address(parts)
    return parts


def _address(parts: SplitResult) -> Address:
    try:
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except ValueError as error:
        raise SpecError(f"`{parts.netloc}`: {error}", hint="ports go from 1 to 65535") from error
    return parse_address(f"[{parts.hostname}]:{port}")


def _get(parts: SplitResult, socket: _Socket) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(parts.netloc)
    # http.client dials only when it has no socket yet; this one keeps our deadline and our TLS.
    connection.sock = socket
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(BODY_LIMIT + 1)
    except ConnectionError:
        raise  # some are HTTPExceptions too, but nobody answered
    except http.client.HTTPException as error:
        raise BadProtocol(f"not the HTTP of a monitoring port: {error!r}") from error
    if len(body) > BODY_LIMIT:
        raise BadProtocol(f"an answer of more than {BODY_LIMIT} octets")
    return response.status, body


def _check_status(status: int, *, healthz: bool, system: str, operation: str) -> None:
    if status == http.client.OK or (healthz and status == _UNHEALTHY):
        return
    kind = {401: Denied, 403: Denied, 404: NotFound}.get(status, Rejected)
    raise kind(f"HTTP status {status}", system=system, operation=operation)


def _decode(body: bytes, into: type[T], *, system: str, operation: str) -> T:
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(
            f"an answer that is not a nats-server's: {error}",
            system=system,
            operation=operation,
            hint="check that this is the monitoring port",
        ) from error


class _Socket:
    """The part of a socket that http.client uses."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._stream.send(data, self._deadline)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._stream, self._deadline))

    def close(self) -> None:
        """Do nothing: http.client closes before it has read the answer; the owner closes."""


class _Reader(io.RawIOBase):
    """The answer, read from a stream until the deadline."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._kept = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a Buffer, in truth
        self._kept = self._kept or self._stream.receive(self._deadline)
        count = min(len(buffer), len(self._kept))
        buffer[:count] = self._kept[:count]
        self._kept = self._kept[count:]
        return count
