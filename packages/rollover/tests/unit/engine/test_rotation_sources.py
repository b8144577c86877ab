"""Rotations of fleets in which a source makes the chains of others: a director and its agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from rigs.crashing import crash_at, first_of_each_kind
from rigs.memory_director import AGENTS, DIRECTOR, MBUS, SIGNER, VM, DirectorFleet
from rigs.memory_fleet import AUTHORITY, BEGUN, Issued, Through, authority, conduct, first
from rigs.memory_platform import Fault
from rollover.engine import events
from rollover.engine.events import Ending
from rollover.engine.goals import Request
from rollover.engine.leaves import Issuers
from rollover.engine.service import Rollover, check_fleet
from rollover.engine.topology import topology_now
from rollover.errors import SpecError
from rollover.fleet.evidence import Applied
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import InstanceName, RuleId
from rollover.pki.issue import issue_authority


def groups(fleet: DirectorFleet) -> list[str]:
    """Return the groups of the rollouts that were begun, in their order."""
    return [
        entry.subject
        for entry in fleet.journal.entries()
        if entry.kind is EntryKind.ROLLOUT_STARTED
    ]


def at_goal(fleet: DirectorFleet) -> bool:
    """Say whether everybody presents and trusts the new CA, and the director signs with it."""
    return (
        fleet.issuers() == {"CN=CA 2"}
        and fleet.trusted() == {"CN=CA 2"}
        and fleet.signs() == "CN=CA 2"
    )


def test_a_director_and_its_agents_are_rotated_in_the_documented_order() -> None:
    """Director, agents, director, agents: no link ever breaks; a second run does nothing."""
    fleet = DirectorFleet()
    outcome = fleet.rotate()
    assert outcome.ending is Ending.DONE, outcome.message
    assert groups(fleet) == [DIRECTOR, AGENTS, DIRECTOR, AGENTS]
    assert at_goal(fleet)
    assert fleet.broken == []
    again = fleet.rotate()
    assert (again.ending, again.rollouts) == (Ending.DONE, ())


class _Orders(Through):
    """Keeps what it was ordered."""

    def __init__(self, behind: Any) -> None:
        super().__init__(behind)
        self.seen: list[Any] = []

    def roll_out(self, orders: Any, **how: Any) -> Any:
        self.seen.append(tuple(orders))
        return super().roll_out(orders, **how)


def test_a_source_is_given_the_signer_and_those_it_feeds_only_an_issuer() -> None:
    """No leaf is made for an agent, nor for the source; the key goes to the source alone."""
    fleet = DirectorFleet()
    director = fleet.platforms[DIRECTOR] = _Orders(fleet.memory[DIRECTOR])
    agents = fleet.platforms[AGENTS] = _Orders(fleet.memory[AGENTS])
    fleet.rotate()
    (begun, _), (reissued, withdrawn) = director.seen, agents.seen
    given = {endpoint.endpoint: endpoint for endpoint in begun[0].endpoints}
    assert given[SIGNER].signer.certificate.subject == "CN=CA 2"
    assert b"PRIVATE KEY" in given[SIGNER].signer.key.reveal()
    assert given[SIGNER].chain is None
    assert given["director"].chain is not None
    assert {certificate.subject for certificate in given[SIGNER].bundle} == {"CN=CA 1", "CN=CA 2"}
    for order in (*reissued, *withdrawn):
        (material,) = order.endpoints
        assert material.issuer.subject == "CN=CA 2"
        assert (material.chain, material.key, material.signer) == (None, None, None)
        assert material.bundle is not None
    made = list(fleet.credentials.names("/fleets/"))
    assert not any("/a1" in text or "agents" in text for text in made)
    assert any("nats" in text for text in made)


def _crashes(numbers: Iterable[int], *, written: bool) -> Iterator[int]:
    """Run one rotation for each of these entries, with a crash there; yield the rollouts left."""
    for number in numbers:
        fleet = DirectorFleet(agents=2)
        outcome = crash_at(fleet, number, written=written)
        if outcome is None:
            return
        assert outcome.ending is Ending.DONE, outcome.message
        assert at_goal(fleet)
        assert fleet.broken == []
        yield len(outcome.rollouts)


def test_a_crash_before_any_kind_of_entry_of_it_is_gone_on_from() -> None:
    """What was done and not written down is found: same goal, no new CA, no link ever broken."""
    numbers = first_of_each_kind(DirectorFleet(agents=2))
    left = list(_crashes(numbers, written=False))
    assert len(left) == len(numbers) > 7


@pytest.mark.parametrize("written", [pytest.param(False, marks=pytest.mark.soak), True])
def test_a_crash_at_any_entry_of_it_is_gone_on_from(*, written: bool) -> None:
    """Before and behind each entry of the journal: same goal, no new CA, no link ever broken."""
    left = list(_crashes(count(1), written=written))
    assert len(left) > 25
    assert (max(left), min(left)) == (4, 0)


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.REFUSES])
def test_an_agent_that_does_not_take_part_stops_the_run_before_it_is_cut_off(fault: Fault) -> None:
    """It is named; the director keeps the old CA until it is back."""
    fleet = DirectorFleet()
    fleet.instance("a3").fail(fault)
    outcome = fleet.rotate()
    if fault is Fault.REFUSES:
        assert outcome.ending is Ending.FAILED
        outcome = fleet.rotate()
    assert outcome.ending is Ending.WAITING, outcome.message
    assert "a3" in outcome.message
    assert "CN=CA 1" in {trust.subject for trust in fleet.held().trusts or ()}
    assert fleet.broken == []
    fleet.instance("a3").heal()
    assert fleet.rotate().ending is Ending.DONE
    assert at_goal(fleet)
    assert fleet.broken == []


def test_an_agent_that_may_be_in_two_states_is_given_its_material_again() -> None:
    """It looks reissued and may not be: it gets an order of its own, and only then is it sure."""
    fleet = DirectorFleet()
    before = fleet.instance("a2").state
    fleet.rotate(first(2))
    agents = fleet.platforms[AGENTS] = _Orders(fleet.memory[AGENTS])
    fleet.instance("a2").doubt(before)
    assert fleet.rotate().ending is Ending.DONE
    assert [[order.instance for order in orders] for orders in agents.seen] == [
        ["a2"],
        ["a1", "a2", "a3"],
    ]
    assert at_goal(fleet)


def test_an_agent_that_stays_in_doubt_ends_the_run_instead_of_going_in_circles() -> None:
    """What was ordered has to be the only state that it may be in."""
    fleet = DirectorFleet()
    before = fleet.instance("a2").state

    class Doubting(Through):
        def roll_out(self, orders: Any, **how: Any) -> Any:
            yield from super().roll_out(orders, **how)
            fleet.instance("a2").doubt(before)

    fleet.platforms[AGENTS] = Doubting(fleet.memory[AGENTS])
    outcome = fleet.rotate()
    assert outcome.ending is Ending.EVIDENCE_MISSING
    assert outcome.message.startswith("as-ordered: a2/mbus: ")
    assert groups(fleet) == [DIRECTOR, AGENTS]


def test_a_source_that_hands_out_something_else_stops_the_run() -> None:
    """A director that somebody set back meanwhile: the agents' rollout fails, nothing breaks."""
    fleet = DirectorFleet()
    before = fleet.instance(VM).state

    class SetBack(Through):
        def roll_out(self, orders: Any, **how: Any) -> Any:
            fleet.instance(VM).give(before)
            yield from super().roll_out(orders, **how)

    fleet.platforms[AGENTS] = SetBack(fleet.memory[AGENTS])
    outcome = fleet.rotate()
    assert outcome.ending is Ending.FAILED
    assert "its source signs with CN=CA 1" in outcome.message


