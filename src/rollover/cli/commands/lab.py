"""`rollover lab`: real fleets on this machine, to rehearse on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.commands import lab_bosh, lab_bosh_up, lab_gateways
from rollover.cli.commands.lab_bosh import DIRECTORY
from rollover.cli.options import settings_of, settings_options
from rollover.errors import ExitCode, SpecError

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.lab.lab import Lab

NAME = click.argument("name")


@click.group(epilog="Example:\n\n  rollover lab up cluster && rollover --help")
def command() -> None:
    """Start real fleets of real processes on loopback, break them, end them."""


@command.command(
    epilog="Examples:\n\n  rollover lab up cluster --directory lab\n\n"
    "  rollover lab up bosh --agents 10 --quick"
)
@click.argument("what", metavar="[PRESET|FILE|bosh]", required=False)
@DIRECTORY
@lab_bosh_up.up_options
@settings_options
def up(**values: Any) -> None:
    """Start a fleet from a preset or a lab file, or a BOSH; it runs until `lab down`."""
    printer = settings_of(values).printer()
    if values["what"] == lab_bosh_up.BOSH or (values["what"] is None and values["like"]):
        lab_bosh_up.up(values, printer)
        return
    lab_bosh_up.refuse_options(values)
    _up_cluster(values["what"] or "cluster", values["directory"], printer)


def _up_cluster(what: str, directory: Path, printer: Printer) -> None:
    from rollover.lab import cast, lab, lab_file  # noqa: PLC0415 - imports certificates
    from rollover.lab.presets import preset  # noqa: PLC0415

    path = Path(what)
    spec = lab_file.load(path) if path.is_file() else preset(what)
    clients = len(cast.play(spec))
    printer.say(f"starting {len(spec.servers)} nats-servers and {clients} clients …")
    fleet = lab.up(spec, directory, detach=True)
    if printer.json:
        printer.data("lab", fleet.status())
        return
    printer.line(f"up: {spec.name} in `{directory}`")
    several = " --authority nats-ca" if spec.supercluster else ""
    printer.line(f"next command: rollover plan --fleet {directory / 'fleet.yml'}{several}")


@command.command("down", epilog="Example:\n\n  rollover lab down --directory lab --remove")
@DIRECTORY
@click.option("--remove", is_flag=True, help="Delete the directory too.")
@settings_options
def end(**values: Any) -> None:
    """End a fleet: exactly the processes that it started."""
    from rollover.lab import lab  # noqa: PLC0415 - imports certificates
    from rollover.lab.bosh import lifecycle  # noqa: PLC0415

    printer = settings_of(values).printer()
    down = lifecycle.down if _holds_bosh(values) else lab.down
    ended = down(values["directory"], remove=values["remove"])
    printer.say(f"ended {len(ended)} processes")


@command.command(epilog="Example:\n\n  rollover lab status --output json")
@DIRECTORY
@settings_options
def status(**values: Any) -> int:
    """Say what runs, and what the traffic has counted."""
    from rollover.cli.views.demo import ticking  # noqa: PLC0415 - imports certificates
    from rollover.lab import lab  # noqa: PLC0415

    printer = settings_of(values).printer()
    if _holds_bosh(values):
        return lab_bosh.show_status(printer, values["directory"])
    seen = lab.status(values["directory"])
    if printer.json:
        printer.data("lab", seen)
        return ExitCode.DONE if seen.up else ExitCode.STOPPED
    printer.line(f"{seen.name}: {'up' if seen.up else 'down'}")
    printer.table(
        ("process", "state", "pid"),
        (
            (each.name, each.state.value, str(each.process.pid) if each.process else "–")
            for each in seen.processes
        ),
    )
    if seen.up:
        printer.line(ticking(lab.attach(values["directory"]).traffic()))
    return ExitCode.DONE if seen.up else ExitCode.STOPPED


@command.command(epilog="Example:\n\n  rollover lab stop n2 --kill")
@NAME
@click.option("--kill", is_flag=True, help="With SIGKILL.")
@DIRECTORY
@settings_options
def stop(**values: Any) -> None:
    """Stop one server."""
    printer = settings_of(values).printer()
    _attached(values).stop_server(values["name"], kill=values["kill"])
    printer.say(f"stopped: {values['name']}")


@command.command(epilog="Example:\n\n  rollover lab start n2")
@NAME
@DIRECTORY
@settings_options
def start(**values: Any) -> None:
    """Start a server that was stopped."""
    printer = settings_of(values).printer()
    _attached(values).start_server(values["name"])
    printer.say(f"started: {values['name']}")


@command.command("read-only", epilog="Example:\n\n  rollover lab read-only n1 --undo")
@NAME
@click.option("--undo", is_flag=True, help="Make it writable again.")
@DIRECTORY
@settings_options
def read_only(**values: Any) -> None:
    """Have the directory of an instance's certificates refuse every change."""
    printer = settings_of(values).printer()
    fleet = _attached(values)
    change = fleet.make_writable if values["undo"] else fleet.make_read_only
    change(values["name"])
    printer.say(f"{'writable' if values['undo'] else 'read-only'}: {values['name']}")


@command.command(epilog="Example:\n\n  rollover lab naive --directory lab")
@DIRECTORY
@click.option("--yes", is_flag=True, help="Yes, break this fleet.")
@settings_options
def naive(**values: Any) -> int:
    """Swap everything at once, the wrong way, and show what breaks. The lab is lost by it.

    First the planner is asked: it refuses, and names a link. Then it is done for real.
    """
    from rollover.cli.views import naive as view  # noqa: PLC0415 - imports certificates
    from rollover.engine.goals import Request  # noqa: PLC0415
    from rollover.lab.naive import naive_swap, new_authority  # noqa: PLC0415
    from rollover.site import now, open_fleet  # noqa: PLC0415

    printer = settings_of(values).printer()
    fleet = _attached(values)
    with open_fleet(fleet.layout.fleet, scratch=True) as library:
        refused = library.naive_swap(Request(authority=library.authority(), again=True))
    if not printer.json:
        view.refusal(printer, refused)
    if not values["yes"]:
        click.confirm("Do it all the same, and break this lab?", abort=True, err=True)
    report = naive_swap(fleet, new_authority(fleet, now=now()), on_step=view.step(printer))
    if printer.json:
        printer.data("naive", {"refused": refused, "report": report})
    else:
        view.show(printer, report)
    return ExitCode.REFUSED


for _of_some in (
    lab_bosh.create_env,
    lab_bosh.expire,
    lab_bosh.fault,
    lab_bosh.ping,
    lab_gateways.renew,
):
    command.add_command(_of_some)


def _holds_bosh(values: dict[str, Any]) -> bool:
    from rollover.lab.bosh.record import holds_bosh  # noqa: PLC0415 - imports msgspec
    from rollover.lab.layout import Layout  # noqa: PLC0415

    return holds_bosh(Layout(values["directory"]).record)


def _attached(values: dict[str, Any]) -> Lab:
    from rollover.lab.lab import attach  # noqa: PLC0415 - imports certificates

    if _holds_bosh(values):
        raise SpecError(
            "it holds a BOSH lab, which has no such servers",
            place=str(values["directory"]),
            hint="`rollover lab fault` disturbs its agents",
        )
    return attach(values["directory"])
