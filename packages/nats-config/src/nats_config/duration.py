"""Durations as Go writes and reads them (time.ParseDuration)."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile("([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_WHOLE = re.compile(f"([+-]?)((?:{_PART.pattern})+)")
_LIMIT_SECONDS = (1 << 63) / 1e9


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means; raise ValueError when it is no duration."""
    if text in ("0", "+0", "-0"):
        return 0.0
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    parts = _PART.findall(found.group(2))
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds >= _LIMIT_SECONDS:
        raise ValueError(text)
    return -seconds if found.group(1) == "-" else seconds
