"""The talk with agents over a real nats-server with mutual TLS and the director's permissions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from rigs.bosh_nats_rig import DIRECTOR_NAME, BoshAuthority, BoshNats, NatsLine, bosh_nats
from rollover.errors import Denied, Rejected, TimedOut, Unreachable
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.agent_pinger import Mbus, MbusAccess
from rollover.platforms.bosh.connections import MonitoredConnections
from rollover.probe.monitoring import Monitor


class Answering:
    """An agent that answers pings, as an agent's line does, and nothing else."""

    def __init__(self, nats: BoshNats, agent: str) -> None:
        self.line: NatsLine = nats.client(nats.authority.agent(agent), f"agent.{agent}")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                message = self.line.next(seconds=0.2)
            except TimeoutError:
                continue
            except OSError:
                return
            request = json.loads(message.payload)
            known = request["method"] == "ping"
            reply = {"value": "pong"} if known else {"exception": {"message": "unknown message"}}
            self.line.publish(request["reply_to"], json.dumps(reply).encode())

    def end(self) -> None:
        """Hang up."""
        self._ended.set()
        self._thread.join(30)
        self.line.close()


@contextmanager
def answering(nats: BoshNats, *agents: str) -> Iterator[None]:
    """Have agents answer for the body of `with`."""
    made = [Answering(nats, agent) for agent in agents]
    try:
        yield
    finally:
        for item in made:
            item.end()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[BoshNats]:
    """A server that knows four agents."""
    with bosh_nats(tmp_path / "nats", ["a1", "a2", "a3", "a4"]) as server:
        yield server


def mbus(nats: BoshNats, *, name: str = DIRECTOR_NAME, ca: BoshAuthority | None = None) -> Mbus:
    """Speak as the director, or as somebody else."""
    pair = (ca or nats.authority).client(name)
    access = MbusAccess(
        address=f"127.0.0.1:{nats.port}",
        chain=pair.certificate.encode(),
        key=SecretBytes(pair.private_key.encode()),
        trust=nats.authority.pem.encode(),
    )
    return Mbus(lambda: access)


def test_many_agents_are_pinged_at_once(nats: BoshNats) -> None:
    """Who answers is told as soon as all have; who is silent is not there."""
    with answering(nats, "a1", "a2", "a3"):
        begun = monotonic()
        answers = mbus(nats).ping(["a1", "a2", "a3"], timeout_seconds=60)
        assert monotonic() - begun < 30
        assert {agent: each.read(str) for agent, each in answers.items()} == {
            "a1": "pong",
            "a2": "pong",
            "a3": "pong",
        }
        assert set(mbus(nats).ping(["a1", "a4"], timeout_seconds=2)) == {"a1"}


def test_a_call_brings_one_answer_or_says_that_none_came(nats: BoshNats) -> None:
    """An exception of the agent is an answer; silence is not."""
    with answering(nats, "a1"):
        assert mbus(nats).call("a1", "ping", timeout_seconds=30).read(str) == "pong"
        answer = mbus(nats).call("a1", "nope", timeout_seconds=30)
        with pytest.raises(Rejected, match="unknown message"):
            answer.read(str)
    with pytest.raises(TimedOut, match="no answer"):
        mbus(nats).call("a2", "ping", timeout_seconds=0.3)


def test_a_restart_of_the_server_is_waited_out(nats: BoshNats) -> None:
    """Pings go on until the agent is back, on a new connection."""
    nats.stop()
    answers: dict[str, object] = {}
    pinging = threading.Thread(
        target=lambda: answers.update(mbus(nats).ping(["a1"], timeout_seconds=60))
    )
    pinging.start()
    nats.start()
    with answering(nats, "a1"):
        pinging.join(60)
    assert set(answers) == {"a1"}


def test_a_server_that_is_not_there_is_told(nats: BoshNats) -> None:
    """After the time is over, not before."""
    nats.stop()
    with pytest.raises(Unreachable):
        mbus(nats).ping(["a1"], timeout_seconds=0.6)


@pytest.mark.parametrize("stranger", [True, False])
def test_who_is_not_the_director_is_refused(nats: BoshNats, *, stranger: bool) -> None:
    """A certificate of another CA, and one of a name that NATS does not know."""
    speaking = (
        mbus(nats, ca=BoshAuthority()) if stranger else mbus(nats, name="x.director.bosh-internal")
    )
    with pytest.raises(Denied):
        speaking.call("a1", "ping", timeout_seconds=30)


def test_connections_show_agents_with_their_certificates(nats: BoshNats) -> None:
    """The fingerprint of connz is that of the certificate; the director is no stranger."""
    connections = MonitoredConnections(
        Monitor(f"http://127.0.0.1:{nats.monitor}", timeout_seconds=15.0)
    )
    with answering(nats, "a1", "a2"), nats.director():
        listing = connections.listing()
    assert listing.missing == ""
    assert set(listing.current()) == {"a1", "a2"}
    assert all(len(agent.cert_sha256) == 64 for agent in listing.agents)
    assert listing.others == ()
    assert connections.started_at() is not None
