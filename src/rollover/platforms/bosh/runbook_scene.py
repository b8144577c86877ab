"""All that the sections of a runbook are written from."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from rollover.fleet.plan import Rollout
from rollover.platforms.bosh.runbook_drafting import AgentsStep, DirectorStep, Draft, Step
from rollover.platforms.bosh.runbook_facts import DeploymentFacts, Facts, InstanceFacts
from rollover.platforms.bosh.runbook_shell import Shell

AGENTS_SECONDS = 300
"""For agents after a restart of NATS: 70 s at worst (measured), and a slow director."""
CONNECTED_SECONDS = 120


class Scene(NamedTuple):
    """All that a step is written from."""

    draft: Draft
    facts: Facts
    shell: Shell

    @property
    def withdraws(self) -> int:
        """Return the number of the step that the old CA goes with; 0 without such a step."""
        bundles = [
            (number, each.bundle)
            for number, each in enumerate(self.draft.steps, 1)
            if isinstance(each, DirectorStep)
        ]
        later = (number for number, size in bundles[1:] if size == 1)
        return next(later, bundles[-1][0] if bundles else 0)

    def takes(self, step: Step) -> timedelta:
        """Return how long a step takes when deployments follow one another."""
        if isinstance(step, DirectorStep):
            return step.rollout.duration
        one_by_one = (each.takes for each, _ in self.deployments(step))
        return max(step.rollout.duration, sum(one_by_one, start=timedelta()))

    def deployments(
        self, step: AgentsStep
    ) -> tuple[tuple[DeploymentFacts, tuple[InstanceFacts, ...]], ...]:
        """Return the deployments of a step, each with those of its instances that it is for."""
        meant = {name for each in step.rollout.assignments for name in each.instances}
        found = (
            (each, tuple(one for one in each.instances if one.name in meant))
            for each in self.facts.deployments
        )
        return tuple((each, wanted) for each, wanted in found if wanted)

    def agents_after(self, number: int) -> int:
        """Return the number of the next step of agents; 0 when there is none."""
        later = enumerate(self.draft.steps[number:], number + 1)
        return next((at for at, each in later if isinstance(each, AgentsStep)), 0)

    def answering(self) -> tuple[str, str]:
        """Return what the gates `agents` and `connected` say."""
        count = len(self.facts.instances)
        return (
            f"PASS: {count} agents: all answer, and their jobs run",
            f"PASS: {count} agents: all are connected to NATS",
        )


def phases(rollout: Rollout) -> str:
    """Return what a rollout does, in the words of plans."""
    return ", ".join(each.value for each in rollout.phases)
