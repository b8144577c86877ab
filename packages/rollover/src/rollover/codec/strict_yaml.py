"""YAML as people mean it: no duplicate keys, no surprises of YAML 1.1, every value with its place.

PyYAML's C parser does the reading; this module builds plain values from its events, with limits on
size, depth and what aliases expand to. (Its own composer recurses without a limit and ends the
process on deep input.) Booleans are `true` and `false` only; dates and `0777` stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import msgspec
import yaml

from rollover.errors import SpecError

MOST_BYTES = 16 * 1024 * 1024
MOST_DEPTH = 60
MOST_VALUES = 2_000_000
"""How many values a document may come to, those that aliases repeat included."""

Tree = dict[str, "Tree"] | list["Tree"] | str | int | float | bool | None
FieldPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
"""Longer ones stay text: no field counts that far, and Python refuses to read the longest."""
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document:
    """What was read: the value, and where each of its parts stands."""

    def __init__(self, value: Tree, places: dict[FieldPath, tuple[int, int]], source: str) -> None:
        self.value = value
        self._places = places
        self._source = source

    def place(self, path: FieldPath) -> str:
        """Return `file:line:column` of a part, or of the nearest part around it."""
        while path and path not in self._places:
            path = path[:-1]
        line, column = self._places.get(path, (1, 1))
        return f"{self._source}:{line}:{column}"


def load(data: bytes, *, place: str) -> Document:
    """Read one document; `SpecError` with the place for everything that it refuses."""
    if len(data) > MOST_BYTES:
        raise SpecError(
            f"{len(data):,} bytes are more than the {MOST_BYTES:,} allowed",
            place=place,
            hint="split the file",
        )
    try:
        text = data.decode("utf-8-sig")
        return _Reader(yaml.parse(text, Loader=yaml.CSafeLoader), place).document()
    except UnicodeDecodeError as error:
        raise SpecError(
            f"not UTF-8 at byte {error.start}", place=place, hint="save it as UTF-8"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _from_yaml(error, place) from None
    except yaml.YAMLError as error:
        raise SpecError(
            f"not YAML: {str(error).splitlines()[0]}", place=place, hint="correct the YAML"
        ) from None


def _from_yaml(error: yaml.MarkedYAMLError, place: str) -> SpecError:
    mark = error.problem_mark
    where = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
    return SpecError(error.problem or "not YAML", place=where, hint="correct the YAML there")


_Start = yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent


class _Anchored(NamedTuple):
    """What an alias stands for, and how many values that is."""

    value: Tree
    values: int


class _Reader:
    """Builds the value of one document from the parser's events."""

    def __init__(self, events: Iterator[yaml.Event], source: str) -> None:
        self._events = events
        self._source = source
        self._places: dict[FieldPath, tuple[int, int]] = {}
        self._anchors: dict[str, _Anchored] = {}
        self._count = 0

    def document(self) -> Document:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise SpecError(
                "the file is empty", place=self._source, hint="`rollover discover` writes one"
            )
        value = self._value(next(self._events), ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refuse(after, "a second document begins", "keep one in a file")
        return Document(value, self._places, self._source)

    def _value(self, event: yaml.Event, path: FieldPath) -> Tree:
        self._places[path] = _position(event)
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        self._spend(event, 1, deep=len(path) > MOST_DEPTH)
        if not isinstance(event, _Start):
            raise self._refuse(event, "a value should stand here", "correct the YAML")
        if event.tag is not None:
            raise self._refuse(event, f"the tag `{event.tag}` is not known", "leave it out")
        before = self._count
        value = self._built(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._count - before + 1)
        return value

    def _built(self, event: _Start, path: FieldPath) -> Tree:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return _scalar(event)

    def _aliased(self, event: yaml.AliasEvent) -> Tree:
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            raise self._refuse(
                event, f"nothing before this is anchored as `{event.anchor}`", "write it out"
            )
        self._spend(event, anchored.values, deep=False)
        return anchored.value

    def _spend(self, event: yaml.Event, values: int, *, deep: bool) -> None:
        self._count += values
        if deep:
            raise self._refuse(event, f"nested more than {MOST_DEPTH} deep", "flatten it")
        if self._count > MOST_VALUES:
            raise self._refuse(
                event, f"more than {MOST_VALUES:,} values, aliases included", "split the file"
            )

    def _sequence(self, path: FieldPath) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: FieldPath) -> dict[str, Tree]:
        mapping: dict[str, Tree] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in mapping:
                raise self._refuse(event, f"`{key}` stands here twice", "keep one of them")
            mapping[key] = self._value(next(self._events), (*path, key))
            self._places[*path, key] = _position(event)
        return mapping

    def _key(self, event: yaml.Event) -> str:
        merges = isinstance(event, yaml.ScalarEvent) and _is_plain(event) and event.value == "<<"
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or merges:
            raise self._refuse(event, "keys must be plain words", "write the keys out")
        return str(event.value)

    def _refuse(self, event: yaml.Event, message: str, hint: str) -> SpecError:
        line, column = _position(event)
        return SpecError(message, place=f"{self._source}:{line}:{column}", hint=hint)


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return not event.style


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text = str(event.value)
    if not _is_plain(event):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return _decimal(text) if _FLOAT.fullmatch(text) else text


def _decimal(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def dump(value: object) -> bytes:
    """Return block-style YAML that `load` reads back the same; strings quoted where in doubt."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return text.encode()


class _Dumper(yaml.SafeDumper):
    """Writes strings plain only when `load` reads them as the same string."""

    def represent_text(self, text: str) -> yaml.Node:
        """Quote what would be read as something else."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    if not all(line.isprintable() for line in text.split("\n")):
        return '"'
    if "\n" in text:
        return "|"
    special = text in _WORDS or text == "<<" or _FLOAT.fullmatch(text) is not None
    return '"' if special else None


_Dumper.add_representer(str, _Dumper.represent_text)


# Typed values: what does not fit is told with its line and field.

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")

T = TypeVar("T")


def convert(document: Document, into: type[T], *, hint: str) -> T:
    """Return the document as a value of that type; `SpecError` with the hint when it is none."""
    try:
        return msgspec.convert(document.value, into)
    except msgspec.ValidationError as error:
        raise _not_convertible(error, document, hint=hint) from None


def field_name(path: FieldPath) -> str:
    """Return a path as people write it: `groups[0].name`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def _not_convertible(error: msgspec.ValidationError, document: Document, *, hint: str) -> SpecError:
    # msgspec tells the field in the text only: `Expected `int`, got `str` - at `$.groups[0].x``.
    message, _, where = str(error).partition(" - at `")
    path = tuple(_steps(where.rstrip("`").removeprefix("$")))
    if unknown := _UNKNOWN.search(message):
        path = (*path, unknown[1])
    return SpecError(
        message[:1].lower() + message[1:],
        place=document.place(path),
        field=field_name(path),
        hint=hint,
    )


def _steps(where: str) -> Iterator[str | int]:
    for word, index in _STEP.findall(where):
        if word:
            yield word
        elif index:
            yield int(index)
