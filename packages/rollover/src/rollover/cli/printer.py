"""Where results go: data to stdout, talk to stderr, colour only where a person watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import msgspec

from rollover.errors import RolloverError

CONTINUED = "\n  │ "
"""Between the lines of a text that has several, such as what a command said."""

JSON_VERSION = 1
"""Version of the machine output. A field is only ever added within one version."""


def counted(number: int, word: str) -> str:
    """Return `1 link`, `2 links`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def plain(text: str) -> str:
    """Return a text as one line that moves no cursor, starts no escape and reverses nothing.

    Names in certificates, of files and of servers are written by strangers.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def told(text: str) -> str:
    """Return a text that may have several lines, the further ones marked: none passes for ours."""
    return CONTINUED.join(plain(line) for line in text.split("\n"))


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number <= _LAST_OF_FOUR_DIGITS else f"\\U{number:08x}"


_LAST_OF_FOUR_DIGITS = 0xFFFF
_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}


class Printer:
    """Shows results as text or JSON. Passed down, never global."""

    def __init__(
        self,
        *,
        output: str = "text",
        quiet: bool = False,
        color: bool | None = None,
        out: TextIO | None = None,
        talk: TextIO | None = None,
    ) -> None:
        self.output = output
        self.quiet = quiet
        self.out = out or sys.stdout
        self.talk = talk or sys.stderr
        wanted = self.out.isatty() and "NO_COLOR" not in os.environ if color is None else color
        self.color = wanted and output == "text"

    @property
    def json(self) -> bool:
        """Whether machine output was asked for."""
        return self.output == "json"

    @property
    def live(self) -> bool:
        """Whether a person watches: progress may be drawn."""
        return self.talk.isatty() and not self.quiet and not self.json

    def data(self, kind: str, value: Any) -> None:
        """Write one JSON document: its schema's name and version, then the value."""
        document = {"schema": f"rollover.{kind}/{JSON_VERSION}", kind: msgspec.to_builtins(value)}
        self.out.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
        self.out.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line of data, as `told` makes it harmless."""
        self.out.write(self.styled(told(text), style) + "\n")

    def text(self, text: str) -> None:
        """Write lines of data that stand in one text."""
        for line in text.split("\n"):
            self.line(line)

    def say(self, text: str, style: str = "") -> None:
        """Write one line of talk, unless it should be quiet."""
        if not self.quiet and not self.json:
            self.talk.write(self.styled(told(text), style) + "\n")
            self.talk.flush()

    def error(self, error: RolloverError) -> None:
        """Write what is wrong and what to do; as JSON too, where a machine reads."""
        if self.json:
            fields = {"code": error.code, "message": error.message or str(error)}
            self.data("error", {**fields, "hint": error.hint})
        self.talk.write(self.styled("error: ", "bad") + told(str(error)) + "\n")
        if error.hint:
            self.talk.write("\nhint: " + told(error.hint) + "\n")
        self.talk.flush()

    def styled(self, text: str, style: str) -> str:
        """Return the text with its colour, where colours are shown."""
        if not self.color or not style:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write aligned columns; widths depend on the content only, so logs stay comparable."""
        table = [tuple(header), *(tuple(plain(cell) for cell in row) for row in rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(header))]
        for number, row in enumerate(table):
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line(text.rstrip(), "bold" if number == 0 else "")
