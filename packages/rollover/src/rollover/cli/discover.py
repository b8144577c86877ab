"""`rollover discover`: a fleet file from configurations, monitoring ports or a BOSH director."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec

from rollover import files
from rollover.cli.options import settings_of, settings_options
from rollover.errors import SpecError
from rollover.fleet.description import FleetDescription

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.platforms.bosh.cost import RoundCost
    from rollover.platforms.bosh.director_records import Stemcell
    from rollover.platforms.bosh.discovery import (
        DeploymentReading,
        DirectorDiscovery,
        DirectorReading,
        InstanceReading,
    )

_FILE = click.Path(path_type=Path, dir_okay=False)
_OF_DIRECTORS = ("environment", "client", "client_secret_file", "ca_cert", "create_env", "nats")
_OF_SERVERS = ("configs", "more_configs", "working_directory")


@click.command(
    epilog="Examples:\n\n  rollover discover --config /etc/nats/*.conf -o fleet.yml\n\n"
    "  rollover discover --monitor http://127.0.0.1:8222 -o fleet.yml --write\n\n"
    "  rollover discover --bosh --create-env create-env.sh -o fleet.yml",
    short_help="Write a fleet file.",
)
@click.option(
    "--config",
    "configs",
    type=_FILE,
    multiple=True,
    help="A nats-server configuration; may be given several times.",
)
@click.argument("more_configs", type=_FILE, nargs=-1)
@click.option("--monitor", "monitors", multiple=True, metavar="URL", help="A monitoring port.")
@click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of the servers' processes; relative paths begin there.",
)
@click.option("--bosh", is_flag=True, help="Describe a BOSH director and all its VMs.")
@click.option(
    "--environment", metavar="URL", help="The director, or its alias [env: BOSH_ENVIRONMENT]."
)
@click.option("--client", metavar="NAME", help="Its user or UAA client [env: BOSH_CLIENT].")
@click.option(
    "--client-secret-file",
    type=_FILE,
    help="A private file with the secret; else it is taken from BOSH_CLIENT_SECRET.",
)
@click.option(
    "--ca-cert", metavar="FILE", help="CA of the director's certificate [env: BOSH_CA_CERT]."
)
@click.option(
    "--create-env",
    type=_FILE,
    help="A file with your own `bosh create-env …` command line.",
)
@click.option("--nats", metavar="HOST:PORT", help="The director's NATS; by default port 4222.")
@click.option("-o", "--out", type=_FILE, help="The fleet file to write; by default it is printed.")
@click.option("--write", is_flag=True, help="Change the file if it exists already.")
@settings_options
def command(**values: Any) -> None:
    """Describe the fleet that configurations, monitoring ports or a director show.

    Changes no server. An existing file is left as it is and the difference is shown; `--write`
    changes it. What only a person can know (files of clients, pacing, the system account) is
    kept from it.
    """
    printer = settings_of(values).printer()
    if values["bosh"]:
        _refuse(values, _OF_SERVERS, "goes without `--bosh` only")
        _director(values, printer)
    else:
        _refuse(values, _OF_DIRECTORS, "goes with `--bosh` only")
        _servers(values, printer)


def _servers(values: Mapping[str, Any], printer: Printer) -> None:
    from rollover.site import discover_nats  # noqa: PLC0415 - imports every platform

    found = discover_nats(
        (*values["configs"], *values["more_configs"]),
        working_directory=values["working_directory"],
        monitors=values["monitors"],
        former=values["out"],
    )
    deliver_description(printer, found, out=values["out"], write=values["write"])


def _director(values: Mapping[str, Any], printer: Printer) -> None:
    from rollover.platforms.bosh.director_options import DirectorOptions  # noqa: PLC0415 - HTTP client
    from rollover.site import discover_bosh  # noqa: PLC0415 - imports every platform

    if len(values["monitors"]) > 1:
        raise click.UsageError("a director has one monitoring port: give `--monitor` once")
    options = DirectorOptions(
        monitor=next(iter(values["monitors"]), None),
        **{name: values[name] for name in _OF_DIRECTORS},
    )
    found = discover_bosh(options, former=values["out"])
    deliver_director(printer, found, out=values["out"], write=values["write"])


def _refuse(values: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if values[name]:
            option = {"configs": "config", "more_configs": "config"}.get(name, name)
            raise click.UsageError(f"`--{option.replace('_', '-')}` {why}")


# The description: shown, compared with the file that is there, and written.


class RemarkView(Protocol):
    """Something that a person should look at."""

    @property
    def subject(self) -> str:
        """What it is about."""
        ...

    @property
    def message(self) -> str:
        """What there is to know."""
        ...


class DescribedFleet(Protocol):
    """What a platform found: a description, and remarks on it."""

    @property
    def description(self) -> FleetDescription:
        """For the fleet file."""
        ...

    @property
    def remarks(self) -> Iterable[RemarkView]:
        """What is left to a person."""
        ...


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a discovery came to. `difference`: lines of a unified diff against the file there.

    `reading`: what a director said of its world; None for servers.
    """

    file: str
    written: bool
    difference: tuple[str, ...]
    remarks: tuple[str, ...]
    description: FleetDescription
    reading: msgspec.Struct | None = None


