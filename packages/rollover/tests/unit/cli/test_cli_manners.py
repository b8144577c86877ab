"""What holds for every command: help, exit codes, where data goes, and how errors read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rigs import commands
from rollover.cli.app import COMMANDS, root
from rollover.errors import ExitCode


def _walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk(child, (*words, name))


EVERY = [words for words in _walk(root, ()) if words]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_helps_with_a_purpose_and_an_example(words: tuple[str, ...]) -> None:
    """`--help` ends well, says what the command is for, and shows how it is typed."""
    ran = commands.run(*words, "--help")
    assert ran.code == ExitCode.DONE
    assert "Example" in ran.out
    assert f"rollover {' '.join(words)}" in ran.out.partition("Example")[2]
    purpose = ran.out.splitlines()[2].strip()
    assert purpose
    assert "(Deprecated)" not in ran.out


def test_the_first_page_lists_every_command_and_the_exit_codes() -> None:
    """Nobody has to look elsewhere for either."""
    shown = commands.run("--help").out
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert all(f"\n    {code.value}  " in shown for code in ExitCode)


def test_the_purposes_listed_are_those_that_commands_give_themselves() -> None:
    """Every name in the list leads to a command with a help text."""
    for words in EVERY:
        command: click.Command = root
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        assert command.help


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--no-such-option"),
        ("no-such-command",),
        ("status", "--output", "xml"),
        ("rotate", "--key", "dsa"),
        ("journal", "--limit", "0"),
        ("check", "--expires-within", "-1"),
        ("completion", "tcsh"),
        ("authority", "import", "x"),
        ("explain", "no-such-rule"),
        ("discover",),
    ],
)
def test_wrong_use_ends_with_1_and_says_nothing_on_stdout(arguments: tuple[str, ...]) -> None:
    """A script that pipes the output gets nothing that it could take for a result."""
    ran = commands.run(*arguments)
    assert ran.code == ExitCode.USAGE
    assert ran.out == ""
    assert "rror: " in ran.talk


FLEET_COMMANDS = ("topology", "check", "plan", "status", "verify", "rotate", "rollback", "resume")


@pytest.mark.parametrize("name", [*FLEET_COMMANDS, "authority list"])
def test_a_missing_fleet_file_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    """Every command that needs one says the same."""
    ran = commands.run(*name.split(), "--fleet", tmp_path / "no.yml")
    assert ran.code == ExitCode.USAGE
    assert f"error: {tmp_path}/no.yml: there is no such fleet file" in ran.talk
    assert "\n\nhint: `rollover discover" in ran.talk
    assert ran.out == ""


@pytest.mark.parametrize(
    "name", [fleet_command for fleet_command in FLEET_COMMANDS if fleet_command != "status"]
)
def test_an_unknown_field_is_named_with_file_line_column_and_field(
    name: str, tmp_path: Path
) -> None:
    """A misspelt field would silently change what is proven."""
    fleet = tmp_path / "fleet.yml"
    fleet.write_text("version: 1\nname: x\ngroups:\n  - name: g\n    platfrom: nats\n")
    ran = commands.run(name, "--fleet", fleet)
    assert ran.code == ExitCode.USAGE
    assert f"{fleet}:5:5: groups[0].platfrom: object contains unknown field" in ran.talk
    assert "hint: " in ran.talk


def test_an_error_is_a_document_too_where_a_machine_reads(tmp_path: Path) -> None:
    """With `--output json` stdout has the error's code, message and hint."""
    ran = commands.run("check", "--fleet", tmp_path / "no.yml", "--output", "json")
    assert ran.json["schema"] == "rollover.error/1"
    assert ran.json["error"]["code"] == "spec"
    assert ran.json["error"]["hint"]
    assert "error: " in ran.talk


@pytest.mark.parametrize(
    ("words", "way"),
    [(("plan", "--nosuch"), "rollover plan --help"), (("nosuch",), "rollover --help")],
)
def test_a_wrong_option_is_an_error_for_machines_too(words: tuple[str, ...], way: str) -> None:
    """Whoever asked for JSON gets JSON, whatever is wrong."""
    ran = commands.run(*words, "--output", "json")
    assert ran.code == ExitCode.USAGE
    told = json.loads(ran.out)
    assert told["schema"] == "rollover.error/1"
    assert way in told["error"]["hint"]
    assert "nosuch" in told["error"]["message"]


def test_no_stack_trace_reaches_a_user(tmp_path: Path) -> None:
    """A directory where a file belongs is an error like others."""
    ran = commands.run("check", "--fleet", tmp_path)
    assert ran.code == ExitCode.USAGE
    assert "Traceback" not in ran.talk


@pytest.mark.parametrize("arguments", [("--help",), ("status", "--fleet", "no.yml")])
def test_start_up_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """Help and status must start fast: they import no cryptography, no asyncio, no tables."""
    heavy = {"cryptography", "OpenSSL", "asyncio", "rich", "yaml", "nats", "ssl"}
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted({n.partition('.')[0] for n in sys.modules})))\n"
        "from rollover.cli.app import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "click" in imported
    assert not imported & heavy


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`rollover explain | head -1` ends quietly."""
    script = "from rollover.cli.app import main; main(['explain'])"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_ctrl_c_while_the_command_is_imported_ends_it_with_a_word(tmp_path: Path) -> None:
    """Whoever is quicker than the imports sees no trace either; help runs by the same way."""
    (tmp_path / "click.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-c", "from rollover.cli.start import main; main()", "--help"]
    ran = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (ExitCode.STOPPED, "", "\naborted\n")
    ran = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (ExitCode.DONE, "")


def test_a_terminal_without_our_letters_gets_them_escaped(tmp_path: Path) -> None:
    """Data and errors, never a trace."""
    config = tmp_path / "nats.conf"
    config.write_text("listen: '127.0.0.1:4222'\n", encoding="utf-8")
    for code, words in ((ExitCode.DONE, ("check", config)), (ExitCode.USAGE, ("inspect", "→"))):
        ran = subprocess.run(
            [sys.executable, "-c", "from rollover.cli.app import main; main()", *words],
            env={"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        assert "\\u" in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
