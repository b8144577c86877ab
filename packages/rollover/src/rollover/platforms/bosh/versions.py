"""Which VMs take new NATS credentials in place, which must be recreated, and what either costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from rollover.platforms.bosh.records import Stemcell

DIRECTOR = (271, 12)
"""The first director that sends NATS credentials with `update_settings`."""
BIONIC = (1, 36)
"""The first Bionic stemcell with an agent (2.388) that takes them."""
WINDOWS_2019 = (2019, 41)
"""Likewise for Windows 2019."""

IN_PLACE_SECONDS = 46.4
"""`update_settings` by the director: it loses one status poll and waits 45 s for it (measured)."""
DIRECT_SECONDS = 3.1
"""The same with a poll that waits 2 s (measured)."""
RECREATE_SECONDS = 240.0
"""A VM deleted and made again: 3 to 5 minutes, by what operators report."""

_TOO_OLD = re.compile(
    r"trusty|xenial|centos|opensuse|photon|windows(?:1803|2012r2|2016)", re.IGNORECASE
)
_NUMBER = re.compile(r"[0-9]+")


class Way(StrEnum):
    """How an instance gets new credentials."""

    IN_PLACE = "in place"
    """Its agent is told, and restarts; the director restarts the jobs as well."""
    DIRECT = "direct"
    """Rollover tells its agent; the jobs go on running."""
    RECREATE = "recreate"
    """A new VM; persistent disks move over."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The way for one instance, why it is not a gentler one, and what it takes."""

    way: Way
    why: str = ""
    seconds: float


LOST = Verdict(way=Way.RECREATE, why="its agent is cut off", seconds=RECREATE_SECONDS)
"""Of an instance that nobody can reach: `--fix` makes it anew."""


def of_instance(director: Sequence[int], stemcell: Stemcell | None) -> Verdict:
    """Return how an instance made from that stemcell takes new credentials from that director."""
    why = director_too_old(director) or stemcell_too_old(stemcell)
    if why:
        return Verdict(way=Way.RECREATE, why=why, seconds=RECREATE_SECONDS)
    return Verdict(way=Way.IN_PLACE, seconds=IN_PLACE_SECONDS)


def director_too_old(version: Sequence[int]) -> str:
    """Return why this director cannot update credentials in place, empty when it can."""
    if tuple(version[: len(DIRECTOR)]) >= DIRECTOR:
        return ""
    return f"the director is {_written(version)}, older than {_written(DIRECTOR)}"


def stemcell_too_old(stemcell: Stemcell | None) -> str:
    """Return why the agent of this stemcell ignores new credentials, empty when it takes them.

    What cannot be told apart counts as too old: an agent that ignores them answers `ok` (H1).
    """
    if stemcell is None:
        return "its stemcell is unknown"
    named = f"{stemcell.name} {stemcell.operating_system}".lower()
    shown = f"{stemcell.name}/{stemcell.version}"
    if _TOO_OLD.search(named):
        return f"`{shown}` has an agent older than 2.388"
    for system, least in (("bionic", BIONIC), ("windows2019", WINDOWS_2019)):
        version = tuple(int(each) for each in _NUMBER.findall(stemcell.version))[:2]
        if system in named and version < least:
            return f"`{shown}` is older than {system} {_written(least)} (agent 2.388)"
    if not re.search(r"bionic|windows|ubuntu", named):
        return f"`{shown}` is of no kind that is known to take credentials in place"
    return ""


def _written(version: Sequence[int]) -> str:
    return ".".join(str(each) for each in version) or "of an unknown version"
