"""Rotates the CA of a fleet from Python: look, plan, see the proof, run, verify.

Usage: python examples/library/rotate.py FLEET.YML
"""

from __future__ import annotations

import sys
from pathlib import Path

from rollover.cli.wiring import open_site
from rollover.engine.events import Event, RolloutFinished
from rollover.engine.service import Conduct, Ending, Outcome, Request, Rollover
from rollover.fleet.plan import Plan, Rollout


def approve(plan: Plan, rollout: Rollout) -> bool:
    """Say yes to rollouts that can be taken back; this is asked before each of them."""
    return rollout.rollback_rollouts is not None


def tell(event: Event) -> None:
    """Show what was done."""
    if isinstance(event, RolloutFinished):
        words = ", ".join(event.rollout.phases)
        print(f"rollout {event.number} of {event.of}: {event.rollout.group}, {words}")


def rotate(fleet: Path) -> Outcome:
    """Plan the rotation of the fleet's only CA, show the proofs, and do it."""
    with open_site(fleet) as site:
        rollover = Rollover(site)
        request = Request(authority=rollover.authority())
        plan = rollover.plan(request)
        for rollout in plan.rollouts:
            proof = rollout.proof
            print(f"{rollout.group}: safe on {proof.links} links, in {proof.combinations} mixtures")
        conduct = Conduct(approve=approve, tell=tell, stopping=lambda: False)
        return rollover.rotate(request, conduct)


if __name__ == "__main__":
    outcome = rotate(Path(sys.argv[1]))
    print(outcome.message)
    sys.exit(0 if outcome.ending is Ending.DONE else 4)
