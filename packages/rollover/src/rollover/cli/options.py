"""Options that several commands share, and the settings that come of them."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from rollover.cli.printer import Printer

FLEET_VARIABLE = "ROLLOVER_FLEET"
FLEET_FILE = Path("fleet.yml")
LAB_FLEET_FILE = Path("lab", "fleet.yml")
"""Where `rollover lab up` writes it unless told otherwise."""
_STATE = re.compile(rb"^state:[ \t]*[\"']?([^\"'\r\n#]+)", re.MULTILINE)

_F = TypeVar("_F", bound=Callable[..., Any])


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are, and how to talk."""

    fleet: Path
    output: str = "text"
    quiet: bool = False
    color: bool | None = None

    def printer(self) -> Printer:
        """Return where results go."""
        return Printer(output=self.output, quiet=self.quiet, color=self.color)

    @property
    def fleet_words(self) -> str:
        """What a command line needs to name this fleet: nothing where it is found anyway."""
        if self.fleet == _default_fleet():
            return ""
        return f" --fleet {shlex.quote(str(self.fleet))}"

    @property
    def state(self) -> Path:
        """The directory of store and journal, read off the fleet file without parsing it.

        `status` must start fast; everything else goes by the parsed file, which says the same.
        """
        try:
            found = _STATE.search(self.fleet.read_bytes())
        except OSError:
            found = None
        name = found[1].decode(errors="replace").strip() if found else ".rollover"
        return self.fleet.parent / name


def _default_fleet() -> Path:
    """Return the fleet file when none is named: here, or a lab's that was started from here."""
    named = os.environ.get(FLEET_VARIABLE)
    if named:
        return Path(named)
    if not FLEET_FILE.exists() and LAB_FLEET_FILE.exists():
        return LAB_FLEET_FILE
    return FLEET_FILE


class Number(click.FloatRange):
    """A number of a range. Unlike click's own it takes no `nan`, which lies in every range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; `click.BadParameter` when it is none."""
        found = float(super().convert(value, param, ctx))
        if math.isnan(found):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return found


def settings_options(command: _F) -> _F:
    """Add the options that every command has."""
    options = (
        click.option(
            "--fleet",
            type=click.Path(path_type=Path, dir_okay=False),
            default=_default_fleet,
            show_default=f"{FLEET_FILE}, or else {LAB_FLEET_FILE}",
            help=f"The fleet file [env: {FLEET_VARIABLE}].",
        ),
        click.option(
            "--output",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="Text for people, or JSON with a versioned schema.",
        ),
        click.option("--quiet", is_flag=True, help="Say nothing but results and errors."),
        click.option("--color/--no-color", default=None, help="Colour; by default on a terminal."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def talk_options(command: _F) -> _F:
    """Add the options of what is printed, for commands that need no fleet."""
    options = (
        click.option(
            "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
        ),
        click.option("--quiet", is_flag=True, help="Say nothing but results and errors."),
        click.option("--color/--no-color", default=None, help="Colour; by default on a terminal."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def printer_of(values: dict[str, Any]) -> Printer:
    """Return the printer that those options ask for."""
    return Printer(output=values["output"], quiet=values["quiet"], color=values["color"])


def settings_of(values: dict[str, Any]) -> Settings:
    """Take the shared options out of a command's values."""
    return Settings(
        fleet=values.pop("fleet"),
        output=values.pop("output"),
        quiet=values.pop("quiet"),
        color=values.pop("color"),
    )


def authority_option(command: _F) -> _F:
    """Add `--authority`."""
    return click.option("--authority", help="Which CA; not needed when the fleet has one.")(command)


def goal_options(command: _F) -> _F:
    """Add the options that shape a goal."""
    options = (
        click.option(
            "--cross-sign", is_flag=True, help="Bridge the new CA to the old: fewer rollouts."
        ),
        click.option("--standby", is_flag=True, help="Keep the next CA trusted ahead of its use."),
        click.option(
            "--compromised", is_flag=True, help="The old key leaked: its trust goes first."
        ),
        click.option(
            "--new", "again", is_flag=True, help="Begin another rotation after a finished one."
        ),
        click.option("--to", metavar="FINGERPRINT", help="Go to a CA version that was imported."),
        click.option(
            "--key",
            "key_kind",
            type=click.Choice(["rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "ed25519"]),
            help="Kind of the new CA's key; by default that of the present one.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def given_options(command: _F) -> _F:
    """Add the options of goals that bring material instead of making it."""
    existing = click.Path(path_type=Path, exists=True, dir_okay=False)
    options = (
        click.option(
            "--bundle", type=existing, help="Make the chosen endpoints trust exactly these CAs."
        ),
        click.option(
            "--as",
            "bundle_file",
            metavar="PATH",
            help="Re-point `ca_file` of the chosen to PATH in each instance's directory.",
        ),
        click.option("--renew", metavar="GROUP", help="Bring a chain that others have issued."),
        click.option("--with", "chain", type=existing, help="That chain, the leaf first."),
        click.option("--with-key", "chain_key", type=existing, help="Its key; `plan` needs none."),
        click.option("--ca", type=existing, help="With it, trust exactly these CAs."),
        click.option("--groups", metavar="GROUP,…", help="Choose groups; by default all."),
        click.option("--roles", metavar="ROLE,…", help="Choose endpoints, such as `gateway`."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def override_option(command: _F) -> _F:
    """Add `--override`."""
    return click.option(
        "--override",
        "overridden",
        multiple=True,
        metavar="RULE=REASON",
        help="Answer for a refusal; rule and reason go into the journal.",
    )(command)


def recover_option(command: _F) -> _F:
    """Add `--recover`."""
    return click.option(
        "--recover",
        is_flag=True,
        help="The CA has expired: make anew who does not answer. NOT SAFE: writes may be lost.",
    )(command)


def runbook_option(command: _F) -> _F:
    """Add `--runbook`."""
    return click.option(
        "--runbook",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Write files and a Markdown runbook for people instead; changes nothing else.",
    )(command)
