"""From the text of a number or date to its value, within the limits of nats-server."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from rollover.nats_config.scan import Token
from rollover.nats_config.source import Source
from rollover.nats_config.tree import Date

_INT64_DIGITS = 19
_INT64_LIMIT = 1 << 63
_INTEGER = re.compile(r"(-?)([0-9]+)(.*)", re.DOTALL)
_UNITS = {"": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _UNITS[_letter] = 1000**_power
    _UNITS |= dict.fromkeys((f"{_letter}b", f"{_letter}i", f"{_letter}ib"), 1024**_power)


# The switch over suffixes is in conf/parse.go, processItem.


class UnknownUnit(Exception):
    """The letters after a number are a unit to the lexer, but none that has a size."""


def integer(token: Token, source: Source) -> int:
    """Return the integer with its unit applied; it wraps at 64 bits as nats-server's does.

    Raises UnknownUnit for `kbb` and the like, whose field nats-server silently drops.
    """
    found = _INTEGER.fullmatch(token.text)
    if found is None:
        raise source.error(
            token.offset, "an integer has digits that are not 0 to 9", hint="write plain digits"
        )
    sign, digits, unit = found.groups()
    significant = digits.lstrip("0") or "0"
    number = int(sign + significant) if len(significant) <= _INT64_DIGITS else _INT64_LIMIT
    if not -_INT64_LIMIT <= number < _INT64_LIMIT:
        raise source.error(
            token.offset,
            "an integer does not fit into 64 bits",
            hint="put long digit strings in quotes",
        )
    if unit.lower() not in _UNITS:
        raise UnknownUnit
    return _wrapped(number * _UNITS[unit.lower()])


def _wrapped(number: int) -> int:
    return (number + _INT64_LIMIT) % (1 << 64) - _INT64_LIMIT


def floating(token: Token, source: Source) -> float:
    """Return the float; raise NatsConfigError when it is out of range."""
    number = float(token.text) if token.text.isascii() else math.inf
    if math.isinf(number):
        raise source.error(
            token.offset, "a float is out of range", hint="put digit strings in quotes"
        )
    return number


def date(token: Token, source: Source) -> Date:
    """Return the moment; raise NatsConfigError when the calendar has no such day or time."""
    numbers = [int(part) for part in re.findall(r"\d+", token.text)]
    year, *rest = numbers
    try:
        # The calendar repeats every 400 years; Python has no year 0, Go has.
        datetime(2000 + year % 400, *rest, tzinfo=UTC)  # type: ignore[arg-type,misc]  # five more integers
    except ValueError:
        rest = []
    if not rest or not token.text.isascii():
        raise source.error(
            token.offset,
            "there is no such date and time",
            hint="check month, day, hour, minute and second, or put the string in quotes",
        )
    return Date(token.text)