def test_it_is_taken_back_with_what_the_source_made_before() -> None:
    """From the middle and from the end: director and agents are on the old CA again."""
    for done in (1, 2, 3):
        fleet = DirectorFleet(agents=2)
        fleet.rotate(first(done))
        assert fleet.roll_back().ending is Ending.DONE
        assert fleet.issuers() == fleet.trusted() == {"CN=CA 1"}
        assert fleet.signs() == "CN=CA 1"
        assert fleet.broken == []


def test_with_a_standby_the_next_rotation_takes_one_rollout_each() -> None:
    """The next CA is trusted ahead by everybody, and handed out ahead."""
    fleet = DirectorFleet(agents=2)
    assert fleet.rotate(standby=True).ending is Ending.DONE
    assert fleet.trusted() == {"CN=CA 1", "CN=CA 2", "CN=CA 3"}
    outcome = fleet.rotate(standby=True, again=True)
    assert [rollout.rollout.group for rollout in outcome.rollouts] == [DIRECTOR, AGENTS]
    assert fleet.issuers() == {"CN=CA 3"}
    assert fleet.signs() == "CN=CA 3"
    assert fleet.broken == []


def test_cross_signing_is_refused_where_a_source_hands_out_chains() -> None:
    """It cannot hand out a bridge, and one would save nothing: said before anything is begun."""
    fleet = DirectorFleet()
    with pytest.raises(SpecError, match="saves nothing here"):
        fleet.rotate(cross_sign=True)
    assert fleet.journal.entries() == ()


