"""Which instances of a group stay, which are new, which go. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rollover_lab.bosh.director.nouns import Instance
from rollover_lab.bosh.director.refusals import IgnoredInDeletion


class NewInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that has to be made."""

    index: int
    az: str | None


class Placement(NamedTuple):
    """What becomes of a group's instances."""

    kept: tuple[Instance, ...]
    new: tuple[NewInstance, ...]
    obsolete: tuple[Instance, ...]


def place(existing: Sequence[Instance], *, size: int, azs: Sequence[str]) -> Placement:
    """Keep as many instances as the group shall have, in zones that it has, ignored ones first.

    Raises `IgnoredInDeletion` when an ignored one would have to go.
    """
    fitting = [each for each in existing if not azs or each.az in azs]
    preferred = sorted(fitting, key=lambda each: (not each.ignore, each.index))[:size]
    kept = tuple(sorted(preferred, key=lambda each: each.index))
    obsolete = tuple(each for each in existing if each not in kept)
    check_none_ignored(obsolete)
    return Placement(kept, _new(existing, kept, size=size, azs=azs), obsolete)


def check_none_ignored(going: Sequence[Instance]) -> None:
    """Raise `IgnoredInDeletion` when one of these instances is ignored."""
    for each in going:
        if each.ignore:
            raise IgnoredInDeletion(
                f"You are trying to delete instance group '{each.group}', which contains "
                "ignored instance(s). Operation not allowed."
            )


def _new(
    existing: Sequence[Instance], kept: Sequence[Instance], *, size: int, azs: Sequence[str]
) -> tuple[NewInstance, ...]:
    taken = {each.index for each in existing}
    loads = Counter(each.az for each in kept)
    new: list[NewInstance] = []
    for _ in range(size - len(kept)):
        az = min(azs, key=lambda name: loads[name]) if azs else None
        index = next(number for number in range(len(taken) + 1) if number not in taken)
        loads[az] += 1
        taken.add(index)
        new.append(NewInstance(index=index, az=az))
    return tuple(new)
