"""Rules over configurations, for `rollover check`: which files, read how, and what is silenced."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from nats_config.systemd_unit import CommandLine, read_unit
from rollover.codec.nats_configuration import config_errors
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.description import FileDelivery, FleetDescription, Silence
from rollover.platforms.nats.rules.reading import read_context
from rollover.platforms.nats.rules.report import check_configs, joined, with_idle_silences
from rollover.rule_catalogue import CATALOGUE
from rollover.rules.report import Report
from rollover.site import now

_UNIT_LIMIT = 1 << 20
_ODD = "is no regular file"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a command line says of configurations to check."""

    files: tuple[Path, ...] = ()
    working_directory: Path | None = None
    running: Mapping[Path, Path] = {}
    clients: tuple[Path, ...] = ()
    units: tuple[Path, ...] = ()
    expires_within: timedelta
    silences: tuple[Silence, ...] = ()


def check_files(wanted: Wanted, *, known: Sequence[Silence] = ()) -> Report:
    """Return what the rules find in the files of a command line.

    `known`: silences of a fleet file, which may speak of other things too.
    """
    for path in (*wanted.files, *wanted.clients, *wanted.units):
        _there(path)
    strange = next((path for path in wanted.running if path not in wanted.files), None)
    if strange is not None:
        raise SpecError(
            f"`{strange}` is not among the files to check",
            hint="write `--running FILE=OLD` with FILE as it is given on the command line",
        )
    started = tuple(line for path in wanted.units for line in _started(path))
    configs = read_context(
        wanted.files,
        working_directory=wanted.working_directory or Path.cwd(),
        environment=os.environ,
        now=now(),
        expires_within=wanted.expires_within,
        running=wanted.running,
        clients=wanted.clients,
        directories=_where(wanted, started),
        started=started,
    )
    report = check_configs(configs, silenced=(*wanted.silences, *known))
    return with_idle_silences(report, wanted.silences)


def _there(path: Path) -> None:
    """Refuse what is no file: a check of nothing must not look like one that found nothing."""
    try:
        mode = path.stat().st_mode
        why = "" if stat.S_ISREG(mode) else "is a directory" if stat.S_ISDIR(mode) else _ODD
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if why:
        hint = "name files, such as `/etc/nats/nats.conf`; nothing was checked"
        raise SpecError(why, place=str(path), hint=hint)


def _started(unit: Path) -> tuple[CommandLine, ...]:
    try:
        text = read_start(unit, size=_UNIT_LIMIT).decode("utf-8", "replace")
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(unit), hint="check its permissions"
        ) from None
    with config_errors():
        return read_unit(text, name=str(unit))


def _where(wanted: Wanted, started: Sequence[CommandLine]) -> dict[Path, Path]:
    """Return where the processes of these units run, by the configuration that each names.

    `--working-directory` goes before what units say.
    """
    if wanted.working_directory is not None:
        return {}
    homes = {os.path.realpath(Path(pair.directory, pair.config)): pair for pair in started}
    return {
        path: Path(homes[real].directory)
        for path in wanted.files
        if (real := os.path.realpath(path)) in homes
    }


def with_configs(
    report: Report, described: FleetDescription, *, wanted: Wanted, base: Path
) -> Report:
    """Return the report of a fleet with what the rules find in the configurations that it names."""
    directories = _named(described, base=base)
    silences = (*wanted.silences, *described.silenced)
    if not directories:
        return with_idle_silences(report, silences) if wanted.silences else report
    configs = read_context(
        tuple(directories),
        working_directory=base,
        environment=os.environ,
        now=report.at,
        expires_within=wanted.expires_within,
        directories=directories,
    )
    return joined(report, check_configs(configs, silenced=silences), silences)


def _named(described: FleetDescription, *, base: Path) -> dict[Path, Path]:
    """Return the configurations of this machine and the directories of their processes.

    Where a command delivers, a file of that name on this machine is not the instance's.
    """
    found: dict[Path, Path] = {}
    for group in described.groups:
        for instance in group.instances:
            if instance.config is None or not isinstance(group.delivery, FileDelivery):
                continue
            if instance.ignored:
                continue
            home = base / (instance.working_directory or "")
            places = (home / instance.config, base / instance.config)
            path = next((place for place in places if place.exists()), places[0])
            found.setdefault(path, home)
    return found


def pairs(texts: Sequence[str]) -> dict[Path, Path]:
    """Return the files of `--running FILE=OLD`."""
    found: dict[Path, Path] = {}
    for text in texts:
        file, sign, old = text.partition("=")
        if not (file and sign and old):
            raise SpecError(f"`--running {text}` is no pair of files", hint="write `FILE=OLD`")
        found[Path(file)] = Path(old)
    return found


def silences(texts: Sequence[str]) -> tuple[Silence, ...]:
    """Return the entries of `--silence RULE[:SUBJECT]=REASON`."""
    return tuple(_silence(text) for text in texts)


def _silence(text: str) -> Silence:
    named, _, reason = text.partition("=")
    name, _, subject = named.partition(":")
    if not name or not reason.strip():
        raise SpecError(
            f"`--silence {text}` says no rule or no reason",
            hint="write `RULE=REASON`, or `RULE:SUBJECT=REASON` (`*` stands for anything)",
        )
    if CATALOGUE.rule(name) is None:
        raise SpecError(f"there is no rule `{name}`", hint="`rollover explain` lists them all")
    return Silence(rule=name, subject=subject or "*", reason=reason.strip())