def test_a_compromised_ca_needs_leave_to_make_agents_anew() -> None:
    """Its trust goes first, so every agent is cut off; with leave, director and agents follow."""
    fleet = DirectorFleet()
    with pytest.raises(SpecError, match="cuts off all that `director/0` feeds"):
        fleet.rotate(compromised=True)
    assert fleet.journal.entries() == ()
    outcome = fleet.rotate(compromised=True, recover=True)
    assert outcome.ending is Ending.DONE, outcome.message
    assert groups(fleet) == [DIRECTOR, AGENTS]
    assert at_goal(fleet)


def test_a_director_can_not_be_given_up() -> None:
    """Its agents hang on it: to answer for it as left behind changes nothing."""
    fleet = DirectorFleet()
    fleet.instance(VM).fail(Fault.REFUSES)
    overrides = {RuleId("left-behind"): "never mind"}
    assert fleet.rotate(conduct(overrides=overrides)).ending is Ending.FAILED
    outcome = fleet.rotate(conduct(overrides=overrides))
    assert outcome.ending is Ending.WAITING
    assert "director/0" in outcome.message


# When the CA has expired.


def expired() -> DirectorFleet:
    """A fleet whose CA, and all that it issued, ended an hour ago."""
    fleet = DirectorFleet(ca=authority("CA 1", begins=timedelta(days=-2), days=3))
    fleet.now = BEGUN + timedelta(days=1, hours=1)
    return fleet


def test_an_expired_ca_is_named_and_nothing_is_done_without_leave() -> None:
    """The agents answer on open connections; what the director's restart would do is said."""
    fleet = expired()
    outcome = fleet.rotate()
    assert outcome.ending is Ending.REFUSED
    assert "`nats-ca@1` (CN=CA 1) expired at 2026-11-23" in outcome.message
    assert "3 instances, such as `a1`" in outcome.message
    assert "--recover --window" in outcome.hint
    assert groups(fleet) == []


def test_an_expired_ca_is_recovered_from_in_two_rollouts() -> None:
    """Director, then agents, and the loss is told before the first of them."""
    fleet, told = expired(), list[events.Event]()
    plan = Rollover(fleet.site()).plan(Request(authority=AUTHORITY))
    assert [rollout.group for rollout in plan.rollouts] == [DIRECTOR, AGENTS]
    outcome = fleet.rotate(conduct(tell=told.append), recover=True)
    assert outcome.ending is Ending.DONE, outcome.message
    assert groups(fleet) == [DIRECTOR, AGENTS]
    assert at_goal(fleet)
    names = [type(observed) for observed in told]
    assert names.index(events.Recovering) < names.index(events.RolloutStarted)
    (said,) = [observed for observed in told if isinstance(observed, events.Recovering)]
    assert said.recovery.cut_off == ("a1", "a2", "a3")
    assert "persistent disks may be lost" in said.losses


def test_a_recovery_is_known_before_it_is_asked_for() -> None:
    """The library tells who is cut off; a fleet that is well has nobody."""
    wanted = Request(authority=AUTHORITY)
    seen = Rollover(expired().site()).outlook(wanted)
    assert seen.recovery.needed
    assert any(caution.message.startswith("NOT SAFE: ") for caution in seen.whole().cautions)
    well = Rollover(DirectorFleet().site()).outlook(wanted)
    assert not well.recovery.needed
    assert well.whole() == well.plan


