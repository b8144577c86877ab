"""Carries out a runbook as people do: its shell blocks, in order, in a shell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rollover.platforms.bosh.runbook import RUNBOOK

BLOCK_SECONDS = 1200.0
POLL_SECONDS = "1"
"""Between two looks of a gate that waits."""
TESTS = Path(__file__).parents[1]
FETCH = (
    "import sys, urllib.request as u; print(u.urlopen(sys.argv[-1], timeout=300).read().decode())"
)
_PART = re.compile(
    r"^(?P<heading>#+ [^\n]+)$|^```(?P<kind>sh|sh detour|text)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Ended(NamedTuple):
    """Commands that were run."""

    code: int
    output: str
    errors: str

    @property
    def passed(self) -> list[str]:
        """The gates that were passed."""
        return [line for line in self.output.splitlines() if line.startswith("PASS: ")]


class Block(NamedTuple):
    """Commands of a runbook, the heading above them, and what they are expected to say."""

    heading: str
    commands: str
    expected: tuple[str, ...]
    detour: bool


class Book(NamedTuple):
    """A runbook that was written, and where its reader has their own tools."""

    directory: Path
    home: Path

    @property
    def text(self) -> str:
        """The page."""
        return (self.directory / RUNBOOK).read_text()

    def blocks(self) -> list[Block]:
        """Return all commands, in their order; without those that come before everything."""
        return list(_blocks(self.text))[1:]

    def detour(self, heading: str) -> Block:
        """Return the first commands for trouble below a heading."""
        below = self.text[self.text.index(heading) :]
        return next(block for block in _blocks(below) if block.detour)

    def run(self, commands: str) -> Ended:
        """Run commands in a shell that has read the settings."""
        found = subprocess.run(
            ["/bin/sh", "-eu", "-c", f". {self.directory}/settings.sh\n{commands}"],
            env={
                "PATH": _path(self.home),
                "HOME": str(self.home),
                "GATE_POLL_SECONDS": POLL_SECONDS,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_SECONDS,
        )
        return Ended(found.returncode, found.stdout, found.stderr)

    def gate(self, call: str) -> Ended:
        """Run one gate."""
        return self.run(f'"$RUNBOOK/gate" {call}')

    def done(self, block: Block) -> None:
        """Run commands that have to succeed, and to say what the runbook expects."""
        ended = self.run(block.commands)
        assert ended.code == 0, (block, ended)
        if block.expected:
            said, expected = map(_known, ended.passed), map(_known, block.expected)
            assert list(said) == list(expected), ended


def _known(line: str) -> str:
    """Return of a line what a runbook can know beforehand: no path."""
    return re.sub(r"(?<= )(/\S+|…)$", "", line)


def _blocks(text: str) -> Iterator[Block]:
    parts = list(_PART.finditer(text))
    heading = ""
    for at, part in enumerate(parts):
        heading = part["heading"] or heading
        if part["kind"] in {"sh", "sh detour"}:
            after = parts[at + 1] if at + 1 < len(parts) else None
            said = after["text"] if after is not None and after["kind"] == "text" else ""
            yield Block(heading, part["text"], tuple(said.splitlines()), part["kind"] != "sh")


def _path(home: Path) -> str:
    """Return a search path with the real tools, and stand-ins for those that are not here."""
    own = home / "bin"
    if not own.exists():
        own.mkdir(parents=True)
        for name, program in (("bosh", "-m rigs.bosh_stand_in"), ("curl", f"-c '{FETCH}'")):
            if shutil.which(name) is None:
                shim = own / name
                path = f"PYTHONPATH='{TESTS}'${{PYTHONPATH:+:$PYTHONPATH}}"
                shim.write_text(f'#!/bin/sh\n{path} exec {sys.executable} {program} "$@"\n')
                shim.chmod(0o700)
    real = {Path(found).parent for name in ("bosh", "curl") if (found := shutil.which(name))}
    return ":".join(map(str, (own, *sorted(real), "/usr/bin", "/bin")))
