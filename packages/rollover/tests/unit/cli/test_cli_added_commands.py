"""Commands that other distributions add to `rollover`, and those that are not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rigs import commands
from rollover.cli.app import added_commands, commands_in, load_command
from rollover.errors import ExitCode

TEXT = """\
[console_scripts]
other = other.start:main

[rollover.commands]
# of tomorrow
credentials = rollover_credentials.command:command
lab=rollover_lab.cli:command [nats]

[another.group]
x = y:z
"""


def install(directory: Path, distributions: Mapping[str, str]) -> Path:
    """Leave what pip leaves of distributions."""
    for name, text in distributions.items():
        (directory / f"{name}.dist-info").mkdir(parents=True)
        (directory / f"{name}.dist-info" / "entry_points.txt").write_text(text)
    return directory


@pytest.fixture
def without_lab(tmp_path: Path) -> Iterator[Path]:
    """An installation of `rollover` with nothing beside it but one command."""
    text = "[rollover.commands]\ndances = added:command\n"
    (tmp_path / "added.py").write_text(
        "import click\n\n\n@click.command()\ndef command():\n    click.echo('it dances')\n"
    )
    before = list(sys.path)
    sys.path[:] = [str(install(tmp_path, {"dances-1.0": text}))]
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("added", None)


def test_only_the_entry_points_of_our_group_are_commands() -> None:
    """Names and places come as they are written; comments and other groups are left out."""
    assert dict(commands_in(TEXT)) == {
        "credentials": "rollover_credentials.command:command",
        "lab": "rollover_lab.cli:command [nats]",
    }


def test_of_two_commands_of_one_name_the_first_is_taken(tmp_path: Path) -> None:
    """As of two modules; what `sys.path` names and is not there is passed over."""
    first = install(tmp_path / "one", {"a-1.0": "[rollover.commands]\nx = a:x\n"})
    second = install(tmp_path / "two", {"b-1.0": "[rollover.commands]\nx = b:x\ny = b:y\n"})
    (second / "c-1.0.dist-info").mkdir()
    found = added_commands((str(tmp_path / "python311.zip"), str(first), str(second)))
    assert found == {"x": "a:x", "y": "b:y"}


def test_what_python_itself_finds_is_the_same(tmp_path: Path) -> None:
    """`importlib.metadata` reads the same names and places from the same files."""
    install(tmp_path, {"other-1.0": TEXT})
    (tmp_path / "other-1.0.dist-info" / "METADATA").write_text("Name: other\nVersion: 1.0\n")
    program = (
        "import importlib.metadata as m\n"
        "for d in m.distributions(path=[r'%s']):\n"
        "    for e in d.entry_points.select(group='rollover.commands'):\n"
        "        print(e.name, e.value)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program % tmp_path], capture_output=True, text=True, check=True
    ).stdout
    found = added_commands((str(tmp_path),))
    assert dict(line.split(" ", 1) for line in said.splitlines()) == found


def test_an_added_command_runs_and_is_listed(without_lab: Path) -> None:
    """It is imported when it is called, and not to be listed."""
    assert without_lab.is_dir()
    shown = commands.run("--help").out
    assert "\n  dances" in shown
    assert "added" not in sys.modules
    assert commands.run("dances").out == "it dances\n"
    assert load_command("dances", "added:command").name == "command"


@pytest.mark.parametrize("words", [("lab", "up", "--directory", "x"), ("demo",), ("lab", "--help")])
def test_where_the_lab_is_missing_its_commands_say_what_to_install(
    without_lab: Path, words: tuple[str, ...]
) -> None:
    """From the source tree: no index has it."""
    assert without_lab.is_dir()
    ran = commands.run(*words)
    assert ran.code == ExitCode.USAGE
    assert f"`rollover {words[0]}` comes with `rollover-lab`, which is not installed" in ran.talk
    assert "packages/rollover-lab" in ran.talk
    assert f"\n  {words[0]} " in commands.run("--help").out
