"""Follows a path into a tree, and says in go-patch's words what is not there."""

from __future__ import annotations

from typing import TypeAlias

from bosh_interpolate import pointer
from bosh_interpolate.pointer import MODIFIERS, End, Index, MapKey, Match, Pointer, Token
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Key, Tree, type_name

Map: TypeAlias = dict[Key, Tree]
Items: TypeAlias = list[Tree]


class Missing(ManifestError):
    """A key or an index that is not there; `path` is how far the search had come."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def find(document: Tree, path: Pointer) -> Tree:
    """Return the value at a path; what is optional and missing is `None`, or made of the path."""
    here = document
    for place, token in enumerate(path, 1):
        here = step(here, token, path, place)
    return here


def step(here: Tree, token: Token, path: Pointer, place: int) -> Tree:
    """Return what token number `place` of the path, counted from 1, leads to."""
    so_far = path[:place]
    match token:
        case Index():
            items = items_at(here, so_far)
            return items[concrete(token.number, token.modifiers, items, so_far)]
        case End():
            raise ManifestError(
                "Expected not to find after last index token in path "
                f"'{pointer.write(path)}' (not supported in find operations)"
            )
        case Match():
            items = items_at(here, so_far)
            matches = matching(items, token)
            if token.optional and not matches:
                return {token.key: token.value}
            return items[the_match(matches, token, items, so_far)]
        case MapKey():
            known = map_at(here, so_far)
            if token.key in known:
                return known[token.key]
            if not token.optional:
                raise missing_key(token, known, so_far)
            return None if place == len(path) else container(path, place, ends=False)


def container(path: Pointer, place: int, *, ends: bool) -> Tree:
    """Return the container that the next token needs."""
    following = path[place]
    if isinstance(following, MapKey):
        return {}
    if isinstance(following, Match) or (ends and isinstance(following, End)):
        return []
    wanted = (
        "key, matching index or after last index token" if ends else "key or matching index token"
    )
    raise ManifestError(f"Expected to find {wanted} at path '{pointer.write(path[: place + 1])}'")


def map_at(value: Tree, so_far: Pointer) -> Map:
    """Return the value, which must be a map."""
    if isinstance(value, dict):
        return value
    raise _mismatch("a map", value, so_far)


def items_at(value: Tree, so_far: Pointer) -> Items:
    """Return the value, which must be a list."""
    if isinstance(value, list):
        return value
    raise _mismatch("an array", value, so_far)


def matching(items: Items, token: Match) -> list[int]:
    """Return the places of the items that match."""
    return [
        place
        for place, item in enumerate(items)
        if isinstance(item, dict) and item.get(token.key) == token.value
    ]


def the_match(matches: list[int], token: Match, items: Items, so_far: Pointer) -> int:
    """Return the place of the one item that matches, moved by the token's modifiers."""
    return concrete(only(matches, so_far), token.modifiers, items, so_far)


def only(matches: list[int], so_far: Pointer) -> int:
    """Return the one place that there must be."""
    if len(matches) == 1:
        return matches[0]
    raise ManifestError(
        "Expected to find exactly one matching array item for path "
        f"'{pointer.write(so_far)}' but found {len(matches)}"
    )


def concrete(number: int, modifiers: tuple[str, ...], items: Items, so_far: Pointer) -> int:
    """Return the place in the list that an index and its `prev` and `next` mean."""
    for modifier in modifiers:
        if modifier not in ("prev", "next"):
            raise ManifestError(
                "Expected to find one of the following modifiers: 'prev', 'next', but found "
                f"modifier 'patch.{MODIFIERS[modifier]}'"
            )
        number += 1 if modifier == "next" else -1
    if -len(items) <= number < len(items):
        return number % len(items)
    path = pointer.write(so_far)
    raise Missing(
        f"Expected to find array index '{number}' but found array of length '{len(items)}' "
        f"for path '{path}'",
        path,
    )


def missing_key(token: MapKey, known: Map, so_far: Pointer) -> Missing:
    """Return the error for a key that a map has not."""
    path = pointer.write(so_far)
    keys = sorted(key for key in known if isinstance(key, str))
    siblings = "', '".join(keys)
    found = f"found map keys: '{siblings}'" if known else "found no other map keys"
    return Missing(f"Expected to find a map key '{token.key}' for path '{path}' ({found})", path)


def _mismatch(wanted: str, value: Tree, so_far: Pointer) -> ManifestError:
    path = pointer.write(so_far)
    return ManifestError(
        f"Expected to find {wanted} at path '{path}' but found '{type_name(value)}'"
    )
