"""Reads YAML as gopkg.in/yaml.v2 does: merges, aliases, tags, and its error texts with their lines.

PyYAML's C parser makes the events; this module builds plain values from them, with limits on
size, depth and what aliases expand to. Only the first document of a stream is read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import yaml

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.values import (
    Key,
    Scalar,
    Tree,
    Variables,
    as_key,
    copy_tree,
    cut,
    format_go_syntax,
    read_plain,
    text_of,
    type_name,
)


class Misfit(NamedTuple):
    """A value at a path (keys and indexes) that does not fit the Go type `into`."""

    path: tuple[str | int, ...]
    into: str


def misfit_error(data: bytes, misfits: Sequence[Misfit]) -> ManifestError:
    """Return the error for values of a document that do not fit; `data` can be parsed."""
    root = yaml.compose(data, Loader=yaml.CSafeLoader)
    lines = [_misfit_line(root, misfit) for misfit in misfits]
    return ManifestError("yaml: unmarshal errors:\n  " + "\n  ".join(lines))


def _misfit_line(root: yaml.Node | None, misfit: Misfit) -> str:
    node = _node_at(root, misfit.path)
    number = node.start_mark.line + 1 if node is not None and node.start_mark else 1
    return f"line {number}: cannot unmarshal {_node_text(node)} into {misfit.into}"


def _node_at(node: yaml.Node | None, path: tuple[str | int, ...]) -> yaml.Node | None:
    for step in path:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
        elif isinstance(node, yaml.MappingNode):
            # The last of equal keys is the one that counts.
            found = [value for key, value in node.value if key.value == step]
            node = found[-1] if found else node
    return node


def _node_text(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "!!seq"
    if not isinstance(node, yaml.ScalarNode):
        return "!!map"
    value: Tree = node.value if node.style else read_plain(node.value)
    kind = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "str")
    return f"!!{kind} `{cut(node.value)}`"


MOST_BYTES = 64 * 1024 * 1024
MOST_DEPTH = 100
"""`bosh` stops at 10,000; the deepest manifest of cf-deployment has 12."""

_TAGS = "tag:yaml.org,2002:"
_MERGE = "<<"
_KNOWN_TAGS = {_TAGS + name for name in ("str", "bool", "int", "float", "null", "timestamp")}
_T = TypeVar("_T")

_ALIAS_RANGE_LOW, _ALIAS_RANGE_HIGH = 400_000, 4_000_000
"""Between these counts of values the part that may come from aliases falls from 99 % to 10 %
(decode.go, allowedAliasRatio)."""


class Anchored(NamedTuple):
    """What an alias stands for; `values` is its size, `complete` whether it was read to its end."""

    value: Tree
    values: int
    complete: bool


def load(data: bytes) -> Tree:
    """Return the value of the first document; an empty stream is `None`. `ManifestError` else."""
    return _read(data, lambda reader: reader.document())


def load_variables(data: bytes, into: str = "template.StaticVariables") -> Variables:
    """Return a map of variables by name, where each key is taken as the text that it is.

    So `y: 1` defines the variable `y`. `into` is the type that error texts of `bosh` name.
    """
    return _read(data, lambda reader: reader.variables(into))


def _read(data: bytes, build: Callable[[_Reader], _T]) -> _T:
    if len(data) > MOST_BYTES:
        raise ManifestError(f"yaml: {len(data):,} bytes are more than the {MOST_BYTES:,} allowed")
    reader = _Reader(data)
    try:
        try:
            return build(reader)
        except _Undecodable:
            # The library parses all of a document before it looks at the values.
            reader.skip()
            raise
    except yaml.reader.ReaderError as error:
        raise ManifestError(f"yaml: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        raise ManifestError(_explain(error)) from None


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Return the text of the library: it counts lines from 0, except in what its scanner finds."""
    problem, context = error.problem_mark, error.context_mark
    line = 0
    if problem is not None and problem.line:
        line = problem.line + isinstance(error, yaml.scanner.ScannerError)
    elif context is not None:
        line = context.line
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem}"