def deliver_description(
    printer: Printer,
    found: DescribedFleet,
    *,
    out: Path | None,
    write: bool,
    reading: msgspec.Struct | None = None,
) -> None:
    """Print the description, or write it; a file that is there is changed only with `write`."""
    from rollover.codec.fleet_file import write_fleet  # noqa: PLC0415 - imports YAML

    remarks = tuple(f"{remark.subject}: {remark.message}" for remark in found.remarks)
    for text in remarks:
        printer.say(f"! {text}", "warn")
    content = write_fleet(found.description)
    present = _present(out)
    difference = tuple(_difference(present, content, out)) if present is not None else ()
    written = out is not None and (present is None or (write and present != content))
    if out is not None and written:
        _write(out, content)
    if printer.json:
        result = Discovered(
            file=str(out or ""),
            written=written,
            difference=difference,
            remarks=remarks,
            description=found.description,
            reading=reading,
        )
        printer.data("discovery", result)
    elif out is None:
        printer.text(content.decode().rstrip("\n"))
    else:
        _tell(printer, out, difference=difference, written=written)


def _tell(printer: Printer, out: Path, *, difference: tuple[str, ...], written: bool) -> None:
    for line in difference:
        style = {"+": "good", "-": "bad"}.get(line[:1], "")
        printer.line(line, style)
    if written:
        printer.say(f"{out} is written; next: `rollover topology --fleet {out}`", "good")
    elif difference:
        printer.say(f"{out} is left as it is; `--write` changes it", "warn")
    else:
        printer.say(f"{out} says the same already", "good")


def _present(out: Path | None) -> bytes | None:
    if out is None:
        return None
    try:
        return out.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(out, error) from None


def _difference(present: bytes, wanted: bytes, out: Path | None) -> Iterator[str]:
    yield from difflib.unified_diff(
        present.decode(errors="replace").splitlines(),
        wanted.decode().splitlines(),
        fromfile=f"{out} as it is",
        tofile=f"{out} as discovered",
        lineterm="",
    )


def _write(out: Path, content: bytes) -> None:
    """Replace a file as a whole: a full disk leaves the one that was there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(out, content, mode=_mode(out), durable=True)
    except OSError as error:
        raise _unusable(out, error) from None


def _mode(out: Path) -> int:
    """Return the mode that the file has, or that of a new file of this process."""
    try:
        return out.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def _unusable(out: Path, error: OSError) -> SpecError:
    return SpecError(
        f"cannot be written: {error.strerror}", place=str(out), hint="name another file with `-o`"
    )


# The view of a director.

MOST_SHOWN = 30
"""Instances that are shown one by one; of more, those that are not as they should be."""
_MINUTE, _HOUR = 60, 3600


def deliver_director(
    printer: Printer, found: DirectorDiscovery, *, out: Path | None, write: bool
) -> None:
    """Show what was read, then print or write the description."""
    if not printer.json and out is not None:
        show_director(printer, found.reading)
        printer.line()
    deliver_description(printer, found, out=out, write=write, reading=found.reading)


def show_director(printer: Printer, reading: DirectorReading) -> None:
    """Show the director, its deployments, its instances, certificates, and what a round takes."""
    director = reading.director
    version = ".".join(str(number) for number in director.version)
    printer.line(f"director {director.name} {version} ({director.cpi or 'no CPI named'})", "bold")
    if reading.deployments:
        printer.line()
        printer.table(
            ("deployment", "instances", "in place", "recreate", "variables", "stemcells"),
            (_deployment(deployment) for deployment in reading.deployments),
        )
    every = [instance for deployment in reading.deployments for instance in deployment.instances]
    few = len(every) <= MOST_SHOWN
    instances = [instance for instance in every if few or not _is_well(instance)]
    if instances:
        printer.line()
        printer.table(
            ("instance", "should be", "agent says", "stemcell", "new credentials"),
            (_instance(instance) for instance in instances),
        )
    if reading.certificates:
        printer.line()
        printer.table(
            ("certificate of the director", "until", "days left"),
            (
                (certificate.path, f"{certificate.expires_at:%Y-%m-%d}", str(certificate.days_left))
                for certificate in reading.certificates
            ),
        )
    printer.line()
    printer.line(_round(reading.round))


def _is_well(instance: InstanceReading) -> bool:
    return instance.state == "started" and instance.job_state == "running" and not instance.ignored


def _deployment(deployment: DeploymentReading) -> tuple[str, ...]:
    ways = Counter(instance.way.value for instance in deployment.instances if instance.has_vm)
    locked = " (locked)" if deployment.locked else ""
    return (
        f"{deployment.name}{locked}",
        str(len(deployment.instances)),
        str(ways["in place"]),
        str(ways["recreate"]),
        str(len(deployment.variables)),
        ", ".join(_named(stemcell) for stemcell in deployment.stemcells),
    )


def _instance(instance: InstanceReading) -> tuple[str, ...]:
    says = instance.job_state or "nothing"
    return (
        instance.name,
        f"{instance.state}, ignored" if instance.ignored else instance.state,
        says if instance.has_vm else "has no VM",
        _named(instance.stemcell) if instance.stemcell else "",
        instance.way.value if instance.has_vm else "when it is started",
    )


def _named(stemcell: Stemcell) -> str:
    return f"{stemcell.name}/{stemcell.version}"


def _round(cost: RoundCost) -> str:
    if not cost.deployments:
        return "no agent has to be given anything"
    count = sum(deployment.instances for deployment in cost.deployments)
    recreated = sum(deployment.recreated for deployment in cost.deployments)
    how = f", {recreated:,} of them recreated" if recreated else ""
    side = f"{min(cost.workers, len(cost.deployments))} deployments side by side"
    return (
        f"a round over {count:,} agents{how} takes about {_duration(cost.seconds)}, {side}; "
        "a rotation has two"
    )


def _duration(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    if seconds >= _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds:.0f} s"
