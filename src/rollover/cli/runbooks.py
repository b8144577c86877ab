"""`--runbook`: what Rollover would do, as files and instructions for people."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from rollover.cli.options import Settings
from rollover.cli.printer import Printer
from rollover.cli.requests import request_of
from rollover.cli.wiring import director_for_runbook, open_site
from rollover.engine.service import Rollover


def write_for(printer: Printer, settings: Settings, values: dict[str, Any]) -> None:
    """Plan, and write the runbook of the plan into a directory; no instance is changed.

    Raises `SpecError` for a fleet that is no director's.
    """
    directory: Path = values["runbook"]
    with closing(director_for_runbook(settings.fleet)) as bosh:
        with open_site(settings.fleet, scratch=True, recover=values["recover"]) as site:
            library = Rollover(site)
            outlook = library.outlook(request_of(library, values))
        written = bosh.write_runbook(directory, outlook)
    if printer.json:
        printer.data("runbook", {"files": [str(each) for each in written]})
        return
    for each in written:
        printer.line(str(each))
    printer.say(f"the runbook is `{written[-1]}`; nothing was changed", "good")