def test_a_finished_rotation_whose_ca_has_expired_since_is_not_gone_back_to() -> None:
    """Another is begun when it is asked for, or by a recovery; without either that is said."""
    fleet = DirectorFleet(ca=authority("CA 1", begins=timedelta(days=-2), days=3))
    fleet.rotate()
    fleet.now = BEGUN + timedelta(days=4)
    for refused in (
        fleet.rotate,
        lambda: Rollover(fleet.site()).plan(Request(authority=AUTHORITY)),
    ):
        with pytest.raises(SpecError, match="led to a CA that expired at 2026-11-25") as error:
            refused()
        assert "--new" in error.value.hint
    assert fleet.rotate(again=True).ending is Ending.REFUSED
    assert fleet.rotate(recover=True).ending is Ending.DONE
    assert fleet.issuers() == {"CN=CA 3"}


def test_a_ca_that_was_put_in_since_the_last_rotation_is_no_business_of_that_one() -> None:
    """It is not taken back to a CA that is in use no more, unless another rotation is begun."""
    fleet = DirectorFleet(agents=1)
    fleet.rotate()
    foreign = authority("Put in by hand")
    fleet.keep(foreign)
    bundle = (foreign.certificate,)
    fleet.instance(VM).give(
        tuple(
            msgspec.structs.replace(
                endpoint,
                presents=bundle
                if endpoint.endpoint == SIGNER
                else (foreign.leaf(endpoint.endpoint),),
                trusts=bundle,
            )
            for endpoint in fleet.instance(VM).state
        )
    )
    fleet.instance("a1").give((fleet.of_agent("a1", foreign, bundle),))
    with pytest.raises(SpecError, match="knew nothing of `nats-ca@3`"):
        fleet.rotate()
    assert fleet.rotate(again=True).ending is Ending.DONE
    assert fleet.trusted() == {"CN=Put in by hand 2"}
    assert fleet.broken == []


# What is shown.


def test_a_source_is_no_party_to_any_check() -> None:
    """It has no links, files or key of its own, and agents share no stand-in's key."""
    fleet = DirectorFleet()
    report = check_fleet(fleet.site())
    found = {
        checked_rule.rule: checked_rule.findings
        for checked_rule in report.checked
        if checked_rule.findings
    }
    assert set(found) <= {"group-of-one"}


def test_the_topology_shows_what_a_source_signs_with() -> None:
    """`nats-ca@1`, as its issuer; of what it makes no fingerprint is claimed."""
    shown = topology_now(DirectorFleet().site())
    director, agents = shown.groups
    endpoints = {endpoint.name: endpoint for endpoint in director.instances[0].endpoints}
    assert (endpoints[SIGNER].issuer, endpoints[SIGNER].role) == ("nats-ca@1", "source")
    assert endpoints["nats"].fingerprint
    assert agents.instances[0].endpoints[0].issuer == "nats-ca@1"
    assert agents.instances[0].endpoints[0].fingerprint == ""
    assert {link.working for link in shown.links} == {3, 1}


def test_the_topology_says_of_what_a_source_feeds_that_it_cannot_be_told() -> None:
    """An agent has no files that could differ from what it uses."""
    fleet = DirectorFleet()
    fleet.instance("a1").doubt(fleet.instance("a1").state)
    shown = {instance.name: instance for instance in topology_now(fleet.site()).groups[1].instances}
    assert shown["a1"].unconfirmed
    assert shown["a1"].doubt.startswith("it may be in 2 states")
    assert "files" not in shown["a1"].doubt
    assert {each.doubt for name, each in shown.items() if name != "a1"} == {""}


def test_the_outcome_lists_no_source_and_no_fingerprint_of_what_is_fed() -> None:
    """Before and after, a certificate for each party; stand-ins are not passed off as real."""
    outcome = DirectorFleet(agents=1).rotate()
    lines = {line.endpoint: line for line in outcome.after}
    assert f"{VM}/{SIGNER}" not in lines
    assert lines[f"a1/{MBUS}"].fingerprint == ""
    assert lines[f"{VM}/nats"].fingerprint


def test_naive_swap_breaks_the_agents_links() -> None:
    """Straight to the new CA, director first: the agents' links are named as what would break."""
    refused = Rollover(DirectorFleet().site()).naive_swap(Request(authority=AUTHORITY))
    assert any(
        violation.witness and violation.witness.dialer.endpoint == MBUS for violation in refused
    )