class _Undecodable(ManifestError):
    """A value that parses, but means nothing."""


class _Reader:
    """Builds the value of one document from the parser's events."""

    def __init__(self, data: bytes) -> None:
        self._parser = yaml.CSafeLoader(data or b"\n")
        self._anchors: dict[str, Anchored] = {}
        self._count = 0
        self._from_aliases = 0

    def document(self) -> Tree:
        """Return the value of the document."""
        event = self._start()
        if event is None:
            return None
        value = self._value(event, 0, flow="")
        self._next()
        return value

    def variables(self, into: str) -> dict[str, Tree]:
        """Return the map at the root, its keys as texts."""
        event = self._start()
        if event is None or (isinstance(event, yaml.ScalarEvent) and _scalar(event) is None):
            return {}
        if not isinstance(event, yaml.MappingStartEvent):
            raise _event_misfit(event, into)
        found: dict[str, Tree] = {}
        self._mapping(found, 0, flow="}" if event.flow_style else "", key_of=self._name)  # type: ignore[arg-type]  # names are keys
        self._next()
        return found

    def _next(self) -> yaml.Event:
        event = self._parser.get_event()
        assert event is not None  # noqa: S101 - the stream's end was not passed
        return event

    def skip(self) -> None:
        """Parse the rest of the document, for its errors only."""
        while not isinstance(self._next(), yaml.DocumentEndEvent):
            pass

    def _start(self) -> yaml.Event | None:
        self._next()
        return None if isinstance(self._next(), yaml.StreamEndEvent) else self._next()

    def _value(self, event: yaml.Event, depth: int, *, flow: str) -> Tree:
        if isinstance(event, yaml.AliasEvent):
            return copy_tree(self._aliased(event))
        self._count += 1
        if depth > MOST_DEPTH:
            raise ManifestError(f"yaml: exceeded max depth of {MOST_DEPTH}")
        before = self._count
        anchor = event.anchor  # type: ignore[attr-defined]  # every node has one
        opened = Anchored(None, 0, complete=False)
        if anchor:
            self._anchors[anchor] = opened
        value = self._built(event, depth, flow=flow)
        if anchor and self._anchors[anchor] is opened:
            self._anchors[anchor] = Anchored(value, self._count - before + 1, complete=True)
        return value

    def _built(self, event: yaml.Event, depth: int, *, flow: str) -> Tree:
        if isinstance(event, yaml.ScalarEvent):
            if flow and "?" in event.value and not event.style:
                raise _split_by_mark(event, flow)
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth, flow="]" if event.flow_style else "")
        found: dict[Key, Tree] = {}
        inner_flow = "}" if event.flow_style else ""  # type: ignore[attr-defined]  # a map's start
        self._mapping(found, depth, flow=inner_flow, key_of=self._key)
        return found

    def _sequence(self, depth: int, *, flow: str) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1, flow=flow))
        return items

    def _mapping(
        self,
        found: dict[Key, Tree],
        depth: int,
        *,
        flow: str,
        key_of: Callable[[yaml.Event, int, str], Key],
    ) -> None:
        """Fill a map. A merge takes effect where it stands: it replaces what came before it."""
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if _merges(event):
                self._merge(found, depth, flow=flow)
            else:
                key = key_of(event, depth, flow)
                found[key] = self._value(self._next(), depth + 1, flow=flow)

    def _key(self, event: yaml.Event, depth: int, flow: str) -> Key:
        value = self._value(event, depth + 1, flow=flow)
        try:
            return as_key(value)
        except TypeError:
            raise _Undecodable(f"yaml: invalid map key: {format_go_syntax(value)}") from None

    def _name(self, event: yaml.Event, depth: int, flow: str) -> Key:
        if isinstance(event, yaml.CollectionStartEvent):
            raise _event_misfit(event, "string")
        if isinstance(event, yaml.AliasEvent):
            return text_of(self._value(event, depth + 1, flow=flow))
        assert isinstance(event, yaml.ScalarEvent)  # noqa: S101 - there are no other events
        value = self._value(event, depth + 1, flow=flow)
        return "" if value is None else value if isinstance(value, str) else event.value

    def _merge(self, found: dict[Key, Tree], depth: int, *, flow: str) -> None:
        event = self._next()
        value = self._value(event, depth + 1, flow=flow)
        several = isinstance(event, yaml.SequenceStartEvent) and isinstance(value, list)
        # The first map of a list wins: it is laid over the others.
        for merged in reversed(value) if several and isinstance(value, list) else (value,):
            if not isinstance(merged, dict):
                raise _Undecodable("yaml: map merge requires map or sequence of maps as the value")
            found.update(merged)

    def _aliased(self, event: yaml.AliasEvent) -> Tree:
        found = self._anchors.get(event.anchor or "")
        if found is None:
            raise ManifestError(f"yaml: unknown anchor '{event.anchor}' referenced")
        if not found.complete:
            raise _Undecodable(f"yaml: anchor '{event.anchor}' value contains itself")
        # Counted before it is copied: a few lines of aliases can stand for gigabytes.
        self._count += 1 + found.values
        self._from_aliases += found.values
        if self._aliases_too_much():
            raise _Undecodable("yaml: document contains excessive aliasing")
        return found.value

    def _aliases_too_much(self) -> bool:
        """Apply the library's rule against documents that grow by their aliases."""
        if self._from_aliases <= 100 or self._count <= 1000:  # noqa: PLR2004 - the library's
            return False
        width = _ALIAS_RANGE_HIGH - _ALIAS_RANGE_LOW
        over = min(max(self._count - _ALIAS_RANGE_LOW, 0) / width, 1)
        return self._from_aliases / self._count > 0.99 - 0.89 * over


