"""YAML as people mean it: no duplicate keys, no surprises of YAML 1.1, every value with its place.

PyYAML's C parser does the reading; this module composes plain values from its nodes, with limits
on size, depth and aliases. Booleans are `true` and `false` only; dates and `0777` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from rollover.errors import SpecError

MOST_BYTES = 16 * 1024 * 1024
MOST_DEPTH = 60
MOST_NODES = 2_000_000

Tree = dict[str, "Tree"] | list["Tree"] | str | int | float | bool | None
Path = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document:
    """What was read: the value, and where each of its parts stands."""

    def __init__(self, value: Tree, places: dict[Path, tuple[int, int]], source: str) -> None:
        self.value = value
        self._places = places
        self._source = source

    def place(self, path: Path) -> str:
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
        node = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.CSafeLoader)
    except UnicodeDecodeError as error:
        raise SpecError(
            f"not UTF-8 at byte {error.start}", place=place, hint="save it as UTF-8"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _from_yaml(error, place) from None
    except yaml.YAMLError as error:
        raise SpecError(str(error), place=place, hint="correct the YAML") from None
    except RecursionError:
        raise SpecError("nested too deeply", place=place, hint="flatten it") from None
    if node is None:
        raise SpecError("the file is empty", place=place, hint="`rollover discover` writes one")
    return _Composer(place).document(node)


def _from_yaml(error: yaml.MarkedYAMLError, place: str) -> SpecError:
    mark = error.problem_mark
    where = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
    return SpecError(error.problem or "not YAML", place=where, hint="correct the YAML there")


class _Composer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._places: dict[Path, tuple[int, int]] = {}
        self._count = 0

    def document(self, node: yaml.Node) -> Document:
        return Document(self._value(node, ()), self._places, self._source)

    def _value(self, node: yaml.Node, path: Path) -> Tree:
        self._count += 1
        if len(path) > MOST_DEPTH or self._count > MOST_NODES:
            raise self._refuse(node, "nested too deeply, or too many values", "flatten it")
        self._places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each, (*path, index)) for index, each in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        raise self._refuse(node, "an alias leads nowhere", "write the value out")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Tree]:
        mapping: dict[str, Tree] = {}
        for key, value in self._pairs(node):
            if key.value in mapping:
                raise self._refuse(key, f"`{key.value}` stands here twice", "keep one of them")
            mapping[key.value] = self._value(value, (*path, key.value))
        return mapping

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise self._refuse(key, "keys must be plain words", "write the keys out")
            yield key, value

    def _refuse(self, node: yaml.Node, message: str, hint: str) -> SpecError:
        mark = node.start_mark
        return SpecError(
            message, place=f"{self._source}:{mark.line + 1}:{mark.column + 1}", hint=hint
        )


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style:  # the C parser says "" for plain scalars, the other one None
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


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
        special = text in _WORDS or _FLOAT.fullmatch(text) is not None
        style = "|" if "\n" in text else ('"' if special else None)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
