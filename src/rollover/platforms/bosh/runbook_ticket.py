"""What of a runbook goes into a change ticket: what, why, how long, the risk, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rollover.fleet.names import short
from rollover.fleet.plan import Plan
from rollover.platforms.bosh.runbook_drafting import AgentsStep, DirectorStep
from rollover.platforms.bosh.runbook_facts import DeploymentFacts
from rollover.platforms.bosh.runbook_markdown import code, many, table, took
from rollover.platforms.bosh.runbook_scene import Scene, phases


def ticket(plan: Plan, scene: Scene) -> Iterator[str]:
    """Yield what goes into a change ticket."""
    signer = scene.draft.signer
    total = sum((scene.takes(each) for each in scene.draft.steps), start=timedelta())
    yield "## For the change ticket"
    yield table(
        ("", ""),
        (
            ("what", _what(scene)),
            (
                "why",
                (
                    f"the CA `{signer.subject}` ({short(signer.fingerprint)}) "
                    f"{'ended' if signer.not_after < plan.made_at else 'ends'} on "
                    f"{signer.not_after:%Y-%m-%d}"
                ),
            ),
            ("takes", f"about {took(total)}, and the time of the people who read the gates"),
            ("interrupts", _interrupts(scene)),
            ("risk", _risk(scene)),
            ("going back", _going_back(scene)),
            ("secrets", f"copies of the vars store, in `{scene.shell.private}` until the end"),
            ("when", "from ____ to ____, nobody deploys meanwhile"),
            ("who", "carries it out: ____, reads each gate along: ____"),
        ),
    )
    yield from _deployments(scene)


def _what(scene: Scene) -> str:
    places = [each for each in scene.facts.deployments if each.instances]
    return (
        "director, health monitor, NATS and "
        f"{many(len(scene.facts.instances), 'agent')} in {many(len(places), 'deployment')} "
        "get certificates of a new CA; in the end the old CA is trusted no more"
    )


def _interrupts(scene: Scene) -> str:
    directors = sum(isinstance(each, DirectorStep) for each in scene.draft.steps)
    agents = len(scene.draft.steps) - directors
    anew = len(scene.facts.anew)
    if scene.facts.recovers:
        return "every VM is made anew without a stop: see above"
    parts = [f"the director's API, {directors}×"] if directors else []
    parts += [f"the jobs of each instance, one stop and start, {agents}×"] if agents else []
    parts += [f"{many(anew, 'VM')} made anew instead: ephemeral disks are lost"] if anew else []
    return "; ".join(parts)


def _risk(scene: Scene) -> str:
    if scene.facts.recovers:
        return "lost writes and damaged databases: see above"
    withdraws = scene.withdraws
    return (
        f"an agent that was passed by is cut off in step {withdraws}, and its VM has to be made "
        "anew; the gates find it before"
        if withdraws > 1
        else "see the steps"
    )


def _going_back(scene: Scene) -> str:
    if scene.facts.recovers:
        return "none: the present certificates have expired"
    return "each step says how; what cannot be undone is marked in the table of steps"


def _deployments(scene: Scene) -> Iterator[str]:
    rows = [_row(each, scene) for each in scene.facts.deployments if each.instances]
    if rows:
        yield table(("deployment", "VMs", "made anew", "at once", "takes", "with a disk"), rows)


def _row(facts: DeploymentFacts, scene: Scene) -> tuple[str, ...]:
    return (
        f"`{facts.name}`",
        str(len(facts.instances)),
        str(sum(each.name in scene.facts.anew for each in facts.instances)),
        str(facts.at_once),
        took(facts.takes),
        str(sum(each.disk for each in facts.instances)),
    )


def glance(scene: Scene) -> Iterator[str]:
    """Yield a table of the steps."""
    yield "## Steps at a glance"
    steps = list(enumerate(scene.draft.steps, 1))
    rows = [
        (
            str(number),
            "all agents" if isinstance(each, AgentsStep) else "director VM",
            phases(each.rollout),
            code("" if isinstance(each, AgentsStep) else each.ops_file),
            took(scene.takes(each)),
            _back(number, scene),
            "",
        )
        for number, each in steps
    ]
    if scene.draft.clean_up:
        name = code(scene.draft.clean_up)
        number = str(len(steps) + 1)
        rows.append((number, "vars store", "clean", name, "1 min", "copy of the store", ""))
    head = ("step", "where", "does", "file", "takes", "back", "done at, by")
    yield table(head, rows)


def _back(number: int, scene: Scene) -> str:
    found = scene.draft.steps[number - 1]
    if scene.facts.recovers:
        return "**none**"
    if isinstance(found, DirectorStep):
        after = scene.agents_after(number)
        return f"until step {after} begins" if after else "its file"
    if number < scene.withdraws:
        return "see the last section" if scene.draft.go_back else "stay here"
    return "**none** once it has begun"
