"""Ops files: a list of `replace`, `remove` and `test`, checked when loaded, applied to a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.paths import (
    MODIFIERS,
    AfterLastIndex,
    Index,
    Items,
    MapKey,
    Match,
    Missing,
    Pointer,
    Token,
    find,
    find_match,
    find_matches,
    follow_token,
    items_at,
    make_container,
    map_at,
    missing_key,
    only_match,
    parse_pointer,
    resolve_index,
    write_pointer,
)
from bosh_interpolate.reading import Misfit, load, misfit_error
from bosh_interpolate.values import (
    Key,
    Tree,
    as_key,
    equal,
    float_text,
    key_value,
    read_plain,
    text_of,
)

# Operations on a tree, with the texts of go-patch's errors.


class Replace(NamedTuple):
    """Put a value where the path points."""

    path: Pointer
    value: Tree

    def apply(self, document: Tree) -> Tree:
        """Return the changed document; it is changed in place, the value is copied."""
        value = through_yaml(self.value)
        if not self.path:
            return value
        here = _descend(document, self.path, creates=True)
        _put(here, self.path[-1], value, self.path)
        return document


class Remove(NamedTuple):
    """Take away what the path points to."""

    path: Pointer

    def apply(self, document: Tree) -> Tree:
        """Return the document, changed in place."""
        if not self.path:
            raise ManifestError("Cannot remove entire document")
        try:
            here = _descend(document, self.path, creates=False)
            _take_away(here, self.path)
        except _NothingThere:
            pass
        return document


class Demand(NamedTuple):
    """Demand that a value is there, or that nothing is."""

    path: Pointer
    value: Tree = None
    absent: bool = False

    def apply(self, document: Tree) -> Tree:
        """Return the document as it is, or raise."""
        if self.absent:
            return self._without(document)
        if not equal(find(document, self.path), self.value):
            raise ManifestError("Found value does not match expected value")
        return document

    def _without(self, document: Tree) -> Tree:
        path = write_pointer(self.path)
        try:
            find(document, self.path)
        except Missing as missing:
            if missing.path == path:
                return document
            raise
        raise ManifestError(f"Expected to not find '{path}'")


class Described(NamedTuple):
    """An operation that says in its errors which one it is."""

    operation: Replace | Remove | Demand
    description: str

    def apply(self, document: Tree) -> Tree:
        """Apply the operation."""
        try:
            return self.operation.apply(document)
        except ManifestError as error:
            raise ManifestError(f"Error '{self.description}': {error}") from None


Operation: TypeAlias = Replace | Remove | Demand | Described


class _NothingThere(Exception):
    """Something optional is missing: there is nothing to remove."""


def _descend(document: Tree, path: Pointer, *, creates: bool) -> Tree:
    """Return what the last token is looked up in; creates what is optional, where it may."""
    here = document
    for place, token in enumerate(path[:-1], 1):
        so_far = path[:place]
        if creates and isinstance(token, Match | MapKey) and token.optional:
            here = _found_or_made(here, token, path, place)
        elif isinstance(token, AfterLastIndex):
            _refuse_end(here, path, so_far, creates=creates)
        elif isinstance(token, Match | MapKey) and token.optional and _lacks(here, token, so_far):
            raise _NothingThere
        else:
            here = follow_token(here, token, path, place)
    return here


def _lacks(here: Tree, token: Match | MapKey, so_far: Pointer) -> bool:
    if isinstance(token, MapKey):
        return token.key not in map_at(here, so_far)
    return not find_matches(items_at(here, so_far), token)


def _refuse_end(here: Tree, path: Pointer, so_far: Pointer, *, creates: bool) -> None:
    if not creates:
        raise _unexpected_end(so_far)
    items_at(here, so_far)
    raise ManifestError(
        f"Expected after last index token to be last in path '{write_pointer(path)}'"
    )


def _found_or_made(here: Tree, token: Match | MapKey, path: Pointer, place: int) -> Tree:
    so_far = path[:place]
    if not _lacks(here, token, so_far):
        return follow_token(here, token, path, place)
    if isinstance(token, MapKey):
        made = make_container(path, place, ends=True)
        map_at(here, so_far)[token.key] = made
    else:
        made = {token.key: token.value}
        items_at(here, so_far).append(made)
    return made


def _put(here: Tree, last: Token, value: Tree, path: Pointer) -> None:
    match last:
        case Index():
            items = items_at(here, path)
            _insert(items, last.number, last.modifiers, value, path)
        case AfterLastIndex():
            items_at(here, path).append(value)
        case Match():
            items = items_at(here, path)
            matches = find_matches(items, last)
            if last.optional and not matches:
                items.append(value)
            else:
                _insert(items, only_match(matches, path), last.modifiers, value, path)
        case MapKey():
            known = map_at(here, path)
            if last.key not in known and not last.optional:
                raise missing_key(last, known, path)
            known[last.key] = value


def _insert(
    items: Items, number: int, modifiers: tuple[str, ...], value: Tree, path: Pointer
) -> None:
    """Replace an item, or put the value before or after it."""
    ends = [place for place, word in enumerate(modifiers) if word in ("before", "after")]
    if ends and ends[0] < len(modifiers) - 1:
        found = MODIFIERS[modifiers[ends[0] + 1]]
        raise ManifestError(
            f"Expected to not find any modifiers after '{modifiers[ends[0]]}' modifier, but "
            f"found modifier 'patch.{found}'"
        )
    if not ends:
        items[resolve_index(number, modifiers, items, path)] = value
        return
    place = resolve_index(number, modifiers[:-1], items, path)
    items.insert(place + (modifiers[-1] == "after"), value)


def _take_away(here: Tree, path: Pointer) -> None:
    last = path[-1]
    match last:
        case Index():
            items = items_at(here, path)
            del items[resolve_index(last.number, last.modifiers, items, path)]
        case Match():
            items = items_at(here, path)
            matches = find_matches(items, last)
            if not (last.optional and not matches):
                del items[find_match(matches, last, items, path)]
        case MapKey():
            known = map_at(here, path)
            if last.key not in known and not last.optional:
                raise missing_key(last, known, path)
            known.pop(last.key, None)
        case AfterLastIndex():
            raise _unexpected_end(path)


def _unexpected_end(so_far: Pointer) -> ManifestError:
    path = write_pointer(so_far)
    return ManifestError(f"Expected to not find token 'patch.AfterLastIndexToken' at path '{path}'")


def through_yaml(value: Tree) -> Tree:
    """Return a copy as if it had been written and read again: `1.0` has become `1`."""
    if isinstance(value, dict):
        return {
            as_key(through_yaml(key_value(key))): through_yaml(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [through_yaml(item) for item in value]
    return read_plain(float_text(value)) if isinstance(value, float) else value


def apply_operations(document: Tree, operations: tuple[Operation, ...]) -> Tree:
    """Return the document after all operations, in their order; it is changed in place."""
    for operation in operations:
        document = operation.apply(document)
    return document


# The file.

_ENTRY_TYPE = "patch.OpDefinition"


class _Entry(NamedTuple):
    """One entry of an ops file; a field that is missing or `null` is `None`."""

    kind: str
    path: str | None
    value: Tree
    absent: bool | None


def read_ops_file(data: bytes, *, name: str) -> tuple[Operation, ...]:
    """Return the operations of an ops file; errors carry the texts of `bosh` and its `name`."""
    try:
        document = load(data)
        definitions = _entries(document, data)
    except ManifestError as error:
        raise ManifestError(f"Deserializing ops file '{name}'", cause=error) from None
    return tuple(
        _described(definition, place, name) for place, definition in enumerate(definitions)
    )


def _entries(document: Tree, data: bytes) -> list[_Entry]:
    if document is None:
        return []
    if not isinstance(document, list):
        raise misfit_error(data, (Misfit((), f"[]{_ENTRY_TYPE}"),))
    misfits = [misfit for place, item in enumerate(document) for misfit in _misfits(item, place)]
    if misfits:
        raise misfit_error(data, misfits)
    return [_entry(item if isinstance(item, dict) else {}) for item in document]


def _misfits(item: Tree, place: int) -> Iterator[Misfit]:
    if item is None:
        return
    if not isinstance(item, dict):
        yield Misfit((place,), _ENTRY_TYPE)
        return
    for field in ("type", "path", "error"):
        if text_of(item.get(field)) is None:
            yield Misfit((place, field), "string")
    if not isinstance(item.get("absent"), bool | None):
        yield Misfit((place, "absent"), "bool")


def _entry(item: dict[Key, Tree]) -> _Entry:
    path, absent = item.get("path"), item.get("absent")
    return _Entry(
        kind=text_of(item.get("type")) or "",
        path=None if path is None else text_of(path),
        value=item.get("value"),
        absent=absent if isinstance(absent, bool) else None,
    )


def _described(definition: _Entry, place: int, name: str) -> Described:
    description = f"operation [{place}] in {name} failed"
    title = f"{definition.kind.capitalize()} operation [{place}]"
    if definition.kind not in ("replace", "remove", "test"):
        title = f"Unknown operation [{place}] with type '{definition.kind}'"
        raise _unusable(title, definition, description)
    try:
        return Described(_operation(definition), description)
    except ManifestError as error:
        raise _unusable(f"{title}: {error}", definition, description) from None


def _unusable(problem: str, definition: _Entry, description: str) -> ManifestError:
    shown = f"{problem} within\n{_shown(definition, description)}"
    return ManifestError("Building ops", cause=ManifestError(shown))


def _operation(definition: _Entry) -> Replace | Remove | Demand:
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


def _path(text: str) -> Pointer:
    try:
        return parse_pointer(text)
    except ManifestError as error:
        raise ManifestError(f"Invalid path: {error}") from None


def _shown(definition: _Entry, description: str) -> str:
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
