"""How old the agent of a stemcell is, as far as it matters to a rotation."""

from __future__ import annotations

import re

_FIRST_WITH_MBUS = {"bionic": (1, 36), "windows2019": (2019, 41)}
"""The first stemcells with an agent of 2.388 or later (reference/bosh.md §2.1)."""
_ALL_OLDER = ("trusty", "xenial", "windows2012", "windows2016", "windows1803")
"""Lines that had ended, or never got it."""


def ignores_mbus(name: str, version: str) -> bool:
    """Say whether the agent is older than 2.388: it answers `ok`, and keeps its credentials."""
    for line, first in _FIRST_WITH_MBUS.items():
        if line in name:
            return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < first
    return any(line in name for line in _ALL_OLDER)
