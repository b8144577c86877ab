"""A picture of what a command showed, as an SVG: recorded from the run itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rollover.cli.printer import Printer

COLUMNS = 100
TITLE = "rollover demo"
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def recording(printer: Printer, path: Path | None) -> Iterator[None]:
    """Copy everything that the printer shows, and write it to `path` in the end."""
    if path is None:
        yield
        return
    copy = io.StringIO()
    before = printer.out, printer.talk, printer.color
    printer.out = _Both(printer.out, copy)
    printer.talk = _Both(printer.talk, copy)
    printer.color = True
    try:
        yield
    finally:
        printer.out, printer.talk, printer.color = before
    _draw(copy.getvalue(), path)


class _Both(io.StringIO):
    """Writes to two streams; is no terminal, so that progress comes as lines."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        super().__init__()
        self._streams = (first, second)

    def write(self, text: str) -> int:
        shown, copy = self._streams
        shown.write(text if shown.isatty() else _COLORS.sub("", text))
        copy.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()

    def isatty(self) -> bool:
        return False


def _draw(text: str, path: Path) -> None:
    from rich.console import Console  # noqa: PLC0415 - only for a picture
    from rich.text import Text  # noqa: PLC0415

    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    console.save_svg(str(path), title=TITLE)