def _merges(event: yaml.Event) -> bool:
    if not isinstance(event, yaml.ScalarEvent) or event.value != _MERGE:
        return False
    return bool(event.implicit[0]) or event.tag == _TAGS + "merge"


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    tag, text = event.tag, event.value
    if tag is None:
        return read_plain(text) if event.implicit[0] else text
    return _tagged(tag, text)


def _tagged(tag: str, text: str) -> Scalar:
    """Return a scalar that says what it is."""
    if tag == _TAGS + "binary":
        return _binary(text)
    if tag not in _KNOWN_TAGS or tag == _TAGS + "str":
        return text
    value = read_plain(text)
    name, found = tag.removeprefix(_TAGS), _kind(value)
    if name == "float" and found == "int" and type_name(value) == "int":
        return float(value or 0)
    if name in (found, "timestamp" if found == "str" else ""):
        return value
    raise _Undecodable(f"yaml: cannot decode !!{found} `{text}` as a !!{name}")


def _kind(value: Scalar) -> str:
    return {type(None): "null", bool: "bool", int: "int", float: "float", str: "str"}[type(value)]


def _binary(text: str) -> str:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Undecodable("yaml: !!binary value contains invalid base64 data") from None
    return data.decode("utf-8", "surrogateescape")


def _split_by_mark(event: yaml.ScalarEvent, closing: str) -> ManifestError:
    """Return the refusal of an unquoted `?` inside `[…]` or `{…}`, where it begins a key."""
    line = event.start_mark.line if event.start_mark else 0
    where = f"line {line}: " if line else ""
    return ManifestError(f"yaml: {where}did not find expected ',' or '{closing}'")


def _event_misfit(event: yaml.Event, into: str) -> ManifestError:
    line = event.start_mark.line + 1 if event.start_mark else 1
    shown = "!!seq" if isinstance(event, yaml.SequenceStartEvent) else "!!map"
    if isinstance(event, yaml.ScalarEvent):
        shown = f"!!{_kind(_scalar(event))} `{cut(event.value)}`"
    return _Undecodable(
        f"yaml: unmarshal errors:\n  line {line}: cannot unmarshal {shown} into {into}"
    )
