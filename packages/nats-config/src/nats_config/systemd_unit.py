"""How a systemd unit starts nats-server: its configuration, and flags that a reload trips over."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from nats_config.errors import NatsConfigError
from nats_config.tree import Position

TLS_FLAGS = frozenset(("tls", "tlscert", "tlskey", "tlsverify", "tlscacert"))
_CONFIG_FLAGS = frozenset(("c", "config"))
_PREFIXES = "@-:+!|"
"""What may stand before a command in a unit (systemd.service, special executable prefixes)."""


class CommandLine(NamedTuple):
    """One `ExecStart=` of nats-server."""

    unit: str
    place: Position
    directory: str
    """Where relative paths begin; `/` unless the unit says otherwise."""
    config: str
    """As written; empty when none is named."""
    tls_flags: tuple[str, ...]


def read_unit(text: str, *, name: str) -> tuple[CommandLine, ...]:
    """Return how a unit starts nats-server; `NatsConfigError` when it does not, or not readably."""
    directory = "/"
    commands: list[tuple[int, str]] = []
    for number, line in _lines(text):
        key, sign, value = line.partition("=")
        if sign and key.strip() == "WorkingDirectory":
            directory = value.strip().lstrip("-") or "/"
        if sign and key.strip() == "ExecStart":
            # An empty one takes back those before it (systemd.service, ExecStart=).
            commands = [*commands, (number, value)] if value.strip() else []
    found = tuple(_command(name, number, value, directory) for number, value in commands)
    started = tuple(command for command in found if command is not None)
    if not started:
        raise NatsConfigError(
            "no `ExecStart=` here starts nats-server",
            place=str(Position(name, 1, 1)),
            hint="name the unit itself: `systemctl cat nats.service > nats.service`",
        )
    return started


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield every line with its number, lines that a backslash continues as one."""
    whole, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not whole:
            start = number
        # Also between continued lines (systemd.syntax).
        if line.lstrip().startswith(("#", ";")):
            continue
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        yield start, whole
        whole = ""
    if whole:
        yield start, whole


def _command(name: str, number: int, value: str, directory: str) -> CommandLine | None:
    place = Position(name, number, 1)
    try:
        words = shlex.split(value.strip().lstrip(_PREFIXES))
    except ValueError as error:
        raise NatsConfigError(
            f"`ExecStart=` cannot be read: {error}", place=str(place), hint="close the quotes"
        ) from None
    # Not always the first word: it may be started through `env` or `numactl`.
    program = next((at for at, word in enumerate(words) if word.endswith("nats-server")), None)
    if program is None:
        return None
    flags = tuple(_flags(words[program + 1 :]))
    config = next((value for flag, value in flags if flag in _CONFIG_FLAGS), "")
    tls = tuple(f"--{flag}" for flag, value in flags if flag in TLS_FLAGS and value != "false")
    return CommandLine(name, place, directory, config, tls)


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield flags and values as Go's flag package reads them: `-c FILE`, `--config=FILE`."""
    for at, word in enumerate(words):
        if word.startswith("-"):
            flag, sign, value = word.lstrip("-").partition("=")
            after = words[at + 1] if at + 1 < len(words) else ""
            yield flag, value if sign else "" if after.startswith("-") else after
