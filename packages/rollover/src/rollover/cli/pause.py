"""`rollover pause`: a running rotation stops after the instances that it has begun."""

from __future__ import annotations

from typing import Any

import click

from rollover.cli.options import settings_of, settings_options
from rollover.errors import SpecError
from rollover.store import state_files


@click.command(epilog="Example:\n\n  rollover pause", short_help="Let a rotation stop.")
@settings_options
def command(**values: Any) -> int:
    """Ask a running rotation to stop, and the next ones not to begin, until `rollover resume`."""
    settings = settings_of(values)
    if not settings.state.is_dir():
        raise SpecError(
            f"there is no rotation at `{settings.state}`", hint="name the fleet with `--fleet`"
        )
    (settings.state / state_files.PAUSE).touch(mode=0o600)
    settings.printer().say("paused: a running rotation stops after the instances it has begun")
    return 0
