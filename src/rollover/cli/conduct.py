"""How a command watches and steers a run: questions, progress, Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import click

from rollover.cli.printer import Printer
from rollover.cli.views import plan as plan_view
from rollover.cli.views.counting import counted
from rollover.cli.views.goal import outcome_fields
from rollover.cli.views.progress import Watcher
from rollover.engine.maintenance import Window
from rollover.engine.outcome import Conduct, Ending, Outcome
from rollover.errors import ExitCode, SpecError
from rollover.fleet.names import RuleId
from rollover.fleet.plan import Plan, Rollout
from rollover.planner.explain import LEFT_BEHIND

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
    window: Window | None = None,
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
            plan_view.show(printer, plan)
        changes = "; ".join(dict.fromkeys(plan_view.what(each) for each in rollout.changes))
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

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def ended(plan: Plan) -> int:
    """Return the exit code of a plan that is not carried out.

    What is brought and breaks a link is refused, whoever comes back; all else may go on later.
    """
    if plan.complete:
        return ExitCode.DONE
    waiting = all(each.rule == LEFT_BEHIND for each in plan.blocked)
    return ExitCode.WAITING if waiting or plan.goal.can_wait else ExitCode.REFUSED


def close(printer: Printer, outcome: Outcome) -> int:
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
