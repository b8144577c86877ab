"""The values of a manifest: what a plain scalar means, and how the Go runtime of `bosh` shows them.

YAML 1.1 with Go's numbers, as gopkg.in/yaml.v2 reads it: `y`, `no` and `on` are booleans; `0777`,
`0o17`, `0x1f`, `0b11` and `1_000` are integers; integers beyond 64 bits become floats; dates and
`12:30` stay text, but are quoted when they are written.
"""

from __future__ import annotations

import math
import re
from calendar import monthrange
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


def copy_tree(value: Tree) -> Tree:
    """Return a copy that shares no map or list with the value."""
    if isinstance(value, dict):
        return {key: copy_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_tree(item) for item in value]
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


def format_value(value: Tree) -> str:
    """Return the value as Go's `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value, infinity="+Inf", nan="NaN")
        case list():
            return "[" + " ".join(map(format_value, value)) + "]"
        case dict():
            pairs = sorted(
                (format_value(key_value(key)), format_value(item)) for key, item in value.items()
            )
            return "map[" + " ".join(f"{key}:{item}" for key, item in pairs) + "]"
        case _:
            return str(value)


def format_go_syntax(value: Tree) -> str:
    """Return the value as Go's `%#v` prints it."""
    match value:
        case None:
            return "interface {}(nil)"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case list():
            return "[]interface {}{" + ", ".join(map(format_go_syntax, value)) + "}"
        case dict():
            pairs = sorted(
                f"{format_go_syntax(key_value(key))}:{format_go_syntax(item)}"
                for key, item in value.items()
            )
            return "map[interface {}]interface {}{" + ", ".join(pairs) + "}"
        case _:
            return format_value(value)


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


# Plain scalars, as gopkg.in/yaml.v2 reads them.

Scalar = str | int | float | bool | None

WORDS: dict[str, float | bool | None] = {
    **dict.fromkeys(
        ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True
    ),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}

_MOST_INTEGER_LENGTH = 80
"""Longer than 64 bits in base 2: whatever is longer does not fit into an integer."""
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_BEGINS = {
    **dict.fromkeys("yYnNtTfFoO~", "word"),
    **dict.fromkeys("+-0123456789", "number"),
    ".": "point",
}
_INTEGER = re.compile(
    r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)", re.ASCII
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT_FLOAT = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]+)?")
_ZONE = re.compile(r"Z|[-+]([0-9]{2}):([0-9]{2})")
_HOURS, _SIXTY = 24, 60
_LONGEST_SHOWN, _CUT = 10, 7


def read_plain(text: str) -> Scalar:
    """Return the value of a plain scalar."""
    begins = _BEGINS.get(text[:1], "word" if not text else "")
    if not begins:
        return text
    if text in WORDS:
        return WORDS[text]
    if begins == "number":
        return _number(text)
    if begins == "point" and _POINT_FLOAT.fullmatch(text):
        return _finite(text.replace("_", ""), text)
    return text


def stays_text(text: str) -> bool:
    """Say whether a string can be written plain: read back, it is the same string everywhere."""
    if text[:1] not in _BEGINS and text:
        return True
    return read_plain(text) is text and not _BASE_60.fullmatch(text) and not is_timestamp(text)


def text_of(value: Tree) -> str | None:
    """Return a scalar as a field for text takes it; `None` for lists and maps."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case int():
            return str(value)
        case _:
            return None


def octets(text: str) -> bytes:
    """Return a text as bytes; those that are no UTF-8 are kept as lone surrogates (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def cut(text: str) -> str:
    """Return the beginning of a text, as error texts show it."""
    return text if len(text.encode("utf-8", "replace")) <= _LONGEST_SHOWN else text[:_CUT] + "..."


def is_timestamp(text: str) -> bool:
    """Say whether the text is a date, or a date and a time, in one of the forms of the library."""
    date = _DATE.match(text)
    if date is None or not _is_day(*(int(part) for part in date.groups())):
        return False
    rest = text[date.end() :]
    if not rest:
        return True
    clock = _CLOCK.match(rest, 1)
    if clock is None or not _is_time(*(int(part) for part in clock.groups())):
        return False
    zone = rest[clock.end() :]
    return _is_zone(zone) if rest[0] in "Tt" else rest[0] == " " and not zone


def _number(text: str) -> Scalar:
    if is_timestamp(text):
        return text
    bare = text.replace("_", "")
    whole = _INTEGER.fullmatch(bare) if len(bare) <= _MOST_INTEGER_LENGTH else None
    if whole:
        number = _integer(whole[2]) * (-1 if whole[1] == "-" else 1)
        if LEAST_SIGNED <= number <= (MOST_SIGNED if whole[1] else MOST_UNSIGNED):
            return number
    return _finite(bare, text) if _FLOAT.fullmatch(bare) else text


def _integer(digits: str) -> int:
    base = _BASES.get(digits[:2].lower())
    if base:
        return int(digits[2:], base)
    return int(digits, 8 if digits.startswith("0") else 10)


def _finite(number: str, text: str) -> float | str:
    """Return the float, or the text where it is larger than any float."""
    value = float(number)
    return value if math.isfinite(value) else text


def _is_day(year: int, month: int, day: int) -> bool:
    # Year 0 is a leap year to Go; the calendar module begins at 1.
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 4, month)[1]  # noqa: PLR2004


def _is_time(hour: int, minute: int, second: int) -> bool:
    return hour < _HOURS and minute < _SIXTY and second < _SIXTY


def _is_zone(zone: str) -> bool:
    found = _ZONE.fullmatch(zone)
    if found is None:
        return False
    return zone == "Z" or (int(found[1]) <= _HOURS and int(found[2]) < _SIXTY)
