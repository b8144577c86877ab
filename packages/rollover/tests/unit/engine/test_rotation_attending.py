"""What platforms find and tidy besides: when they are asked, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import msgspec
import pytest

from rigs.memory_fleet import AUTHORITY, BEGUN, SERVERS, MemoryFleet, Through, conduct
from rollover.engine import events
from rollover.engine.events import Ending, MaintenanceWindow
from rollover.engine.goals import Request
from rollover.engine.ports import Moment
from rollover.engine.rules import overridable
from rollover.engine.service import Rollover, check_fleet
from rollover.errors import Rejected
from rollover.fleet.description import Silence
from rollover.fleet.evidence import Evidence, Fact
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import EndpointName, InstanceName, RuleId
from rollover.platforms.bosh.rules import agents
from rollover.rule_catalogue import whole_catalogue
from rollover.rules.rule import Finding, Severity, found

LOCKED = found(agents.LOCKED, "deployment/web", "it is locked", severity=Severity.ERROR)
UNSEEN = found(agents.NO_CONNECTIONS, "nats", "no monitoring port", severity=Severity.EVIDENCE)
LOGS = found(agents.KEYS_IN_LOGS, "agents", "keys are in logs", severity=Severity.WARNING)


class Attending(Through):
    """A platform that finds what it is told to find, and tidies."""

    def __init__(self, fleet: MemoryFleet, finds: Callable[[Moment], list[Finding]]) -> None:
        super().__init__(fleet.memory[SERVERS])
        self._finds = finds
        self.moments: list[Moment] = []
        self.tidied = 0
        self.failure: Rejected | None = None
        self.leaves = False

    def findings(self, moment: Moment) -> Iterator[Finding]:
        """Find what was said for that moment."""
        self.moments.append(moment)
        yield from self._finds(moment)

    def clean_up(self) -> Iterator[Evidence]:
        """Do one thing, then fail if it is to."""
        self.tidied += 1
        yield Evidence(
            fact=Fact.DELIVERED,
            subject=EndpointRef(InstanceName("creds.yml"), EndpointName("nats_ca")),
            holds=not self.leaves,
            observed="holds the new values",
            at=BEGUN,
        )
        if self.failure is not None:
            raise self.failure


def attended(*finds: Finding, at: Moment | None = None) -> tuple[MemoryFleet, Attending]:
    """A fleet whose servers' platform finds something, always or at one moment."""
    fleet = MemoryFleet()
    platform = Attending(fleet, lambda moment: list(finds) if at in (None, moment) else [])
    fleet.platforms[SERVERS] = platform
    return fleet, platform


def said(fleet: MemoryFleet, subject: str) -> list[object]:
    """Return what the journal has as evidence of that kind."""
    return [
        entry.data
        for entry in fleet.journal.entries()
        if entry.kind is EntryKind.EVIDENCE and entry.subject == subject
    ]


def test_platforms_are_asked_before_between_and_after() -> None:
    """Once when it begins, before each further rollout, and once more at the goal."""
    fleet, platform = attended()
    assert fleet.rotate().ending is Ending.DONE
    assert platform.moments == [Moment.BEFORE, *[Moment.BETWEEN] * 4, Moment.AFTER]
    platform.moments.clear()
    assert fleet.rotate().ending is Ending.DONE
    assert platform.moments == [Moment.AFTER]


def test_a_warning_is_told_and_recorded_once() -> None:
    """The same finding before every rollout is one event and one entry."""
    fleet, _ = attended(LOGS)
    told: list[events.Event] = []
    assert fleet.rotate(conduct(tell=told.append)).ending is Ending.DONE
    assert [
        observed.findings for observed in told if isinstance(observed, events.FindingsTold)
    ] == [(LOGS,)]
    assert len(said(fleet, "findings")) == 1


