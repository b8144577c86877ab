"""`rollover check`: what stands in the way, in a fleet or in configurations?"""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rollover import __version__
from rollover.cli.options import Number, Settings, authority_option, settings_of, settings_options
from rollover.errors import ExitCode, SpecError
from rollover.rules.rule import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rollover.cli.printer import Printer
    from rollover.fleet.description import Silence
    from rollover.rules.report import CheckedRule, Report

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
    named = context.get_parameter_source("fleet") is not click.core.ParameterSource.DEFAULT
    settings = settings_of(values)
    printer = settings.printer()
    of_files = bool(values["files"])
    running, silences = _pairs(values["running"]), tuple(map(_silence, values["silenced"]))
    if of_files:
        report = _check_files(values, settings if named else None, running, silences)
    else:
        report = _check_fleet(values, settings, silences)
    if values["sarif"] is not None:
        described = None if of_files else settings.fleet
        write_sarif(values["sarif"], report, described=described)
    if printer.json:
        printer.data("report", report)
    else:
        show_report(printer, report, of_files=of_files)
    exits = {Severity.ERROR: ExitCode.REFUSED, Severity.EVIDENCE: ExitCode.EVIDENCE_MISSING}
    return ExitCode.DONE if report.worst is None else exits.get(report.worst, ExitCode.DONE)


def _check_files(
    values: dict[str, Any],
    settings: Settings | None,
    running: Mapping[Path, Path],
    silences: Sequence[Silence],
) -> Report:
    from rollover.platforms.nats.rules.config_selection import ConfigSelection, check_files  # noqa: PLC0415 - imports the rules
    from rollover.site import load_fleet, now  # noqa: PLC0415 - imports every platform

    selection = ConfigSelection(
        files=tuple(dict.fromkeys(values["files"])),
        working_directory=values["working_directory"],
        running=running,
        clients=values["clients"],
        units=values["units"],
    )
    if values["authority"] is not None:
        raise click.UsageError("`--authority` goes without FILES only")
    return check_files(
        selection,
        expires_within=timedelta(days=values["expires_within"]),
        silences=silences,
        known=load_fleet(settings.fleet).silenced if settings else (),
        environment=os.environ,
        now=now(),
    )


def _check_fleet(values: dict[str, Any], settings: Settings, silences: Sequence[Silence]) -> Report:
    from rollover.engine.service import check_fleet  # noqa: PLC0415 - imports certificates
    from rollover.platforms.nats.rules.config_selection import with_configs  # noqa: PLC0415 - imports the rules
    from rollover.site import open_fleet  # noqa: PLC0415 - imports every platform

    if any(values[name] for name in ("working_directory", "running", "clients", "units")):
        raise click.UsageError(
            "`--working-directory`, `--running`, `--client`, `--unit` need FILES"
        )
    with open_fleet(settings.fleet, scratch=True) as library:
        report = check_fleet(
            library.site, values["authority"], expiry_days=values["expires_within"]
        )
        described = library.site.described
    return with_configs(
        report,
        described,
        base=settings.fleet.parent.resolve(),
        expires_within=timedelta(days=values["expires_within"]),
        silences=silences,
        environment=os.environ,
    )


def _pairs(texts: Sequence[str]) -> dict[Path, Path]:
    """Return the files of `--running FILE=OLD`."""
    found: dict[Path, Path] = {}
    for pair in texts:
        file, sign, old = pair.partition("=")
        if not (file and sign and old):
            raise SpecError(f"`--running {pair}` is no pair of files", hint="write `FILE=OLD`")
        found[Path(file)] = Path(old)
    return found


def _silence(text: str) -> Silence:
    """Return the entry of one `--silence RULE[:SUBJECT]=REASON`."""
    from rollover.fleet.description import Silence  # noqa: PLC0415 - not needed for `--help`
    from rollover.rule_catalogue import whole_catalogue  # noqa: PLC0415 - imports every rule

    named, _, reason = text.partition("=")
    name, _, subject = named.partition(":")
    if not name or not reason.strip():
        raise SpecError(
            f"`--silence {text}` says no rule or no reason",
            hint="write `RULE=REASON`, or `RULE:SUBJECT=REASON` (`*` stands for anything)",
        )
    if whole_catalogue().rule(name) is None:
        raise SpecError(f"there is no rule `{name}`", hint="`rollover explain` lists them all")
    return Silence(rule=name, subject=subject or "*", reason=reason.strip())


# The view: a list by area, and the remedy below what was found.

MOST_SHOWN = 8
"""Findings of one rule that are written out; the rest is counted. JSON has them all."""

