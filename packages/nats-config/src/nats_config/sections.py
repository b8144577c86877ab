"""Typed access to the fields of a map, by their names and aliases, with places in every error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

import msgspec

from nats_config.errors import NatsConfigError
from nats_config.tree import ConfigRemark, Field, Position, Table, ValueNode, fold

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile("([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_WHOLE = re.compile(f"([+-]?)((?:{_PART.pattern})+)")
# A time.Duration is an int64 of nanoseconds.
_LIMIT_SECONDS = (1 << 63) / 1e9


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means to Go's time.ParseDuration; ValueError when nothing."""
    if text in ("0", "+0", "-0"):
        return 0.0
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    parts = _PART.findall(found.group(2))
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds >= _LIMIT_SECONDS:
        raise ValueError(text)
    return -seconds if found.group(1) == "-" else seconds


_T = TypeVar("_T")

_KIND_NAMES: dict[type, str] = {str: "a string", int: "an integer", bool: "`true` or `false`"}


class Located(msgspec.Struct, Generic[_T], frozen=True):
    """A value and where it stands."""

    value: _T
    place: Position


class Section:
    """One map of the configuration, under the name that messages use for it.

    Names are compared as nats-server does, without case. Where a field is set twice under
    different spellings nats-server takes either one at random; here the last one is taken,
    with a remark.
    """

    def __init__(
        self, table: Table, *, name: str, place: Position, remarks: list[ConfigRemark]
    ) -> None:
        self.name = name
        self.place = place
        self.remarks = remarks
        self._fields = tuple((fold(field.name), field) for field in table.fields.values())

    def find(self, *names: str) -> Field | None:
        """Return the field with one of these names, nothing when there is none."""
        found = [field for name, field in self._fields if name in names]
        if not found:
            return None
        if len(found) > 1:
            self.remark(
                "same-field-twice",
                found[-1],
                f"`{found[0].name}` at {found[0].place} sets the same: "
                "nats-server takes one of them at random",
            )
        return found[-1]

    def remark(self, code: str, field: Field, message: str) -> None:
        """Note something about a field."""
        self.remarks.append(ConfigRemark(code=code, place=field.place, message=message))

    def path(self, field: Field) -> str:
        """Return the path of a field for a message: `cluster.tls.ca_file`."""
        return f"{self.name}.{field.name}" if self.name else field.name

    def wrong(self, field: Field, expected: str, *, hint: str = "") -> NatsConfigError:
        """Make the error for a value that is not what it must be. Never shows the value."""
        return NatsConfigError(
            f"expected {expected}, found {field.node.kind}",
            place=str(field.node.place),
            field=self.path(field),
            hint=hint or f"give `{self.path(field)}` {expected}",
        )

    def text(self, *names: str) -> Located[str] | None:
        """Return a string field."""
        return self._scalar(str, names)

    def integer(self, *names: str) -> Located[int] | None:
        """Return an integer field."""
        return self._scalar(int, names)

    def boolean(self, *names: str) -> Located[bool] | None:
        """Return a boolean field."""
        return self._scalar(bool, names)

    def _scalar(self, kind: type[_T], names: tuple[str, ...]) -> Located[_T] | None:
        field = self.find(*names)
        if field is None:
            return None
        value = field.node.value
        # A boolean is an integer to isinstance, and none to nats-server.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(field, _KIND_NAMES[kind], hint=_quoting_hint(kind, field))
        return Located(value, field.place)

    def flag(self, *names: str) -> bool:
        """Return a boolean field, False when it is not set."""
        found = self.boolean(*names)
        return found is not None and found.value

    def string(self, *names: str) -> str:
        """Return a string field, the empty string when it is not set."""
        found = self.text(*names)
        return found.value if found else ""

    def seconds(self, *names: str) -> Located[float] | None:
        """Return a time: a number of seconds, or a duration such as `500ms`."""
        field = self.find(*names)
        if field is None:
            return None
        value = field.node.value
        if isinstance(value, str):
            try:
                return Located(parse_duration(value), field.place)
            except ValueError:
                raise self.wrong(field, "a duration such as `2s`") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(field, "seconds or a duration such as `2s`")
        return Located(float(value), field.place)

    def array(self, *names: str) -> tuple[ValueNode, ...]:
        """Return the values of an array field, none when it is not set."""
        field = self.find(*names)
        if field is None:
            return ()
        if not isinstance(field.node.value, tuple):
            raise self.wrong(field, "an array", hint="write `[` and `]` around the values")
        return field.node.value

    def strings(self, *names: str) -> tuple[Located[str], ...]:
        """Return the strings of an array field."""
        return tuple(self._string(node, names[0]) for node in self.array(*names))

    def _string(self, node: ValueNode, name: str) -> Located[str]:
        if isinstance(node.value, str):
            return Located(node.value, node.place)
        raise NatsConfigError(
            f"expected a string, found {node.kind}",
            place=str(node.place),
            field=f"{self.name}.{name}".lstrip("."),
            hint="put it in quotes",
        )

    def map(self, *names: str) -> Section | None:
        """Return a map field."""
        field = self.find(*names)
        if field is None:
            return None
        return self.inside(field)

    def inside(self, field: Field) -> Section:
        """Return the map that a field holds."""
        if not isinstance(field.node.value, Table):
            raise self.wrong(field, "a map", hint="write `{` and `}` around its fields")
        return self._section(field.node.value, name=self.path(field), place=field.place)

    def maps(self, *names: str) -> tuple[Section, ...]:
        """Return the maps of an array field."""
        found = []
        for index, node in enumerate(self.array(*names)):
            name = f"{self.name}.{names[0]}[{index}]".lstrip(".")
            if not isinstance(node.value, Table):
                raise NatsConfigError(
                    f"expected a map, found {node.kind}",
                    place=str(node.place),
                    field=name,
                    hint="write `{` and `}` around its fields",
                )
            found.append(self._section(node.value, name=name, place=node.place))
        return tuple(found)

    def _section(self, table: Table, *, name: str, place: Position) -> Section:
        return Section(table, name=name, place=place, remarks=self.remarks)

    def fields(self) -> Iterator[Field]:
        """Yield all fields."""
        for _, field in self._fields:
            yield field

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Raise NatsConfigError for the first field that is not `known`, with the nearest name."""
        for field in self.fields():
            if fold(field.name) in known:
                continue
            near = get_close_matches(fold(field.name), known, n=1)
            raise NatsConfigError(
                "unknown field",
                place=str(field.place),
                field=self.path(field),
                hint=f"did you mean `{near[0]}`?" if near else "remove it, or check its spelling",
            )


def _quoting_hint(kind: type, field: Field) -> str:
    if kind is str:
        return "put the value in quotes"
    if kind is bool and isinstance(field.node.value, str):
        return "write `true` or `false`, without quotes"
    return ""
