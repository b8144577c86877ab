"""How a command watches and steers a run: progress, questions, Ctrl-C, and how it ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, assert_never

import click
import msgspec

from rollover.cli.plan import change_words, plan_verdict, recovery_lines, show_plan
from rollover.cli.printer import Printer, counted, told
from rollover.cli.verify import gate_outline
from rollover.engine import events
from rollover.engine.events import Conduct, Ending, MaintenanceWindow, Outcome
from rollover.errors import ExitCode, SpecError
from rollover.fleet.evidence import Applied
from rollover.fleet.goal import Goal, InstallMaterial, RotateAuthority, name_of
from rollover.fleet.names import RuleId
from rollover.fleet.plan import Plan, Rollout
from rollover.planner.explain import LEFT_BEHIND
from rollover.rules.rule import Severity

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID

EXIT_OF = {
    Ending.DONE: ExitCode.DONE,
    Ending.WAITING: ExitCode.WAITING,
    Ending.REFUSED: ExitCode.REFUSED,
    Ending.DECLINED: ExitCode.STOPPED,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILED: ExitCode.STOPPED,
    Ending.EVIDENCE_MISSING: ExitCode.EVIDENCE_MISSING,
}


@contextmanager
def conducted(
    printer: Printer,
    *,
    yes: bool,
    overrides: Mapping[RuleId, str] | None = None,
    window: MaintenanceWindow | None = None,
    ticker: Callable[[], str] | None = None,
) -> Iterator[Conduct]:
    """Yield how to run. Ctrl-C once: stop after the instances begun; twice: at once.

    Rollouts begin within `window` only. `ticker` gives a line that is shown, and kept up to date,
    below the progress.
    """
    if not yes and not sys.stdin.isatty():
        raise SpecError(
            "each rollout asks for approval, and there is no terminal to ask on",
            hint="add `--yes` to approve all rollouts beforehand",
        )
    watcher = Watcher(printer, ticker=ticker)
    asked: list[bool] = []

    def approve(plan: Plan, rollout: Rollout) -> bool:
        if yes:
            return True
        watcher.pause()
        if not asked and not printer.json:
            asked.append(True)
            show_plan(printer, plan)
        changes = "; ".join(dict.fromkeys(map(change_words, rollout.changes)))
        size = counted(rollout.instances, "instance")
        question = f"Roll out {rollout.group} ({size}): {changes}?"
        answer = _answered(question)
        watcher.go_on()
        return answer

    try:
        with _until_interrupted(watcher.say) as stopping:
            yield Conduct(
                approve=approve,
                tell=watcher.tell,
                stopping=stopping,
                overrides=overrides or {},
                window=window,
            )
    finally:
        watcher.close()


def _answered(question: str) -> bool:
    """Ask; Ctrl-C at the question, or the end of the input, means no."""
    # The handler of the run would note a Ctrl-C and let the question stand.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        click.echo(err=True)
        return False
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _until_interrupted(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that is true once a person pressed Ctrl-C or the system said TERM."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        say("stopping after the instances that were begun; once more to stop at once")

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, former in handlers.items():
            signal.signal(number, former)


def exit_of_plan(plan: Plan) -> int:
    """Return the exit code of a plan that is not carried out.

    What is supplied and breaks a link is refused, whoever comes back; all else may go on later.
    """
    if plan.complete:
        return ExitCode.DONE
    waiting = all(violation.rule == LEFT_BEHIND for violation in plan.blocked)
    return ExitCode.WAITING if waiting or plan.goal.can_wait else ExitCode.REFUSED


def show_outcome(printer: Printer, outcome: Outcome) -> int:
    """Show how a run ended and return the exit code."""
    if printer.json:
        printer.data("outcome", outcome_fields(outcome))
        return EXIT_OF[outcome.ending]
    style = "good" if outcome.ending is Ending.DONE else "bad"
    said = outcome.message.startswith(outcome.ending.value)
    printer.line(outcome.message if said else f"{outcome.ending.value}: {outcome.message}", style)
    if outcome.hint:
        printer.line()
        printer.line(f"hint: {outcome.hint}")
    return EXIT_OF[outcome.ending]


# Progress: bars on a terminal, one line for each fact elsewhere.

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
                names = ", ".join(sorted({holdout.peer for holdout in event.holdouts})[:5])
                peers = counted(len(event.holdouts), "connection")
                self.say(f"  … {peers} still on the old CA: {names}")
            case events.RolloutFinished():
                self._finished(event)
            case events.Blocked():
                for violation in event.violations:
                    self.say(f"✗ {violation.rule}: {violation.message}", "bad")
            case events.FindingsTold():
                self._found(event)
            case events.Recovering():
                for text, style in recovery_lines(event.recovery, losses=event.losses):
                    self.say(text, style)
            case events.CleanedUp():
                for evidence in event.evidence:
                    sign, style = ("✓", "dim") if evidence.holds else ("✗", "bad")
                    self.say(f"  {sign} clean: {evidence.subject}: {evidence.observed}", style)
            case events.Finished():
                self.say(f"at the goal: {counted(event.rollouts, 'rollout')} in all", "good")
            case events.Observed() | events.Preparing():
                pass

    def _planned(self, event: events.Planned) -> None:
        left = len(event.plan.rollouts)
        outline = (
            plan_verdict(event.plan)
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
        seen = gate_outline(event.gate, len(event.evidence), holds=event.holds)
        if seen or not event.holds:
            self.say(f"  {sign} {event.gate}: {seen}", style)
        for evidence in event.evidence:
            if not evidence.holds:
                self.say(
                    f"    ✗ {evidence.subject}: {evidence.observed} (expected {evidence.expected})",
                    "bad",
                )

    def _found(self, event: events.FindingsTold) -> None:
        for finding in event.findings:
            if not finding.silenced:
                sign, style = (
                    ("!", "warn") if finding.severity is Severity.WARNING else ("✗", "bad")
                )
                self.say(f"{sign} {finding.rule}: {finding.subject}: {finding.message}", style)

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


# Goals as machines read them: one flat object for every kind, as version 1 of the output has it.


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return a plan as machines read it."""
    return {**msgspec.structs.asdict(plan), "goal": goal_fields(plan.goal)}


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return how a run ended as machines read it."""
    last = outcome.last_plan
    return {
        **msgspec.structs.asdict(outcome),
        "last_plan": None if last is None else plan_fields(last),
    }


def goal_fields(goal: Goal) -> Mapping[str, Any]:
    """Return a goal as machines read it.

    What has no meaning for its kind is there all the same, for readers that are older than kinds:
    `authority` is the name that the rotation goes by, `target` the last certificate that decides.
    """
    match goal:
        case RotateAuthority():
            return {**msgspec.structs.asdict(goal), "given": ()}
        case InstallMaterial():
            first = goal.parts[0]
            bundled = dict.fromkeys(ca for part in goal.parts for ca in part.bundle or ())
            return {
                "authority": name_of(goal.about),
                "target": next(reversed(first.chain or first.bundle or ()), ""),
                "trusted": tuple(bundled),
                "retired": (),
                "bridge": None,
                "compromised": False,
                "step_margin": goal.step_margin,
                "given": goal.parts,
            }
        case never:
            assert_never(never)
