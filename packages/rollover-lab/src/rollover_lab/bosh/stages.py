"""Prints the stages of `create-env` as the bosh CLI does: `Deleting VM 'x'... Finished (00:00:02)`.

Source of the layout: bosh-cli, ui/stage.go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INDENT = "  "
_MINUTE, _HOUR = 60, 3600

Write = Callable[[str], object]


class Skipped(Exception):
    """Raised within a stage that has nothing to do."""


class Stages:
    """Says what is being done, how it ended and how long it took."""

    def __init__(self, write: Write, *, indent: str = "") -> None:
        self._write = write
        self._indent = indent
        self._simple = True

    def line(self, text: str) -> None:
        """Write a line that is no stage."""
        self._write(f"{self._indent}{text}\n")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage, and say how its body ended."""
        if not self._simple:
            self._write("\n")
            self._simple = True
        self._write(f"{self._indent}{name}...")
        began = time.monotonic()
        try:
            yield
        except Skipped as skipped:
            self._write(f" Skipped [{skipped}] ({_elapsed(began)})\n")
        except BaseException:
            self._write(f" Failed ({_elapsed(began)})\n")
            raise
        else:
            self._write(f" Finished ({_elapsed(began)})\n")

    @contextmanager
    def group(self, name: str) -> Iterator[Stages]:
        """Announce stages that belong together; yields what writes them, indented."""
        self._simple = False
        self._write("\n")
        self.line(f"Started {name}")
        began = time.monotonic()
        try:
            yield Stages(self._write, indent=self._indent + INDENT)
        except BaseException:
            self.line(f"Failed {name} ({_elapsed(began)})")
            raise
        self.line(f"Finished {name} ({_elapsed(began)})")


def _elapsed(began: float) -> str:
    seconds = int(time.monotonic() - began)
    return f"{seconds // _HOUR:02}:{seconds // _MINUTE % _MINUTE:02}:{seconds % _MINUTE:02}"
