"""A goal as machines read it: one flat object for every kind, as version 1 of the output has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import msgspec

from rollover.engine.outcome import Outcome
from rollover.fleet.goal import Goal, Installation, InstallMaterial, RotateAuthority, name_of
from rollover.fleet.names import Fingerprint
from rollover.fleet.plan import Plan


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return a plan as machines read it."""
    return {**msgspec.structs.asdict(plan), "goal": goal_fields(plan.goal)}


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return how a run ended as machines read it."""
    last = outcome.last_plan
    return {
        **msgspec.structs.asdict(outcome),
        "last_plan": None if last is None else plan_fields(last),
    }


def goal_fields(goal: Goal) -> Mapping[str, Any]:
    """Return a goal as machines read it.

    What has no meaning for its kind is there all the same, for readers that are older than kinds:
    `authority` is the name that the rotation goes by, `target` the last certificate that decides.
    """
    match goal:
        case RotateAuthority():
            return {**msgspec.structs.asdict(goal), "given": ()}
        case InstallMaterial():
            return {
                "authority": name_of(goal.about),
                "target": _last(goal.parts[0]),
                "trusted": tuple(_bundled(goal.parts)),
                "retired": (),
                "bridge": None,
                "compromised": False,
                "step_margin": goal.step_margin,
                "given": goal.parts,
            }
        case never:
            assert_never(never)


def _last(part: Installation) -> str:
    return next(reversed(part.chain or part.bundle or ()), "")


def _bundled(parts: Iterable[Installation]) -> dict[Fingerprint, None]:
    """Return every CA of every bundle, once."""
    return dict.fromkeys(ca for part in parts for ca in part.bundle or ())
