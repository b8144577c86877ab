"""The `rollover` command: its sub-commands, ours and others', are imported when they are used."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import click

from rollover import __version__
from rollover.errors import ExitCode, RolloverError, SpecError

# Commands that other distributions add, by the entry points of the group `rollover.commands`.
#
# `importlib.metadata` would find them too, but imports a parser for e-mail to do so: 65 ms beside
# the 80 that `rollover --help` takes beyond the interpreter. So the files that it reads are read
# here (https://packaging.python.org/specifications/entry-points/), and it is used to load only.


GROUP = "rollover.commands"


def added_commands(directories: Iterable[str] | None = None) -> dict[str, str]:
    """Return where each added command is, `module:attribute`, by its name; imports none.

    `directories`: where distributions are installed, by default `sys.path`. Of two commands of
    one name the first is taken, as of two modules.
    """
    found: dict[str, str] = {}
    for text in _files(sys.path if directories is None else directories):
        for name, where in commands_in(text):
            found.setdefault(name, where)
    return found


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands that an `entry_points.txt` names."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line[1:].rstrip("]")
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, where = line.partition("=")
            yield name.strip(), where.strip()


def load_command(name: str, where: str) -> click.Command:
    """Import an added command."""
    from importlib.metadata import EntryPoint  # noqa: PLC0415 - takes its time, see above

    command: click.Command = EntryPoint(name, where, GROUP).load()
    return command


def _files(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        try:
            with os.scandir(directory or ".") as entries:
                found = sorted(entry.path for entry in entries if entry.name.endswith(".dist-info"))
        except OSError:
            continue  # `sys.path` may name what is not there, and archives
        for path in found:
            try:
                with open(f"{path}/entry_points.txt", encoding="utf-8") as file:  # noqa: PTH123 - `pathlib` takes its time, too
                    yield file.read()
            except OSError:
                continue


# The `rollover` command: its sub-commands are imported only when they are used.


ADDED_BY = {"demo": "rollover-lab", "lab": "rollover-lab"}
"""Commands that another distribution of ours adds; each is told of where it is not installed."""

COMMANDS = {
    "discover": ("discover", "Write a fleet file from configurations or monitoring ports."),
    "topology": ("topology", "Who presents what, who trusts what, what expires when."),
    "check": ("check", "Can this fleet be rotated? What stands in the way?"),
    "plan": ("plan", "The rollouts, their proof, their cost, the point of no return."),
    "rotate": ("rotate", "Rotate a CA, or go on with it; asks before each rollout."),
    "status": ("status", "How far a rotation is, who is left behind, what to do next."),
    "verify": ("verify", "Dial every endpoint afresh and say what it accepts."),
    "rollback": ("rollback", "Take the last rotation back, proven like any other."),
    "pause": ("pause", "Let a running rotation stop after the instances it has begun."),
    "resume": ("resume", "Take a pause back and go on."),
    "explain": ("explain", "What a rule means, with an example and the remedy."),
    "issue": ("issue", "A certificate for a role of NATS, from a CA of this machine."),
    "inspect": ("inspect", "What is in a certificate, bundle, configuration or live port."),
    "bundle": ("bundle", "Curated trust bundles: build, compare, check and change them."),
    "journal": ("journal", "Show the journal, or verify its chain of hashes."),
    "authority": ("authority", "List CA versions, or bring one in."),
    "schema": ("schema", "Print the JSON Schema of the fleet file."),
    "demo": ("", "Start a real fleet, rotate its CA under traffic, report."),
    "lab": ("", "Real fleets on this machine to rehearse on."),
    "int": ("interpolate", "Interpolate a BOSH manifest, as `bosh int` does, to the byte."),
    "completion": ("completion", "Print the shell completion for bash, zsh or fish."),
}

LEAST_COLUMNS, DEFAULT_COLUMNS, MOST_COLUMNS = 50, 80, 100

EXIT_CODES = """\b
Exit codes:
  0  done, or safe
  1  usage: a wrong option or input
  2  waiting: an instance or a lease must come back first
  3  refused as unsafe; of `check`: an error was found
  4  stopped half-way, can go on
  5  evidence is missing
"""


class LazyGroup(click.Group):
    """Knows the names and purposes of its commands; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of their use, those of others behind ours."""
        return list(COMMANDS | added_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command; in the place of one that is not installed, what to do."""
        if cmd_name in COMMANDS and cmd_name not in ADDED_BY:
            module = import_module(f"rollover.cli.{COMMANDS[cmd_name][0]}")
            command: click.Command = module.command
            return command
        where = added_commands().get(cmd_name)
        if where is not None:
            return load_command(cmd_name, where)
        return _not_installed(cmd_name) if cmd_name in ADDED_BY else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    *((name, purpose) for name, (_, purpose) in COMMANDS.items()),
                    *(
                        (name, f"Added by `{where.partition(':')[0]}`.")
                        for name, where in added_commands().items()
                        if name not in COMMANDS
                    ),
                ]
            )


def _not_installed(name: str) -> click.Command:
    """Return a command that takes any words, and says what is missing."""
    distribution = ADDED_BY[name]

    def tell(words: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever was asked for
        raise SpecError(
            f"`rollover {name}` comes with `{distribution}`, which is not installed",
            hint="install it from the source tree: "
            f"`pip install ./packages/nats-rotating-client ./packages/{distribution}`",
        )

    return click.Command(
        name,
        callback=tell,
        params=[click.Argument(["words"], nargs=-1)],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
    )


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="rollover")
def root() -> None:
    """Change the certificate authority of a live platform without breaking a connection."""


def main(arguments: list[str] | None = None) -> Any:
    """Run one command; always ends the process with a documented exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _say_what_can_be_said()
    try:
        result = root.main(
            args=arguments, prog_name="rollover", standalone_mode=False, terminal_width=_width()
        )
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        if _is_for_machines(arguments):
            _show(SpecError(error.format_message(), hint=f"`{_help(error)}`"), arguments)
        else:
            error.show()
        sys.exit(ExitCode.USAGE)
    except click.Abort:
        sys.stderr.write("\naborted\n")
        sys.exit(ExitCode.STOPPED)
    except RolloverError as error:
        _show(error, arguments)
        sys.exit(error.exit_code)
    sys.exit(result if isinstance(result, int) else ExitCode.DONE)


def _say_what_can_be_said() -> None:
    """Escape what the terminal's encoding has no letter for, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _width() -> int:
    """Return how wide help may be; click would ask `shutil`, which imports four compressors."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (ValueError, OSError):
        columns = DEFAULT_COLUMNS
    return max(min(columns, MOST_COLUMNS) - 2, LEAST_COLUMNS)


def _show(error: RolloverError, arguments: list[str] | None) -> None:
    from rollover.cli.printer import Printer  # noqa: PLC0415 - not needed for `--help`

    Printer(output="json" if _is_for_machines(arguments) else "text").error(error)


def _is_for_machines(arguments: list[str] | None) -> bool:
    """Say whether JSON is asked for, also where the options as a whole cannot be read."""
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    return "--output json" in words or "--output=json" in words


def _help(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path if context else 'rollover'} --help"
