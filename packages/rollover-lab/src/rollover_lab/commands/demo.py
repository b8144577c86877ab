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
from rollover.fleet.evidence import Applied, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollover.cli.printer import Printer
    from rollover.engine.events import CertificateLine, Outcome, RolloutReport
    from rollover_lab.nats.lab import Lab
    from rollover_lab.nats.spec import LabSpec
    from rollover_lab.traffic.report import TrafficReport


MOST_CERTIFICATES = 4


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The rotation and the traffic that ran through it.

    `announced` disconnects are those that the plan spoke of: one for each client that takes up
    certificates only at a reconnect, and rollout that changes its certificate.
    """

    outcome: Outcome
    traffic: TrafficReport
    announced: int

    @property
    def lost(self) -> int:
        """Messages that were sent and never arrived."""
        return self.traffic.lost

    @property
    def good(self) -> bool:
        """Nothing was lost, and nobody disconnected who was not said to."""
        quiet = self.traffic.disconnects <= self.announced
        return self.outcome.ending == "done" and self.lost == 0 and quiet


def traffic_line(report: TrafficReport) -> str:
    """Return the traffic in one line."""
    return (
        f"traffic  sent {report.sent:,}  received {report.received:,}  lost {report.lost}  "
        f"disconnects {report.disconnects}  longest gap {report.longest_gap_ms:.0f} ms"
    )


def show_report(printer: Printer, report: DemoReport) -> None:
    """Show the whole report."""
    printer.line()
    printer.line("Rollouts", "bold")
    printer.table(
        ("#", "group", "did", "instances", "links proven", "mixtures", "facts seen", "took"),
        (_rollout_row(rollout) for rollout in report.outcome.rollouts),
    )
    printer.line()
    printer.line("Certificates", "bold")
    for text in _certificate_lines(report.outcome):
        printer.line(text)
    printer.line()
    printer.line("Traffic", "bold")
    for text in _traffic_lines(report.traffic, announced=report.announced):
        printer.line(text)
    printer.line()
    printer.line(_verdict(report), "good" if report.good else "bad")
    if report.outcome.hint:
        printer.line(f"hint: {report.outcome.hint}")


def _rollout_row(report: RolloutReport) -> tuple[str, ...]:
    facts = sum(len(result.evidence) for result in report.results)
    confirmed = sum(isinstance(result, Applied) for result in report.results)
    return (
        str(report.number),
        report.rollout.group,
        ", ".join(report.rollout.phases),
        f"{confirmed}/{report.rollout.instances}",
        f"{report.rollout.proof.links:,}",
        f"{report.rollout.proof.combinations:,}",
        str(facts),
        f"{report.seconds:.2f} s",
    )


def _certificate_lines(outcome: Outcome) -> Iterator[str]:
    after = {line.endpoint: line for line in outcome.after}
    shown = [line for line in outcome.before if line.endpoint in after]
    for line in shown[:MOST_CERTIFICATES]:
        now = _short_certificate(after[line.endpoint])
        yield f"  {line.endpoint:<16} {_short_certificate(line)}  →  {now}"
    if len(shown) > MOST_CERTIFICATES:
        changed = sum(after[line.endpoint].fingerprint != line.fingerprint for line in shown)
        yield f"  … {changed} of {len(shown)} certificates are new"


def _short_certificate(line: CertificateLine) -> str:
    return f"{line.fingerprint[:12]} by {line.issuer.removeprefix('CN=')}"


def _traffic_lines(traffic: TrafficReport, *, announced: int) -> Iterator[str]:
    copies = f"{traffic.duplicated_announced} announced, {traffic.duplicated_other} other"
    yield f"  clients        {len(traffic.clients)}"
    yield f"  sent           {traffic.sent:,}"
    yield f"  received       {traffic.received:,}"
    yield f"  lost           {traffic.lost}"
    yield f"  duplicated     {copies}"
    yield f"  failed         {traffic.failures} requests or publishes"
    yield f"  disconnects    {traffic.disconnects} (announced {announced})"
    yield f"  make-before-break swaps  {traffic.swaps}"
    yield f"  longest gap    {traffic.longest_gap_ms:.0f} ms"
    yield f"  p99 latency    {traffic.latency_p99_ms:.1f} ms"


def _verdict(report: DemoReport) -> str:
    if report.good:
        count = len(report.outcome.rollouts)
        return (
            f"done: the CA was rotated in {count} rollouts and {report.outcome.seconds:.1f} s, "
            f"0 messages lost, {report.traffic.disconnects} disconnects"
        )
    failed = [
        result.instance
        for rollout in report.outcome.rollouts
        for result in rollout.results
        if isinstance(result, Failed)
    ]
    who = f" ({', '.join(failed)})" if failed else ""
    return (
        f"{report.outcome.ending.value}: {report.outcome.message}{who}; "
        f"{report.lost} messages lost, {report.traffic.disconnects} disconnects"
    )


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
    from rollover.cli.running import outcome_fields  # noqa: PLC0415
    from rollover_lab.nats.lab import running  # noqa: PLC0415
    from rollover_lab.nats.spec import preset_named  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    name = "cluster-standby" if values["standby"] else values["preset"]
    directory = Path(tempfile.mkdtemp(prefix="rollover-demo-"))
    spec = preset_named(name)
    try:
        with recording(printer, values["picture"]):
            printer.say(f"starting {len(spec.servers)} nats-servers and {spec.clients} clients …")
            with running(spec, directory / "fleet") as lab:
                outcome = _rehearse(lab, printer, values)
            # Only now the traffic has said its last words: what never came counts as lost.
            report = DemoReport(
                outcome=outcome,
                traffic=lab.traffic(),
                announced=_announced_disconnects(outcome, lab.spec),
            )
            if printer.json:
                fields = msgspec.structs.asdict(report)
                printer.data("demo", {**fields, "outcome": outcome_fields(report.outcome)})
            else:
                show_report(printer, report)
    finally:
        if values["keep"]:
            printer.say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return ExitCode.DONE if report.good else ExitCode.STOPPED


def _rehearse(lab: Lab, printer: Printer, values: dict[str, Any]) -> Outcome:
    from rollover.cli import plan as plan_view  # noqa: PLC0415
    from rollover.cli.goal_options import request_of  # noqa: PLC0415
    from rollover.cli.running import conducted  # noqa: PLC0415 - imports certificates
    from rollover.site import open_fleet  # noqa: PLC0415

    time.sleep(WARM_UP_SECONDS)  # the traffic is to be seen before, during and after
    with open_fleet(lab.layout.fleet) as library:
        request = request_of(library, {**values, "authority": None})
        if not printer.json:
            with open_fleet(lab.layout.fleet, scratch=True) as scratch:
                plan_view.show_plan(printer, scratch.plan(request))
            printer.line()
        with conducted(printer, yes=True, ticker=lambda: traffic_line(lab.traffic())) as conduct:
            outcome = library.rotate(request, conduct)
    time.sleep(COOL_DOWN_SECONDS)
    return outcome


def _announced_disconnects(outcome: Outcome, spec: LabSpec) -> int:
    """Return how many there will be: a plain client's new certificate costs its connection."""
    plain = 0 if spec.rotating_clients else spec.clients
    return plain * sum(
        report.rollout.group == "clients" and "reissue" in report.rollout.phases
        for report in outcome.rollouts
    )
