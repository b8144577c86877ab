"""The demo fleet: its CA is rotated under traffic, in every way that there is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from rigs.rotating import (
    UNHARMED,
    Losses,
    command,
    conduct,
    holds,
    library,
    request,
    rotate,
    trusted_and_presented,
)
from rollover.engine import events
from rollover.engine.events import Ending
from rollover.fleet.plan import Phase
from rollover_lab.nats.lab import Lab, running
from rollover_lab.nats.spec import preset_named


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield the demo fleet."""
    with running(preset_named("cluster"), tmp_path_factory.mktemp("demo") / "lab") as fleet:
        yield fleet


def _phases(told: list[events.Event]) -> list[tuple[str, tuple[Phase, ...]]]:
    return [
        (observed.rollout.group, observed.rollout.phases)
        for observed in told
        if isinstance(observed, events.RolloutFinished)
    ]


def test_the_demo_fleet_rotates_in_five_rollouts_and_loses_nothing(lab: Lab) -> None:
    """Servers three times, clients twice: nothing lost, nothing failed, nobody disconnected."""
    losses, told = Losses(lab), list[events.Event]()
    before = trusted_and_presented(lab)
    outcome = rotate(lab, steered=conduct(tell=told.append))
    assert (outcome.ending, len(outcome.rollouts)) == (Ending.DONE, 5), outcome.message
    assert [group for group, _ in _phases(told)] == ["nats", "clients", "nats", "nats", "clients"]
    assert losses.since() == UNHARMED
    trusted, presented = trusted_and_presented(lab)
    assert trusted == presented
    assert len(trusted) == 1
    assert not trusted & before[0]
    assert holds(lab)


def test_a_cross_signed_ca_takes_three_rollouts_time_and_again(lab: Lab) -> None:
    """The bridge saves two rollouts; a second such rotation finds its own bridge again."""
    for _ in range(2):
        losses = Losses(lab)
        outcome = rotate(lab, request(cross_sign=True))
        assert (outcome.ending, len(outcome.rollouts)) == (Ending.DONE, 3), outcome.message
        assert losses.since() == UNHARMED
        assert holds(lab)


def test_every_rollout_is_proven_before_and_after(lab: Lab) -> None:
    """Each rollout has a proof over its links, one result for each instance, and its gates."""
    told: list[events.Event] = []
    outcome = rotate(lab, steered=conduct(tell=told.append))
    for report in outcome.rollouts:
        assert report.rollout.proof.holds
        assert report.rollout.proof.links > 0
        assert len(report.results) == report.rollout.instances
        assert all(result.evidence for result in report.results)
    gates = [observed for observed in told if isinstance(observed, events.GateChecked)]
    # One before the first rollout, then what was ordered and fresh handshakes behind each, and
    # the drain before each of the two that withdraw trust.
    assert [gate.gate for gate in gates].count("as ordered") == 5
    assert [gate.gate for gate in gates].count("handshakes") == 6
    assert [gate.gate for gate in gates].count("drained") == 2
    assert all(gate.holds for gate in gates)


def test_the_plan_promises_what_the_rotation_does(lab: Lab) -> None:
    """`plan` leaves no trace, and the rotation has as many rollouts as it said."""
    with library(lab) as rollover:
        versions = rollover.site.authorities.versions(rollover.authority()).versions
    code, said = command(lab, "plan", "--new", "--cross-sign", "--output", "json")
    assert code == 0, said
    plan = msgspec.json.decode(said)["plan"]
    assert len(plan["rollouts"]) == 3 == plan["lower_bound"]
    with library(lab) as rollover:
        assert rollover.site.authorities.versions(rollover.authority()).versions == versions


def test_a_second_rotate_finds_nothing_to_do(lab: Lab) -> None:
    """A finished rotation is looked at again; no other CA is made unless that is asked for."""
    rotate(lab)
    losses = Losses(lab)
    with library(lab) as rollover:
        versions = rollover.site.authorities.versions(rollover.authority()).versions
    outcome = rotate(lab, request(again=False))
    assert (outcome.ending, outcome.rollouts) == (Ending.DONE, ())
    assert "nothing to do" in outcome.message
    assert "--new" in outcome.hint
    with library(lab) as rollover:
        assert rollover.site.authorities.versions(rollover.authority()).versions == versions
    code, said = command(lab, "status", "--output", "json")
    assert code == 0
    assert msgspec.json.decode(said)["status"]["state"] == "finished"
    assert losses.since() == UNHARMED
