"""Rotations in tests: through the library, and as the processes that operators start."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from rigs.patience import Patience
from rollover.engine import events
from rollover.engine.events import Conduct, Outcome
from rollover.engine.fleet_context import Waits
from rollover.engine.goals import Request
from rollover.engine.service import Rollover
from rollover.fleet.journal import Entry, EntryKind
from rollover.fleet.names import AuthorityName, RuleId
from rollover.fleet.plan import Plan, Rollout
from rollover.site import open_fleet
from rollover.store.journal import open_journal
from rollover_lab.nats.lab import Lab
from rollover_lab.nats.spec import LabSpec
from rollover_lab.traffic.report import TrafficReport

AUTHORITY = AuthorityName("nats-ca")
AS_ALWAYS = Waits()
SMALL = LabSpec(name="small", clients=6)
"""Three servers, and one client of each kind: rotates in about two seconds."""
PATIENCE_SECONDS = 60.0
"""How long anything may take that is to come soon: the machine may be busy."""


def request(
    *,
    again: bool = True,
    cross_sign: bool = False,
    standby: bool = False,
    compromised: bool = False,
    margin_seconds: float = 300.0,
) -> Request:
    """Ask for another rotation; whatever is unfinished is gone on with."""
    return Request(
        authority=AUTHORITY,
        again=again,
        cross_sign=cross_sign,
        standby=standby,
        compromised=compromised,
        margin_seconds=margin_seconds,
    )


def conduct(
    *,
    approve: Callable[[Plan, Rollout], bool] = lambda _plan, _rollout: True,
    tell: Callable[[events.Event], None] = lambda _event: None,
    stopping: Callable[[], bool] = lambda: False,
    overrides: Mapping[RuleId, str] | None = None,
) -> Conduct:
    """Say yes to everything, unless said otherwise."""
    return Conduct(approve=approve, tell=tell, stopping=stopping, overrides=overrides or {})


def first(count: int) -> Conduct:
    """Approve so many rollouts of the run and decline the next."""
    asked: list[Rollout] = []

    def approve(_: Plan, rollout: Rollout) -> bool:
        asked.append(rollout)
        return len(asked) <= count

    return conduct(approve=approve)


@contextmanager
def library(lab: Lab, *, waits: Waits = AS_ALWAYS) -> Iterator[Rollover]:
    """Open the lab's fleet as the commands do."""
    with open_fleet(lab.layout.fleet, waits=waits) as rollover:
        yield rollover


def rotate(lab: Lab, wanted: Request | None = None, steered: Conduct | None = None) -> Outcome:
    """Run a rotation in this process."""
    with library(lab) as rollover:
        return rollover.rotate(wanted or request(), steered or conduct())


def roll_back(lab: Lab, steered: Conduct | None = None) -> Outcome:
    """Take the last rotation back in this process."""
    with library(lab) as rollover:
        return rollover.rollback(AUTHORITY, steered or conduct())


def holds(lab: Lab) -> bool:
    """Say whether fresh handshakes and the servers' lists show the fleet as it should be."""
    with library(lab) as rollover:
        return rollover.verify(AUTHORITY).holds


def trusted_and_presented(lab: Lab) -> tuple[set[str], set[str]]:
    """Return the names of the CAs that anybody trusts, and of those whose leaves are presented."""
    with library(lab) as rollover:
        world = rollover.observe(AUTHORITY)
    endpoints = [
        endpoint for instance in world.fleet.instances() for endpoint in instance.endpoints
    ]
    trusted = {one for endpoint in endpoints for one in endpoint.trusts or ()}
    return (
        {world.certificates[one].subject for one in trusted},
        {
            world.certificates[one].issuer_name
            for endpoint in endpoints
            for one in endpoint.presents[:1]
        },
    )


class Losses:
    """What the traffic lost since this was made."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._before = lab.traffic()

    def since(self) -> tuple[int, int, int]:
        """Return messages lost, requests failed, and connections that broke.

        Waits until the report holds what was sent before the call, and losses would be known:
        what does not come within two seconds is counted as lost until it comes.
        """
        begun = self._lab.traffic()
        now = begun
        patience = Patience(PATIENCE_SECONDS)
        while (now.at - begun.at).total_seconds() < LOSS_SECONDS:
            assert patience.lasts(), "the traffic reports no more"
            time.sleep(0.1)
            now = self._lab.traffic()
        # On a busy machine what is late may come all the same; what is lost never does.
        while now.lost > self._before.lost and patience.lasts():
            time.sleep(0.1)
            now = self._lab.traffic()
        assert now.received > self._before.received, "nothing was received at all"
        return _difference(self._before, now)


LOSS_SECONDS = 2.5
RUN_SECONDS = 1200.0


def _difference(before: TrafficReport, now: TrafficReport) -> tuple[int, int, int]:
    return (
        now.lost - before.lost,
        now.failures - before.failures,
        now.disconnects - before.disconnects,
    )


UNHARMED = (0, 0, 0)


def await_true(condition: Callable[[], bool], *, what: str) -> None:
    """Wait for a condition, up to a deadline."""
    patience = Patience(PATIENCE_SECONDS)
    while not condition():
        assert patience.lasts(), f"waited in vain for {what}"
        time.sleep(0.02)


def await_connected(lab: Lab) -> None:
    """Wait until every client of the lab is connected, and requests are answered again."""
    await_true(lambda: _all_connected(lab), what="every client")
    await_true(lambda: _answered(lab), what="a request that is answered")


def _all_connected(lab: Lab) -> bool:
    clients = lab.traffic().clients
    return bool(clients) and all(client.connected for client in clients)


def _answered(lab: Lab) -> bool:
    """Say whether nothing fails for a while; what was cut off before has been counted then."""
    before = lab.traffic()
    time.sleep(LOSS_SECONDS)  # a span and no condition: is there a failure in it?
    now = lab.traffic()
    unchanged = (now.failures, now.lost) == (before.failures, before.lost)
    return unchanged and now.received > before.received


# Commands.


def begin(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    """Start a command on the lab's fleet, without a terminal."""
    program = Path(sys.executable).with_name("rollover")
    return subprocess.Popen(
        [str(program), *arguments, "--fleet", str(lab.layout.fleet)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def command(lab: Lab, *arguments: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and all that it said."""
    process = begin(lab, *arguments)
    said, _ = process.communicate(timeout=RUN_SECONDS)
    return process.returncode, said


# The journal.


def entries(lab: Lab) -> list[Entry]:
    """Return the whole journal, after checking that its chain is whole."""
    with open_journal(lab.layout.state / "journal.db") as journal:
        journal.verify()
        found: list[Entry] = []
        while page := journal.entries(after=len(found)):
            found += page
    return found


def count(lab: Lab, kind: EntryKind, *, after: int = 0) -> int:
    """Return how many entries of a kind there are by now, while another process writes them."""
    path = lab.layout.state / "journal.db"
    if not path.exists():
        return 0
    asked = "SELECT count(*) FROM entries WHERE kind = ? AND sequence > ?"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        try:
            return int(connection.execute(asked, (kind.value, after)).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def of_last_rotation(lab: Lab, kind: EntryKind) -> list[Entry]:
    """Return the entries of a kind that the rotation begun last has."""
    found = entries(lab)
    last = [entry.rotation for entry in found if entry.kind is EntryKind.STARTED][-1]
    return [entry for entry in found if entry.rotation == last and entry.kind is kind]
