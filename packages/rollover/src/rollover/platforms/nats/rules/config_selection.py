"""Configurations checked as an operator selects them, or as a fleet file names them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import msgspec

from nats_config.systemd_unit import CommandLine, read_unit
from rollover.codec.nats_configuration import config_errors
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.description import FileDelivery, FleetDescription, Silence
from rollover.platforms.nats.rules.reading import read_context
from rollover.platforms.nats.rules.report import check_configs, joined, with_idle_silences
from rollover.rules.report import Report

_UNIT_LIMIT = 1 << 20


class ConfigSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which configurations are checked, and what is known of the servers that load them.

    `working_directory`: that of the servers' processes; None: what `units` say, or else the one
    of this process. `running`: for a file, the one that its server has loaded. `clients`:
    certificates of clients. `units`: the systemd units that start servers.
    """

    files: tuple[Path, ...]
    working_directory: Path | None = None
    running: Mapping[Path, Path] = MappingProxyType({})
    clients: tuple[Path, ...] = ()
    units: tuple[Path, ...] = ()


def check_files(
    selection: ConfigSelection,
    *,
    expires_within: timedelta,
    silences: Sequence[Silence] = (),
    known: Sequence[Silence] = (),
    environment: Mapping[str, str],
    now: datetime,
) -> Report:
    """Return what the rules find in files that an operator names.

    `silences` are told of when nothing in the files is silenced by them; `known`, those of a fleet
    file, may speak of other things too. Raises `SpecError` when a file is not there.
    """
    for path in (*selection.files, *selection.clients, *selection.units):
        _refuse_no_file(path)
    strange = next((path for path in selection.running if path not in selection.files), None)
    if strange is not None:
        raise SpecError(
            f"`{strange}` is not among the files to check",
            hint="write `--running FILE=OLD` with FILE as it is given on the command line",
        )
    started = tuple(line for unit in selection.units for line in _started(unit))
    configs = read_context(
        selection.files,
        working_directory=selection.working_directory or Path.cwd(),
        environment=environment,
        now=now,
        expires_within=expires_within,
        running=selection.running,
        clients=selection.clients,
        directories=_directories_of_units(selection, started),
        started=started,
    )
    report = check_configs(configs, silenced=(*silences, *known))
    return with_idle_silences(report, silences)


def with_configs(
    report: Report,
    described: FleetDescription,
    *,
    base: Path,
    expires_within: timedelta,
    silences: Sequence[Silence] = (),
    environment: Mapping[str, str],
) -> Report:
    """Return the report of a fleet with what the rules find in the configurations that it names.

    `base`: where relative paths of the fleet file begin.
    """
    directories = _directories_described(described, base=base)
    every_silence = (*silences, *described.silenced)
    if not directories:
        return with_idle_silences(report, every_silence) if silences else report
    configs = read_context(
        tuple(directories),
        working_directory=base,
        environment=environment,
        now=report.at,
        expires_within=expires_within,
        directories=directories,
    )
    return joined(report, check_configs(configs, silenced=every_silence), every_silence)


def _refuse_no_file(path: Path) -> None:
    """Refuse what is no file: a check of nothing must not look like one that found nothing."""
    try:
        mode = path.stat().st_mode
        why = "is a directory" if stat.S_ISDIR(mode) else "is no regular file"
        if stat.S_ISREG(mode):
            return
    except (OSError, ValueError) as error:
        # A path with a NUL byte is a ValueError.
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise SpecError(
        why,
        place=str(path),
        hint="name files, such as `/etc/nats/nats.conf`; nothing was checked",
    )


def _started(unit: Path) -> tuple[CommandLine, ...]:
    try:
        text = read_start(unit, size=_UNIT_LIMIT).decode("utf-8", "replace")
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(unit), hint="check its permissions"
        ) from None
    with config_errors():
        return read_unit(text, name=str(unit))


def _directories_of_units(
    selection: ConfigSelection, started: Sequence[CommandLine]
) -> dict[Path, Path]:
    """Return where the processes of units run, by the configuration that each names.

    The directory that an operator names goes before what units say.
    """
    if selection.working_directory is not None:
        return {}
    # A unit may name the same file by another path, through a link.
    starts = {os.path.realpath(Path(line.directory, line.config)): line for line in started}
    return {
        path: Path(starts[real].directory)
        for path in selection.files
        if (real := os.path.realpath(path)) in starts
    }


def _directories_described(described: FleetDescription, *, base: Path) -> dict[Path, Path]:
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
