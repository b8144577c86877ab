"""Instances that are left behind: the rotation stops before what would cut them off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from rigs.rotating import (
    SMALL,
    UNHARMED,
    Losses,
    await_connected,
    await_true,
    command,
    conduct,
    holds,
    of_last_rotation,
    request,
    rotate,
    trusted_and_presented,
)
from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.engine.events import Ending, Outcome
from rollover.errors import ExitCode
from rollover.fleet.description import FleetDescription, GroupDescription
from rollover.fleet.evidence import Failed
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import RuleId
from rollover_lab.nats.lab import Lab, running

WHY = "the team of this client is on holiday"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet."""
    with running(SMALL, tmp_path_factory.mktemp("behind") / "lab") as fleet:
        yield fleet


@pytest.fixture
def at_rest(lab: Lab) -> Iterator[Lab]:
    """Yield the fleet with everybody there and nothing unfinished, before and after."""
    yield lab
    for name in lab.spec.servers:
        lab.make_writable(name)
    assert rotate(lab, request(again=False)).ending is Ending.DONE
    await_connected(lab)


@contextmanager
def _ignored(lab: Lab, name: str) -> Iterator[None]:
    """Say in the fleet file that an instance is to be left out."""
    before = lab.layout.fleet.read_bytes()
    described = read_fleet(before, place="fleet.yml")
    groups = tuple(_with_ignored(group, name) for group in described.groups)
    changed: FleetDescription = msgspec.structs.replace(described, groups=groups)
    lab.layout.fleet.write_bytes(write_fleet(changed))
    try:
        yield
    finally:
        lab.layout.fleet.write_bytes(before)


def _with_ignored(group: GroupDescription, name: str) -> GroupDescription:
    instances = tuple(
        msgspec.structs.replace(instance, ignored=WHY) if instance.name == name else instance
        for instance in group.instances
    )
    return msgspec.structs.replace(group, instances=instances)


def _stops_for(lab: Lab, name: str) -> Outcome:
    """Rotate until somebody is in the way; check that it is this one, and nothing was lost."""
    losses, before = Losses(lab), trusted_and_presented(lab)[0]
    outcome = rotate(lab)
    assert outcome.ending is Ending.WAITING, outcome.message
    assert f"`{name}`" in outcome.message + outcome.hint
    # Nobody has lost the trust that the one left behind lives on.
    assert before <= trusted_and_presented(lab)[0]
    assert losses.since() == UNHARMED
    code, said = command(lab, "rotate", "--yes")
    assert code == ExitCode.WAITING
    assert name in said
    assert name in command(lab, "status")[1]
    return outcome


def _goes_on(lab: Lab) -> None:
    losses = Losses(lab)
    outcome = rotate(lab, request(again=False))
    assert outcome.ending is Ending.DONE, outcome.message
    trusted, presented = trusted_and_presented(lab)
    assert trusted == presented
    assert len(trusted) == 1
    assert holds(lab)
    assert losses.since() == UNHARMED


def test_a_stopped_server_is_waited_for(at_rest: Lab) -> None:
    """A server that is down is named before it would be cut off; back again, it catches up."""
    at_rest.stop_server("n3")
    try:
        await_connected(at_rest)
        _stops_for(at_rest, "n3")
    finally:
        at_rest.start_server("n3")
    _goes_on(at_rest)


def test_a_read_only_server_is_waited_for(at_rest: Lab) -> None:
    """A server whose files cannot be written is known beforehand, and named."""
    at_rest.make_read_only("n2")
    try:
        _stops_for(at_rest, "n2")
    finally:
        at_rest.make_writable("n2")
    _goes_on(at_rest)


def test_a_server_that_turns_read_only_stops_the_rollout(at_rest: Lab) -> None:
    """A canary that refuses its files keeps what it had; no other is touched, exit code 4."""
    losses, before = Losses(at_rest), trusted_and_presented(at_rest)

    def approve(*_: object) -> bool:
        at_rest.make_read_only("n1")
        return True

    try:
        outcome = rotate(at_rest, steered=conduct(approve=approve))
        assert outcome.ending is Ending.FAILED
        assert "`n1`" in outcome.message
        assert "it has what it had before" in outcome.message
        assert trusted_and_presented(at_rest) == before
        assert len(of_last_rotation(at_rest, EntryKind.FAILED)) == 1
        assert not of_last_rotation(at_rest, EntryKind.CONFIRMED)
        assert losses.since() == UNHARMED
    finally:
        at_rest.make_writable("n1")
    _goes_on(at_rest)


def test_a_server_that_dies_in_its_rollout_stops_it(at_rest: Lab) -> None:
    """A server killed between approval and delivery fails its order; the next run waits for it."""

    def approve(*_: object) -> bool:
        at_rest.stop_server("n1", kill=True)
        return True

    try:
        outcome = rotate(at_rest, steered=conduct(approve=approve))
        assert outcome.ending is Ending.FAILED
        assert "`n1`" in outcome.message
        assert not any(isinstance(result, Failed) and not result.restored
                       for report in outcome.rollouts for result in report.results)  # fmt: skip
        assert rotate(at_rest, request(again=False)).ending is Ending.WAITING
    finally:
        at_rest.start_server("n1")
        await_connected(at_rest)
    _goes_on(at_rest)


def test_an_ignored_client_is_waited_for(at_rest: Lab) -> None:
    """A client that the fleet file leaves out blocks the step that would cut it off."""
    with _ignored(at_rest, "subscriber-1"):
        outcome = _stops_for(at_rest, "subscriber-1")
        assert WHY in outcome.message + outcome.hint
    _goes_on(at_rest)


def test_those_left_behind_are_given_up_for_a_reason_only(at_rest: Lab) -> None:
    """An override finishes without them; rule and reason are in the journal.

    They are cut off at their next reconnect, and come back with the next run all the same.
    """
    losses = Losses(at_rest)
    overrides = {RuleId("left-behind"): "it is being scrapped"}
    with _ignored(at_rest, "responder-1"):
        outcome = rotate(at_rest, steered=conduct(overrides=overrides))
        assert outcome.ending is Ending.DONE, outcome.message
        assert "`responder-1`" in outcome.message
        (entry,) = of_last_rotation(at_rest, EntryKind.OVERRIDDEN)
        assert entry.subject == "responder-1"
        assert entry.data == {"rule": "left-behind", "reason": "it is being scrapped"}
        assert losses.since() == UNHARMED
        for name in at_rest.spec.servers:
            at_rest.restart_server(name)
        await_true(lambda: not _connected(at_rest, "responder-1"), what="the cut")
    assert rotate(at_rest, request(again=False)).ending is Ending.DONE
    await_connected(at_rest)
    trusted, presented = trusted_and_presented(at_rest)
    assert trusted == presented
    assert holds(at_rest)


def _connected(lab: Lab, name: str) -> bool:
    return next(client.connected for client in lab.traffic().clients if client.name == name)
