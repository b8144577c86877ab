"""Puts the values of variables where `((name))` stands."""

from __future__ import annotations

import re
from collections.abc import Callable

from rollover.manifest.trouble import ManifestError
from rollover.manifest.values import Key, Tree, as_key, key_value, shown, type_name

# Go's `\w` is ASCII, its `\pL` any letter; Python's `[^\W\d_]` is that, and number letters.
_NAME = r"!?(?:[-/.0-9A-Za-z_]|[^\W\d_])+"
_REFERENCE = re.compile(rf"\(\( ?({_NAME}) ?\)\)")


class Unknown(Exception):
    """There is no such variable: its reference stays as it is."""


def substituted(tree: Tree, resolve: Callable[[str], Tree]) -> Tree:
    """Return the tree with every reference replaced, in values and keys.

    `resolve` returns the value of a reference or raises `Unknown`. A string that is nothing but a
    reference becomes the value with its type; values that come in are not looked into again.
    """
    if isinstance(tree, str):
        return _text(tree, resolve) if "((" in tree else tree
    if isinstance(tree, list):
        return [substituted(item, resolve) for item in tree]
    if isinstance(tree, dict):
        return _map(tree, resolve)
    return tree


def _map(tree: dict[Key, Tree], resolve: Callable[[str], Tree]) -> dict[Key, Tree]:
    found: dict[Key, Tree] = {}
    for key, item in tree.items():
        value = substituted(item, resolve)
        new_key = substituted(key_value(key), resolve) if isinstance(key, str) else key_value(key)
        if isinstance(new_key, dict | list):
            raise ManifestError(
                f"Expected the value of '{key}' to be a scalar, because it stands as a map key"
            )
        found[as_key(new_key)] = value
    return found


def _text(text: str, resolve: Callable[[str], Tree]) -> Tree:
    whole = _REFERENCE.fullmatch(text) is not None
    for found in _REFERENCE.findall(text):
        name = found.removeprefix("!")
        try:
            value = resolve(name)
        except Unknown:
            continue
        except ManifestError as error:
            raise ManifestError(f"Finding variable '{name}'", cause=error) from None
        if whole:
            return value
        text = _embedded(text, name, value)
    return text


def _embedded(text: str, name: str, value: Tree) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ManifestError(
            f"Invalid type '{type_name(value)}' for value '{shown(value)}' "
            f"and variable '{name}'. "
            "Supported types for interpolation within a string are integers and strings."
        )
    return text.replace(f"(({name}))", str(value)).replace(f"((!{name}))", str(value))
