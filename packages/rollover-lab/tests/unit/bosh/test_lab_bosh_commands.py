"""The commands of a BOSH lab, as far as they need none that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rigs.commands import run
from rollover.cli.app import root
from rollover_lab import children, state
from rollover_lab.children import ProcessId
from rollover_lab.state import BoshContent, LabState


def _run(*words: str) -> Result:
    return CliRunner().invoke(root, ("lab", *words))


@pytest.mark.parametrize(
    "option",
    [("--agents", "3"), ("--quick",), ("--at-most", "3"), ("--health-check", "5"), ("--uaa",)],
)
def test_options_of_a_bosh_lab_are_refused_for_another(option: tuple[str, ...]) -> None:
    """Nothing that was asked for is silently left out."""
    done = _run("up", "cluster", *option)
    assert done.exit_code != 0
    assert f"`{option[0]}` goes with `rollover lab up bosh` only" in done.output


@pytest.mark.parametrize(
    "options",
    [
        ("--seconds", "nan"),
        ("--seconds", "0"),
        ("--seconds", "inf"),
        ("--interval", "nan"),
        ("--interval", "0"),
        ("--interval", "-1"),
    ],
)
def test_times_of_a_ping_that_make_no_sense_are_refused(options: tuple[str, str]) -> None:
    """Before anything is looked for: what is no time would ping never, or without a pause."""
    done = _run("ping", *options)
    assert done.exit_code != 0
    assert f"Invalid value for '{options[0]}'" in done.output


def test_many_agents_are_to_be_wanted(tmp_path: Path) -> None:
    """More than 200 are started only by who says so."""
    done = _run("up", "bosh", "--agents", "201", "--directory", str(tmp_path / "lab"))
    assert done.exit_code != 0
    assert "`--yes` starts them all, `--at-most 200`" in done.output
    assert not (tmp_path / "lab").exists()


def test_numbers_are_refused_beside_a_real_director() -> None:
    """Its shape says how many there are."""
    done = _run("up", "bosh", "--like", "https://127.0.0.1:25555", "--agents", "3")
    assert "`--agents` goes without `--like` only" in done.output


def test_servers_of_a_bosh_lab_cannot_be_stopped(tmp_path: Path) -> None:
    """Who tries is told what disturbs its agents."""
    other = children.identify(1)
    assert other is not None
    ended = ProcessId(pid=1, started=other.started + 1)
    lab = LabState(content=BoshContent(name="lab"), supervisor=ended)
    state.write(tmp_path / "lab.json", lab)
    done = _run("stop", "n1", "--directory", str(tmp_path))
    assert done.exception is not None
    assert "it holds a BOSH lab" in str(done.exception)
    assert _run("status", "--directory", str(tmp_path)).output == "lab: down\n"


@pytest.mark.parametrize("shown", [False, True])
def test_create_env_fails_as_that_of_bosh(tmp_path: Path, *, shown: bool) -> None:
    """The error on stderr with `Exit code 1`; without a terminal stdout has one empty line."""
    manifest = tmp_path / "bosh.yml"
    manifest.write_text("name: ((missing))\n")
    kept = tmp_path / "state.json"
    done = run(*("lab", "create-env", manifest, "--state", kept), *(("--tty",) if shown else ()))
    assert done.code == 1
    assert done.talk == (
        f"Parsing release set manifest '{manifest}':\n"
        "  Evaluating manifest:\n"
        "    - Expected to find variables:\n"
        "        - missing\n"
        "Exit code 1\n"
    )
    assert done.out == (
        f"Deployment manifest: '{manifest}'\n"
        f"Deployment state: '{kept}'\n"
        "\n"
        "Started validating\n"
        "Failed validating (00:00:00)\n"
        "\n"
        "\n"
        if shown
        else "\n"
    )
