"""Pieces of Markdown that every page of a runbook is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

MINUTE, HOUR = 60.0, 3600.0
_MOST_NAMED = 12
"""So many names are read; of more, the number is what counts."""


def shell(text: str) -> str:
    """Return commands that belong to the way through the runbook."""
    return f"```sh\n{text}\n```"


def detour(text: str) -> str:
    """Return commands that are for trouble only: whoever runs all `sh` blocks leaves them out."""
    return f"```sh detour\n{text}\n```"


def output(*lines: str) -> str:
    """Return what a command is expected to say."""
    return "It says:\n\n```text\n" + "\n".join(lines) + "\n```"


def bullets(lines: Iterable[str]) -> str:
    """Return a list; empty for nothing."""
    return "\n".join(f"- {each}" for each in lines)


def tasks(lines: Iterable[str]) -> str:
    """Return a list to tick off."""
    return "\n".join(f"- [ ] {each}" for each in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def code(text: str) -> str:
    """Return a literal; nothing for nothing."""
    return f"`{text}`" if text else ""


def listed(names: Sequence[str]) -> str:
    """Return names side by side, and how many more there are."""
    shown = ", ".join(f"`{each}`" for each in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def sentence(text: str) -> str:
    """Return a text as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}."


def many(count: int, noun: str) -> str:
    """Return a number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def took(time: timedelta) -> str:
    """Return an estimate as people say it."""
    seconds = time.total_seconds()
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def page(parts: Iterable[str]) -> str:
    """Return parts as one document."""
    return "\n\n".join(part for part in parts if part) + "\n"
