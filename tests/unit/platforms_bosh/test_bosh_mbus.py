"""The director's side of the talk with agents, without sockets."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover.errors import Rejected, SpecError
from rollover.platforms.bosh.mbus import Answer, Exchange
from rollover.probe.nats_protocol import BadProtocol


def request_of(data: bytes) -> tuple[str, dict[str, object]]:
    """Return the subject and content of a PUB."""
    line, _, payload = data.partition(b"\r\n")
    return line.split()[1].decode(), json.loads(payload)


def message(subject: str, payload: bytes) -> bytes:
    """Return a MSG as a server sends it."""
    return b"MSG %s 1 %d\r\n%s\r\n" % (subject.encode(), len(payload), payload)


def asked(exchange: Exchange, agent: str = "a1", method: str = "ping") -> str:
    """Ask, and return where the answer is to go."""
    _, content = request_of(exchange.ask(agent, method))
    return str(content["reply_to"])


def test_a_request_is_what_an_agent_expects() -> None:
    """Subject, protocol 3, arguments as a list, and a reply subject of the director's."""
    exchange = Exchange(director="d0")
    subject, content = request_of(exchange.ask("a1", "get_task", ("t7",)))
    assert subject == "agent.a1"
    reply_to = str(content.pop("reply_to"))
    assert reply_to.startswith("director.d0.a1.")
    assert reply_to.count(".") == 3
    assert content == {"protocol": 3, "method": "get_task", "arguments": ["t7"]}
    assert b"SUB director.d0.> 1\r\n" in exchange.hello()


def test_answers_find_their_agents() -> None:
    """Whatever the order; one that nobody asked for is dropped."""
    exchange = Exchange()
    first, second = asked(exchange, "a1"), asked(exchange, "a2")
    data = (
        message(second, b'{"value":"pong"}')
        + message("director.x.a9.1", b'{"value":"pong"}')
        + message(first, b'{"exception":{"message":"unknown message nope"}}')
    )
    found = list(exchange.feed(data))
    assert [(each.agent, each.error) for each in found] == [
        ("a2", ""),
        ("a1", "unknown message nope"),
    ]
    assert found[0].read(str) == "pong"
    assert list(exchange.feed(message(first, b'{"value":1}'))) == []


def test_an_answer_is_read_as_what_is_expected() -> None:
    """Everything else is refused, exceptions included."""
    with pytest.raises(Rejected, match="not expected"):
        Answer(agent="a", value=b'{"x":1}').read(str)
    with pytest.raises(Rejected, match="no such task"):
        Answer(agent="a", error="no such task").read(str)


def test_a_key_that_an_agent_quotes_is_left_out() -> None:
    """Its exception may hold what it was sent."""
    exchange = Exchange()
    marker = "RSA PRIVATE KEY-----"
    said = f"bad settings: -----BEGIN {marker}\\n{'A' * 64}\\n-----END {marker}\\n"
    payload = b'{"exception":{"message":"%s"}}' % said.encode()
    (found,) = exchange.feed(message(asked(exchange), payload))
    assert found.error.startswith("bad settings")
    assert "PRIVATE KEY" not in found.error
    assert "AAAA" not in found.error


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff"])
def test_rubbish_for_an_answer_is_the_agents_error(payload: bytes) -> None:
    """It ends nobody else's talk."""
    exchange = Exchange()
    (found,) = exchange.feed(message(asked(exchange), payload))
    assert "cannot be read" in found.error


def test_pings_of_the_server_are_answered_and_its_word_is_kept() -> None:
    """PONG means that it took our login; -ERR is remembered."""
    exchange = Exchange()
    assert list(exchange.feed(b"PING\r\nPONG\r\n-ERR 'Authorization Violation'\r\n")) == []
    assert exchange.outgoing == b"PONG\r\n"
    assert exchange.ready
    assert exchange.refusal == "Authorization Violation"


@pytest.mark.parametrize("agent", ["", "a b", "a.b", "a>", "*", "a\r\nPUB x 0", "ä", "x" * 200])
def test_a_strange_agent_id_never_reaches_a_subject(agent: str) -> None:
    """It comes from the director's answer, which is outside."""
    with pytest.raises(SpecError, match="no id of an agent"):
        Exchange().ask(agent, "ping")


def test_a_reply_beyond_the_limit_ends_the_talk() -> None:
    """Agents keep to one megabyte."""
    exchange = Exchange()
    with pytest.raises(BadProtocol, match="the limit"):
        list(exchange.feed(f"MSG {asked(exchange)} 1 {2**20 + 1}\r\n".encode()))


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    """The same answers come out."""
    exchange = Exchange()
    replies = [asked(exchange, f"a{number}") for number in range(4)]
    data = b"PING\r\n".join(message(each, b'{"value":"pong"}') for each in replies)
    ends = sorted({0, len(data), *(min(each, len(data)) for each in cuts)})
    parts = [data[start:end] for start, end in pairwise(ends)]
    found = [answer.agent for part in parts for answer in exchange.feed(part)]
    assert found == ["a0", "a1", "a2", "a3"]
