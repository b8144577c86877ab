"""The synchronous NATS client on a connected pair of sockets, the test being the server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover.errors import Denied
from rollover.probe.nats_client import ClientOptions, Greeting, NatsConnection
from rollover.probe.nats_protocol import PING, PONG, BadProtocol, Message, ServerInfo
from rollover.probe.stream import Deadline, TcpStream

SECONDS = 30.0
OWN = ClientOptions(
    subscription="director.d0.>",
    no_responders=False,
    payload_limit=1024,
    operation="speak to agents",
    refused_hint="name the director",
)


class Wire:
    """A client, and the server's end of its connection."""

    def __init__(self, options: ClientOptions = OWN) -> None:
        ours, self.server = socket.socketpair()
        self.server.settimeout(SECONDS)
        self.connection = NatsConnection(
            TcpStream(ours), Greeting(ServerInfo(), b""), system="nats", options=options
        )

    def said(self) -> bytes:
        """Return what the client has said since the last time."""
        return self.server.recv(65536)

    def close(self) -> None:
        """Hang up on both sides."""
        self.connection.close()
        self.server.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A client that subscribes for itself."""
    made = Wire()
    yield made
    made.close()


def message(subject: str, payload: bytes) -> bytes:
    """Return a MSG as a server sends it."""
    return b"MSG %s 1 %d\r\n%s\r\n" % (subject.encode(), len(payload), payload)


def heard(connection: NatsConnection, count: int) -> list[Message]:
    """Return so many messages."""
    messages = connection.messages(Deadline(SECONDS))
    return [next(messages) for _ in range(count)]


def test_a_login_subscribes_as_its_owner_wants(wire: Wire) -> None:
    """The subscription goes with the login, and no server need answer for those who are away."""
    wire.server.sendall(PONG)
    wire.connection.login(None, Deadline(SECONDS))
    said = wire.said()
    assert b"SUB director.d0.> 1\r\n" in said
    assert b"no_responders" not in said
    assert said.endswith(PING)


def test_requests_have_an_inbox_and_hear_when_nobody_listens() -> None:
    """That is how the system account is asked."""
    wire = Wire(ClientOptions())
    wire.server.sendall(PONG)
    wire.connection.login(None, Deadline(SECONDS))
    said = wire.said()
    assert b'"no_responders":true' in said
    assert b"SUB _INBOX." in said
    wire.close()


def test_pings_of_the_server_are_answered_on_the_way(wire: Wire) -> None:
    """Otherwise it would hang up in the middle of a long wait."""
    wire.server.sendall(PING + message("director.d0.a1", b"x"))
    assert [found.payload for found in heard(wire.connection, 1)] == [b"x"]
    assert wire.said() == PONG


def test_messages_end_with_the_time(wire: Wire) -> None:
    """Silence is no failure: whoever waits for several takes what came."""
    wire.server.sendall(message("director.d0.a1", b"x"))
    assert len(list(wire.connection.messages(Deadline(0.2)))) == 1


def test_a_refusal_is_told_in_the_words_of_the_conversation() -> None:
    """The hint is for whoever it was that spoke: a user of NATS, or a director."""
    for options, operation, hint in (
        (OWN, "speak to agents", "name the director"),
        (ClientOptions(), "connect", "permissions"),
    ):
        wire = Wire(options)
        wire.server.sendall(b"-ERR 'Authorization Violation'\r\n")
        with pytest.raises(Denied, match="Authorization Violation") as caught:
            heard(wire.connection, 1)
        assert caught.value.operation == operation
        assert hint in caught.value.hint
        wire.close()


def test_a_reply_beyond_the_limit_ends_the_talk(wire: Wire) -> None:
    """The limit is that of whoever speaks."""
    wire.server.sendall(f"MSG director.d0.a1 1 {OWN.payload_limit + 1}\r\n".encode())
    with pytest.raises(BadProtocol, match="the limit"):
        heard(wire.connection, 1)


class Pieces:
    """A stream whose bytes come in the pieces that it was given: a socket would join them."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Take what the client says, and forget it."""

    def receive(self, deadline: Deadline) -> bytes:
        """Return the next piece."""
        deadline.left()
        return self._pieces.pop(0)

    def close(self) -> None:
        """There is nothing to close."""


@given(cuts=st.sets(st.integers(1, 200)))
def test_bytes_may_be_cut_anywhere(cuts: set[int]) -> None:
    """The same messages come out."""
    subjects = [f"director.d0.a{number}" for number in range(4)]
    data = PING.join(message(subject, b'{"value":"pong"}') for subject in subjects)
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    stream = Pieces([data[start:end] for start, end in pairwise(ends)])
    connection = NatsConnection(stream, Greeting(ServerInfo(), b""), system="nats", options=OWN)
    assert [found.subject for found in heard(connection, 4)] == subjects
