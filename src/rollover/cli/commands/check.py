"""`rollover check`: what stands in the way, in a fleet or in configurations?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import Number, Settings, authority_option, settings_of, settings_options
from rollover.errors import ExitCode

if TYPE_CHECKING:
    from rollover.checks.run import Report
    from rollover.cli.config_checks import Wanted

_FILE = click.Path(path_type=Path)


@click.command(
    epilog="Examples:\n\n  rollover check\n\n  rollover check /etc/nats/nats.conf\n\n"
    "  rollover check a.conf b.conf --sarif check.sarif\n\n"
    "  rollover check nats.conf --silence key-readable-by-group='one service per group'",
    short_help="What stands in the way.",
)
@click.argument("files", type=_FILE, nargs=-1)
@authority_option
@click.option(
    "--expires-within",
    type=Number(min=0, max=36500),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="Warn of certificates that end within so many days.",
)
@click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of the servers' processes; relative paths begin there.",
)
@click.option(
    "--running",
    multiple=True,
    metavar="FILE=OLD",
    help="OLD is what the server of FILE has loaded: would a reload take the difference?",
)
@click.option(
    "--client",
    "clients",
    type=_FILE,
    multiple=True,
    help="The certificate of a client of these servers; may be given several times.",
)
@click.option(
    "--unit",
    "units",
    type=_FILE,
    multiple=True,
    help="The systemd unit that starts one of these servers: its flags, and where it runs.",
)
@click.option(
    "--silence",
    "silenced",
    multiple=True,
    metavar="RULE[:SUBJECT]=REASON",
    help="Leave out what a rule finds; shown, and not counted.",
)
@click.option(
    "--sarif",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report as SARIF 2.1.0, too.",
)
@settings_options
@click.pass_context
def command(context: click.Context, /, **values: Any) -> int:
    """Say what stands in the way of a rotation. Changes nothing.

    Without FILES: of the whole fleet, as it is seen now, and in the configurations that the
    fleet file names. With FILES, configurations of NATS servers: of every hazard in them and in
    the files that they name; several are looked at as peers.

    Exit code 0: nothing, or warnings; 3: an error does; 5: something could not be seen; 1: a file
    that is not there, or a wrong option: nothing was checked. Rules are silenced, with a reason,
    by `--silence` or under `silenced` in the fleet file.
    """
    from rollover.cli.views import check as view  # noqa: PLC0415 - imports certificates

    given = context.get_parameter_source("fleet") is not click.core.ParameterSource.DEFAULT
    settings = settings_of(values)
    printer = settings.printer()
    wanted = _wanted(values)
    if wanted.files:
        report = _files(wanted, settings if given else None, values)
    else:
        report = _fleet(wanted, settings, values)
    if values["sarif"] is not None:
        described = None if wanted.files else settings.fleet
        view.write_sarif(values["sarif"], report, described=described)
    if printer.json:
        printer.data("report", report)
    else:
        view.show(printer, report, of_files=bool(wanted.files))
    return _exit(report)


def _wanted(values: dict[str, Any]) -> Wanted:
    from datetime import timedelta  # noqa: PLC0415 - not needed for `--help`

    from rollover.cli.config_checks import Wanted, pairs, silences  # noqa: PLC0415 - likewise

    return Wanted(
        files=tuple(dict.fromkeys(values["files"])),
        working_directory=values["working_directory"],
        running=pairs(values["running"]),
        clients=values["clients"],
        units=values["units"],
        expires_within=timedelta(days=values["expires_within"]),
        silences=silences(values["silenced"]),
    )


def _files(wanted: Wanted, settings: Settings | None, values: dict[str, Any]) -> Report:
    from rollover.cli.config_checks import check_files  # noqa: PLC0415 - as above
    from rollover.site import load_fleet  # noqa: PLC0415 - as above

    if values["authority"] is not None:
        raise click.UsageError("`--authority` goes without FILES only")
    return check_files(wanted, known=load_fleet(settings.fleet).silenced if settings else ())


def _fleet(wanted: Wanted, settings: Settings, values: dict[str, Any]) -> Report:
    from rollover.cli.config_checks import with_configs  # noqa: PLC0415 - as above
    from rollover.engine.checking import check_site  # noqa: PLC0415 - as above
    from rollover.site import open_fleet  # noqa: PLC0415 - as above

    for name in ("working_directory", "running", "clients", "units"):
        if values[name]:
            raise click.UsageError(
                "`--working-directory`, `--running`, `--client`, `--unit` need FILES"
            )
    with open_fleet(settings.fleet, scratch=True) as library:
        report = check_site(library.site, values["authority"], expiry_days=values["expires_within"])
        described = library.site.described
    return with_configs(report, described, wanted=wanted, base=settings.fleet.parent.resolve())


def _exit(report: Report) -> int:
    from rollover.checks.rule import Severity  # noqa: PLC0415 - as above

    exits = {Severity.ERROR: ExitCode.REFUSED, Severity.EVIDENCE: ExitCode.EVIDENCE_MISSING}
    return ExitCode.DONE if report.worst is None else exits.get(report.worst, ExitCode.DONE)
