"""Rotations as operators steer them: pause, Ctrl-C, a second one at the same time, a no."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.rotating import (
    AUTHORITY,
    RUN_SECONDS,
    SMALL,
    UNHARMED,
    Losses,
    await_true,
    begin,
    command,
    conduct,
    count,
    entries,
    first,
    holds,
    library,
    of_last_rotation,
    request,
    roll_back,
    rotate,
)
from rollover.engine.events import Ending
from rollover.errors import ExitCode, Interrupted, SpecError, StaleError
from rollover.fleet.journal import EntryKind
from rollover_lab.nats.lab import Lab, running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet."""
    with running(SMALL, tmp_path_factory.mktemp("steered") / "lab") as fleet:
        yield fleet


@pytest.fixture
def at_rest(lab: Lab) -> Iterator[Lab]:
    """Yield the fleet with nothing unfinished and nothing paused, before and after."""
    yield lab
    (lab.layout.state / "pause").unlink(missing_ok=True)
    assert rotate(lab, request(again=False)).ending is Ending.DONE


def _await_entry(lab: Lab, kind: EntryKind, *, after: int) -> None:
    await_true(lambda: count(lab, kind, after=after) > 0, what=f"the entry `{kind}`")


def _last(lab: Lab) -> int:
    path = lab.layout.state / "journal.db"
    return entries(lab)[-1].sequence if path.exists() and entries(lab) else 0


def test_ctrl_c_stops_after_the_instances_begun(at_rest: Lab) -> None:
    """SIGINT once: what was begun is finished, exit code 4, and the next run goes on."""
    losses, after = Losses(at_rest), _last(at_rest)
    with begin(at_rest, "rotate", "--yes", "--new") as process:
        _await_entry(at_rest, EntryKind.CONFIRMED, after=after)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=RUN_SECONDS)[0]
    assert process.returncode == ExitCode.STOPPED, said
    assert "interrupted" in said
    assert not of_last_rotation(at_rest, EntryKind.FINISHED)
    code, said = command(at_rest, "rotate", "--yes")
    assert code == ExitCode.DONE, said
    assert losses.since() == UNHARMED


def test_a_pause_holds_until_it_is_taken_back(at_rest: Lab) -> None:
    """`pause` stops a run of another process; `rotate` then does nothing, `resume` goes on."""
    losses, after = Losses(at_rest), _last(at_rest)
    # The command takes about as long as a rotation, so it leaves its word beforehand.
    pause, word = at_rest.layout.state / "pause", at_rest.layout.state / "word"
    assert command(at_rest, "pause")[0] == ExitCode.DONE
    pause.rename(word)
    with begin(at_rest, "rotate", "--yes", "--new") as process:
        _await_entry(at_rest, EntryKind.ROLLOUT_STARTED, after=after)
        word.rename(pause)
        said = process.communicate(timeout=RUN_SECONDS)[0]
    assert process.returncode == ExitCode.STOPPED, said
    assert "rollover resume" in said
    done = len(of_last_rotation(at_rest, EntryKind.CONFIRMED))
    assert command(at_rest, "rotate", "--yes")[0] == ExitCode.STOPPED
    assert len(of_last_rotation(at_rest, EntryKind.CONFIRMED)) == done
    code, said = command(at_rest, "resume", "--yes")
    assert code == ExitCode.DONE, said
    assert losses.since() == UNHARMED


def test_nothing_is_begun_while_paused(at_rest: Lab) -> None:
    """A pause also holds rotations that nobody has begun: no CA is made for them."""
    rotate(at_rest)
    before = entries(at_rest)
    (at_rest.layout.state / "pause").touch(mode=0o600)
    with pytest.raises(Interrupted, match="paused"):
        rotate(at_rest)
    assert entries(at_rest) == before