@pytest.mark.parametrize(
    ("finding", "ending"),
    [(LOCKED, Ending.WAITING), (UNSEEN, Ending.EVIDENCE_MISSING)],
)
@pytest.mark.parametrize("at", [Moment.BEFORE, Moment.BETWEEN, Moment.AFTER])
def test_what_stands_in_the_way_ends_the_run_and_is_named(
    finding: Finding, ending: Ending, at: Moment
) -> None:
    """With its rule, subject and remedy; the next run goes on once it is gone."""
    fleet, _ = attended(finding, at=at)
    outcome = fleet.rotate()
    assert outcome.ending is ending
    assert outcome.message == f"{finding.rule}: {finding.subject}: {finding.message}"
    assert outcome.hint.startswith(finding.remedy.rstrip("."))
    answerable = finding.rule in overridable(whole_catalogue())
    assert (f"--override {finding.rule}=REASON" in outcome.hint) is answerable
    assert len(outcome.rollouts) == {Moment.BEFORE: 0, Moment.BETWEEN: 1, Moment.AFTER: 5}[at]
    assert EntryKind.FINISHED not in {entry.kind for entry in fleet.journal.entries()}
    fleet.platforms[SERVERS] = fleet.memory[SERVERS]
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []


def test_the_gravest_finding_decides_how_it_ends() -> None:
    """An error counts before what cannot be seen, and both are named."""
    fleet, _ = attended(LOGS, UNSEEN, LOCKED)
    outcome = fleet.rotate()
    assert outcome.ending is Ending.WAITING
    assert outcome.message.startswith("bosh-locked: ")
    assert "bosh-connections-unseen: " in outcome.message


def test_a_finding_can_be_answered_for() -> None:
    """Rule and reason go into the journal once, and the run goes on."""
    fleet, _ = attended(LOCKED)
    steered = conduct(overrides={LOCKED.rule: "the lock is our own"})
    assert fleet.rotate(steered).ending is Ending.DONE
    overridden = [e for e in fleet.journal.entries() if e.kind is EntryKind.OVERRIDDEN]
    assert [(entry.subject, entry.data["reason"]) for entry in overridden] == [
        ("deployment/web", "the lock is our own")
    ]


def test_nobody_can_answer_for_what_could_never_be_confirmed() -> None:
    """Without sight of connections a rollout of agents would end without a proof."""
    fleet, _ = attended(UNSEEN)
    steered = conduct(overrides={UNSEEN.rule: "trust me"})
    outcome = fleet.rotate(steered)
    assert outcome.ending is Ending.EVIDENCE_MISSING
    assert "--override" not in outcome.hint


def test_a_finding_that_no_catalogue_knows_cannot_be_answered_for() -> None:
    """Only rules that `rollover explain` explains can be overridden."""
    unknown = msgspec.structs.replace(LOCKED, rule=RuleId("made-up"))
    fleet, _ = attended(unknown)
    steered = conduct(overrides={unknown.rule: "never mind"})
    assert fleet.rotate(steered).ending is Ending.WAITING


def test_a_finding_that_the_fleet_file_silences_stops_nothing() -> None:
    """It is recorded with the operator's reason, and `check` shows it as silenced."""
    fleet, _ = attended(LOCKED)
    fleet.described = msgspec.structs.replace(
        fleet.described,
        silenced=(Silence(rule=LOCKED.rule, subject="deployment/*", reason="errands run"),),
    )
    assert fleet.rotate().ending is Ending.DONE
    assert "errands run" in str(said(fleet, "findings"))
    report = check_fleet(fleet.site())
    assert [finding.silenced for finding in report.silenced] == ["errands run"]
    assert not any(
        checked_rule.rule == "silence-without-effect" and checked_rule.findings
        for checked_rule in report.checked
    )


