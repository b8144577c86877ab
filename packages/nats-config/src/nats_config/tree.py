"""The tree that a configuration is read into: values, each with its position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nats_config.position import Place, Remark


class Date(msgspec.Struct, frozen=True):
    """A moment in Zulu time, as it was written (the year may be 0000, which no datetime holds)."""

    text: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One value. Its repr never shows the value, which may be a password."""

    value: Value
    place: Place
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
        return f"Node({self.kind}, {self.place})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("place", str(self.place))]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its value."""

    name: str
    place: Place
    """Where the key stands."""
    node: Node


class Table(msgspec.Struct, frozen=True):
    """A map: its fields by exact name, in the order of the file."""

    fields: Mapping[str, Field]


Scalar = bool | int | float | str | Date
Value = Scalar | tuple[Node, ...] | Table

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
    remarks: tuple[Remark, ...] = ()
    definitions: frozenset[Place] = frozenset()
    """Keys that a variable referred to: nats-server accepts them though they are no options."""


def fold(name: str) -> str:
    """Return a field name as nats-server compares it (Go's strings.ToLower, ASCII results)."""
    return name.replace("\u0130", "i").lower()