def test_one_rotation_at_a_time(at_rest: Lab) -> None:
    """While one process rotates, another is refused with the holder's name, and changes nothing."""
    begun, go_on = threading.Event(), threading.Event()

    def approve(*_: object) -> bool:
        begun.set()
        return go_on.wait(RUN_SECONDS)

    outcomes: list[Ending] = []
    runner = threading.Thread(
        target=lambda: outcomes.append(rotate(at_rest, steered=conduct(approve=approve)).ending)
    )
    runner.start()
    try:
        assert begun.wait(RUN_SECONDS)
        before = entries(at_rest)
        for words in (("rotate", "--yes", "--new"), ("rollback", "--yes")):
            code, said = command(at_rest, *words)
            assert code == ExitCode.WAITING, said
            assert f"process {os.getpid()}" in said
        with pytest.raises(StaleError, match=str(os.getpid())):
            roll_back(at_rest)
        assert entries(at_rest) == before
    finally:
        go_on.set()
        runner.join(RUN_SECONDS)
    assert outcomes == [Ending.DONE]


def test_a_declined_rollout_changes_nothing(at_rest: Lab) -> None:
    """A no stops the run before the rollout; it is asked for again by the next run."""
    outcome = rotate(at_rest, steered=first(0))
    assert (outcome.ending, outcome.rollouts) == (Ending.DECLINED, ())
    assert len(of_last_rotation(at_rest, EntryKind.DECLINED)) == 1
    assert not of_last_rotation(at_rest, EntryKind.ROLLOUT_STARTED)
    assert holds(at_rest)


def test_a_yes_is_asked_for_on_the_terminal(at_rest: Lab) -> None:
    """Without `--yes` each rollout is asked for; a no ends with exit code 4."""
    ours, theirs = pty.openpty()
    program = Path(sys.executable).with_name("rollover")
    try:
        with subprocess.Popen(
            [str(program), "rotate", "--new", "--fleet", str(at_rest.layout.fleet)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            os.write(ours, b"y\nn\n")
            said = process.communicate(timeout=RUN_SECONDS)[0]
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == ExitCode.STOPPED, said
    assert len(of_last_rotation(at_rest, EntryKind.ROLLOUT_FINISHED)) == 1
    assert len(of_last_rotation(at_rest, EntryKind.DECLINED)) == 1


def test_without_a_terminal_yes_has_to_be_said_beforehand(at_rest: Lab) -> None:
    """No terminal and no `--yes`: a usage error with the remedy, before anything is begun."""
    rotate(at_rest)
    before = entries(at_rest)
    code, said = command(at_rest, "rotate", "--new")
    assert code == ExitCode.USAGE
    assert "--yes" in said
    assert entries(at_rest) == before


def test_another_goal_is_refused_while_a_rotation_is_unfinished(at_rest: Lab) -> None:
    """`--cross-sign` during a plain rotation is an error, not silently something else."""
    rotate(at_rest, steered=first(1))
    with pytest.raises(SpecError, match="another goal is asked for"):
        rotate(at_rest, request(cross_sign=True))
    with library(at_rest) as rollover:
        assert len(rollover.plan(request(again=False)).rollouts) == 4


def test_an_override_needs_a_rule_and_a_reason(at_rest: Lab) -> None:
    """An override without a reason, or of what cannot be, is refused before anything is begun."""
    for words, remedy in (
        ("left-behind", "RULE=REASON"),
        ("left-behind=  ", "RULE=REASON"),
        ("trust-before-use=because", "`drain-incomplete`"),
    ):
        code, said = command(at_rest, "rotate", "--yes", "--override", words)
        assert code == ExitCode.USAGE, said
        assert remedy in said


def test_status_says_where_it_stands(at_rest: Lab) -> None:
    """A stopped rotation shows how far it is and the command that goes on with it."""
    rotate(at_rest, steered=first(2))
    code, said = command(at_rest, "status", "--output", "json")
    assert code == ExitCode.DONE
    status = json.loads(said)["status"]
    assert (status["state"], status["done"], status["of"]) == ("stopped", 2, 5)
    assert status["next_command"].startswith("rollover rotate")
    assert status["authority"] == AUTHORITY
