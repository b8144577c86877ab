"""`rollover discover`: a fleet file from configurations and monitoring ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(
    epilog="Examples:\n\n  rollover discover --config /etc/nats/*.conf -o fleet.yml\n\n"
    "  rollover discover --monitor http://127.0.0.1:8222 -o fleet.yml --write",
    short_help="Write a fleet file.",
)
@click.option(
    "--config",
    "configs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A nats-server configuration; may be given several times.",
)
@click.argument("more_configs", type=click.Path(path_type=Path, dir_okay=False), nargs=-1)
@click.option("--monitor", "monitors", multiple=True, metavar="URL", help="A monitoring port.")
@click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of the servers' processes; relative paths begin there.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The fleet file to write; by default it is printed.",
)
@click.option("--write", is_flag=True, help="Change the file if it exists already.")
@settings_options
def command(**values: Any) -> None:
    """Describe the fleet that configurations and monitoring ports show. Changes no server.

    An existing file is left as it is and the difference is shown; `--write` changes it. What only
    a person can know (files of clients, pacing, the system account) is kept from it.
    """
    from rollover.cli.describing import complete, describe  # noqa: PLC0415 - imports the NATS reader
    from rollover.cli.views import discovery as view  # noqa: PLC0415

    found = describe(
        (*values["configs"], *values["more_configs"]),
        working_directory=values["working_directory"],
        monitors=values["monitors"],
    )
    printer = settings_of(values).printer()
    found = complete(found, values["out"])
    view.deliver(printer, found, out=values["out"], write=values["write"])
