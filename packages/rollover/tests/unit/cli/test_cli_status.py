"""`rollover status`: in at most 24 lines, whatever happened."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs import commands
from rigs.examples_budget import examples
from rollover.cli.printer import Printer
from rollover.cli.status import MOST_COLUMNS, MOST_LINES, show_status
from rollover.engine.journal import LeftBehind, Status
from rollover.errors import ExitCode
from rollover.fleet.journal import EntryKind, Plain
from rollover.store.journal import open_journal
from rollover.store.leases import open_leases, this_process

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
_TEXT = st.text(max_size=400) | st.just("a\nb\r\nc\x85d\u2028e\x0bf")
_LEFT = st.builds(LeftBehind, rule=_TEXT, message=_TEXT, lift=_TEXT)
_STATUSES = st.builds(
    Status,
    rotation=_TEXT,
    fleet=_TEXT,
    authority=_TEXT,
    kind=st.sampled_from(["rotation", "rollback"]),
    state=st.sampled_from(["running", "waiting", "stopped", "finished"]),
    started_at=st.just(NOON),
    last_at=st.just(NOON),
    done=st.integers(0, 9),
    of=st.integers(0, 9),
    phases=st.lists(_TEXT, max_size=6).map(tuple),
    group=_TEXT,
    confirmed=st.integers(0, 10**6),
    instances=st.integers(0, 10**6),
    left_behind=st.lists(_LEFT, max_size=40).map(tuple),
    point_of_no_return=st.none() | st.integers(1, 9),
    overridden=st.lists(_TEXT, max_size=40).map(tuple),
    message=_TEXT,
    next_command=st.just("rollover rotate --authority nats-ca"),
)


@examples(80)
@given(_STATUSES)
def test_a_status_fits_and_ends_with_the_next_command(status: Status) -> None:
    """However much is left behind, and whatever servers put into their messages."""
    out = io.StringIO()
    show_status(Printer(out=out, color=False), status)
    lines = out.getvalue().splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= MOST_COLUMNS
    assert lines[-1] == "next command: rollover rotate --authority nats-ca"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet file beside which nothing was begun."""
    path = tmp_path / "fleet.yml"
    path.write_text("version: 1\nname: prod\nstate: work\ngroups: []\n")
    return path


def _begin(fleet: Path) -> None:
    with open_journal(fleet.parent / "work" / "journal.db") as journal:
        data: dict[str, Plain] = {"fleet": "prod", "intent": {"goal": {"authority": "nats-ca"}}}
        journal.append("r1", EntryKind.STARTED, at=NOON, data=data)


def test_without_a_rotation_the_next_command_is_a_plan_of_this_fleet(fleet: Path) -> None:
    """Word for word: with the fleet file that was named."""
    ran = commands.run("status", "--fleet", fleet)
    assert ran.code == ExitCode.DONE
    assert ran.out.splitlines()[-1] == f"next command: rollover plan --fleet {fleet}"
    assert not (fleet.parent / "work").exists()


def test_a_killed_rotation_is_shown_as_stopped(fleet: Path) -> None:
    """Nobody holds the lease any more: it can go on, from this fleet file."""
    _begin(fleet)
    ran = commands.run("status", "--fleet", fleet)
    assert "state     stopped" in ran.out
    assert ran.out.splitlines()[-1] == (
        f"next command: rollover rotate --authority nats-ca --fleet {fleet}"
    )


def test_a_rotation_whose_process_lives_is_running(fleet: Path) -> None:
    """The lease is held by a process of this machine that is there."""
    _begin(fleet)
    now = datetime.now(UTC)
    with open_leases(fleet.parent / "work" / "leases.db") as leases:
        leases.acquire("prod", this_process(), seconds=60, now=now)
    assert "state     running" in commands.run("status", "--fleet", fleet).out


def test_a_lease_that_ran_out_counts_for_nothing(fleet: Path) -> None:
    """Whoever held it on another machine is not waited for."""
    _begin(fleet)
    with open_leases(fleet.parent / "work" / "leases.db") as leases:
        past = datetime.now(UTC) - timedelta(hours=1)
        leases.acquire("prod", this_process(), seconds=60, now=past)
    assert "state     stopped" in commands.run("status", "--fleet", fleet).out


def test_the_fleet_of_the_environment_needs_no_option(fleet: Path) -> None:
    """The next command works as it stands in the same environment."""
    ran = commands.run("status", environment={"ROLLOVER_FLEET": str(fleet)})
    assert ran.out.splitlines()[-1] == "next command: rollover plan"


def test_a_lab_that_was_started_here_needs_no_option(
    fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fleet is found in `lab`, unless there is a fleet file here or one is named."""
    fleet.parent.rename(fleet.parent.with_name("lab"))
    monkeypatch.chdir(fleet.parent.parent)
    lab = Path("lab", fleet.name)
    assert commands.run("status").out.splitlines()[-1] == "next command: rollover plan"
    assert (
        commands.run("status", environment={"ROLLOVER_FLEET": "other.yml"}).code == ExitCode.USAGE
    )
    Path("fleet.yml").write_bytes(lab.read_bytes())
    beside = commands.run("status", "--fleet", lab).out.splitlines()[-1]
    assert beside == "next command: rollover plan --fleet lab/fleet.yml"


def test_status_as_json(fleet: Path) -> None:
    """A document with a schema, null where there is no rotation."""
    empty = commands.run("status", "--fleet", fleet, "--output", "json").json
    assert empty == {"schema": "rollover.status/1", "status": None}
    _begin(fleet)
    begun = commands.run("status", "--fleet", fleet, "--output", "json").json
    assert begun["status"]["authority"] == "nats-ca"


def test_pause_and_its_way_out_are_in_the_status(fleet: Path) -> None:
    """After `pause` the next command is `resume`."""
    _begin(fleet)
    assert commands.run("pause", "--fleet", fleet).code == ExitCode.DONE
    assert "rollover resume" in commands.run("status", "--fleet", fleet).out.splitlines()[-1]


def test_a_pause_is_taken_back_where_nothing_is_unfinished(fleet: Path) -> None:
    """That is no error: it did what was asked for. Without a pause there is nothing to do."""
    text = fleet.read_text()
    fleet.write_text(text.replace("groups: []", "authorities: [{name: nats-ca}]\ngroups: []"))
    (fleet.parent / "work").mkdir(mode=0o700)
    assert commands.run("pause", "--fleet", fleet).code == ExitCode.DONE
    ran = commands.run("resume", "--yes", "--fleet", fleet)
    assert ran.code == ExitCode.DONE, ran.talk
    assert "the pause is taken back" in ran.talk
    ran = commands.run("resume", "--yes", "--fleet", fleet)
    assert ran.code == ExitCode.USAGE
    assert "no rotation of `nats-ca` is unfinished" in ran.talk


def test_the_journal_is_shown_and_verified(fleet: Path) -> None:
    """Entries in order; the chain of hashes holds."""
    _begin(fleet)
    assert "started" in commands.run("journal", "--fleet", fleet).out
    assert commands.run("journal", "--verify", "--fleet", fleet).out.startswith("whole: 1 entries")
    shown = commands.run("journal", "--fleet", fleet, "--output", "json").json
    assert shown["schema"] == "rollover.entries/1"
    assert shown["entries"][0]["kind"] == "started"
