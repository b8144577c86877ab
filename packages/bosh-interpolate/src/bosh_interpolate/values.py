"""The values of a manifest, and how the Go runtime of `bosh` names and shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

MOST_SIGNED, LEAST_SIGNED = 2**63 - 1, -(2**63)
MOST_UNSIGNED = 2**64 - 1

FIXED_DIGITS = 6
"""Go's `%g` with the shortest precision writes an exponent from this one on."""
LEAST_FIXED_EXPONENT = -4
MOST_DIGITS = 17
"""So many significant digits tell any two floats apart."""


class TypedKey(NamedTuple):
    """A key that is a boolean or a float: in Python `1`, `1.0` and `True` would be one key."""

    kind: Literal["bool", "float"]
    value: bool | float


Key: TypeAlias = str | int | TypedKey | None
Tree: TypeAlias = "dict[Key, Tree] | list[Tree] | str | int | float | bool | None"
Variables: TypeAlias = Mapping[str, Tree]


def as_key(value: Tree) -> Key:
    """Return a value as the key of a map; only scalars are keys."""
    if isinstance(value, bool):
        return TypedKey("bool", value)
    if isinstance(value, float):
        return TypedKey("float", value)
    if isinstance(value, dict | list):
        raise TypeError("a map or list cannot be a key")
    return value


def key_value(key: Key) -> str | int | float | bool | None:
    """Return the scalar that a key is."""
    return key.value if isinstance(key, TypedKey) else key


def equal(one: Tree, other: Tree) -> bool:
    """Say whether two values are the same with the same types: `1`, `1.0` and `true` differ."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        same_keys = one.keys() == other.keys()
        return same_keys and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def copied(value: Tree) -> Tree:
    """Return a copy that shares no map or list with the value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


_GO_TYPES = {
    type(None): "<nil>",
    bool: "bool",
    float: "float64",
    str: "string",
    list: "[]interface {}",
    dict: "map[interface {}]interface {}",
}


def type_name(value: Tree) -> str:
    """Return the name of the Go type that `bosh` holds the value in."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if value <= MOST_SIGNED else "uint64"
    return _GO_TYPES[type(value)]


def shown(value: Tree) -> str:
    """Return the value as Go's `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value, infinity="+Inf", nan="NaN")
        case list():
            return "[" + " ".join(map(shown, value)) + "]"
        case dict():
            pairs = sorted((shown(key_value(key)), shown(item)) for key, item in value.items())
            return "map[" + " ".join(f"{key}:{item}" for key, item in pairs) + "]"
        case _:
            return str(value)


def written_out(value: Tree) -> str:
    """Return the value as Go's `%#v` prints it."""
    match value:
        case None:
            return "interface {}(nil)"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case list():
            return "[]interface {}{" + ", ".join(map(written_out, value)) + "}"
        case dict():
            pairs = sorted(
                f"{written_out(key_value(key))}:{written_out(item)}" for key, item in value.items()
            )
            return "map[interface {}]interface {}{" + ", ".join(pairs) + "}"
        case _:
            return shown(value)


def float_text(number: float, *, infinity: str = ".inf", nan: str = ".nan") -> str:
    """Return a float in its fewest digits, as Go's `%g` does: `1`, `1e+06`, `0.5`."""
    if math.isnan(number):
        return nan
    if math.isinf(number):
        return infinity if number > 0 else "-" + infinity.removeprefix("+")
    sign = "-" if math.copysign(1, number) < 0 else ""
    digits, exponent = _shortest(abs(number))
    if LEAST_FIXED_EXPONENT <= exponent < FIXED_DIGITS:
        return sign + _fixed(digits, exponent)
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{exponent:+03d}"


def _shortest(number: float) -> tuple[str, int]:
    """Return the fewest digits that read back as the number, and the exponent of the first."""
    for places in range(MOST_DIGITS):
        text = f"{number:.{places}e}"
        if float(text) == number:
            break
    mantissa, _, exponent = text.partition("e")
    return mantissa.replace(".", ""), int(exponent)


def _fixed(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{whole}.{fraction}" if fraction else whole