def test_verify_holds_before_and_after() -> None:
    """Fresh handshakes with every CA; the source is not dialled."""
    fleet = DirectorFleet()
    library = Rollover(fleet.site())
    assert library.verify(AUTHORITY).holds
    fleet.rotate()
    seen = library.verify(AUTHORITY)
    assert seen.holds
    assert not any(
        evidence.subject.endpoint == SIGNER for gate in seen.gates for evidence in gate.evidence
    )


# Instances that come and go.


def test_agents_that_appear_and_vanish_meanwhile_are_seen_at_the_next_look() -> None:
    """A new one is rolled out with the rest, one that is gone is no longer waited for."""
    fleet = DirectorFleet(agents=3)
    whole = fleet.described
    present = {"a1", "a2"}

    def refresh(file: Any) -> Any:
        director, agents = file.groups
        chosen = tuple(instance for instance in agents.instances if instance.name in present)
        return msgspec.structs.replace(
            whole, groups=(director, msgspec.structs.replace(agents, instances=chosen))
        )

    def tell(event: events.Event) -> None:
        if isinstance(event, events.RolloutStarted) and event.number == 1:
            present.symmetric_difference_update({"a1", "a3"})

    site = fleet.site(refresh=refresh)
    outcome = Rollover(site).rotate(Request(authority=AUTHORITY), conduct(tell=tell))
    assert outcome.ending is Ending.DONE, outcome.message
    confirmed = [
        {result.instance for result in report.results if isinstance(result, Applied)}
        for report in outcome.rollouts
    ]
    assert confirmed == [{VM}, {"a2", "a3"}, {VM}, {"a2", "a3"}]
    assert {instance.name for group in site.described.groups for instance in group.instances} == {
        VM,
        "a2",
        "a3",
    }


def test_an_agent_that_vanishes_during_its_own_rollout_is_not_waited_for() -> None:
    """No result comes for it, it is gone by the next look, and the run goes on."""
    fleet = DirectorFleet(agents=2)
    gone: set[str] = set()

    class Vanishing(Through):
        def roll_out(self, orders: Any, **how: Any) -> Any:
            gone.add("a2")
            left = [order for order in orders if order.instance != "a2"]
            yield from super().roll_out(left, **how)

    def refresh(file: Any) -> Any:
        director, agents = file.groups
        chosen = tuple(instance for instance in agents.instances if instance.name not in gone)
        return msgspec.structs.replace(
            file, groups=(director, msgspec.structs.replace(agents, instances=chosen))
        )

    fleet.platforms[AGENTS] = Vanishing(fleet.memory[AGENTS])
    outcome = Rollover(fleet.site(refresh=refresh)).rotate(Request(authority=AUTHORITY), conduct())
    assert outcome.ending is Ending.DONE, outcome.message
    assert InstanceName("a2") in gone


def test_a_leaf_of_a_foreign_issuer_is_left_alone() -> None:
    """An agent whose certificate no version of the authority issued keeps its issuer."""
    fleet = DirectorFleet(agents=1)
    foreign = authority("Another CA")
    assert isinstance(foreign, Issued)
    state = fleet.of_agent("a1", foreign, (fleet.ca.certificate,))
    fleet.instance("a1").give((state,))
    plan = Rollover(fleet.site()).plan(Request(authority=AUTHORITY))
    assert plan.broken


def test_a_ca_that_was_renewed_with_its_key_needs_no_new_leaves() -> None:
    """Both certificates of it vouch for every leaf; the newer one is told as their issuer."""
    old = authority()
    renewed = issue_authority(
        common_name="CA 1",
        key=old.key,
        not_before=BEGUN,
        lifetime=timedelta(days=4000),
    )
    issuers = Issuers((old.certificate, renewed))
    assert issuers.of((old.leaf("x"),)) == renewed.fingerprint
    assert issuers.of((old.certificate,)) == old.certificate.fingerprint


def test_a_version_that_has_expired_is_never_the_next_target() -> None:
    """It lies behind the one in use, with its key: another is made all the same."""
    fleet = DirectorFleet(agents=1)
    past = authority("CA 2", begins=timedelta(days=-2), days=1)
    fleet.keep(past)
    assert fleet.rotate().ending is Ending.DONE
    assert past.certificate.subject not in fleet.trusted()
