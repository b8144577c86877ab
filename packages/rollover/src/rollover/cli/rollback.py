"""`rollover rollback`: the last rotation taken back, by a plan that is proven like any other."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import (
    authority_option,
    override_option,
    settings_of,
    settings_options,
)


@click.command(epilog="Example:\n\n  rollover rollback --yes", short_help="Take it back.")
@authority_option
@click.option("--yes", is_flag=True, help="Approve every rollout beforehand.")
@override_option
@settings_options
def command(**values: Any) -> int:
    """Plan from what the fleet is now to the CA that was in use before, and do it."""
    from rollover.cli.goal_options import overrides_of  # noqa: PLC0415
    from rollover.cli.running import conducted, show_outcome  # noqa: PLC0415 - imports certificates
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    overrides = overrides_of(values["overridden"])
    with open_fleet(settings.fleet) as library:
        about = library.about(values["authority"])
        with conducted(printer, yes=values["yes"], overrides=overrides) as conduct:
            outcome = library.rollback(about, conduct)
    return show_outcome(printer, outcome)
