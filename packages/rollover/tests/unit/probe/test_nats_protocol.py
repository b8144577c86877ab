"""The NATS protocol without sockets: bytes in, events out, limits kept."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.probe.nats_protocol import (
    BadProtocol,
    Event,
    Fine,
    Info,
    Message,
    Parser,
    Ping,
    Pong,
    ServerInfo,
    ServerRefusal,
    connect,
    parse_info,
    printable,
    publish,
    subscribe,
)

STREAM = (
    b'INFO {"server_id":"N1","server_name":"a","version":"2.15.1","client_id":7,'
    b'"tls_required":true,"tls_verify":true,"cluster":"c","unheard_of":[1]}\r\n'
    b"PING\r\nping\r\nPONG\r\n+OK\r\n"
    b"-ERR 'Authorization Violation'\r\n"
    b"MSG a.b 1 5\r\nhe\r\no\r\n"
    b"MSG a.b 1 re.ply 0\r\n\r\n"
    b"HMSG a.b 1 re.ply 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"HMSG a.b 2 12 15\r\nNATS/1.0\r\n\r\nabc\r\n"
)
EVENTS: list[Event] = [
    Info(
        ServerInfo(
            server_id="N1",
            server_name="a",
            version="2.15.1",
            client_id=7,
            tls_required=True,
            tls_verify=True,
            cluster="c",
        )
    ),
    Ping(),
    Ping(),
    Pong(),
    Fine(),
    ServerRefusal("Authorization Violation"),
    Message(subject="a.b", sid="1", payload=b"he\r\no"),
    Message(subject="a.b", sid="1", reply="re.ply"),
    Message(subject="a.b", sid="1", reply="re.ply", status=503),
    Message(subject="a.b", sid="2", payload=b"abc"),
]


def parse(*pieces: bytes) -> list[Event]:
    """Return the events of all pieces, fed one after another."""
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
@examples(150)
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    """However the network cuts the stream, the same events come out."""
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert parse(*pieces) == EVENTS


def test_one_octet_at_a_time_is_enough() -> None:
    """The parser waits for more without losing or repeating anything."""
    assert parse(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\n",
        b"INFO nonsense\r\n",
        b"INFO [1]\r\n",
        b"INFO \xff\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 2 3 4\r\n",
        b"MSG a 1 -5\r\nhello\r\n",
        b"MSG a 1 five\r\nhello\r\n",
        b"MSG a 1 99999999999\r\n",
        b"MSG a 1 2\r\nabcdef\r\n",
        b"HMSG a 1 5\r\n",
        b"HMSG a 1 9 5\r\nabcde\r\n",
    ],
)
def test_what_is_no_nats_is_refused(bad: bytes) -> None:
    """Other protocols, broken INFO lines and impossible sizes raise `BadProtocol`."""
    with pytest.raises(BadProtocol):
        parse(bad)


@given(junk=st.binary(max_size=300))
@examples(150)
def test_no_input_raises_anything_else(junk: bytes) -> None:
    """Whatever comes, the parser gives events or `BadProtocol`."""
    try:
        parse(junk, b"\r\n", junk)
    except BadProtocol:
        return


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    """An endless line is refused as soon as it passes the limit, not collected."""
    parser = Parser(line_limit=100)
    assert list(parser.feed(b"x" * 100)) == []
    with pytest.raises(BadProtocol, match="100 octets"):
        list(parser.feed(b"x"))


def test_a_message_above_the_limit_is_refused_before_its_payload_comes() -> None:
    """The size is judged from the line alone."""
    parser = Parser(payload_limit=10)
    with pytest.raises(BadProtocol, match="limit is 10"):
        list(parser.feed(b"MSG a 1 11\r\n"))


def test_info_of_an_unknown_server_is_refused() -> None:
    """An INFO that is no JSON object is no INFO."""
    with pytest.raises(BadProtocol, match="cannot be read"):
        parse_info(b"{")


@pytest.mark.parametrize("data", [b"\x1b[2Jevil", b"a\r\nb", b"\xff\xfe"])
def test_bytes_from_outside_are_made_safe_to_show(data: bytes) -> None:
    """Control characters and foreign bytes never reach a terminal."""
    assert printable(data).isprintable()
    assert printable(data).isascii()


def test_requests_are_written_as_the_protocol_says() -> None:
    """PUB, SUB and CONNECT have the form of the NATS client protocol."""
    assert publish("a.b", b"xyz", reply="r.1") == b"PUB a.b r.1 3\r\nxyz\r\n"
    assert publish("a.b", b"") == b"PUB a.b 0\r\n\r\n"
    assert subscribe("r.*", 1) == b"SUB r.* 1\r\n"
    assert connect({"verbose": False}) == b'CONNECT {"verbose":false}\r\n'
