"""`rollover resume`: a pause is taken back, and the rotation goes on."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import authority_option, settings_of, settings_options


@click.command(epilog="Example:\n\n  rollover resume --yes", short_help="Go on after a pause.")
@authority_option
@click.option("--yes", is_flag=True, help="Approve every rollout beforehand.")
@settings_options
def command(**values: Any) -> int:
    """Take a pause back and go on with the unfinished rotation, from what the fleet is now."""
    from rollover.cli.goal_options import going_on  # noqa: PLC0415
    from rollover.cli.running import conducted, show_outcome  # noqa: PLC0415 - imports certificates
    from rollover.engine.goals import last_intent  # noqa: PLC0415
    from rollover.errors import ExitCode, SpecError  # noqa: PLC0415
    from rollover.fleet.goal import name_of  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415
    from rollover.store import state_files  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet) as library:
        about = library.about(values["authority"])
        pause = settings.state / state_files.PAUSE
        paused = pause.exists()
        pause.unlink(missing_ok=True)
        intent = last_intent(library.site.journal, about)
        if intent is None or intent.finished:
            if paused:
                printer.say("the pause is taken back; no rotation is unfinished")
                return ExitCode.DONE
            raise SpecError(
                f"no rotation of `{name_of(about)}` is unfinished",
                hint="`rollover rotate` begins one",
            )
        with conducted(printer, yes=values["yes"]) as conduct:
            outcome = library.rotate(going_on(about), conduct)
    return show_outcome(printer, outcome)
