"""A picture of what a command showed, as an SVG: recorded from the run itself."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rollover.cli.options import Settings
from rollover.cli.printer import Printer

COLUMNS = 100
TITLE = "rollover demo"
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def recording(settings: Settings, path: Path | None) -> Iterator[Printer]:
    """Yield a printer; everything that it shows is drawn into `path` in the end, if there is one.

    Nothing is drawn of a command that fails.
    """
    if path is None:
        yield settings.printer()
        return
    copy = io.StringIO()
    yield Printer(
        output=settings.output,
        quiet=settings.quiet,
        color=True,
        out=_Both(sys.stdout, copy),
        talk=_Both(sys.stderr, copy),
    )
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
