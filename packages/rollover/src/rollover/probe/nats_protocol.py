"""The NATS client protocol without sockets: bytes to events, and requests to bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

LINE_LIMIT = 256 * 1024
"""Octets. INFO lists every server of a supercluster; other lines are short."""
PAYLOAD_LIMIT = 16 * 1024 * 1024
"""Octets of one message, headers included; answers of the system account may exceed max_payload."""

NO_RESPONDERS = 503
_SIZE = re.compile(rb"[0-9]{1,10}\Z")
_STATUS = re.compile(rb"NATS/1\.0[ \t]+([0-9]{3})(?:[ \t\r]|\Z)")
_TOKENS = {b"MSG": (3, 4), b"HMSG": (4, 5)}
"""How many arguments a message line has: without and with a reply subject."""


class BadProtocol(ValueError):
    """The peer sent something that is no NATS protocol, or more than a limit allows."""


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself in its INFO line, as far as it matters here."""

    server_id: str = ""
    server_name: str = ""
    version: str = ""
    cluster: str = ""
    client_id: int = 0
    """The connection's id, as in connz; 0 for peers that are not clients."""
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    tls_available: bool = False
    max_payload: int = 0
    ldm: bool = False
    """The server asks us to move elsewhere (lame duck mode)."""


class Info(msgspec.Struct, frozen=True):
    """INFO: first of all, and again whenever the server's view changes."""

    server: ServerInfo


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """MSG or HMSG. `status` is the code of a header-only answer such as 503, else 0."""

    subject: str
    sid: str
    reply: str = ""
    payload: bytes = b""
    status: int = 0


class ServerRefusal(msgspec.Struct, frozen=True):
    """-ERR, without its quotes."""

    text: str


class Ping(msgspec.Struct, frozen=True):
    """PING: to be answered with PONG."""


class Pong(msgspec.Struct, frozen=True):
    """PONG: everything that was sent before our PING has been read."""


class Fine(msgspec.Struct, frozen=True):
    """+OK."""


Event = Info | Message | ServerRefusal | Ping | Pong | Fine

_WORDS: dict[bytes, Event] = {b"PING": Ping(), b"PONG": Pong(), b"+OK": Fine()}


class Parser:
    """Turns what a server sends into events; bytes may be cut anywhere.

    After `BadProtocol` it must not be used again.
    """

    def __init__(self, *, payload_limit: int = PAYLOAD_LIMIT, line_limit: int = LINE_LIMIT) -> None:
        self._payload_limit = payload_limit
        self._line_limit = line_limit
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take more bytes and yield each event that they complete; raise `BadProtocol`."""
        self._buffer += data
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0 or end > self._line_limit:
            if len(self._buffer) > self._line_limit:
                raise BadProtocol(f"a line of more than {self._line_limit} octets")
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        verb, _, rest = line.partition(b" ")
        if verb.upper() in _TOKENS:
            return self._message(verb.upper(), rest.split(), start=end + 1)
        self._drop(end + 1)
        return _simple(verb.upper(), rest)

    def _message(self, verb: bytes, tokens: list[bytes], *, start: int) -> Message | None:
        if len(tokens) not in _TOKENS[verb]:
            raise BadProtocol(f"a {verb.decode()} line with {len(tokens)} arguments")
        counts = 1 if verb == b"MSG" else 2
        total = _size(tokens[-1])
        headers = _size(tokens[-2]) if counts == len(_TOKENS) else 0
        if total > self._payload_limit or headers > total:
            raise BadProtocol(f"a message of {total} octets; the limit is {self._payload_limit}")
        if len(self._buffer) < start + total + 2:
            self._searched = start - 1
            return None
        if self._buffer[start + total : start + total + 2] != b"\r\n":
            raise BadProtocol("a message that does not end where it says")
        content = bytes(self._buffer[start : start + total])
        self._drop(start + total + 2)
        names = [token.decode("utf-8", "replace") for token in tokens[:-counts]]
        return Message(
            subject=names[0],
            sid=names[1],
            reply=names[2] if len(names) > len(_TOKENS) else "",
            payload=content[headers:],
            status=_status(content[:headers]),
        )

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


def _simple(verb: bytes, rest: bytes) -> Event:
    if verb == b"INFO":
        return Info(parse_info(rest))
    if verb == b"-ERR":
        return ServerRefusal(rest.strip().strip(b"'").decode("utf-8", "replace"))
    if verb in _WORDS:
        return _WORDS[verb]
    raise BadProtocol(f"an unknown operation `{printable(verb)}`")


def _size(token: bytes) -> int:
    if not _SIZE.match(token):
        raise BadProtocol(f"`{printable(token)}` where a size should be")
    return int(token)


def _status(headers: bytes) -> int:
    found = _STATUS.match(headers)
    return int(found[1]) if found else 0


def parse_info(text: bytes) -> ServerInfo:
    """Read the JSON of an INFO line; raise `BadProtocol` when it is none."""
    try:
        return msgspec.json.decode(text, type=ServerInfo)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadProtocol(f"an INFO line that cannot be read: {error}") from error


def printable(data: bytes, *, limit: int = 60) -> str:
    """Return bytes from outside as text that is safe to show."""
    text = data[:limit].decode("ascii", "backslashreplace")
    return "".join(letter if letter.isprintable() else "." for letter in text)


def connect(options: dict[str, str | bool | int]) -> bytes:
    """Return a CONNECT line. It may hold a password: never log it."""
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\n"


def publish(subject: str, payload: bytes, *, reply: str = "") -> bytes:
    """Return a PUB with its payload."""
    words = ["PUB", subject, *([reply] if reply else []), str(len(payload))]
    return " ".join(words).encode() + b"\r\n" + payload + b"\r\n"


def subscribe(subject: str, sid: int) -> bytes:
    """Return a SUB line."""
    return f"SUB {subject} {sid}\r\n".encode()


PING = b"PING\r\n"
PONG = b"PONG\r\n"
