"""`rollover demo`: a real fleet, its CA rotated under traffic, and a report."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rollover.cli.options import goal_options, settings_of, settings_options
from rollover.errors import ExitCode

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover.cli.views.demo import DemoReport
    from rollover.lab.lab import Lab

WARM_UP_SECONDS = 2.0
COOL_DOWN_SECONDS = 2.0


@click.command(
    epilog="Examples:\n\n  rollover demo\n\n  rollover demo --cross-sign\n\n"
    "Exit code 0: nothing was lost; 4: something was, or the rotation stopped.",
    short_help="A real rotation on this machine.",
)
@click.option("--preset", default="cluster", show_default=True, help="Which fleet to start.")
@click.option("--keep", is_flag=True, help="Keep the fleet's directory.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write an SVG.")
@goal_options
@settings_options
def command(**values: Any) -> int:
    """Start real nats-servers and clients, rotate their CA, say what the traffic saw of it."""
    from rollover.cli.picture import recording  # noqa: PLC0415 - imports a whole lab
    from rollover.cli.views import demo as view  # noqa: PLC0415
    from rollover.cli.views.goal import outcome_fields  # noqa: PLC0415
    from rollover.lab.lab import running  # noqa: PLC0415
    from rollover.lab.presets import preset  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    name = "cluster-standby" if values["standby"] else values["preset"]
    directory = Path(tempfile.mkdtemp(prefix="rollover-demo-"))
    spec = preset(name)
    try:
        with recording(printer, values["picture"]):
            printer.say(f"starting {len(spec.servers)} nats-servers and {spec.clients} clients …")
            with running(spec, directory / "fleet") as lab:
                report = _rehearse(lab, printer, values)
            report = _final(report, lab)
            if printer.json:
                fields = msgspec.structs.asdict(report)
                printer.data("demo", {**fields, "outcome": outcome_fields(report.outcome)})
            else:
                view.show(printer, report)
    finally:
        if values["keep"]:
            printer.say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return ExitCode.DONE if report.good else ExitCode.STOPPED


def _rehearse(lab: Lab, printer: Printer, values: dict[str, Any]) -> DemoReport:
    from rollover.cli.conduct import conducted  # noqa: PLC0415 - imports certificates
    from rollover.cli.requests import request_of  # noqa: PLC0415
    from rollover.cli.views import demo as view  # noqa: PLC0415
    from rollover.cli.views import plan as plan_view  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    time.sleep(WARM_UP_SECONDS)  # the traffic is to be seen before, during and after
    with open_fleet(lab.layout.fleet) as library:
        request = request_of(library, {**values, "authority": None})
        if not printer.json:
            with open_fleet(lab.layout.fleet, scratch=True) as scratch:
                plan_view.show(printer, scratch.plan(request))
            printer.line()
        with conducted(printer, yes=True, ticker=lambda: view.ticking(lab.traffic())) as conduct:
            outcome = library.rotate(request, conduct)
    time.sleep(COOL_DOWN_SECONDS)
    return view.DemoReport(outcome=outcome, traffic=lab.traffic(), announced=0)


def _final(report: DemoReport, lab: Lab) -> DemoReport:
    """Return the report with the traffic's last words: what never came counts as lost."""
    from rollover.cli.views.demo import DemoReport  # noqa: PLC0415 - imported lazily as above

    plain = 0 if lab.spec.rotating_clients else lab.spec.clients
    reissues = sum("reissue" in each.rollout.phases for each in report.outcome.rollouts
                   if each.rollout.group == "clients")  # fmt: skip
    return DemoReport(outcome=report.outcome, traffic=lab.traffic(), announced=plain * reissues)
