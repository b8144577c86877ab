"""Scenarios: scripts of what happens to a fleet, and what a rotation says to it.

Each `*.txt` here is a script and its expected output in one: lines that begin with `>` are
commands, everything below up to the next one is what came of it. To add one, write its commands
and run the test: it shows what is missing.

=====================  =============================================================================
`> rotate [words]`     run a rotation; words are `standby`, `cross-sign`, `compromised`, `new`
`> rotate until N`     decline the rollout behind the N-th
`> rollback`           take the last rotation back
`> fail NAME FAULT`    let an instance misbehave (memory_platform.Fault)
`> heal NAME`          stop that
`> connect NAME PEER`  somebody connects to a server, with a certificate of the first CA
`> leave NAME PEER`    and goes again
`> status`             what the journal says
=====================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rigs.memory_fleet import MemoryFleet, conduct, first
from rigs.memory_platform import Fault
from rollover.engine import events
from rollover.engine.events import Conduct, Outcome
from rollover.engine.journal import read_status

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))
WISHES = {
    "standby": "standby",
    "cross-sign": "cross_sign",
    "compromised": "compromised",
    "new": "again",
}


def _commands(script: str) -> Iterator[str]:
    yield from (line[2:] for line in script.splitlines() if line.startswith("> "))


class _Scene:
    """A fleet, and the commands of a script on it."""

    def __init__(self) -> None:
        self.fleet = MemoryFleet()
        self.said: list[str] = []

    def do(self, words: list[str]) -> None:
        """Do one command; what it says is in `said`."""
        known: Mapping[str, Callable[..., None]] = {
            "rotate": self.rotate,
            "rollback": self.rollback,
            "fail": lambda name, fault: self.fleet.instance(name).fail(Fault(fault)),
            "heal": lambda name: self.fleet.instance(name).heal(),
            "connect": self.connect,
            "leave": self.leave,
            "status": self.status,
        }
        known[words[0]](*words[1:])
        assert self.fleet.broken == [], f"links broke at {words}"

    def rotate(self, *words: str) -> None:
        """Rotate, and say which rollouts were finished and how it ended."""
        if words[:1] == ("until",):
            outcome = self.fleet.rotate(self._steered(first(int(words[1])).approve))
        else:
            wishes = {WISHES[word]: True for word in words}
            outcome = self.fleet.rotate(self._steered(lambda *_: True), **wishes)
        self._ended(outcome)

    def rollback(self) -> None:
        """Roll back, and say the same."""
        self._ended(self.fleet.roll_back(self._steered(lambda *_: True)))

    def _steered(self, approve: Callable[..., bool]) -> Conduct:
        return conduct(approve=approve, tell=self._tell)

    def _tell(self, event: events.Event) -> None:
        if isinstance(event, events.RolloutFinished):
            phases = ", ".join(event.rollout.phases)
            self.said.append(f"{event.number}/{event.of} {event.rollout.group}: {phases}")

    def _ended(self, outcome: Outcome) -> None:
        self.said.append(f"{outcome.ending.value}: {outcome.message}")
        if outcome.hint:
            self.said.append(f"hint: {outcome.hint}")
        self.said.append(f"trusted: {', '.join(sorted(self.fleet.trusted()))}")

    def connect(self, server: str, peer: str) -> None:
        """Open a connection with a certificate of the first CA."""
        ca = self.fleet.ca
        self.fleet.instance(server).connect(peer, ca.leaf(peer), ca.certificate.fingerprint)

    def leave(self, server: str, peer: str) -> None:
        """Close the connections of a peer."""
        found = self.fleet.instance(server)
        for connection in found.connections:
            if connection.peer == peer:
                found.disconnect(connection.number)

    def status(self) -> None:
        """Say how far it is."""
        found = read_status(self.fleet.journal)
        assert found is not None
        self.said.append(f"{found.kind} {found.state}: {found.done} of {found.of}")
        self.said += [f"left behind: {left_behind.message}" for left_behind in found.left_behind]
        self.said.append(f"next: {found.next_command}")


def _performed(script: str) -> str:
    scene = _Scene()
    for line in _commands(script):
        scene.said.append(f"> {line}")
        scene.do(line.split())
    return "\n".join(scene.said) + "\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_scenario_goes_as_it_is_written(path: Path) -> None:
    """What each command says is what stands below it; no link breaks on the way."""
    script = path.read_text()
    assert _performed(script) == script
