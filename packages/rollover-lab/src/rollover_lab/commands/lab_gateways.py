"""`rollover lab renew`: what an issuer that changes its intermediate does to a supercluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options
from rollover.errors import ExitCode
from rollover_lab.commands.lab_bosh import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollover.cli.printer import Printer
    from rollover_lab.renewal import GatewayLink

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
    from rollover_lab import lab, renewal  # noqa: PLC0415
    from rollover_lab.spec import GatewayTrust, Intermediate  # noqa: PLC0415

    printer = settings_of(values).printer()
    fleet = lab.attach(values["directory"])
    trust = GatewayTrust(values["trust"]) if values["trust"] else None
    renewal.renew(fleet, values["cluster"], by=Intermediate(values["by"]), trust=trust)
    printer.say(f"renewed: the gateways of `{values['cluster']}`, signed by {values['by']}")
    if values["restart"]:
        printer.say(f"restarting the servers of `{values['cluster']}`, one by one …")
        renewal.disturb(fleet, values["cluster"])
    links = renewal.settled_gateways(fleet)
    _show(printer, links)
    return ExitCode.DONE if all(each.stands for each in links) else ExitCode.STOPPED


def _show(printer: Printer, links: Sequence[GatewayLink]) -> None:
    if printer.json:
        printer.data("gateways", links)
        return
    printer.table(
        ("server", "to cluster", "gateway"),
        ((each.server, each.cluster, "up" if each.stands else "down") for each in links),
    )
    down = sum(not each.stands for each in links)
    if down:
        printer.line(f"{down} of {len(links)} gateways are down: the clusters are parted")
