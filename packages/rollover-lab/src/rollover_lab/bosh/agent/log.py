"""A log of bounded size, for agents that may crash three times a second for days."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

LIMIT = 256 * 1024
"""Octets; then the file is kept as `….1`, and a new one begun."""


class Log:
    """Appends lines to a file. Whoever calls it gives it no secrets."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, line: str) -> None:
        """Append a line with the time."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {line}\n")
            full = file.tell() > LIMIT
        if full:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
