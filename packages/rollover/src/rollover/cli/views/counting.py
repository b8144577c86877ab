"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, word: str) -> str:
    """Return `1 link`, `2 links`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
