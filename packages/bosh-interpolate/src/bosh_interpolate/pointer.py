"""The paths of ops files and of `--path`: `/instance_groups/name=bosh/jobs/0:next/properties?`."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import LEAST_SIGNED, MOST_SIGNED

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


class End(NamedTuple):
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


Token: TypeAlias = Index | End | Match | MapKey
Pointer: TypeAlias = tuple[Token, ...]
"""An empty one means the whole document."""


def parse(text: str) -> Pointer:
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
        return End()
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


def write(pointer: Pointer) -> str:
    """Return the path as a text, in the normal form that error texts show."""
    pieces = [""]
    marked = False
    for token in pointer:
        mark = "?" if getattr(token, "optional", False) and not marked else ""
        marked = marked or bool(mark)
        pieces.append(_write(token, mark))
    return "/".join(pieces)


def _write(token: Token, mark: str) -> str:
    match token:
        case Index():
            return f"{token.number}{_suffix(token.modifiers)}"
        case End():
            return "-"
        case Match():
            key, value = token.key.translate(_ENCODED), token.value.translate(_ENCODED)
            return f"{key}={value}{mark}{_suffix(token.modifiers)}"
        case MapKey():
            return token.key.translate(_ENCODED) + mark


def _suffix(modifiers: tuple[str, ...]) -> str:
    return "".join(f":{modifier}" for modifier in modifiers)
