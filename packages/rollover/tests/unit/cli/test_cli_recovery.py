"""Recoveries on the command line: windows, what is refused beforehand, and how it is shown."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rigs.memory_director import DirectorFleet
from rigs.memory_fleet import AUTHORITY, BEGUN, authority
from rollover.cli import plan, rotate
from rollover.cli import topology as topology_view
from rollover.cli.goal_options import overrides_of, window_of
from rollover.cli.plan import refuse_unasked_recovery
from rollover.cli.printer import Printer
from rollover.engine.goals import Request
from rollover.engine.recovery import Recovery
from rollover.engine.service import Outlook, Rollover
from rollover.engine.topology import topology_now
from rollover.errors import SafetyError, SpecError
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh.rules import agents
from rollover.rules.rule import found

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begins", "hours"),
    [
        ("2026-11-22T22:00Z/2026-11-23T02:00Z", datetime(2026, 11, 22, 22, tzinfo=UTC), 4),
        ("2026-11-22T22:00+02:00/PT1H30M", datetime(2026, 11, 22, 20, tzinfo=UTC), 1.5),
        ("20261122T220000Z/P1DT12H", datetime(2026, 11, 22, 22, tzinfo=UTC), 36),
        ("PT4H/2026-11-23T02:00Z", datetime(2026, 11, 22, 22, tzinfo=UTC), 4),
        ("PT90M", NOW, 1.5),
        ("P1W", NOW, 7 * 24),
    ],
)
def test_a_window_is_an_interval_or_a_duration(text: str, begins: datetime, hours: float) -> None:
    """As ISO 8601 writes both; a duration alone begins now."""
    window = window_of(text, now=NOW)
    assert window is not None
    assert window.begins == begins
    assert window.ends - window.begins == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tonight", "is no duration"),
        ("P", "is no duration"),
        ("PT", "is no duration"),
        ("2026-11-22T22:00/PT4H", "has no zone"),
        ("2026-11-22T22:00Z", "is no duration"),
        ("2026-11-22T22:00Z/", "is no time"),
        ("2026-11-23T02:00Z/2026-11-22T22:00Z", "ends before it begins"),
        ("2026-11-21T02:00Z/PT4H", "is over"),
        ("PT0S", "ends before it begins"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_an_example(text: str, why: str) -> None:
    """What is wrong with it, and how one is written."""
    with pytest.raises(SpecError, match=why) as refused:
        window_of(text, now=NOW)
    assert "PT4H" in refused.value.hint


def test_without_a_window_any_time_is_right() -> None:
    """Nothing given, nothing limited."""
    assert window_of(None, now=NOW) is None


def test_a_recovery_without_questions_needs_a_window(tmp_path: Path) -> None:
    """`--recover --yes` alone is refused before the fleet is looked at."""
    with pytest.raises(SpecError, match="at any time") as refused:
        rotate.command.main(
            ["--recover", "--yes", "--fleet", str(tmp_path / "no.yml")], standalone_mode=False
        )
    assert "--window START/END" in refused.value.hint


def test_findings_of_platforms_can_be_overridden_by_their_rule() -> None:
    """Every rule of a platform that is in the catalogue, with a reason."""
    assert overrides_of(("bosh-locked=the lock is ours",)) == {"bosh-locked": "the lock is ours"}
    with pytest.raises(SpecError, match="no refusal that can be overridden"):
        overrides_of(("certificate-expired=never mind",))


def shown(outlook: Outlook, *, recover: bool) -> str:
    """Return what `rollover plan` writes."""
    out = io.StringIO()
    plan.show_outlook(Printer(out=out, color=False), outlook, recover=recover)
    return out.getvalue()


def outlook(fleet: DirectorFleet) -> Outlook:
    """Look ahead for an ordinary rotation."""
    return Rollover(fleet.site()).outlook(Request(authority=AUTHORITY))


def expired() -> DirectorFleet:
    """A fleet whose CA ended an hour ago."""
    fleet = DirectorFleet(ca=authority("CA 1", begins=timedelta(days=-2), days=3))
    fleet.now = BEGUN + timedelta(days=1, hours=1)
    return fleet


@pytest.mark.parametrize("recover", [False, True])
def test_a_plan_after_the_ca_has_expired_is_never_shown_as_safe(*, recover: bool) -> None:
    """The CA with its date, who is cut off, what may be lost, and that it is not safe."""
    text = shown(outlook(expired()), recover=recover)
    assert "`nats-ca@1` (CN=CA 1) expired at 2026-11-23" in text
    assert "3 instances are cut off by it: `a1`, `a2`, `a3`" in text
    assert "NOT SAFE: " in text
    assert "persistent disks may be lost" in text
    assert ("`rollover plan --recover` plans that" in text) is not recover


def test_a_plan_of_a_fleet_that_is_well_says_nothing_of_recovery() -> None:
    """It has the time that each rollout takes, because they interrupt."""
    text = shown(outlook(DirectorFleet()), recover=False)
    assert "NOT SAFE" not in text
    assert "Takes about 6 s in all: director 1 s, agents 2 s, director 1 s, agents 2 s" in text


def test_what_platforms_find_stands_below_the_plan() -> None:
    """What stands in the way first, with what lifts it; silenced ones with the reason."""
    locked = found(agents.LOCKED, "web", "it is locked")
    ignored = found(agents.IGNORED, "web/router/1", "it is ignored")
    seen = outlook(DirectorFleet())
    text = shown(
        Outlook(plan=seen.plan, findings=(ignored, locked), recovery=seen.recovery), recover=False
    )
    assert text.index("✗ bosh-locked: web: it is locked") < text.index("! bosh-vm-ignored: web")
    assert f"to lift it: {agents.LOCKED.remedy}" in text


@pytest.mark.parametrize("command", ["plan", "rotate"])
def test_a_runbook_of_a_fleet_without_a_director_is_refused(command: str, tmp_path: Path) -> None:
    """Before anything is looked at; nothing is written."""
    fleet = tmp_path / "fleet.yml"
    fleet.write_text("version: 1\nname: plain\ngroups: []\n")
    module = {"plan": plan, "rotate": rotate}[command]
    with pytest.raises(SpecError, match="fleet of a BOSH director"):
        module.command.main(
            ["--runbook", str(tmp_path / "book"), "--fleet", str(fleet)], standalone_mode=False
        )
    assert not (tmp_path / "book").exists()


def test_a_runbook_of_a_recovery_has_to_be_asked_for() -> None:
    """It is not safe, and nobody gets it by surprise."""
    needed = Recovery(expired=("`nats_ca@1` expired",), cut_off=(InstanceName("cf/x/1"),))
    with pytest.raises(SafetyError, match="`nats_ca@1` expired") as raised:
        refuse_unasked_recovery(needed, asked=False)
    assert "--recover --runbook" in raised.value.hint
    refuse_unasked_recovery(needed, asked=True)
    refuse_unasked_recovery(Recovery(expired=needed.expired), asked=False)


@pytest.mark.parametrize("option", [("--key", "p-256"), ("--to", "0123456789ab")])
def test_a_runbook_makes_no_ca_of_somebody_elses_choice(
    option: tuple[str, str], tmp_path: Path
) -> None:
    """`create-env` makes its own: what cannot be had is refused before anything is looked at."""
    fleet = tmp_path / "fleet.yml"
    fleet.write_text("version: 1\nname: plain\ngroups: []\n")
    with pytest.raises(SpecError, match=f"`{option[0]}` cannot be written as a runbook"):
        plan.command.main(
            ["--runbook", str(tmp_path / "book"), "--fleet", str(fleet), *option],
            standalone_mode=False,
        )


def test_a_source_is_shown_by_what_it_signs_with_and_hands_out() -> None:
    """Not as a party that presents and trusts."""
    out = io.StringIO()
    topology_view.show_topology(Printer(out=out, color=False), topology_now(DirectorFleet().site()))
    assert "agents [source] signs with nats-ca@1 until 2036-11-17" in out.getvalue()
    assert "hands out nats-ca@1" in out.getvalue()
