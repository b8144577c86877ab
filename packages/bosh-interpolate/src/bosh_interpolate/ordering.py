"""The order of the keys of a map: numbers first, then the "natural" order of gopkg.in/yaml.v2."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cmp_to_key

from bosh_interpolate.values import Key, key_value

_BY_CODE = re.compile(r"[ $()\-./:_a-z]*")
"""Keys of these characters alone: letters follow the rest, no digits, so code points decide."""

_WORD = 2**64
_NUMBER, _NIL, _STRING = range(3)
_KINDS: tuple[type, ...] = (bool, int, float)
"""Of equal numbers the kind decides."""


def ordered(keys: Iterable[Key]) -> list[Key]:
    """Return the keys in the order in which they are written."""
    found = list(keys)
    texts = [key for key in found if isinstance(key, str)]
    if len(texts) == len(found) and _BY_CODE.fullmatch("".join(texts)):
        texts.sort()
        return list[Key](texts)
    return sorted(found, key=cmp_to_key(_compare))


def _compare(one: Key, other: Key) -> int:
    if isinstance(one, str) and isinstance(other, str):
        return _compare_texts(one, other)
    first, second = _rank(one), _rank(other)
    return (first > second) - (first < second)


def _rank(key: Key) -> tuple[int, float, int]:
    value = key_value(key)
    if isinstance(value, str):
        return _STRING, 0, 0
    return (_NIL, 0, 0) if value is None else (_NUMBER, value, _KINDS.index(type(value)))


def _compare_texts(one: str, other: str) -> int:
    """Compare by the first difference: letters last, numbers by their value."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return _compare_at(one, other, place)
    return len(one) - len(other)


def _compare_at(one: str, other: str, place: int) -> int:
    left, right = one[place], other[place]
    if left.isalpha() and right.isalpha():
        return -1 if left < right else 1
    if left.isalpha() or right.isalpha():
        return -1 if right.isalpha() else 1
    start = 1 if "0" in (left, right) and _follows_digits(one, place) else 0
    (first, first_end), (second, second_end) = (
        _run_of_digits(text, place, start) for text in (one, other)
    )
    if first != second:
        return -1 if first < second else 1
    if first_end != second_end:
        return first_end - second_end
    return -1 if left < right else 1


def _follows_digits(text: str, place: int) -> bool:
    """Say whether a digit other than 0 stands before `place` in the same run of digits."""
    for char in reversed(text[:place]):
        if not char.isdecimal():
            return False
        if char != "0":
            return True
    return False


def _run_of_digits(text: str, place: int, number: int) -> tuple[int, int]:
    """Return the number at `place`, as a 64-bit integer that may overflow, and where it ends."""
    while place < len(text) and text[place].isdecimal():
        number = number * 10 + ord(text[place]) - ord("0")
        place += 1
    return (number + _WORD // 2) % _WORD - _WORD // 2, place
