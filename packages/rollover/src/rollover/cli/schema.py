"""`rollover schema`: the JSON Schema of the fleet file."""

from __future__ import annotations

import json

import click


@click.command(
    epilog="Example:\n\n  rollover schema > fleet.schema.json", short_help="JSON Schema."
)
def command() -> None:
    """Print the JSON Schema of `fleet.yml`, for editors and validators."""
    from rollover.codec.fleet_file import schema  # noqa: PLC0415 - imports the YAML parser

    click.echo(json.dumps(schema(), indent=2))
