"""How a status looks: at most 24 lines, whatever happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollover.cli.printer import Printer, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollover.engine.status import Status

MOST_LINES = 24
MOST_COLUMNS = 160


def show(printer: Printer, status: Status) -> None:
    """Show where a rotation stands."""
    # Messages come from servers, too: what they say must not take more lines than it is given.
    lines = [plain(" ".join(text.splitlines())) for text in _lines(status)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 2], "  …", lines[-1]]
    for text in lines:
        printer.line(text if len(text) <= MOST_COLUMNS else text[: MOST_COLUMNS - 1] + "…")


def _lines(status: Status) -> Iterator[str]:
    yield f"{status.kind} of {status.authority} in `{status.fleet}` ({status.rotation})"
    yield f"state     {status.state}: {status.done} of {status.of} rollouts done"
    if status.group and status.state != "finished":
        phases = ", ".join(status.phases)
        confirmed = f", {status.confirmed}/{status.instances} confirmed" if status.confirmed else ""
        word = "running " if status.state == "running" else "next    "
        yield f"{word}  rollout {status.done + 1}: {status.group}, {phases}{confirmed}"
    yield f"started   {status.started_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"last      {status.last_at:%Y-%m-%d %H:%M:%S} UTC"
    if status.message and status.state != "finished":
        yield f"because   {status.message}"
    if status.left_behind:
        yield "left behind, or in the way:"
    for each in status.left_behind:
        yield f"  {each.rule}: {each.message}"
        if each.lift:
            yield f"    {each.lift}"
    for reason in status.overridden[:2]:
        yield f"overridden {reason}"
    if status.point_of_no_return:
        passed = "passed" if status.done >= status.point_of_no_return else "ahead"
        yield f"point of no return: rollout {status.point_of_no_return} ({passed})"
    yield f"next command: {status.next_command}"
