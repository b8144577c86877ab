"""`rollover lab up bosh`: its options, and what they mean."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollover.cli.options import Number
from rollover_lab.commands.lab_bosh import interrupt

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover_lab.bosh.shape import Shape

BOSH = "bosh"
MANY = 200
"""Agents of a lab that somebody should want knowingly."""
SECONDS = Number(0, 86400, min_open=True)
_FILE = click.Path(path_type=Path, dir_okay=False)
_OF_NUMBERS = ("agents", "deployments", "max_in_flight", "persistent", "old_stemcell")
_OTHERS = ("health_check", "hurry", "no_resurrection", "uaa", "token_seconds", "like", "at_most")

_F = TypeVar("_F", bound=Callable[..., Any])


def up_options(command: _F) -> _F:
    """Add what `lab up bosh` takes."""
    options = (
        click.option("--agents", type=click.IntRange(1), help="How many agents [bosh: 10]."),
        click.option("--deployments", type=click.IntRange(1), help="In how many [bosh: 2]."),
        click.option("--max-in-flight", type=click.IntRange(1), help="Of each one [bosh: 1]."),
        click.option("--persistent", type=click.IntRange(0), help="Agents with a disk [bosh: 0]."),
        click.option(
            "--old-stemcell",
            type=click.IntRange(0),
            help="Agents that ignore new credentials [bosh: 0].",
        ),
        click.option(
            "--quick", "hurry", is_flag=True, help="Short waits, not those of the real director."
        ),
        click.option(
            "--health-check",
            type=SECONDS,
            metavar="SECONDS",
            help="A deployment that comes and goes as often.",
        ),
        click.option(
            "--no-resurrection",
            is_flag=True,
            help="`hm.resurrector_enabled: false`: the health monitor brings no VM back.",
        ),
        click.option("--uaa", is_flag=True, help="The director takes tokens of a UAA."),
        click.option(
            "--token-seconds",
            type=SECONDS,
            metavar="SECONDS",
            help="How long a token of the UAA lasts [120].",
        ),
        click.option("--like", metavar="URL", help="A lab of the shape of that real director."),
        click.option("--client", metavar="NAME", help="Its user or UAA client [env: BOSH_CLIENT]."),
        click.option("--client-secret-file", type=_FILE, help="Else $BOSH_CLIENT_SECRET."),
        click.option("--ca-cert", metavar="FILE", help="CA of its API [env: BOSH_CA_CERT]."),
        click.option(
            "--at-most", type=click.IntRange(1), help="Shrink its groups to so many agents."
        ),
        click.option("--yes", is_flag=True, help=f"Yes, more than {MANY} agents."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def refuse_options(values: dict[str, Any]) -> None:
    """Refuse what is for a BOSH lab only."""
    for name in (*_OF_NUMBERS, *_OTHERS):
        if values[name]:
            option = {"hurry": "quick"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"`--{option}` goes with `rollover lab up bosh` only")


def up(values: dict[str, Any], printer: Printer) -> None:
    """Start a BOSH lab; interrupted, it leaves nothing behind."""
    from rollover_lab.bosh import lifecycle  # noqa: PLC0415 - imports certificates
    from rollover_lab.bosh import up as lab_up  # noqa: PLC0415

    signal.signal(signal.SIGTERM, interrupt)
    spec = lab_up.BoshLabSpec(
        shape=_shape(values),
        quick=values["hurry"],
        health_check_seconds=values["health_check"],
        resurrection=not values["no_resurrection"],
        uaa=values["uaa"] or values["token_seconds"] is not None,
        token_seconds=values["token_seconds"] or lab_up.TOKEN_SECONDS,
    )
    _check_size(spec.shape, values)
    layout = lab_up.up(spec, values["directory"], say=printer.say)
    if printer.json:
        printer.data("lab", lifecycle.status(layout.root))
        return
    printer.line(f"up: a director and {spec.shape.instances} agents in `{values['directory']}`")
    printer.line("next commands:")
    printer.line(f"  . {values['directory'] / 'env.sh'}")
    for line in ("bosh instances", "rollover topology", "rollover plan", "rollover rotate"):
        printer.line(f"  {line}")


def _shape(values: dict[str, Any]) -> Shape:
    from rollover_lab.bosh import shape  # noqa: PLC0415 - imports certificates

    if values["like"] is None:
        return shape.of_numbers(
            agents=values["agents"] or 10,
            deployments=values["deployments"] or min(2, values["agents"] or 2),
            max_in_flight=values["max_in_flight"] or 1,
            persistent=values["persistent"] or 0,
            old_stemcell=values["old_stemcell"] or 0,
        )
    for name in _OF_NUMBERS:
        if values[name] is not None:
            raise click.UsageError(f"`--{name.replace('_', '-')}` goes without `--like` only")
    return _shape_of_director(values)


def _shape_of_director(values: dict[str, Any]) -> Shape:
    from rollover.fleet.description import DirectorDescription  # noqa: PLC0415
    from rollover.platforms.bosh.access import CLIENT, access_to  # noqa: PLC0415
    from rollover.platforms.bosh.director import Director  # noqa: PLC0415
    from rollover_lab.bosh import like, shape  # noqa: PLC0415

    secret = values["client_secret_file"]
    described = DirectorDescription(
        environment=values["like"],
        client=values["client"] or os.environ.get(CLIENT, "admin"),
        client_secret_file=None if secret is None else str(secret),
        ca_cert=values["ca_cert"],
    )
    with Director(access_to(described, environment=os.environ, base=Path.cwd())) as director:
        found = like.shape_of(director)
    return found if values["at_most"] is None else shape.at_most(found, values["at_most"])


def _check_size(wanted: Shape, values: dict[str, Any]) -> None:
    if wanted.instances > MANY and not values["yes"]:
        raise click.UsageError(
            f"that are {wanted.instances} agents: `--yes` starts them all, `--at-most {MANY}` "
            "shrinks every group in proportion"
        )
