"""`rollover authority`: the versions of the fleet's CAs, and bringing one in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollover.cli.options import settings_of, settings_options

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    epilog="Example:\n\n  rollover authority list", short_help="CA versions: list, import."
)
def command() -> None:
    """List the versions of the fleet's CAs, or bring one in with its key."""


@command.command(
    "list", epilog="Example:\n\n  rollover authority list", short_help="Every version of every CA."
)
@settings_options
def list_(**values: Any) -> None:
    """List CA versions: dates, whether the key is here, how many endpoints trust and present it."""
    from rollover.cli.views import versions as view  # noqa: PLC0415 - imports certificates
    from rollover.engine.versions import list_versions  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet) as library:
        found = list_versions(library.site)
    if printer.json:
        printer.data("versions", found)
    else:
        view.show(printer, found)


@command.command(
    "import",
    epilog="Example:\n\n  rollover authority import nats-ca --certificate ca.pem --key ca.key",
    short_help="Bring a CA in.",
)
@click.argument("name")
@click.option("--certificate", type=_FILE, required=True, help="The CA's certificate, PEM.")
@click.option("--key", type=_FILE, help="Its private key, PEM, not encrypted; it is kept sealed.")
@settings_options
def import_(**values: Any) -> None:
    """Bring a CA in that was made elsewhere, so that Rollover can issue from it or rotate to it."""
    from rollover.cli.pem_files import read_key, read_pem  # noqa: PLC0415 - not for `--help`
    from rollover.cli.views import versions as view  # noqa: PLC0415
    from rollover.engine.versions import bring_in  # noqa: PLC0415
    from rollover.site import now, open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    certificate = read_pem(values["certificate"])
    key = read_key(values["key"], printer) if values["key"] else None
    with open_fleet(settings.fleet) as library:
        version = bring_in(library.site, values["name"], certificate=certificate, key=key)
    view.warn_of_dates(printer, version, at=now())
    if printer.json:
        printer.data("version", version)
    else:
        here = "with its key" if version.has_key else "without its key"
        printer.line(f"`{values['name']}` has {version.fingerprint} now, {here}")
