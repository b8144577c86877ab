"""Reads the INFO line with which a NATS server greets."""

from __future__ import annotations

from typing import NamedTuple

from rollover.probe.nats_protocol import LINE_LIMIT, BadProtocol, ServerInfo, parse_info, printable
from rollover.probe.stream import Deadline, NotTls, Stream

_INFO = b"INFO "


class Greeting(NamedTuple):
    """The INFO, and the bytes that came with it."""

    info: ServerInfo
    rest: bytes


def read_greeting(stream: Stream, deadline: Deadline) -> Greeting:
    """Read up to the end of the INFO line; raise `BadProtocol` as soon as it cannot be one."""
    line = b""
    while b"\n" not in line:
        more = stream.receive(deadline)
        if not more:
            raise ConnectionResetError("the peer closed the connection before its INFO line")
        line += more
        if not line.startswith(_INFO[: len(line)]) or len(line) > LINE_LIMIT:
            raise BadProtocol(f"`{printable(line)}` where an INFO line should be")
    info, _, rest = line.partition(b"\n")
    return Greeting(parse_info(info.removeprefix(_INFO)), rest)


def read_greeting_before_tls(stream: Stream, deadline: Deadline) -> ServerInfo:
    """Read the INFO line that TLS follows; raise `NotTls` when the server offers none.

    Nothing may come with it: bytes in the clear that were taken for bytes inside TLS are how an
    attacker in between would speak for the server.
    """
    info, rest = read_greeting(stream, deadline)
    if not (info.tls_required or info.tls_available):
        raise NotTls("the server offers no TLS on this port")
    if rest:
        raise BadProtocol("bytes in the clear between INFO and TLS")
    return info
