"""Slots: their stages, what a rollout leaves in them, and how what a source holds is recognised."""

from __future__ import annotations

from rigs import builders as build
from rollover.fleet.certificate import Bundle
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.goal import Prospect
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName
from rollover.planner.graph import (
    BundleFile,
    Slot,
    Stage,
    bundle_slot,
    chain_slot,
    file_slot,
    return_slot,
)

OLD, NEW, FOREIGN = Fingerprint("old"), Fingerprint("new"), Fingerprint("foreign")
OLD_LEAF, NEW_LEAF = (Fingerprint("old:leaf"),), (Fingerprint("new:leaf"),)
BRIDGED = (*NEW_LEAF, build.BRIDGE)

REF = EndpointRef(InstanceName("n1"), EndpointName("port"))


def slot_of(bundle: Bundle, *, collides: bool = False) -> Slot:
    """The slot of a bundle in an ordinary rotation."""
    return bundle_slot("ca", bundle, build.goal().trusts(REF, bundle), collides=collides)


def test_a_bundle_goes_over_both_to_the_new() -> None:
    """The order of its file is kept, and CAs of others stay."""
    slot = slot_of((FOREIGN, OLD))
    assert dict(slot.values) == {
        Stage.KEEP: (FOREIGN, OLD),
        Stage.MEANWHILE: (FOREIGN, OLD, NEW),
        Stage.END: (FOREIGN, NEW),
    }


def test_a_bundle_is_turned_only_where_subjects_collide() -> None:
    """Some OpenSSL peers try the first of two CAs of one name only: then order is a stage."""
    slot = slot_of((OLD,), collides=True)
    assert dict(slot.values)[Stage.TURNED] == (NEW, OLD)


def test_a_bundle_of_another_purpose_stays() -> None:
    """It trusts no version of the authority, so no rollout touches it."""
    slot = slot_of((FOREIGN,))
    assert not slot.moves


def test_a_chain_may_arrive_with_its_bridge() -> None:
    """Both the bridged and the plain new chain count as reissued."""
    goal = build.goal(bridge=True)
    course = goal.presents(REF, OLD_LEAF, lambda _: Prospect(OLD, NEW_LEAF, BRIDGED))
    slot = chain_slot("crt", course)
    assert slot.ends == {BRIDGED, NEW_LEAF}
    assert slot.raised(OLD_LEAF, Stage.TURNED) == BRIDGED


def test_no_rollout_takes_a_slot_back() -> None:
    """A stage behind what the slot holds already changes nothing."""
    slot = slot_of((OLD,))
    assert slot.raised((NEW,), Stage.MEANWHILE) == (NEW,)
    assert slot.raised((OLD, NEW), Stage.KEEP) == (OLD, NEW)


def test_what_a_source_holds_is_recognised_by_content_not_by_stage() -> None:
    """A source that already holds both is at its start, and its agents are not."""
    source = slot_of((OLD, NEW))
    agent = slot_of((FOREIGN, OLD))
    assert source.stage((OLD, NEW)) is Stage.KEEP
    assert agent.marked(source.mark((OLD, NEW))) is Stage.MEANWHILE
    assert agent.marked(source.mark((FOREIGN,))) is Stage.KEEP


def test_the_way_back_goes_over_both_too() -> None:
    """A rollback of a bundle trusts both again before it forgets the new CA."""
    forward = slot_of((OLD,))
    back = return_slot(forward, (NEW,), (OLD,), collides=False)
    assert [value for _, value in back.values] == [(NEW,), (NEW, OLD), (OLD,)]
    assert back.mark((NEW, OLD)) == forward.mark((OLD, NEW))


def test_a_file_is_left_at_once_both_ways() -> None:
    """Where a bundle lies is a path of its own kind: it is never in two places meanwhile."""
    now, then = BundleFile("ca.pem"), BundleFile("cabundle.pem")
    forward = file_slot("ca:file", now, then)
    assert [value for _, value in forward.values] == [now, then]
    back = return_slot(forward, then, now, collides=False)
    assert [value for _, value in back.values] == [then, now]
    assert not file_slot("ca:file", now, now).moves
