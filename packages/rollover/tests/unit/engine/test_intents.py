"""Which rotation an authority is in, and what would take it back."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from rigs.memory_state import MemoryJournal
from rollover.engine import run_log
from rollover.engine.goals import (
    AuthorityIntent,
    choose_about,
    choose_authority,
    fits,
    last_intent,
    read_intent,
)
from rollover.engine.goals import Request as Asked
from rollover.errors import SpecError
from rollover.fleet.fleet import Authority
from rollover.fleet.goal import MaterialKind, RotateAuthority
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import AuthorityName, Fingerprint

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CA = AuthorityName("nats-ca")
OLD, NEW, NEXT = Fingerprint("a" * 64), Fingerprint("b" * 64), Fingerprint("c" * 64)


def intent(rotation: str = "r1", *, authority: AuthorityName = CA) -> AuthorityIntent:
    """A rotation from the old CA to the new one, with a standby."""
    goal = RotateAuthority(
        authority=authority, target=NEW, trusted=(NEW, NEXT), retired=(OLD,), bridge=NEXT
    )
    return AuthorityIntent(
        rotation=rotation, goal=goal, origin=OLD, origin_trusted=(OLD,), started_at=NOON
    )


def begun(*intents: AuthorityIntent) -> MemoryJournal:
    """A journal in which rotations were begun."""
    journal = MemoryJournal()
    for authority_intent in intents:
        data = run_log.started_data(authority_intent, fleet="prod")
        journal.append(authority_intent.rotation, EntryKind.STARTED, at=NOON, data=data)
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
    back = intent().reversed_goal()
    assert (back.target, back.trusted) == (OLD, (OLD,))
    assert set(back.retired) == {NEW, NEXT}
    assert back.bridge is None


def test_a_version_that_was_trusted_before_is_not_retired_by_the_way_back() -> None:
    """What everybody trusted when it began is trusted again, the target of the way back first."""
    started = msgspec.structs.replace(intent(), origin_trusted=(NEXT, OLD))
    back = started.reversed_goal()
    assert back.trusted == (OLD, NEXT)
    assert back.retired == (NEW,)


def test_the_only_authority_need_not_be_named() -> None:
    """With one it is clear which is meant."""
    assert choose_authority([CA], None) == CA


def test_a_name_of_material_means_that_unless_an_authority_has_it() -> None:
    """Authorities are named by their owners, who may choose any name."""
    assert choose_about([Authority(name=CA)], "given-chain") is MaterialKind.CHAIN
    named = AuthorityName("given-chain")
    assert choose_about([Authority(name=named)], "given-chain") == named


def test_a_rotation_of_an_older_version_is_read_as_that_of_an_authority() -> None:
    """Its goal said nothing of kinds, and had a place for what was supplied."""
    data = msgspec.to_builtins(intent())
    del data["type"], data["goal"]["type"]
    data["goal"]["given"] = []
    data["before"] = []
    assert read_intent(data) == intent()


def test_the_way_back_to_a_ca_whose_key_leaked_is_refused() -> None:
    """It would be trusted again."""
    leaked = msgspec.structs.replace(intent().goal, compromised=True)
    with pytest.raises(SpecError, match="left a CA whose key leaked"):
        msgspec.structs.replace(intent(), goal=leaked).reversed_goal()


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
    with pytest.raises(SpecError, match=message) as caught:
        choose_authority([AuthorityName(name) for name in names], wanted)
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
