"""Values of the wrong type for a field: the error texts of gopkg.in/yaml.v2, with their lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import yaml

from bosh_interpolate.scalars import cut, plain
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Tree


class Misfit(NamedTuple):
    """A value at a path (keys and indexes) that does not fit the Go type `into`."""

    path: tuple[str | int, ...]
    into: str


def unfit(data: bytes, misfits: Sequence[Misfit]) -> ManifestError:
    """Return the error for values of a document that do not fit; `data` can be parsed."""
    root = yaml.compose(data, Loader=yaml.CSafeLoader)
    lines = [_line(root, misfit) for misfit in misfits]
    return ManifestError("yaml: unmarshal errors:\n  " + "\n  ".join(lines))


def _line(root: yaml.Node | None, misfit: Misfit) -> str:
    node = _walk(root, misfit.path)
    number = node.start_mark.line + 1 if node is not None and node.start_mark else 1
    return f"line {number}: cannot unmarshal {_said(node)} into {misfit.into}"


def _walk(node: yaml.Node | None, path: tuple[str | int, ...]) -> yaml.Node | None:
    for step in path:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
        elif isinstance(node, yaml.MappingNode):
            # The last of equal keys is the one that counts.
            found = [value for key, value in node.value if key.value == step]
            node = found[-1] if found else node
    return node


def _said(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "!!seq"
    if not isinstance(node, yaml.ScalarNode):
        return "!!map"
    value: Tree = node.value if node.style else plain(node.value)
    kind = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "str")
    return f"!!{kind} `{cut(node.value)}`"
