"""Ops files: a list of `replace`, `remove` and `test`, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bosh_interpolate import pointer
from bosh_interpolate.misfits import Misfit, unfit
from bosh_interpolate.patching import Demand, Described, Operation, Remove, Replace
from bosh_interpolate.reading import load
from bosh_interpolate.scalars import text_of
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Key, Tree

_DEFINITION = "patch.OpDefinition"


class _Definition(NamedTuple):
    """One entry of an ops file; a field that is missing or `null` is `None`."""

    kind: str
    path: str | None
    value: Tree
    absent: bool | None


def operations(data: bytes, *, name: str) -> tuple[Operation, ...]:
    """Return the operations of an ops file; errors carry the texts of `bosh` and its `name`."""
    try:
        document = load(data)
        definitions = _definitions(document, data)
    except ManifestError as error:
        raise ManifestError(f"Deserializing ops file '{name}'", cause=error) from None
    return tuple(
        _described(definition, place, name) for place, definition in enumerate(definitions)
    )


def _definitions(document: Tree, data: bytes) -> list[_Definition]:
    if document is None:
        return []
    if not isinstance(document, list):
        raise unfit(data, (Misfit((), f"[]{_DEFINITION}"),))
    misfits = [misfit for place, item in enumerate(document) for misfit in _misfits(item, place)]
    if misfits:
        raise unfit(data, misfits)
    return [_definition(item if isinstance(item, dict) else {}) for item in document]


def _misfits(item: Tree, place: int) -> Iterator[Misfit]:
    if item is None:
        return
    if not isinstance(item, dict):
        yield Misfit((place,), _DEFINITION)
        return
    for field in ("type", "path", "error"):
        if text_of(item.get(field)) is None:
            yield Misfit((place, field), "string")
    if not isinstance(item.get("absent"), bool | None):
        yield Misfit((place, "absent"), "bool")


def _definition(item: dict[Key, Tree]) -> _Definition:
    path, absent = item.get("path"), item.get("absent")
    return _Definition(
        kind=text_of(item.get("type")) or "",
        path=None if path is None else text_of(path),
        value=item.get("value"),
        absent=absent if isinstance(absent, bool) else None,
    )


def _described(definition: _Definition, place: int, name: str) -> Described:
    description = f"operation [{place}] in {name} failed"
    title = f"{definition.kind.capitalize()} operation [{place}]"
    if definition.kind not in ("replace", "remove", "test"):
        title = f"Unknown operation [{place}] with type '{definition.kind}'"
        raise _unusable(title, definition, description)
    try:
        return Described(_operation(definition), description)
    except ManifestError as error:
        raise _unusable(f"{title}: {error}", definition, description) from None


def _unusable(problem: str, definition: _Definition, description: str) -> ManifestError:
    shown = f"{problem} within\n{_shown(definition, description)}"
    return ManifestError("Building ops", cause=ManifestError(shown))


def _operation(definition: _Definition) -> Replace | Remove | Demand:
    if definition.path is None:
        raise ManifestError("Missing path")
    match definition.kind:
        case "replace":
            if definition.value is None:
                raise ManifestError("Missing value")
            return Replace(_path(definition.path), definition.value)
        case "remove":
            if definition.value is not None:
                raise ManifestError("Cannot specify value")
            return Remove(_path(definition.path))
        case _:
            if definition.value is None and definition.absent is None:
                raise ManifestError("Missing value or absent")
            absent = bool(definition.absent)
            return Demand(_path(definition.path), definition.value, absent)


def _path(text: str) -> pointer.Pointer:
    try:
        return pointer.parse(text)
    except ManifestError as error:
        raise ManifestError(f"Invalid path: {error}") from None


def _shown(definition: _Definition, description: str) -> str:
    """Return the entry as JSON, without its value."""
    import json  # noqa: PLC0415 - for errors only

    fields: dict[str, object] = {
        "Type": definition.kind or None,
        "Path": definition.path,
        "Value": None if definition.value is None else "<redacted>",
        "Absent": definition.absent,
        "Error": description,
    }
    present = {key: value for key, value in fields.items() if value is not None}
    # Go's encoder escapes `&` even where no HTML is near.
    return json.dumps(present, indent=2, ensure_ascii=False).replace("&", "\\u0026")
