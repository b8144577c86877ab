"""A running rotation as people see it: bars on a terminal, one line for each fact elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rollover.checks.rule import Severity
from rollover.cli.printer import Printer, told
from rollover.cli.views import recovery as recovery_view
from rollover.cli.views.counting import counted
from rollover.cli.views.plan import verdict
from rollover.cli.views.verification import outline
from rollover.engine import events
from rollover.fleet.evidence import Applied

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID


DRAWS_PER_SECOND = 4
MOST_NAMED = 8
"""Groups of up to this many instances are named one by one where no bars are drawn."""
QUARTERS = 4


class Watcher:
    """Shows events as they come. With `live`, rollouts are progress bars."""

    def __init__(self, printer: Printer, *, ticker: Callable[[], str] | None = None) -> None:
        self._printer = printer
        self._ticker = ticker
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._task: TaskID | None = None
        self._said = ""
        if printer.live:
            self._progress, self._live = _drawn(ticker)
            self._live.start()

    def close(self) -> None:
        """Leave the bars as they are."""
        if self._live is not None:
            self._live.stop()

    def pause(self) -> None:
        """Make room for a question."""
        self.close()

    def go_on(self) -> None:
        """Draw bars again after a question."""
        if self._live is not None:
            self._live.start()

    def say(self, text: str, style: str = "") -> None:
        """Say one line above the bars."""
        if self._live is not None:
            self._live.console.print(
                told(text), style=_RICH.get(style, ""), highlight=False, markup=False
            )
        else:
            self._printer.say(text, style)

    def tell(self, event: events.Event) -> None:  # noqa: C901, PLR0912 - one case for each event
        """Show one event."""
        match event:
            case events.Planned():
                self._planned(event)
            case events.RolloutStarted():
                self._started(event)
            case events.InstanceDone():
                self._instance(event)
            case events.GateChecked():
                self._gate(event)
            case events.Draining():
                names = ", ".join(sorted({each.peer for each in event.holdouts})[:5])
                peers = counted(len(event.holdouts), "connection")
                self.say(f"  … {peers} still on the old CA: {names}")
            case events.RolloutFinished():
                self._finished(event)
            case events.Blocked():
                for violation in event.violations:
                    self.say(f"✗ {violation.rule}: {violation.message}", "bad")
            case events.Found():
                self._found(event)
            case events.Recovering():
                for text, style in recovery_view.lines(event.recovery, losses=event.losses):
                    self.say(text, style)
            case events.Tidied():
                for each in event.evidence:
                    sign, style = ("✓", "dim") if each.holds else ("✗", "bad")
                    self.say(f"  {sign} clean: {each.subject}: {each.observed}", style)
            case events.Finished():
                self.say(f"at the goal: {counted(event.rollouts, 'rollout')} in all", "good")
            case events.Observed() | events.Preparing():
                pass

    def _planned(self, event: events.Planned) -> None:
        left = len(event.plan.rollouts)
        outline = (
            verdict(event.plan)
            if event.done == 0 or not left
            else f"{counted(left, 'rollout')} left"
        )
        text = f"observed, planned: {outline}"
        if text != self._said:
            self.say(text, "dim")
            self._said = text

    def _started(self, event: events.RolloutStarted) -> None:
        phases = ", ".join(event.rollout.phases)
        title = f"{event.number}/{event.of} {event.rollout.group}: {phases}"
        if self._progress is None:
            self.say(f"rollout {title} ({counted(event.rollout.instances, 'instance')})", "bold")
            return
        self._task = self._progress.add_task(title, total=event.rollout.instances)

    def _instance(self, event: events.InstanceDone) -> None:
        result = event.result
        if isinstance(result, Applied):
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, completed=event.done)
            elif event.of <= MOST_NAMED:
                self.say(f"  ✓ {result.instance} {event.done}/{event.of} {result.seconds:.2f} s")
            elif event.done % -(-event.of // QUARTERS) == 0 or event.done == event.of:
                self.say(f"  ✓ {event.done}/{event.of} confirmed")
            return
        self.say(f"  ✗ {result.instance}: {result.message}", "bad")

    def _gate(self, event: events.GateChecked) -> None:
        sign, style = ("✓", "dim") if event.holds else ("✗", "bad")
        seen = outline(event.gate, len(event.evidence), holds=event.holds)
        if seen or not event.holds:
            self.say(f"  {sign} {event.gate}: {seen}", style)
        for each in event.evidence:
            if not each.holds:
                self.say(f"    ✗ {each.subject}: {each.observed} (expected {each.expected})", "bad")

    def _found(self, event: events.Found) -> None:
        for each in event.findings:
            if not each.silenced:
                sign, style = ("!", "warn") if each.severity is Severity.WARNING else ("✗", "bad")
                self.say(f"{sign} {each.rule}: {each.subject}: {each.message}", style)

    def _finished(self, event: events.RolloutFinished) -> None:
        proof = event.rollout.proof
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=event.rollout.instances)
        known = "proven on" if proof.holds else "broke, as announced, some of"
        self.say(
            f"  {known} {proof.links:,} links ({proof.combinations} mixtures), done in "
            f"{event.seconds:.2f} s",
            "dim",
        )
        if self._progress is None and self._ticker is not None:
            self.say(f"  {self._ticker()}", "dim")


_RICH = {"good": "green", "bad": "red", "warn": "yellow", "dim": "dim", "bold": "bold"}


def _drawn(ticker: Callable[[], str] | None) -> tuple[Progress, Live]:
    """Return the bars, and what draws them with the ticker's line below."""
    from rich.console import Console, Group  # noqa: PLC0415 - only where a person watches
    from rich.live import Live  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Ticking:
        """A line that is asked for anew whenever the screen is drawn."""

        def __rich__(self) -> Text:
            return Text("" if ticker is None else ticker(), style="cyan")

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description:<38}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    shown = Group(progress, Ticking()) if ticker is not None else Group(progress)
    return progress, Live(shown, console=console, refresh_per_second=DRAWS_PER_SECOND)
