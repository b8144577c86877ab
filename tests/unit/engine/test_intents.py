"""Which rotation an authority is in, and what would take it back."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from memory_state import MemoryJournal
from rollover.engine import records
from rollover.engine.goals import Intent, choose_authority, fits, last_intent, reversed_goal
from rollover.engine.goals import Request as Asked
from rollover.errors import SpecError
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.model import Authority
from rollover.fleet.names import AuthorityName, Fingerprint

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CA = AuthorityName("nats-ca")
OLD, NEW, NEXT = Fingerprint("a" * 64), Fingerprint("b" * 64), Fingerprint("c" * 64)


def intent(rotation: str = "r1", *, authority: AuthorityName = CA) -> Intent:
    """A rotation from the old CA to the new one, with a standby."""
    goal = Goal(authority=authority, target=NEW, trusted=(NEW, NEXT), retired=(OLD,), bridge=NEXT)
    return Intent(rotation=rotation, goal=goal, origin=OLD, origin_trusted=(OLD,), started_at=NOON)


def begun(*intents: Intent) -> MemoryJournal:
    """A journal in which rotations were begun."""
    journal = MemoryJournal()
    for each in intents:
        data = records.started(each, fleet="prod")
        journal.append(each.rotation, EntryKind.STARTED, at=NOON, data=data)
    return journal


def test_an_intent_comes_out_of_the_journal_as_it_went_in() -> None:
    """A killed rotation is gone on with towards exactly the goal that it had."""
    assert last_intent(begun(intent()), CA) == intent()


def test_the_last_rotation_of_that_authority_counts() -> None:
    """Others of its own, and those of other authorities, do not."""
    journal = begun(intent("r1"), intent("r2"), intent("r3", authority=AuthorityName("other")))
    found = last_intent(journal, CA)
    assert found is not None
    assert found.rotation == "r2"
    assert last_intent(journal, AuthorityName("third")) is None


def test_a_finished_rotation_is_known_as_finished() -> None:
    """However many entries lie between its beginning and its end."""
    journal = begun(intent())
    for _ in range(600):
        journal.append("r1", EntryKind.CONFIRMED, at=NOON)
    found = last_intent(journal, CA)
    assert found is not None
    assert not found.finished
    journal.append("r1", EntryKind.FINISHED, at=NOON)
    found = last_intent(journal, CA)
    assert found is not None
    assert found.finished


def test_the_way_back_trusts_the_origin_and_retires_the_rest() -> None:
    """A rollback is a goal like any other: its target is where it came from."""
    back = reversed_goal(intent())
    assert (back.target, back.trusted) == (OLD, (OLD,))
    assert set(back.retired) == {NEW, NEXT}
    assert back.bridge is None


def test_a_version_that_was_trusted_before_is_not_retired_by_the_way_back() -> None:
    """What everybody trusted when it began is trusted again, the target of the way back first."""
    started = msgspec.structs.replace(intent(), origin_trusted=(NEXT, OLD))
    back = reversed_goal(started)
    assert back.trusted == (OLD, NEXT)
    assert back.retired == (NEW,)


def test_the_only_authority_need_not_be_named() -> None:
    """With one it is clear which is meant."""
    assert choose_authority([Authority(name=CA)], None) == CA


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (("a", "b"), None, "the fleet has 2 authorities"),
        ((), None, "describes no authority"),
        (("a",), "b", "the fleet has no authority `b`"),
    ],
)
def test_an_unclear_choice_is_refused_and_lists_what_there_is(
    names: tuple[str, ...], wanted: str | None, message: str
) -> None:
    """The hint has the names."""
    authorities = [Authority(name=AuthorityName(name)) for name in names]
    with pytest.raises(SpecError, match=message) as caught:
        choose_authority(authorities, wanted)
    assert all(name in caught.value.hint for name in names)


@pytest.mark.parametrize(
    ("asked", "fitting"),
    [
        (Asked(authority=CA), True),
        (Asked(authority=CA, to=NEW), True),
        (Asked(authority=CA, to=OLD), False),
        (Asked(authority=CA, standby=True, cross_sign=True), True),
        (Asked(authority=CA, compromised=True), False),
    ],
)
def test_a_request_fits_a_goal_that_has_what_it_asks_for(asked: Asked, fitting: bool) -> None:  # noqa: FBT001 - a column of the table
    """What is not asked for may be either way."""
    assert fits(asked, intent().goal) is fitting
