"""What a plain YAML scalar means to gopkg.in/yaml.v2, the library behind `bosh`.

YAML 1.1 with Go's numbers: `y`, `no` and `on` are booleans; `0777`, `0o17`, `0x1f`, `0b11` and
`1_000` are integers; integers beyond 64 bits become floats; dates and `12:30` stay text, but are
quoted when they are written.
"""

from __future__ import annotations

import math
import re
from calendar import monthrange

from bosh_interpolate.values import LEAST_SIGNED, MOST_SIGNED, MOST_UNSIGNED, Tree, float_text

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


def plain(text: str) -> Scalar:
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
    return plain(text) is text and not _BASE_60.fullmatch(text) and not is_timestamp(text)


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
