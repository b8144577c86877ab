"""Rotates the CA of a fleet from Python: look, plan, see the proof, run, verify.

Usage: python examples/library/rotate.py FLEET.YML
"""

# ruff: noqa: INP001, T201 - a program, which prints

from __future__ import annotations

import sys

import rollover
from rollover.engine.events import Conduct, Ending, Event, Outcome, RolloutFinished
from rollover.engine.goals import Request
from rollover.fleet.plan import Plan, Rollout


def approve(_plan: Plan, rollout: Rollout) -> bool:
    """Say yes to a rollout from which a way leads back; this is asked before each of them."""
    return rollout.rollback_rollouts is not None


def tell(event: Event) -> None:
    """Show what was done."""
    if isinstance(event, RolloutFinished):
        words = ", ".join(event.rollout.phases)
        print(f"rollout {event.number} of {event.of}: {event.rollout.group}, {words}")


def rotate(path: str) -> Outcome:
    """Plan the rotation of the fleet's only CA, show the proofs, do it, and look again."""
    with rollover.open_fleet(path) as fleet:
        request = Request(authority=fleet.authority())
        plan = fleet.plan(request)
        for step in plan.rollouts:
            print(f"{step.group}: safe on {step.proof.links} links")
        conduct = Conduct(approve=approve, tell=tell, stopping=lambda: False)
        outcome = fleet.rotate(request, conduct)
        seen = fleet.verify(request.authority)
        print(outcome.message, "and every handshake is as it should be" if seen.holds else "")
        return outcome


if __name__ == "__main__":
    ended = rotate(sys.argv[1])
    sys.exit(0 if ended.ending is Ending.DONE else 4)
