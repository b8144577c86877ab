"""One step of a rotation at a time: approvals, stops, drains, and those left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from rigs.memory_fleet import (
    AUTHORITY,
    PORT,
    SERVERS,
    MemoryFleet,
    Through,
    authority,
    conduct,
    first,
)
from rigs.memory_platform import Fault
from rollover.engine import events
from rollover.engine.events import Ending
from rollover.engine.goals import Request
from rollover.engine.service import Rollover
from rollover.errors import EvidenceMissing, StaleError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import AuthorityDescription
from rollover.fleet.evidence import Evidence, Holdout
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import AuthorityName, InstanceName, RuleId
from rollover.fleet.plan import Plan, Rollout


def kinds(fleet: MemoryFleet) -> list[EntryKind]:
    """Return the kinds of all entries."""
    return [entry.kind for entry in fleet.journal.entries()]


def test_every_step_is_in_the_journal_in_its_order() -> None:
    """A rollout is planned, approved, started, confirmed, proven, and only then finished."""
    fleet = MemoryFleet()
    fleet.rotate()
    assert kinds(fleet)[:10] == [
        EntryKind.STARTED,
        EntryKind.GATE,
        EntryKind.PLANNED,
        EntryKind.APPROVED,
        EntryKind.ROLLOUT_STARTED,
        EntryKind.CONFIRMED,
        EntryKind.CONFIRMED,
        EntryKind.GATE,
        EntryKind.GATE,
        EntryKind.ROLLOUT_FINISHED,
    ]
    assert kinds(fleet)[-1] is EntryKind.FINISHED


def test_an_approval_that_took_long_is_followed_by_another_look() -> None:
    """What a person said yes to is compared with the fleet as it is then; nobody is asked twice."""
    fleet, told, asked = MemoryFleet(), list[events.Event](), list[str]()

    def approve(_: Plan, rollout: Rollout) -> bool:
        asked.append(rollout.group)
        time.sleep(0.02)
        return True

    site = fleet.site(fresh_seconds=0.01)
    steered = conduct(approve=approve, tell=told.append)
    outcome = Rollover(site).rotate(Request(authority=AUTHORITY), steered)
    assert outcome.ending is Ending.DONE
    assert len(asked) == len(outcome.rollouts) == 5
    assert sum(isinstance(observed, events.Observed) for observed in told) == 1 + 2 * 5


def test_what_changed_during_an_approval_is_asked_for_anew() -> None:
    """A server that fell away meanwhile makes another rollout of it, with its own yes."""
    fleet, asked = MemoryFleet(), list[int]()

    def approve(_: Plan, rollout: Rollout) -> bool:
        asked.append(rollout.instances)
        if len(asked) == 1:
            fleet.instance("n2").fail(Fault.UNREACHABLE)
            time.sleep(0.02)
        return len(asked) < 3

    Rollover(fleet.site(fresh_seconds=0.01)).rotate(
        Request(authority=AUTHORITY), conduct(approve=approve)
    )
    assert asked[:2] == [2, 1]


def test_a_stop_lets_the_instances_begun_finish() -> None:
    """Asked to stop during a rollout: nobody is half-way, and the message says how far it is."""
    fleet = MemoryFleet()
    seen: list[events.Event] = []

    def stopping() -> bool:
        return any(isinstance(observed, events.InstanceDone) for observed in seen)

    outcome = fleet.rotate(conduct(tell=seen.append, stopping=stopping))
    assert outcome.ending is Ending.STOPPED
    assert outcome.message == "interrupted: 1 of 2 instances of `servers` are done"
    assert kinds(fleet)[-1] is EntryKind.INTERRUPTED
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []


def test_a_pause_stops_a_drain() -> None:
    """Waiting for peers is no reason not to stop when asked."""
    fleet = MemoryFleet()
    fleet.instance("n1").connect("c1", fleet.ca.leaf("c1"), fleet.ca.certificate.fingerprint)

    def tell(event: events.Event) -> None:
        fleet.paused = fleet.paused or isinstance(event, events.Draining)

    outcome = Rollover(fleet.site(drain_seconds=60.0, return_seconds=60.0)).rotate(
        Request(authority=AUTHORITY), conduct(tell=tell)
    )
    assert (outcome.ending, outcome.message) == (Ending.STOPPED, "paused")


def test_a_run_that_lost_its_lease_touches_nothing_more() -> None:
    """Somebody else took over: the run ends before its next look, and says who has the fleet."""
    fleet = MemoryFleet()

    def approve(_: Plan, rollout: Rollout) -> bool:
        held = fleet.leases.current(fleet.described.name)
        if rollout.group == "clients" and held is not None:
            fleet.leases.release(held)
            other = msgspec.structs.replace(held.holder, task="other", host="elsewhere")
            fleet.leases.acquire(held.name, other, seconds=60, now=fleet.now)
        return True

    with pytest.raises(StaleError, match="host `elsewhere`"):
        fleet.rotate(conduct(approve=approve))


def test_strangers_are_named_and_never_touched() -> None:
    """A connection of nobody in the fleet blocks the withdrawal; it is not cut."""
    fleet = MemoryFleet()
    found = fleet.instance("n1")
    found.connect("stranger", fleet.ca.leaf("stranger"), None)
    outcome = fleet.rotate()
    assert outcome.ending is Ending.EVIDENCE_MISSING
    assert "`stranger` on n1 still presents a certificate of an unknown CA" in outcome.message
    assert len(found.connections) == 1
    assert EntryKind.EVIDENCE not in kinds(fleet)
    # Servers withdraw last: until then both CAs are trusted.
    assert fleet.trusted() == {"CN=CA 1", "CN=CA 2"}
    found.disconnect(1)
    assert fleet.rotate().ending is Ending.DONE


def test_a_peer_of_the_fleet_is_asked_once_and_given_time_to_come_back() -> None:
    """Cut and away for a moment is not yet gone: it comes back with its old certificate."""

    class Returning(Through):
        cycled = 0
        away = False

        def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
            self.cycled += 1
            yield from super().cycle(holdouts)
            self.away = True

        def holdouts(
            self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
        ) -> Iterator[Holdout]:
            yield from super().holdouts(instances, retired=retired)
            if self.away:
                # Nobody saw it this time; before the next look it is back.
                fleet.instance("n1").connect("c1", leaf, fleet.ca.certificate.fingerprint)
                self.away = False

    fleet = MemoryFleet()
    leaf = fleet.ca.leaf("c1")
    fleet.instance("n1").connect("c1", leaf, fleet.ca.certificate.fingerprint)
    fleet.platforms[SERVERS] = returning = Returning(fleet.memory[SERVERS])
    site = fleet.site(drain_seconds=0.1, return_seconds=1.5)
    outcome = Rollover(site).rotate(Request(authority=AUTHORITY), conduct())
    assert outcome.ending is Ending.EVIDENCE_MISSING
    assert "`c1` on n1 still presents a certificate of CN=CA 1" in outcome.message
    assert returning.cycled == 1


def test_connections_that_nobody_can_list_are_missing_evidence() -> None:
    """Without a list nothing is drained: the run stops, unless somebody answers for it."""

    class Blind(Through):
        def holdouts(
            self,
            instances: Sequence[InstanceName],  # noqa: ARG002 - none of them
            *,
            retired: Sequence[Certificate],  # noqa: ARG002 - likewise
        ) -> Iterator[Holdout]:
            raise EvidenceMissing("nobody lists them", hint="describe `monitor`")

    fleet = MemoryFleet()
    fleet.platforms[SERVERS] = Blind(fleet.memory[SERVERS])
    outcome = fleet.rotate()
    assert (outcome.ending, outcome.hint) == (Ending.EVIDENCE_MISSING, "describe `monitor`")
    overrides = {RuleId("drain-incomplete"): "all were restarted by hand"}
    assert fleet.rotate(conduct(overrides=overrides)).ending is Ending.DONE


def test_the_issuer_of_a_certificate_is_known_whatever_its_authority() -> None:
    """A peer with a certificate of a CA that is not rotated can be judged: it is no holdout."""
    fleet = MemoryFleet()
    other = authority("CA of another authority")
    fleet.described = msgspec.structs.replace(
        fleet.described,
        authorities=(
            *fleet.described.authorities,
            AuthorityDescription(
                name=AuthorityName("other-ca"), certificates=(other.certificate.fingerprint,)
            ),
        ),
    )
    client = fleet.instance("c1")
    leaf = other.leaf("c1")
    bundle = (fleet.ca.certificate, other.certificate)
    client.give((msgspec.structs.replace(client.state[0], presents=(leaf,), trusts=bundle),))
    site = fleet.site()
    site.observe(AUTHORITY)
    assert site.known.issuer_of(leaf.fingerprint) == other.certificate.fingerprint
    assert site.known.issuer_of(fleet.ca.leaf("never seen").fingerprint) is None


def test_those_given_up_are_left_alone() -> None:
    """Left behind for a reason: no order, no notice, and the run goes on to the end without."""
    fleet = MemoryFleet()
    fleet.instance("c1").fail(Fault.UNREACHABLE)
    ca = fleet.ca.certificate.fingerprint
    fleet.instance("n1").connect("c1", fleet.instance("c1").state[0].presents[0], ca)
    assert fleet.rotate().ending is Ending.WAITING
    overrides = {RuleId("left-behind"): "it is being scrapped"}
    outcome = fleet.rotate(conduct(overrides=overrides))
    assert outcome.ending is Ending.DONE, outcome.message
    assert outcome.message.endswith("given up: `c1`")
    assert len(fleet.instance("n1").connections) == 1
    assert kinds(fleet).count(EntryKind.OVERRIDDEN) == 1
    fleet.instance("c1").heal()
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.trusted() == fleet.issuers() == {"CN=CA 2"}


def test_a_refusing_canary_is_the_only_one_that_is_tried() -> None:
    """A failure ends the rollout, exit with who and why; healed, the rotation goes on."""
    fleet = MemoryFleet()
    fleet.instance("n1").fail(Fault.REFUSES)
    outcome = fleet.rotate()
    assert outcome.ending is Ending.FAILED
    assert "`n1` did not take its new material" in outcome.message
    assert EntryKind.CONFIRMED not in kinds(fleet)
    assert fleet.rotate().ending is Ending.WAITING
    fleet.instance("n1").heal()
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []


@pytest.mark.parametrize("count", range(1, 6))
def test_a_rollback_leads_back_from_every_rollout(count: int) -> None:
    """Declined behind each rollout in turn, taken back, and nothing ever broke."""
    fleet = MemoryFleet()
    fleet.rotate(first(count))
    assert fleet.roll_back().ending is Ending.DONE
    assert fleet.trusted() == fleet.issuers() == {"CN=CA 1"}
    assert fleet.broken == []


def test_verify_looks_at_every_port_and_every_list() -> None:
    """It holds on a sound fleet; an old connection behind a withdrawal makes it fail."""
    fleet = MemoryFleet()
    fleet.rotate()
    assert Rollover(fleet.site()).verify(AUTHORITY).holds
    old = fleet.ca.certificate.fingerprint
    fleet.instance("n2").connect("laptop", fleet.ca.leaf("laptop"), old)
    seen = Rollover(fleet.site()).verify(AUTHORITY)
    assert not seen.holds
    assert [holdout.peer for gate in seen.gates for holdout in gate.holdouts] == ["laptop"]


def test_a_naive_swap_is_refused_by_name() -> None:
    """Both ends of every kind of link are named, and nothing was changed."""
    fleet = MemoryFleet()
    refused = Rollover(fleet.site()).naive_swap(Request(authority=AUTHORITY))
    assert {violation.rule for violation in refused} == {"trust-before-use"}
    assert all(
        PORT in str(violation.witness) or "route" in str(violation.witness) for violation in refused
    )
    assert fleet.journal.entries() == ()
