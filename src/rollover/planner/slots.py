"""The places that hold material, and the stages that a rotation takes each of them through."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from enum import IntEnum

import msgspec

from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.goal import Goal, Prospect


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

    `ends` are the values that count as having arrived. `marks` say of each value what it has in
    common with material of the same origin in other slots: what a source holds is recognised by it.
    """

    name: str
    is_chain: bool
    values: tuple[tuple[Stage, Chain | Bundle], ...]
    ends: frozenset[Chain | Bundle]
    marks: tuple[Hashable, ...]

    @property
    def moves(self) -> bool:
        """Whether the goal asks for anything else than what the slot holds."""
        return len(self.values) > 1

    def stage(self, value: Chain | Bundle) -> Stage:
        """Return the furthest stage at which the slot holds a value; KEEP for any foreign value."""
        return max((stage for stage, held in self.values if held == value), default=Stage.KEEP)

    def raised(self, value: Chain | Bundle, wanted: Stage) -> Chain | Bundle:
        """Return what a rollout towards a stage leaves: the furthest up to it, never less."""
        now = self.stage(value)
        further = [held for stage, held in self.values if now < stage <= wanted]
        return further[-1] if further else value

    def mark(self, value: Chain | Bundle) -> Hashable:
        """Return the mark of a value; None for a foreign one."""
        for (_, held), mark in zip(self.values, self.marks, strict=True):
            if held == value:
                return mark
        return None

    def marked(self, mark: Hashable) -> Stage:
        """Return the furthest stage whose value bears a mark; KEEP when none does."""
        return max(
            (
                stage
                for (stage, _), each in zip(self.values, self.marks, strict=True)
                if mark is not None and each == mark
            ),
            default=Stage.KEEP,
        )


def still(name: str, value: Chain | Bundle, *, is_chain: bool, mark: Hashable) -> Slot:
    """Return a slot that keeps its value throughout."""
    return Slot(name, is_chain, ((Stage.KEEP, value),), frozenset((value,)), (mark,))


def given_slot(name: str, now: Chain | Bundle, given: Chain | Bundle, *, is_chain: bool) -> Slot:
    """Return the stages of what is given: as it is, and that.

    Nobody's chain changes because of a bundle, so trusting both meanwhile would help nobody.
    """
    if now == given:
        return still(name, now, is_chain=is_chain, mark=now)
    values = ((Stage.KEEP, now), (Stage.END, given))
    return Slot(name, is_chain, values, frozenset((given,)), (now, given))


def chain_slot(name: str, chain: Chain, prospect: Prospect | None, goal: Goal) -> Slot:
    """Return the stages of a chain: as it is, bridged, reissued."""
    if prospect is None or not chain:
        return still(name, chain, is_chain=True, mark=chain)
    now = (prospect.issuer, goal.bridge is not None and goal.bridge in chain)
    if prospect.issuer == goal.target:
        return _already_reissued(name, chain, prospect, mark=now)
    stages: list[tuple[Stage, Chain]] = [(Stage.KEEP, chain)]
    marks: list[Hashable] = [now]
    ends = {prospect.renewed}
    if prospect.bridged is not None and not goal.compromised:
        stages.append((Stage.MEANWHILE, prospect.bridged))
        marks.append((goal.target, True))
        ends.add(prospect.bridged)
    stages.append((Stage.END, prospect.renewed))
    marks.append((goal.target, False))
    return Slot(name, True, tuple(stages), frozenset(ends), tuple(marks))


def _already_reissued(name: str, chain: Chain, prospect: Prospect, *, mark: Hashable) -> Slot:
    if chain == prospect.renewed:
        return still(name, chain, is_chain=True, mark=mark)
    values = ((Stage.KEEP, chain), (Stage.END, prospect.renewed))
    renewed = (prospect.issuer, False)
    return Slot(name, True, values, frozenset((chain, prospect.renewed)), (mark, renewed))


def bundle_slot(name: str, bundle: Bundle, goal: Goal, *, collides: bool) -> Slot:
    """Return the stages of a bundle: as it is, both trusted, the goal's.

    A bundle that trusts no version of the authority serves another purpose, and stays.
    """
    of_authority = {*goal.retired, *goal.trusted}
    if not of_authority.intersection(bundle):
        return still(name, bundle, is_chain=False, mark=frozenset(bundle))
    end = joined(tuple(ca for ca in bundle if ca not in goal.retired), goal.trusted)
    values = _between(bundle, end, collides=collides)
    marks = tuple(_mark(held, of_authority, in_order=collides) for _, held in values)
    return Slot(name, False, values, frozenset((end,)), marks)


def _mark(bundle: Bundle, of_authority: Iterable[str], *, in_order: bool) -> Hashable:
    """Return the authority's versions in a bundle; their order counts where it can matter."""
    held = tuple(ca for ca in bundle if ca in of_authority)
    return held if in_order else frozenset(held)


def returning(slot: Slot, start: Chain | Bundle, end: Chain | Bundle, *, collides: bool) -> Slot:
    """Return the slot that leads from one value of a slot to another: how a rollback is planned."""
    if start == end:
        return still(slot.name, start, is_chain=slot.is_chain, mark=slot.mark(start))
    if slot.is_chain:
        values: tuple[tuple[Stage, Chain | Bundle], ...] = ((Stage.KEEP, start), (Stage.END, end))
    else:
        values = _between(start, end, collides=collides)
    both = _united(slot.mark(start), slot.mark(end))
    marks = tuple(both if held not in (start, end) else slot.mark(held) for _, held in values)
    return Slot(slot.name, slot.is_chain, values, frozenset((end,)), marks)


def _united(one: Hashable, other: Hashable) -> Hashable:
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return one | other
    return None


def _between(start: Bundle, end: Bundle, *, collides: bool) -> tuple[tuple[Stage, Bundle], ...]:
    if start == end:
        return ((Stage.KEEP, start),)
    stages = [(Stage.KEEP, start)]
    both, turned = joined(start, end), joined(end, start)
    if both not in (start, end):
        stages.append((Stage.MEANWHILE, both))
    if collides and turned not in (start, end, both):
        stages.append((Stage.TURNED, turned))
    return (*stages, (Stage.END, end))


def joined(first: Bundle, second: Bundle) -> Bundle:
    """Return the first bundle, then what the second adds: order kept, nothing twice."""
    return tuple(dict.fromkeys((*first, *second)))
