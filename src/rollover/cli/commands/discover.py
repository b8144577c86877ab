"""`rollover discover`: a fleet file from configurations, monitoring ports, or a BOSH director."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options

if TYPE_CHECKING:
    from rollover.cli.printer import Printer

_FILE = click.Path(path_type=Path, dir_okay=False)
_OF_DIRECTORS = ("environment", "client", "client_secret_file", "ca_cert", "create_env", "nats")
_OF_SERVERS = ("configs", "more_configs", "working_directory")


@click.command(
    epilog="Examples:\n\n  rollover discover --config /etc/nats/*.conf -o fleet.yml\n\n"
    "  rollover discover --monitor http://127.0.0.1:8222 -o fleet.yml --write\n\n"
    "  rollover discover --bosh --create-env create-env.sh -o fleet.yml",
    short_help="Write a fleet file.",
)
@click.option(
    "--config",
    "configs",
    type=_FILE,
    multiple=True,
    help="A nats-server configuration; may be given several times.",
)
@click.argument("more_configs", type=_FILE, nargs=-1)
@click.option("--monitor", "monitors", multiple=True, metavar="URL", help="A monitoring port.")
@click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of the servers' processes; relative paths begin there.",
)
@click.option("--bosh", is_flag=True, help="Describe a BOSH director and all its VMs.")
@click.option(
    "--environment", metavar="URL", help="The director, or its alias [env: BOSH_ENVIRONMENT]."
)
@click.option("--client", metavar="NAME", help="Its user or UAA client [env: BOSH_CLIENT].")
@click.option(
    "--client-secret-file",
    type=_FILE,
    help="A private file with the secret; else it is taken from BOSH_CLIENT_SECRET.",
)
@click.option(
    "--ca-cert", metavar="FILE", help="CA of the director's certificate [env: BOSH_CA_CERT]."
)
@click.option(
    "--create-env",
    type=_FILE,
    help="A file with your own `bosh create-env …` command line.",
)
@click.option("--nats", metavar="HOST:PORT", help="The director's NATS; by default port 4222.")
@click.option("-o", "--out", type=_FILE, help="The fleet file to write; by default it is printed.")
@click.option("--write", is_flag=True, help="Change the file if it exists already.")
@settings_options
def command(**values: Any) -> None:
    """Describe the fleet that configurations, monitoring ports or a director show.

    Changes no server. An existing file is left as it is and the difference is shown; `--write`
    changes it. What only a person can know (files of clients, pacing, the system account) is
    kept from it.
    """
    printer = settings_of(values).printer()
    if values["bosh"]:
        _refuse(values, _OF_SERVERS, "goes without `--bosh` only")
        _director(values, printer)
    else:
        _refuse(values, _OF_DIRECTORS, "goes with `--bosh` only")
        _servers(values, printer)


def _servers(values: Mapping[str, Any], printer: Printer) -> None:
    from rollover.cli.views import discovery as view  # noqa: PLC0415 - imports the NATS reader
    from rollover.site import discover_nats  # noqa: PLC0415 - likewise

    found = discover_nats(
        (*values["configs"], *values["more_configs"]),
        working_directory=values["working_directory"],
        monitors=values["monitors"],
        former=values["out"],
    )
    view.deliver(printer, found, out=values["out"], write=values["write"])


def _director(values: Mapping[str, Any], printer: Printer) -> None:
    from rollover.cli.views import director as view  # noqa: PLC0415 - imports an HTTP client
    from rollover.platforms.bosh.director_options import DirectorOptions  # noqa: PLC0415 - likewise
    from rollover.site import discover_bosh  # noqa: PLC0415 - likewise

    if len(values["monitors"]) > 1:
        raise click.UsageError("a director has one monitoring port: give `--monitor` once")
    options = DirectorOptions(
        monitor=next(iter(values["monitors"]), None),
        **{name: values[name] for name in _OF_DIRECTORS},
    )
    found = discover_bosh(options, former=values["out"])
    view.deliver(printer, found, out=values["out"], write=values["write"])


def _refuse(values: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if values[name]:
            option = {"configs": "config", "more_configs": "config"}.get(name, name)
            raise click.UsageError(f"`--{option.replace('_', '-')}` {why}")
