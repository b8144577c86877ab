"""The tree that a configuration is read into: values with their positions, and remarks on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class Position(NamedTuple):
    """A position in a file: line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class ConfigRemark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that nats-server accepts without a word and that a person should know.

    `code` is stable: `duplicate-key`, `key-without-value`, `unknown-unit`, `empty`,
    `cut-off`, `same-field-twice`, `ignored-option`, `unverified`, `unknown-field`, `not-a-url`.
    """

    code: str
    place: Position
    message: str


class Date(msgspec.Struct, frozen=True):
    """A moment in Zulu time, as it was written (the year may be 0000, which no datetime holds)."""

    text: str


class ValueNode(msgspec.Struct, frozen=True, kw_only=True):
    """One value. Its repr never shows the value, which may be a password."""

    value: Value
    place: Position
    """Where the value begins; for a variable, where it is used."""
    variable: str = ""
    """Name of the variable that it came from."""
    weight: int = 1
    """What it costs to write out with all variables filled in: a limit stands on it."""
    height: int = 0
    """How many maps and arrays stand inside each other in it."""

    @property
    def kind(self) -> str:
        """What a person calls a value of this type."""
        return _KINDS[type(self.value)]

    def __repr__(self) -> str:
        return f"ValueNode({self.kind}, {self.place})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("place", str(self.place))]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its value."""

    name: str
    place: Position
    """Where the key stands."""
    node: ValueNode


class Table(msgspec.Struct, frozen=True):
    """A map: its fields by exact name, in the order of the file."""

    fields: Mapping[str, Field]


Scalar = bool | int | float | str | Date
Value = Scalar | tuple[ValueNode, ...] | Table

_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    Date: "a date",
    tuple: "an array",
    Table: "a map",
}


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration with its includes and variables filled in."""

    root: Table
    remarks: tuple[ConfigRemark, ...] = ()
    definitions: frozenset[Position] = frozenset()
    """Keys that a variable referred to: nats-server accepts them though they are no options."""


def fold(name: str) -> str:
    """Return a field name as nats-server compares it (Go's strings.ToLower, ASCII results)."""
    return name.replace("\u0130", "i").lower()
