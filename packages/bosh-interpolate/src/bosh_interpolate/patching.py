"""Operations on a tree: replace, remove and test, with the texts of go-patch's errors."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from bosh_interpolate import pointer
from bosh_interpolate.finding import (
    Items,
    Missing,
    concrete,
    container,
    find,
    items_at,
    map_at,
    matching,
    missing_key,
    only,
    step,
    the_match,
)
from bosh_interpolate.pointer import MODIFIERS, End, Index, MapKey, Match, Pointer, Token
from bosh_interpolate.scalars import plain
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Key, Tree, as_key, equal, float_text, key_value


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
        path = pointer.write(self.path)
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
        elif isinstance(token, End):
            _refuse_end(here, path, so_far, creates=creates)
        elif isinstance(token, Match | MapKey) and token.optional and _lacks(here, token, so_far):
            raise _NothingThere
        else:
            here = step(here, token, path, place)
    return here


def _lacks(here: Tree, token: Match | MapKey, so_far: Pointer) -> bool:
    if isinstance(token, MapKey):
        return token.key not in map_at(here, so_far)
    return not matching(items_at(here, so_far), token)


def _refuse_end(here: Tree, path: Pointer, so_far: Pointer, *, creates: bool) -> None:
    if not creates:
        raise _unexpected_end(so_far)
    items_at(here, so_far)
    raise ManifestError(
        f"Expected after last index token to be last in path '{pointer.write(path)}'"
    )


def _found_or_made(here: Tree, token: Match | MapKey, path: Pointer, place: int) -> Tree:
    so_far = path[:place]
    if not _lacks(here, token, so_far):
        return step(here, token, path, place)
    if isinstance(token, MapKey):
        made = container(path, place, ends=True)
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
        case End():
            items_at(here, path).append(value)
        case Match():
            items = items_at(here, path)
            matches = matching(items, last)
            if last.optional and not matches:
                items.append(value)
            else:
                _insert(items, only(matches, path), last.modifiers, value, path)
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
        items[concrete(number, modifiers, items, path)] = value
        return
    place = concrete(number, modifiers[:-1], items, path)
    items.insert(place + (modifiers[-1] == "after"), value)


def _take_away(here: Tree, path: Pointer) -> None:
    last = path[-1]
    match last:
        case Index():
            items = items_at(here, path)
            del items[concrete(last.number, last.modifiers, items, path)]
        case Match():
            items = items_at(here, path)
            matches = matching(items, last)
            if not (last.optional and not matches):
                del items[the_match(matches, last, items, path)]
        case MapKey():
            known = map_at(here, path)
            if last.key not in known and not last.optional:
                raise missing_key(last, known, path)
            known.pop(last.key, None)
        case End():
            raise _unexpected_end(path)


def _unexpected_end(so_far: Pointer) -> ManifestError:
    path = pointer.write(so_far)
    return ManifestError(f"Expected to not find token 'patch.AfterLastIndexToken' at path '{path}'")


def through_yaml(value: Tree) -> Tree:
    """Return a copy as if it had been written and read again: `1.0` has become `1`."""
    if isinstance(value, dict):
        return {_key_through_yaml(key): through_yaml(item) for key, item in value.items()}
    if isinstance(value, list):
        return [through_yaml(item) for item in value]
    return plain(float_text(value)) if isinstance(value, float) else value


def _key_through_yaml(key: Key) -> Key:
    return as_key(through_yaml(key_value(key)))


def applied(document: Tree, operations: tuple[Operation, ...]) -> Tree:
    """Return the document after all operations, in their order; it is changed in place."""
    for operation in operations:
        document = operation.apply(document)
    return document
