"""The director's side of the talk with agents, without sockets."""

from __future__ import annotations

import json

import pytest

from rollover.errors import Rejected, SpecError
from rollover.platforms.bosh.agent_pinger import AgentAnswer, AgentRequests
from rollover.probe.nats_protocol import Message


def request_of(data: bytes) -> tuple[str, dict[str, object]]:
    """Return the subject and content of a PUB."""
    line, _, payload = data.partition(b"\r\n")
    return line.split()[1].decode(), json.loads(payload)


def message(subject: str, payload: bytes) -> Message:
    """Return a message of the subscription."""
    return Message(subject=subject, sid="1", payload=payload)


def asked(requests: AgentRequests, agent: str = "a1", method: str = "ping") -> str:
    """Ask, and return where the answer is to go."""
    _, content = request_of(requests.ask(agent, method))
    return str(content["reply_to"])


def test_a_request_is_what_an_agent_expects() -> None:
    """Subject, protocol 3, arguments as a list, and a reply subject of the director's."""
    requests = AgentRequests(director="d0")
    subject, content = request_of(requests.ask("a1", "get_task", ("t7",)))
    assert subject == "agent.a1"
    reply_to = str(content.pop("reply_to"))
    assert reply_to.startswith("director.d0.a1.")
    assert reply_to.count(".") == 3
    assert content == {"protocol": 3, "method": "get_task", "arguments": ["t7"]}
    assert requests.options.subscription == "director.d0.>"
    assert requests.options.payload_limit == 2**20


def test_answers_find_their_agents() -> None:
    """Whatever the order; one that nobody asked for is dropped, and so is a second one."""
    requests = AgentRequests()
    first, second = asked(requests, "a1"), asked(requests, "a2")
    messages = (
        message(second, b'{"value":"pong"}'),
        message("director.x.a9.1", b'{"value":"pong"}'),
        message(first, b'{"exception":{"message":"unknown message nope"}}'),
    )
    found = list(requests.answers(messages))
    assert [(answer.agent, answer.error) for answer in found] == [
        ("a2", ""),
        ("a1", "unknown message nope"),
    ]
    assert found[0].read(str) == "pong"
    assert list(requests.answers([message(first, b'{"value":1}')])) == []


def test_an_answer_is_read_as_what_is_expected() -> None:
    """Everything else is refused, exceptions included."""
    with pytest.raises(Rejected, match="not expected"):
        AgentAnswer(agent="a", value=b'{"x":1}').read(str)
    with pytest.raises(Rejected, match="no such task"):
        AgentAnswer(agent="a", error="no such task").read(str)


def test_a_key_that_an_agent_quotes_is_left_out() -> None:
    """Its exception may hold what it was sent."""
    requests = AgentRequests()
    marker = "RSA PRIVATE KEY-----"
    said = f"bad settings: -----BEGIN {marker}\\n{'A' * 64}\\n-----END {marker}\\n"
    payload = b'{"exception":{"message":"%s"}}' % said.encode()
    (found,) = requests.answers([message(asked(requests), payload)])
    assert found.error.startswith("bad settings")
    assert "PRIVATE KEY" not in found.error
    assert "AAAA" not in found.error


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff"])
def test_rubbish_for_an_answer_is_the_agents_error(payload: bytes) -> None:
    """It ends nobody else's talk."""
    requests = AgentRequests()
    (found,) = requests.answers([message(asked(requests), payload)])
    assert "cannot be read" in found.error


@pytest.mark.parametrize("agent", ["", "a b", "a.b", "a>", "*", "a\r\nPUB x 0", "ä", "x" * 200])
def test_a_strange_agent_id_never_reaches_a_subject(agent: str) -> None:
    """It comes from the director's answer, which is outside."""
    with pytest.raises(SpecError, match="no id of an agent"):
        AgentRequests().ask(agent, "ping")
