"""One text of a configuration, and the way from an offset in it to a line and column."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from rollover.nats_config.errors import NatsConfigError
from rollover.nats_config.position import Place

MOST_SHOWN = 400
"""Characters of a message; a name in it may be as long as the file."""


def clipped(text: str) -> str:
    """Return the beginning and the end of a text that nobody would read as a whole."""
    if len(text) <= MOST_SHOWN:
        return text
    half = MOST_SHOWN // 2
    return f"{text[:half]}… ({len(text) - 2 * half:,} characters) …{text[-half:]}"


class Source:
    """A configuration text with the name under which people know it.

    Bytes that are no UTF-8 are kept, each as one lone surrogate (PEP 383), because nats-server
    reads such files too: one character here is one rune there.
    """

    def __init__(self, text: bytes | str, *, name: str) -> None:
        self.text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        self.name = name

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        end = self.text.find("\n")
        while end >= 0:
            starts.append(end + 1)
            end = self.text.find("\n", end + 1)
        return starts

    def place(self, offset: int) -> Place:
        """Return where the character at `offset` stands; the end of the text is a place too."""
        line = bisect_right(self._line_starts, offset)
        return Place(self.name, line, offset - self._line_starts[line - 1] + 1)

    def error(self, offset: int, message: str, *, hint: str) -> NatsConfigError:
        """Make the error for what was found at `offset`."""
        return NatsConfigError(clipped(message), place=str(self.place(offset)), hint=hint)
