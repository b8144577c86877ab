"""The places that hold material, and the stages that a rotation takes each of them through."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from enum import IntEnum

import msgspec

from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.goal import BundleCourse, ChainCourse
from rollover.fleet.names import Fingerprint


class BundleFile(msgspec.Struct, frozen=True):
    """Where a bundle lies; None: nobody says so."""

    path: str | None


Value = Chain | Bundle | BundleFile
"""What a slot may hold."""


def certificates_of(value: Value) -> tuple[Fingerprint, ...]:
    """Return the certificates of a chain, or of a bundle; where a bundle lies has none."""
    return () if isinstance(value, BundleFile) else value


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
    values: tuple[tuple[Stage, Value], ...]
    ends: frozenset[Value]
    marks: tuple[Hashable, ...]

    @property
    def moves(self) -> bool:
        """Whether the goal asks for anything else than what the slot holds."""
        return len(self.values) > 1

    def stage(self, value: Value) -> Stage:
        """Return the furthest stage at which the slot holds a value; KEEP for any foreign value."""
        return max((stage for stage, held in self.values if held == value), default=Stage.KEEP)

    def raised(self, value: Value, wanted: Stage) -> Value:
        """Return what a rollout towards a stage leaves: the furthest up to it, never less."""
        now = self.stage(value)
        further = [held for stage, held in self.values if now < stage <= wanted]
        return further[-1] if further else value

    def mark(self, value: Value) -> Hashable:
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


def still(name: str, value: Value, *, is_chain: bool, mark: Hashable) -> Slot:
    """Return a slot that keeps its value throughout."""
    return Slot(name, is_chain, ((Stage.KEEP, value),), frozenset((value,)), (mark,))


_CHAIN_STAGES = {
    1: (Stage.KEEP,),
    2: (Stage.KEEP, Stage.END),
    3: (Stage.KEEP, Stage.MEANWHILE, Stage.END),
}
"""The stages of a course, by the number of its chains."""


def chain_slot(name: str, course: ChainCourse) -> Slot:
    """Return the slot of a chain that goes through a course."""
    stages = _CHAIN_STAGES[len(course.chains)]
    values = tuple(zip(stages, course.chains, strict=True))
    return Slot(name, True, values, frozenset(course.arrived), course.origins)


def bundle_slot(name: str, bundle: Bundle, course: BundleCourse, *, collides: bool) -> Slot:
    """Return the stages of a bundle: as it is, both trusted where that helps, the goal's."""
    if course.joined:
        values = _between(bundle, course.end, collides=collides)
    else:
        values = _straight(bundle, course.end)
    if not course.versions:
        marks: tuple[Hashable, ...] = tuple(frozenset(held) for _, held in values)
    else:
        marks = tuple(_mark(held, course.versions, in_order=collides) for _, held in values)
    return Slot(name, False, values, frozenset((course.end,)), marks)


def file_slot(name: str, now: BundleFile, wanted: BundleFile) -> Slot:
    """Return the stages of where a bundle lies: as it is, and where it is to lie."""
    if now == wanted:
        return still(name, now, is_chain=False, mark=now)
    values = ((Stage.KEEP, now), (Stage.END, wanted))
    return Slot(name, False, values, frozenset((wanted,)), (now, wanted))


def _straight(start: Bundle, end: Bundle) -> tuple[tuple[Stage, Bundle], ...]:
    return ((Stage.KEEP, start),) if start == end else ((Stage.KEEP, start), (Stage.END, end))


def _mark(bundle: Bundle, of_authority: Iterable[str], *, in_order: bool) -> Hashable:
    """Return the authority's versions in a bundle; their order counts where it can matter."""
    held = tuple(ca for ca in bundle if ca in of_authority)
    return held if in_order else frozenset(held)


def returning(slot: Slot, start: Value, end: Value, *, collides: bool) -> Slot:
    """Return the slot that leads from one value of a slot to another: how a rollback is planned."""
    if start == end:
        return still(slot.name, start, is_chain=slot.is_chain, mark=slot.mark(start))
    if slot.is_chain or isinstance(start, BundleFile) or isinstance(end, BundleFile):
        values: tuple[tuple[Stage, Value], ...] = ((Stage.KEEP, start), (Stage.END, end))
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
