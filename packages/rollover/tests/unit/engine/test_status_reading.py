"""Where a rotation stands, read off its journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from rigs.memory_state import MemoryJournal
from rollover.engine.journal import ENDED_UNHEARD, Status, read_status
from rollover.fleet.journal import EntryKind, Plain

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROLLOUTS: list[Plain] = [
    {"number": 1, "group": "servers", "phases": ["trust"], "instances": 3},
    {"number": 2, "group": "clients", "phases": ["trust", "reissue"], "instances": 20},
]
Told = tuple[EntryKind, str, Mapping[str, Plain]]

STARTED: Told = (
    EntryKind.STARTED,
    "",
    {"fleet": "prod", "intent": {"goal": {"authority": "nats-ca"}}},
)
PLANNED: Told = (
    EntryKind.PLANNED,
    "",
    {"whole": 5, "rollouts": ROLLOUTS, "point_of_no_return": 4},
)
BEGUN: Told = (EntryKind.ROLLOUT_STARTED, "servers", {"group": "servers", "instances": 3})
CONFIRMED: Told = (EntryKind.CONFIRMED, "n1", {})
ROLLED_OUT: Told = (EntryKind.ROLLOUT_FINISHED, "servers", {"number": 1})
PAUSED: Told = (EntryKind.INTERRUPTED, "", {"message": "paused"})


def status(*told: Told, alive: bool = True, paused: bool = False) -> Status:
    """Return the status after these entries of one rotation."""
    journal = MemoryJournal()
    for kind, subject, data in told:
        journal.append("r1", kind, at=NOON, subject=subject, data=data)
    found = read_status(journal, runs=lambda fleet: alive and fleet == "prod", paused=paused)
    assert found is not None
    return found


def test_what_it_is_about_is_told_by_its_name_whatever_the_kind_of_goal() -> None:
    """What is installed has no authority; commands know it by the name of its kind."""
    goal: Plain = {"type": "install-material", "parts": []}
    data: dict[str, Plain] = {"fleet": "prod", "about": "given-bundle", "intent": {"goal": goal}}
    found = status((EntryKind.STARTED, "", data), PLANNED, PAUSED)
    assert found.authority == "given-bundle"
    assert found.next_command == "rollover rotate --authority given-bundle"


def test_an_empty_journal_has_no_status() -> None:
    """Nothing was begun."""
    assert read_status(MemoryJournal()) is None


def test_a_running_rollout_tells_how_many_are_confirmed() -> None:
    """So many of so many, the group and the rollouts that are done."""
    found = status(STARTED, PLANNED, BEGUN, CONFIRMED, CONFIRMED)
    assert (found.state, found.done, found.of) == ("running", 0, 5)
    assert (found.group, found.confirmed, found.instances) == ("servers", 2, 3)
    assert found.next_command == "rollover status"


def test_between_two_rollouts_the_next_of_the_plan_is_told() -> None:
    """A finished rollout counts; the plan made after it says what comes."""
    upcoming: Told = (EntryKind.PLANNED, "", {"whole": 5, "rollouts": ROLLOUTS[1:]})
    found = status(STARTED, PLANNED, BEGUN, CONFIRMED, ROLLED_OUT, upcoming)
    assert (found.done, found.group, found.phases) == (1, "clients", ("trust", "reissue"))
    assert found.confirmed == 0


def test_a_rotation_whose_process_was_killed_is_stopped() -> None:
    """No last word in the journal and nobody who holds the lease: it can go on."""
    found = status(STARTED, PLANNED, BEGUN, CONFIRMED, alive=False)
    assert (found.state, found.message) == ("stopped", ENDED_UNHEARD)
    assert found.next_command == "rollover rotate --authority nats-ca"


def test_a_paused_rotation_is_resumed_not_begun() -> None:
    """`rotate` would stop at once while the pause stands."""
    found = status(STARTED, PLANNED, PAUSED, paused=True)
    assert (found.state, found.message) == ("stopped", "paused")
    assert found.next_command == "rollover resume --authority nats-ca"


def test_who_is_left_behind_is_named_with_what_lifts_it() -> None:
    """What blocks the plan is the status's most important part."""
    blocked: list[Plain] = [{"rule": "left-behind", "message": "`n3` is off", "lift": "start it"}]
    waiting: Told = (EntryKind.PLANNED, "", {"whole": 5, "rollouts": [], "blocked": blocked})
    refused: Told = (EntryKind.REFUSED, "", {"message": "left-behind: `n3` is off"})
    found = status(STARTED, waiting, refused)
    assert found.state == "waiting"
    assert [(left_behind.rule, left_behind.lift) for left_behind in found.left_behind] == [
        ("left-behind", "start it")
    ]


def test_a_failed_instance_is_named_until_the_next_plan() -> None:
    """What was mended is not told again."""
    failure: Told = (EntryKind.FAILED, "n2", {"code": "rejected", "message": "no", "hint": "h"})
    assert status(STARTED, PLANNED, BEGUN, failure).left_behind[0].message == "`n2`: no"
    assert status(STARTED, PLANNED, BEGUN, failure, PLANNED).left_behind == ()


def test_a_finished_rotation_asks_for_verification() -> None:
    """The next command proves what was reached."""
    found = status(STARTED, PLANNED, ROLLED_OUT, (EntryKind.FINISHED, "", {}), alive=False)
    assert (found.state, found.next_command) == (
        "finished",
        "rollover verify --authority nats-ca",
    )


def test_an_override_stays_visible_with_its_reason() -> None:
    """Who answered for a refusal is seen by everybody who looks."""
    override: Told = (EntryKind.OVERRIDDEN, "n3", {"rule": "left-behind", "reason": "scrapped"})
    assert status(STARTED, PLANNED, override).overridden == ("left-behind: scrapped",)


@pytest.mark.parametrize(
    "broken",
    [{}, {"intent": None}, {"intent": []}, {"intent": {"goal": "x"}}, {"fleet": 5}],
)
def test_an_entry_of_another_shape_does_not_break_the_status(broken: dict[str, Plain]) -> None:
    """Journals of other versions are shown as far as they go."""
    planned: Told = (EntryKind.PLANNED, "", {"whole": "x", "rollouts": 3, "blocked": "y"})
    found = status((EntryKind.STARTED, "", broken), planned, BEGUN)
    assert found.rotation == "r1"


def test_the_last_rotation_counts() -> None:
    """Earlier ones are history."""
    journal = MemoryJournal()
    for name in ("r1", "r2"):
        journal.append(name, EntryKind.STARTED, at=NOON, data=STARTED[2])
    found = read_status(journal)
    assert found is not None
    assert found.rotation == "r2"


def test_a_rotation_with_very_many_entries_is_read_to_its_end() -> None:
    """Entries come in pages; none is left out."""
    assert status(STARTED, PLANNED, BEGUN, *[CONFIRMED] * 1203).confirmed == 1203
