"""The paths of ops files and of `--path`: their tokens, and what they lead to in a tree.

`/instance_groups/name=bosh/jobs/0:next/properties?`, as go-patch reads it, with its error texts.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.values import LEAST_SIGNED, MOST_SIGNED, Key, Tree, type_name

_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_ESCAPE = re.compile("~[017]")
_DECODED = {"~0": "~", "~1": "/", "~7": ":"}
_ENCODED = str.maketrans({"~": "~0", "/": "~1", ":": "~7"})

MODIFIERS = {
    "prev": "PrevModifier",
    "next": "NextModifier",
    "before": "BeforeModifier",
    "after": "AfterModifier",
}
"""Each with the name of its type, as error texts have it."""


class Index(NamedTuple):
    """An item of a list by its number; negative ones count from the end."""

    number: int
    modifiers: tuple[str, ...] = ()


class AfterLastIndex(NamedTuple):
    """The place behind the last item of a list (`-`)."""


class Match(NamedTuple):
    """The one item of a list whose `key` equals the string `value`."""

    key: str
    value: str
    optional: bool = False
    modifiers: tuple[str, ...] = ()


class MapKey(NamedTuple):
    """A key of a map."""

    key: str
    optional: bool = False


Token: TypeAlias = Index | AfterLastIndex | Match | MapKey
Pointer: TypeAlias = tuple[Token, ...]
"""An empty one means the whole document."""


def parse_pointer(text: str) -> Pointer:
    """Return the tokens of a path; `ManifestError` with the text of `bosh` else."""
    if not text:
        return ()
    if not text.startswith("/"):
        raise ManifestError("Expected to start with '/'")
    pieces = text.split("/")[1:]
    tokens: list[Token] = []
    optional = False
    for place, piece in enumerate(pieces, 1):
        token = _token(piece, optional=optional, last=place == len(pieces))
        # Once something may be missing, so may everything below it.
        optional = optional or (isinstance(token, Match | MapKey) and token.optional)
        tokens.append(token)
    return tuple(tokens)


def _token(piece: str, *, optional: bool, last: bool) -> Token:
    piece, *words = piece.split(":")
    modifiers = _modifiers(words)
    decoded = _ESCAPE.sub(lambda found: _DECODED[found[0]], piece)
    if last and decoded == "-":
        if modifiers:
            raise ManifestError("Expected not to find any modifiers with after last index token")
        return AfterLastIndex()
    if _INTEGER.fullmatch(decoded) and LEAST_SIGNED <= int(decoded) <= MOST_SIGNED:
        return Index(int(decoded), modifiers)
    optional = optional or decoded.endswith("?")
    key, equals, value = decoded.partition("=")
    if equals:
        return Match(key, value.removesuffix("?"), optional, modifiers)
    if modifiers:
        raise ManifestError("Expected not to find any modifiers with key token")
    return MapKey(decoded.removesuffix("?"), optional)


def _modifiers(words: list[str]) -> tuple[str, ...]:
    if any(word not in MODIFIERS for word in words):
        raise ManifestError(
            "Expected to find one of the following modifiers: 'prev', 'next', 'before', or "
            f"'after' but found '{words[0]}'"
        )
    return tuple(words)


def write_pointer(pointer: Pointer) -> str:
    """Return the path as a text, in the normal form that error texts show."""
    pieces = [""]
    marked = False
    for token in pointer:
        mark = "?" if getattr(token, "optional", False) and not marked else ""
        marked = marked or bool(mark)
        pieces.append(_token_text(token, mark))
    return "/".join(pieces)


def _token_text(token: Token, mark: str) -> str:
    match token:
        case Index():
            return f"{token.number}{_suffix(token.modifiers)}"
        case AfterLastIndex():
            return "-"
        case Match():
            key, value = token.key.translate(_ENCODED), token.value.translate(_ENCODED)
            return f"{key}={value}{mark}{_suffix(token.modifiers)}"
        case MapKey():
            return token.key.translate(_ENCODED) + mark


def _suffix(modifiers: tuple[str, ...]) -> str:
    return "".join(f":{modifier}" for modifier in modifiers)


# Following a path into a tree.

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
        here = follow_token(here, token, path, place)
    return here


def follow_token(here: Tree, token: Token, path: Pointer, place: int) -> Tree:
    """Return what token number `place` of the path, counted from 1, leads to."""
    so_far = path[:place]
    match token:
        case Index():
            items = items_at(here, so_far)
            return items[resolve_index(token.number, token.modifiers, items, so_far)]
        case AfterLastIndex():
            raise ManifestError(
                "Expected not to find after last index token in path "
                f"'{write_pointer(path)}' (not supported in find operations)"
            )
        case Match():
            items = items_at(here, so_far)
            matches = find_matches(items, token)
            if token.optional and not matches:
                return {token.key: token.value}
            return items[find_match(matches, token, items, so_far)]
        case MapKey():
            known = map_at(here, so_far)
            if token.key in known:
                return known[token.key]
            if not token.optional:
                raise missing_key(token, known, so_far)
            return None if place == len(path) else make_container(path, place, ends=False)


def make_container(path: Pointer, place: int, *, ends: bool) -> Tree:
    """Return the container that the next token needs."""
    following = path[place]
    if isinstance(following, MapKey):
        return {}
    if isinstance(following, Match) or (ends and isinstance(following, AfterLastIndex)):
        return []
    wanted = (
        "key, matching index or after last index token" if ends else "key or matching index token"
    )
    raise ManifestError(f"Expected to find {wanted} at path '{write_pointer(path[: place + 1])}'")


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


def find_matches(items: Items, token: Match) -> list[int]:
    """Return the places of the items that match."""
    return [
        place
        for place, item in enumerate(items)
        if isinstance(item, dict) and item.get(token.key) == token.value
    ]


def find_match(matches: list[int], token: Match, items: Items, so_far: Pointer) -> int:
    """Return the place of the one item that matches, moved by the token's modifiers."""
    return resolve_index(only_match(matches, so_far), token.modifiers, items, so_far)


def only_match(matches: list[int], so_far: Pointer) -> int:
    """Return the one place that there must be."""
    if len(matches) == 1:
        return matches[0]
    raise ManifestError(
        "Expected to find exactly one matching array item for path "
        f"'{write_pointer(so_far)}' but found {len(matches)}"
    )


def resolve_index(number: int, modifiers: tuple[str, ...], items: Items, so_far: Pointer) -> int:
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
    path = write_pointer(so_far)
    raise Missing(
        f"Expected to find array index '{number}' but found array of length '{len(items)}' "
        f"for path '{path}'",
        path,
    )


def missing_key(token: MapKey, known: Map, so_far: Pointer) -> Missing:
    """Return the error for a key that a map has not."""
    path = write_pointer(so_far)
    keys = sorted(key for key in known if isinstance(key, str))
    siblings = "', '".join(keys)
    found = f"found map keys: '{siblings}'" if known else "found no other map keys"
    return Missing(f"Expected to find a map key '{token.key}' for path '{path}' ({found})", path)


def _mismatch(wanted: str, value: Tree, so_far: Pointer) -> ManifestError:
    path = write_pointer(so_far)
    return ManifestError(
        f"Expected to find {wanted} at path '{path}' but found '{type_name(value)}'"
    )
