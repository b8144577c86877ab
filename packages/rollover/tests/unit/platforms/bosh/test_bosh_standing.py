"""Whether an instance can be given new credentials now, and why not."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from rigs.bosh_fakes import BEGUN
from rollover.fleet.fleet import Availability
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh.agent_availability import (
    AGENT_WAIT,
    ObservedAgent,
    availability_of,
    being_created,
)
from rollover.platforms.bosh.connections import AgentConnection
from rollover.platforms.bosh.director_records import BoshInstance

WELL = BoshInstance(
    deployment="web",
    group="router",
    id="0",
    agent_id="a0",
    vm_created_at=BEGUN - timedelta(days=9),
    job_state="running",
)
YOUNG = msgspec.structs.replace(WELL, vm_created_at=BEGUN - timedelta(seconds=30), job_state=None)
CONNECTION = AgentConnection(
    cid=1, agent_id="a0", bootstrap=False, cert_sha256=Fingerprint("a" * 64)
)
ANSWERS = ObservedAgent(connection=CONNECTION, answers=True)
HANGS = ObservedAgent(connection=CONNECTION)
NEWBORN = ObservedAgent(
    connection=msgspec.structs.replace(CONNECTION, bootstrap=True), just_created=True
)
AWAY = ObservedAgent()


@pytest.mark.parametrize(
    ("instance", "sight", "availability"),
    [
        (WELL, ANSWERS, Availability.READY),
        (msgspec.structs.replace(WELL, ignore=True), ANSWERS, Availability.IGNORED),
        (msgspec.structs.replace(WELL, state="stopped"), ANSWERS, Availability.IGNORED),
        (WELL, HANGS, Availability.UNREACHABLE),
        (WELL, AWAY, Availability.UNREACHABLE),
        (YOUNG, AWAY, Availability.READY),
        (YOUNG, NEWBORN, Availability.READY),
        (YOUNG, HANGS, Availability.UNREACHABLE),
    ],
)
def test_who_can_be_changed(
    instance: BoshInstance, sight: ObservedAgent, availability: Availability
) -> None:
    """And whoever cannot be has a reason."""
    found, why = availability_of(instance, sight, at=BEGUN, recover=False)
    assert found is availability
    assert bool(why) is (sight is not ANSWERS or availability is not Availability.READY)


def test_to_recover_whoever_is_silent_is_made_anew() -> None:
    """So it is ready; what is ignored stays so."""
    assert availability_of(WELL, AWAY, at=BEGUN, recover=True)[0] is Availability.READY
    ignored = msgspec.structs.replace(WELL, ignore=True)
    assert availability_of(ignored, AWAY, at=BEGUN, recover=True)[0] is Availability.IGNORED


def test_who_refused_before_says_why() -> None:
    """The message of the last attempt."""
    found = availability_of(WELL, ANSWERS, at=BEGUN, recover=False, refused="task 7 failed")
    assert found == (Availability.REFUSING, "task 7 failed")


@pytest.mark.parametrize(
    ("seconds", "sight", "born"),
    [(30, NEWBORN, True), (30, AWAY, True), (30, HANGS, False), (601, NEWBORN, False)],
)
def test_a_vm_is_being_born_for_ten_minutes_at_most(
    seconds: int, sight: ObservedAgent, *, born: bool
) -> None:
    """Longer no director waits: some leave the certificate of the birth in use for good."""
    assert timedelta(seconds=600) == AGENT_WAIT
    made = msgspec.structs.replace(YOUNG, vm_created_at=BEGUN - timedelta(seconds=seconds))
    assert being_created(made, sight, at=BEGUN) is born
