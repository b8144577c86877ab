"""Slots: their stages, what a rollout leaves in them, and how what a source holds is recognised."""

from __future__ import annotations

import builders as build
from rollover.fleet.goal import Prospect
from rollover.fleet.names import Fingerprint
from rollover.planner.slots import Stage, bundle_slot, chain_slot, returning

OLD, NEW, FOREIGN = Fingerprint("old"), Fingerprint("new"), Fingerprint("foreign")
OLD_LEAF, NEW_LEAF = (Fingerprint("old:leaf"),), (Fingerprint("new:leaf"),)
BRIDGED = (*NEW_LEAF, build.BRIDGE)


def test_a_bundle_goes_over_both_to_the_new() -> None:
    """The order of its file is kept, and CAs of others stay."""
    slot = bundle_slot("ca", (FOREIGN, OLD), build.goal(), collides=False)
    assert dict(slot.values) == {
        Stage.KEEP: (FOREIGN, OLD),
        Stage.MEANWHILE: (FOREIGN, OLD, NEW),
        Stage.END: (FOREIGN, NEW),
    }


def test_a_bundle_is_turned_only_where_subjects_collide() -> None:
    """Some OpenSSL peers try the first of two CAs of one name only: then order is a stage."""
    slot = bundle_slot("ca", (OLD,), build.goal(), collides=True)
    assert dict(slot.values)[Stage.TURNED] == (NEW, OLD)


def test_a_bundle_of_another_purpose_stays() -> None:
    """It trusts no version of the authority, so no rollout touches it."""
    slot = bundle_slot("ca", (FOREIGN,), build.goal(), collides=False)
    assert not slot.moves


def test_a_chain_may_arrive_with_its_bridge() -> None:
    """Both the bridged and the plain new chain count as reissued."""
    slot = chain_slot("crt", OLD_LEAF, Prospect(OLD, NEW_LEAF, BRIDGED), build.goal(bridge=True))
    assert slot.ends == {BRIDGED, NEW_LEAF}
    assert slot.raised(OLD_LEAF, Stage.TURNED) == BRIDGED


def test_no_rollout_takes_a_slot_back() -> None:
    """A stage behind what the slot holds already changes nothing."""
    slot = bundle_slot("ca", (OLD,), build.goal(), collides=False)
    assert slot.raised((NEW,), Stage.MEANWHILE) == (NEW,)
    assert slot.raised((OLD, NEW), Stage.KEEP) == (OLD, NEW)


def test_what_a_source_holds_is_recognised_by_content_not_by_stage() -> None:
    """A source that already holds both is at its start, and its agents are not."""
    source = bundle_slot("ca", (OLD, NEW), build.goal(), collides=False)
    agent = bundle_slot("ca", (FOREIGN, OLD), build.goal(), collides=False)
    assert source.stage((OLD, NEW)) is Stage.KEEP
    assert agent.marked(source.mark((OLD, NEW))) is Stage.MEANWHILE
    assert agent.marked(source.mark((FOREIGN,))) is Stage.KEEP


def test_the_way_back_goes_over_both_too() -> None:
    """A rollback of a bundle trusts both again before it forgets the new CA."""
    forward = bundle_slot("ca", (OLD,), build.goal(), collides=False)
    back = returning(forward, (NEW,), (OLD,), collides=False)
    assert [value for _, value in back.values] == [(NEW,), (NEW, OLD), (OLD,)]
    assert back.mark((NEW, OLD)) == forward.mark((OLD, NEW))
