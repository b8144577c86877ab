"""`rollover lab`: real fleets on this machine, to rehearse on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options
from rollover.errors import ExitCode
from rollover_lab.commands import lab_bosh
from rollover_lab.commands.lab_bosh import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rollover.cli.printer import Printer
    from rollover.fleet.plan import Violation
    from rollover_lab.nats.gateway_renewal import GatewayLink
    from rollover_lab.nats.lab import Lab
    from rollover_lab.nats.naive_swap import NaiveReport, NaiveStep


MOST_LINKS_SHOWN = 4


def show_refusal(printer: Printer, violations: tuple[Violation, ...]) -> None:
    """Show why the planner refuses."""
    printer.line("the planner refuses to swap everything at once:", "bold")
    for violation in violations[:MOST_LINKS_SHOWN]:
        printer.line(f"  ✗ {violation.rule}: {violation.message}", "bad")
        printer.line(f"    to lift it: {violation.lift}")


def step_reporter(printer: Printer) -> Callable[[NaiveStep], None]:
    """Return what says how the fleet stands after each step."""

    def say(step: NaiveStep) -> None:
        after = step.reconnected
        printer.say(
            f"{step.instance}: {len(after.broken)} links broken, "
            f"{len(after.missing_routes)} routes missing, "
            f"{len(after.disconnected)} clients cut off, {after.lost} messages lost"
        )

    return say


def show_naive_report(printer: Printer, report: NaiveReport) -> None:
    """Show what broke for real."""
    printer.line()
    printer.line("links that broke:", "bold")
    for link in report.broken[:MOST_LINKS_SHOWN]:
        printer.line(f"  ✗ {link.dialer} → {link.acceptor}: {link.reason}", "bad")
    more = len(report.broken) - MOST_LINKS_SHOWN
    if more > 0:
        printer.line(f"  … and {more} more")
    printer.line(
        f"sent {report.sent:,}, lost {report.lost:,}, {report.failures} requests failed, "
        f"{report.disconnects} disconnects, longest gap {report.longest_gap_ms:.0f} ms",
        "bad",
    )


INTERMEDIATES = ("R3", "R4", "E1", "E2")
TRUSTS = ("issuer", "bundle")


@click.command(
    epilog="Example:\n\n  rollover lab renew b --by E1 --restart\n\n"
    "Ends with 4 when a gateway is down afterwards."
)
@click.argument("cluster")
@click.option(
    "--by",
    type=click.Choice(INTERMEDIATES),
    required=True,
    help="The issuer's intermediate that signs this time.",
)
@click.option(
    "--trust",
    type=click.Choice(TRUSTS),
    help="Whether the `ca.pem` that comes with the certificates replaces `ca_file`, or a bundle "
    "of yours stays. By default as the lab was made.",
)
@click.option("--restart", is_flag=True, help="Restart the servers: connections are made anew.")
@DIRECTORY
@settings_options
def renew(**values: Any) -> int:
    """Renew the gateway certificates of CLUSTER, as a certificate manager does: without asking.

    Connections outlive it; only with `--restart` is seen who would not come back. Rollover's own
    way is `rollover plan --renew`, which knows beforehand.
    """
    from rollover_lab.nats import gateway_renewal, lab  # noqa: PLC0415
    from rollover_lab.nats.spec import GatewayTrust, Intermediate  # noqa: PLC0415

    printer = settings_of(values).printer()
    fleet = lab.attach(values["directory"])
    trust = GatewayTrust(values["trust"]) if values["trust"] else None
    gateway_renewal.renew(fleet, values["cluster"], by=Intermediate(values["by"]), trust=trust)
    printer.say(f"renewed: the gateways of `{values['cluster']}`, signed by {values['by']}")
    if values["restart"]:
        printer.say(f"restarting the servers of `{values['cluster']}`, one by one …")
        gateway_renewal.restart_cluster(fleet, values["cluster"])
    links = gateway_renewal.await_gateways(fleet)
    _show_gateways(printer, links)
    return ExitCode.DONE if all(link.stands for link in links) else ExitCode.STOPPED


def _show_gateways(printer: Printer, links: Sequence[GatewayLink]) -> None:
    if printer.json:
        printer.data("gateways", links)
        return
    printer.table(
        ("server", "to cluster", "gateway"),
        ((link.server, link.cluster, "up" if link.stands else "down") for link in links),
    )
    down = sum(not link.stands for link in links)
    if down:
        printer.line(f"{down} of {len(links)} gateways are down: the clusters are parted")


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
@lab_bosh.up_options
@settings_options
def up(**values: Any) -> None:
    """Start a fleet from a preset or a lab file, or a BOSH; it runs until `lab down`."""
    printer = settings_of(values).printer()
    if values["what"] == lab_bosh.BOSH or (values["what"] is None and values["like"]):
        lab_bosh.start_bosh(values, printer)
        return
    lab_bosh.refuse_options(values)
    _up_cluster(values["what"] or "cluster", values["directory"], printer)


def _up_cluster(what: str, directory: Path, printer: Printer) -> None:
    from rollover_lab.nats import foundation, lab  # noqa: PLC0415
    from rollover_lab.nats.spec import load_lab_file, preset_named  # noqa: PLC0415

    path = Path(what)
    spec = load_lab_file(path) if path.is_file() else preset_named(what)
    clients = len(foundation.cast_clients(spec))
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
    from rollover_lab.bosh import lab as bosh_lab  # noqa: PLC0415
    from rollover_lab.nats import lab  # noqa: PLC0415 - imports certificates

    printer = settings_of(values).printer()
    down = bosh_lab.down if _holds_bosh(values) else lab.down
    ended = down(values["directory"], remove=values["remove"])
    printer.say(f"ended {len(ended)} processes")


@command.command(epilog="Example:\n\n  rollover lab status --output json")
@DIRECTORY
@settings_options
def status(**values: Any) -> int:
    """Say what runs, and what the traffic has counted."""
    from rollover_lab.commands.demo import traffic_line  # noqa: PLC0415 - imports certificates
    from rollover_lab.nats import lab  # noqa: PLC0415

    printer = settings_of(values).printer()
    if _holds_bosh(values):
        return lab_bosh.show_status(printer, values["directory"])
    found = lab.status(values["directory"])
    if printer.json:
        printer.data("lab", found)
        return ExitCode.DONE if found.up else ExitCode.STOPPED
    printer.line(f"{found.name}: {'up' if found.up else 'down'}")
    printer.table(
        ("process", "state", "pid"),
        (
            (
                process.name,
                process.state.value,
                str(process.process.pid) if process.process else "–",
            )
            for process in found.processes
        ),
    )
    if found.up:
        printer.line(traffic_line(lab.attach(values["directory"]).traffic()))
    return ExitCode.DONE if found.up else ExitCode.STOPPED


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
    from rollover.engine.goals import Request  # noqa: PLC0415
    from rollover.site import now, open_fleet  # noqa: PLC0415
    from rollover_lab.nats.naive_swap import naive_swap, new_lab_authority  # noqa: PLC0415

    printer = settings_of(values).printer()
    fleet = _attached(values)
    with open_fleet(fleet.layout.fleet, scratch=True) as library:
        refused = library.naive_swap(Request(authority=library.authority(), again=True))
    if not printer.json:
        show_refusal(printer, refused)
    if not values["yes"]:
        click.confirm("Do it all the same, and break this lab?", abort=True, err=True)
    report = naive_swap(fleet, new_lab_authority(fleet, now=now()), on_step=step_reporter(printer))
    if printer.json:
        printer.data("naive", {"refused": refused, "report": report})
    else:
        show_naive_report(printer, report)
    return ExitCode.REFUSED


for _subcommand in (
    lab_bosh.create_env,
    lab_bosh.expire,
    lab_bosh.fault,
    lab_bosh.ping,
    renew,
):
    command.add_command(_subcommand)


def _holds_bosh(values: dict[str, Any]) -> bool:
    from rollover_lab.state import LabDirectory, holds_bosh  # noqa: PLC0415

    return holds_bosh(LabDirectory(values["directory"]).state)


def _attached(values: dict[str, Any]) -> Lab:
    from rollover_lab.nats.lab import attach  # noqa: PLC0415 - imports certificates

    return attach(values["directory"])