def test_check_shows_what_platforms_find_under_their_group() -> None:
    """With the rule's own title, and counted into the worst of all."""
    fleet, platform = attended(LOCKED, LOGS)
    report = check_fleet(fleet.site())
    assert platform.moments == [Moment.CHECK]
    shown = {
        checked_rule.rule: checked_rule
        for checked_rule in report.checked
        if checked_rule.area == SERVERS
    }
    assert set(shown) == {LOCKED.rule, LOGS.rule}
    assert shown[LOCKED.rule].title == agents.LOCKED.title
    assert report.worst is Severity.ERROR


def test_the_library_tells_findings_beside_a_plan() -> None:
    """What `rollover plan` shows: asked for as a check, nothing is changed."""
    fleet, platform = attended(LOCKED)
    seen = Rollover(fleet.site()).outlook(Request(authority=AUTHORITY))
    assert seen.findings == seen.blocking == (LOCKED,)
    assert platform.moments == [Moment.CHECK]
    assert [(caution.rule, caution.message) for caution in seen.whole().cautions] == [
        (LOCKED.rule, "in the way: deployment/web: it is locked")
    ]


# Tidying.


def test_what_is_left_behind_is_tidied_at_the_goal_and_again_on_a_second_run() -> None:
    """Its evidence is told and in the journal before the rotation counts as finished."""
    fleet, platform = attended()
    told: list[events.Event] = []
    assert fleet.rotate(conduct(tell=told.append)).ending is Ending.DONE
    assert platform.tidied == 1
    assert [observed.group for observed in told if isinstance(observed, events.CleanedUp)] == [
        SERVERS
    ]
    assert len(said(fleet, "clean")) == 1
    assert fleet.rotate().ending is Ending.DONE
    assert platform.tidied == 2


def test_nothing_is_tidied_before_the_goal() -> None:
    """A run that ends on the way leaves everything as it is."""
    fleet, platform = attended()
    fleet.paused = True
    library = Rollover(fleet.site())
    with pytest.raises(Exception, match="paused"):
        library.rotate(Request(authority=AUTHORITY), conduct())
    assert platform.tidied == 0


def test_a_failure_to_tidy_says_what_is_left_and_the_next_run_does_only_that() -> None:
    """The fleet is at its goal: no rollout is repeated."""
    fleet, platform = attended()
    platform.failure = Rejected(
        "no space left", system="creds.yml", operation="write", hint="make room"
    )
    outcome = fleet.rotate()
    assert outcome.ending is Ending.FAILED
    assert "the fleet is at the goal, but" in outcome.message
    assert "no space left" in outcome.message
    assert outcome.hint.startswith("make room; `rollover rotate` tries again")
    assert len(said(fleet, "clean")) == 1
    platform.failure = None
    again = fleet.rotate()
    assert (again.ending, again.rollouts) == (Ending.DONE, ())


def test_evidence_that_does_not_hold_is_a_failure_to_tidy() -> None:
    """What could not be put in its place is named."""
    fleet, platform = attended()
    platform.leaves = True
    outcome = fleet.rotate()
    assert outcome.ending is Ending.FAILED
    assert "creds.yml/nats_ca: holds the new values" in outcome.message


# Maintenance windows.


def test_outside_of_its_window_a_run_waits() -> None:
    """Before it and after it; what is done within stays done."""
    later = MaintenanceWindow(begins=BEGUN + timedelta(hours=1), ends=BEGUN + timedelta(hours=2))
    fleet = MemoryFleet()
    outcome = fleet.rotate(conduct(window=later))
    assert (outcome.ending, outcome.rollouts) == (Ending.WAITING, ())
    assert "2026-11-22 13:00:00Z to 2026-11-22 14:00:00Z" in outcome.message
    fleet.now = BEGUN + timedelta(hours=1)

    def approve(*_: object) -> bool:
        fleet.now += timedelta(minutes=25)
        return True

    outcome = fleet.rotate(conduct(window=later, approve=approve))
    assert outcome.ending is Ending.WAITING
    assert len(outcome.rollouts) == 3
    assert fleet.rotate().ending is Ending.DONE
    assert fleet.broken == []
