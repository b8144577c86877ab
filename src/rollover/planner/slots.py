"""The places that hold material, and the stages that a rotation takes each of them through."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.goal import Goal, Prospect
from rollover.fleet.names import Fingerprint


class Stage(IntEnum):
    """How far a slot is. A later stage never makes a later rollout harder."""

    KEEP = 0
    MEANWHILE = 1
    """Both trusted, in the old order; a chain with its bridge."""
    TURNED = 2
    """Both trusted, the new first: some OpenSSL peers try only the first of two equal names."""
    END = 3


class Slot(msgspec.Struct, frozen=True):
    """One slot of a class: its values by stage. A stage that it does not have is absent.

    `ends` are the values that count as having arrived.
    """

    name: str
    is_chain: bool
    values: tuple[tuple[Stage, Chain | Bundle], ...]
    ends: frozenset[Chain | Bundle]

    @property
    def moves(self) -> bool:
        """Whether the goal asks for anything else than what the slot holds."""
        return len(self.values) > 1


def still(name: str, value: Chain | Bundle, *, is_chain: bool) -> Slot:
    """Return a slot that keeps its value throughout."""
    return Slot(name, is_chain, ((Stage.KEEP, value),), frozenset((value,)))


def chain_slot(name: str, chain: Chain, prospect: Prospect | None, goal: Goal) -> Slot:
    """Return the stages of a chain: as it is, bridged, reissued."""
    if prospect is None or not chain:
        return still(name, chain, is_chain=True)
    if prospect.issuer == goal.target:
        return _already_reissued(name, chain, prospect)
    stages: list[tuple[Stage, Chain]] = [(Stage.KEEP, chain)]
    ends = {prospect.renewed}
    if prospect.bridged is not None and not goal.compromised:
        stages.append((Stage.MEANWHILE, prospect.bridged))
        ends.add(prospect.bridged)
    stages.append((Stage.END, prospect.renewed))
    return Slot(name, True, tuple(stages), frozenset(ends))


def _already_reissued(name: str, chain: Chain, prospect: Prospect) -> Slot:
    if chain == prospect.renewed:
        return still(name, chain, is_chain=True)
    values = ((Stage.KEEP, chain), (Stage.END, prospect.renewed))
    return Slot(name, True, values, frozenset((chain, prospect.renewed)))


def bundle_slot(name: str, bundle: Bundle, goal: Goal, *, collides: bool) -> Slot:
    """Return the stages of a bundle: as it is, both trusted, the goal's.

    A bundle that trusts no version of the authority serves another purpose, and stays.
    """
    of_authority = {*goal.retired, *goal.trusted}
    if not of_authority.intersection(bundle):
        return still(name, bundle, is_chain=False)
    end = joined(tuple(ca for ca in bundle if ca not in goal.retired), goal.trusted)
    return between(name, bundle, end, is_chain=False, collides=collides)


def between(
    name: str, start: Chain | Bundle, end: Chain | Bundle, *, is_chain: bool, collides: bool = False
) -> Slot:
    """Return the slot that leads from one value to another: how a rollback is planned too."""
    if start == end:
        return still(name, start, is_chain=is_chain)
    stages: list[tuple[Stage, Chain | Bundle]] = [(Stage.KEEP, start)]
    if not is_chain:
        both = joined(start, end)
        if both not in (start, end):
            stages.append((Stage.MEANWHILE, both))
        turned = joined(end, start)
        if collides and turned not in (start, end, both):
            stages.append((Stage.TURNED, turned))
    stages.append((Stage.END, end))
    return Slot(name, is_chain, tuple(stages), frozenset((end,)))


def joined(first: Bundle, second: Bundle) -> Bundle:
    """Return the first bundle, then what the second adds: order kept, nothing twice."""
    return tuple(dict.fromkeys((*first, *second)))


def removed(before: Bundle, after: Bundle) -> tuple[Fingerprint, ...]:
    """Return what a change of bundle takes away."""
    return tuple(ca for ca in before if ca not in after)
