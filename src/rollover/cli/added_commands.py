"""Commands that other distributions add, by the entry points of the group `rollover.commands`.

`importlib.metadata` would find them too, but imports a parser for e-mail to do so: 65 ms beside
the 80 that `rollover --help` takes beyond the interpreter. So the files that it reads are read
here (https://packaging.python.org/specifications/entry-points/), and it is used to load only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

GROUP = "rollover.commands"


def added_commands(directories: Iterable[str] | None = None) -> dict[str, str]:
    """Return where each added command is, `module:attribute`, by its name; imports none.

    `directories`: where distributions are installed, by default `sys.path`. Of two commands of
    one name the first is taken, as of two modules.
    """
    found: dict[str, str] = {}
    for text in _files(sys.path if directories is None else directories):
        for name, where in commands_in(text):
            found.setdefault(name, where)
    return found


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands that an `entry_points.txt` names."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line[1:].rstrip("]")
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, where = line.partition("=")
            yield name.strip(), where.strip()


def load(name: str, where: str) -> click.Command:
    """Import an added command."""
    from importlib.metadata import EntryPoint  # noqa: PLC0415 - takes its time, see above

    command: click.Command = EntryPoint(name, where, GROUP).load()
    return command


def _files(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        try:
            with os.scandir(directory or ".") as entries:
                found = sorted(each.path for each in entries if each.name.endswith(".dist-info"))
        except OSError:
            continue  # `sys.path` may name what is not there, and archives
        for path in found:
            try:
                with open(f"{path}/entry_points.txt", encoding="utf-8") as file:  # noqa: PTH123 - `pathlib` takes its time, too
                    yield file.read()
            except OSError:
                continue
