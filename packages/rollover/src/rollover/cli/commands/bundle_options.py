"""Options of `rollover bundle`, and what they come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollover.cli.printer import Printer

if TYPE_CHECKING:
    from rollover.bundles.offers import Offers
    from rollover.checks.configs.scene import ConfigScene
    from rollover.fleet.certificate import Certificate
    from rollover.inspecting.reading import Ways

_F = TypeVar("_F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
ANNOTATE = click.option("--annotate", is_flag=True, help="Comment lines with subject and dates.")
WORKING_DIRECTORY = click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where relative paths in nats.conf begin; default here.",
)
MANIFESTS = (".yml", ".yaml", ".json")
"""What Kubernetes manifests end with."""


def talk_options(command: _F) -> _F:
    """Add the options of what is printed."""
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


def fleet_options(command: _F) -> _F:
    """Add the options that say whom a change of a bundle is judged by."""
    options = (
        click.option("--fleet", type=FILE, help="Judge by this fleet, observed now."),
        click.option(
            "--config",
            "configs",
            type=FILE,
            multiple=True,
            help="Or by these nats.conf, several as peers.",
        ),
        click.option("--client", "clients", type=FILE, multiple=True, help="A client's chain."),
        WORKING_DIRECTORY,
    )
    for option in reversed(options):
        command = option(command)
    return command


def members_of(path: Path, values: dict[str, Any]) -> tuple[Certificate, ...]:
    """Return the members of a bundle, whatever form it is in."""
    from rollover.bundles import sources  # noqa: PLC0415 - imports certificates

    offered: Offers = sources.read_sources((str(path),), ways_of(values))
    return tuple(dict.fromkeys(offered.certificates))


def scene_of(configs: Sequence[Path], values: dict[str, Any]) -> ConfigScene:
    """Return some configurations, read as nats-server reads them."""
    from rollover.platforms.nats.config_scene import config_scene  # noqa: PLC0415 - certificates

    return config_scene(
        configs,
        working_directory=values["working_directory"] or Path.cwd(),
        environment=dict(os.environ),
        now=datetime.now(UTC),
        clients=values.get("clients", ()),
    )


def ways_of(values: dict[str, Any]) -> Ways:
    """Return how sources are read."""
    from rollover.inspecting.reading import Ways  # noqa: PLC0415 - imports certificates

    return Ways(
        environment=dict(os.environ),
        working_directory=values.get("working_directory") or Path.cwd(),
    )


def printer_of(values: dict[str, Any]) -> Printer:
    """Return the printer that the options ask for."""
    return Printer(output=values["output"], quiet=values["quiet"], color=values["color"])