MOST_NAMED = 3
"""Of those about whom the same is found: these by name, the rest is counted."""

_SIGNS: Mapping[Severity | None, tuple[str, str]] = MappingProxyType(
    {
        Severity.ERROR: ("×", "bad"),
        Severity.EVIDENCE: ("?", "bad"),
        Severity.WARNING: ("‼", "warn"),
        None: ("√", "good"),
    }
)


def show_report(printer: Printer, report: Report, *, of_files: bool = False) -> None:
    """Show every rule with its sign, and what it found; `of_files`: in configurations only."""
    for area, checked in groupby(report.checked, key=lambda rule: rule.area):
        printer.line(area, "bold")
        for checked_rule in checked:
            sign, style = _SIGNS[checked_rule.worst]
            printer.line(f"  {sign} {checked_rule.title}", style)
            for detail in _details(checked_rule):
                printer.line(detail)
        printer.line()
    printer.line(report_verdict(report, of_files=of_files), _SIGNS[report.worst][1])


def _details(checked: CheckedRule) -> Iterator[str]:
    open_findings = [finding for finding in checked.findings if not finding.silenced]
    alike: dict[str, list[Finding]] = {}
    for open_finding in open_findings:
        alike.setdefault(open_finding.message, []).append(open_finding)
    shown = list(alike.values())[:MOST_SHOWN]
    for findings in shown:
        yield f"      {_told(findings[0])}{_others(findings[1:])}"
    left = len(open_findings) - sum(map(len, shown))
    if left:
        yield f"      … and {left} more (`--output json` has them all)"
    for remedy in dict.fromkeys(finding.remedy for findings in shown for finding in findings):
        yield f"      hint: {remedy} (`rollover explain {checked.rule}`)"
    yield from _silenced([finding for finding in checked.findings if finding.silenced])


def _others(findings: list[Finding]) -> str:
    """Return whom the same is true of, some by name."""
    subjects = list(dict.fromkeys(finding.subject for finding in findings))
    if not subjects:
        return ""
    named, more = ", ".join(subjects[:MOST_NAMED]), len(subjects) - MOST_NAMED
    return f"; likewise {named}" + (f" and {more} more" if more > 0 else "")


def _silenced(findings: list[Finding]) -> Iterator[str]:
    for finding in findings[:MOST_SHOWN]:
        yield f"      silenced: {_told(finding)} ({finding.silenced})"
    if len(findings) > MOST_SHOWN:
        yield f"      … and {len(findings) - MOST_SHOWN} more that are silenced"


def _told(finding: Finding) -> str:
    place = f"{finding.place}: " if finding.place else ""
    return f"{place}{finding.subject}: {finding.message}"


def write_sarif(path: Path, report: Report, *, described: Path | None = None) -> None:
    """Write the report as SARIF; `SpecError` when the file cannot be written.

    `described`: the fleet file of the report, in which findings stand that no other file holds.
    """
    from rollover.cli.sarif import sarif_log  # noqa: PLC0415 - imports every rule
    from rollover.rule_catalogue import whole_catalogue  # noqa: PLC0415 - likewise

    base, rules = Path.cwd(), whole_catalogue().rules
    log = sarif_log(report, rules, version=__version__, base=base, described=described)
    text = msgspec.json.format(msgspec.json.encode(log), indent=2)
    try:
        with open(path, "wb", opener=_at_once) as file:
            file.write(text + b"\n")
    except OSError as error:
        raise SpecError(
            f"cannot be written: {error.strerror}", place=str(path), hint="name another file"
        ) from None


def _at_once(path: str, flags: int) -> int:
    """Open a file, or fail where it is a pipe from which nobody reads."""
    file = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(file, True)
    return file


def report_verdict(report: Report, *, of_files: bool = False) -> str:
    """Return one line: can this fleet be rotated, can these configurations be relied upon?"""
    counts = [
        f"{len(found)} {word}{'s' if len(found) > 1 else ''}"
        for severity, word in (
            (Severity.ERROR, "error"),
            (Severity.EVIDENCE, "gap"),
            (Severity.WARNING, "warning"),
        )
        if (found := report.findings(severity))
    ]
    seen = f"{report.instances} instances, {report.links:,} links"
    if of_files:
        seen = f"{report.instances} configuration{'s' if report.instances > 1 else ''}"
    if report.worst is Severity.ERROR:
        word = "something stands in the way"
    elif report.worst is Severity.EVIDENCE:
        word = "evidence is missing"
    else:
        word = "nothing stands in the way"
    return f"{report.fleet}: {word} ({', '.join([*counts, seen])})"
