"""`rollover topology`: who presents what, who trusts what, what expires when."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options


@click.command(
    epilog="Example:\n\n  rollover topology --links", short_help="Who presents and trusts what."
)
@click.option("--links", is_flag=True, help="Every link, not only how many there are.")
@settings_options
def command(**values: Any) -> None:
    """Look at the whole fleet: instances, what they present and trust, which links work now."""
    from rollover.cli.views import topology as view  # noqa: PLC0415 - imports certificates
    from rollover.engine.topology import topology  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet, scratch=True) as library:
        seen = topology(library.site, every_link=values["links"])
    if printer.json:
        printer.data("topology", seen)
    else:
        view.show(printer, seen)
