"""The demo's report: what was done, what proves it, and what the traffic saw of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rollover.fleet.evidence import Applied, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollover.cli.printer import Printer
    from rollover.engine.events import CertificateLine
    from rollover.engine.outcome import Outcome, RolloutReport
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


def ticking(report: TrafficReport) -> str:
    """Return the traffic in one line."""
    return (
        f"traffic  sent {report.sent:,}  received {report.received:,}  lost {report.lost}  "
        f"disconnects {report.disconnects}  longest gap {report.longest_gap_ms:.0f} ms"
    )


def show(printer: Printer, report: DemoReport) -> None:
    """Show the whole report."""
    printer.line()
    printer.line("Rollouts", "bold")
    printer.table(
        ("#", "group", "did", "instances", "links proven", "mixtures", "facts seen", "took"),
        (_row(each) for each in report.outcome.rollouts),
    )
    printer.line()
    printer.line("Certificates", "bold")
    for text in _certificates(report.outcome):
        printer.line(text)
    printer.line()
    printer.line("Traffic", "bold")
    for text in _traffic(report.traffic, announced=report.announced):
        printer.line(text)
    printer.line()
    printer.line(_verdict(report), "good" if report.good else "bad")
    if report.outcome.hint:
        printer.line(f"hint: {report.outcome.hint}")


def _row(each: RolloutReport) -> tuple[str, ...]:
    facts = sum(len(result.evidence) for result in each.results)
    confirmed = sum(isinstance(result, Applied) for result in each.results)
    return (
        str(each.number),
        each.rollout.group,
        ", ".join(each.rollout.phases),
        f"{confirmed}/{each.rollout.instances}",
        f"{each.rollout.proof.links:,}",
        f"{each.rollout.proof.combinations:,}",
        str(facts),
        f"{each.seconds:.2f} s",
    )


def _certificates(outcome: Outcome) -> Iterator[str]:
    after = {line.endpoint: line for line in outcome.after}
    shown = [line for line in outcome.before if line.endpoint in after]
    for line in shown[:MOST_CERTIFICATES]:
        yield f"  {line.endpoint:<16} {_short(line)}  →  {_short(after[line.endpoint])}"
    if len(shown) > MOST_CERTIFICATES:
        changed = sum(after[line.endpoint].fingerprint != line.fingerprint for line in shown)
        yield f"  … {changed} of {len(shown)} certificates are new"


def _short(line: CertificateLine) -> str:
    return f"{line.fingerprint[:12]} by {line.issuer.removeprefix('CN=')}"


def _traffic(traffic: TrafficReport, *, announced: int) -> Iterator[str]:
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
        for each in report.outcome.rollouts
        for result in each.results
        if isinstance(result, Failed)
    ]
    who = f" ({', '.join(failed)})" if failed else ""
    return (
        f"{report.outcome.ending.value}: {report.outcome.message}{who}; "
        f"{report.lost} messages lost, {report.traffic.disconnects} disconnects"
    )
