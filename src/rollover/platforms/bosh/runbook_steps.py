"""The steps of a runbook: what each changes and why, with its commands and gates."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.fleet.plan import Phase, Rollout
from rollover.platforms.bosh import describe, runbook_agents, runbook_director
from rollover.platforms.bosh.runbook_drafting import AgentsStep
from rollover.platforms.bosh.runbook_markdown import bullets, many
from rollover.platforms.bosh.runbook_scene import Scene, phases

_MEANING = {
    Phase.TRUST: "The new CA is trusted as well from now on: whoever changes first is understood.",
    Phase.ACTIVATE: "New VMs and deploys get certificates of the new CA from now on.",
    Phase.REISSUE: "Certificates of the new CA are shown in place of those of the old one.",
    Phase.WITHDRAW: "The old CA is trusted no more: what still comes from it is refused.",
}


def step(number: int, scene: Scene) -> Iterator[str]:
    """Yield one step of the plan."""
    found = scene.draft.steps[number - 1]
    where = "all agents" if isinstance(found, AgentsStep) else "the director VM"
    yield f"## Step {number}: {where} ({phases(found.rollout)})"
    yield "\n".join(_meanings(found.rollout))
    yield bullets(_changes(found.rollout))
    yield from _breaks(found.rollout)
    if isinstance(found, AgentsStep):
        yield from runbook_agents.agents(number, found, scene)
    else:
        yield from runbook_director.director(number, found, scene)


def _meanings(rollout: Rollout) -> Iterator[str]:
    both = {Phase.TRUST, Phase.WITHDRAW} <= set(rollout.phases)
    for each in rollout.phases:
        if both and each is Phase.TRUST:
            yield "The new CA is trusted from now on, alone."
        elif each in _MEANING:
            yield _MEANING[each]


def _changes(rollout: Rollout) -> Iterator[str]:
    for each in rollout.changes:
        parts = []
        if each.present is not None:
            verb = "signs with" if each.endpoint == describe.SOURCE else "presents"
            parts.append(f"{verb} {each.present} instead of {each.present_from}")
        if each.trust is not None:
            parts.append(f"trusts {' and '.join(each.trust)}")
        yield f"`{each.endpoint}` {', '.join(parts)}"


def _breaks(rollout: Rollout) -> Iterator[str]:
    if rollout.breaks:
        links = sum(each.links for each in rollout.breaks)
        yield f"**This step breaks {many(links, 'link')} on purpose**: the old key has leaked."
