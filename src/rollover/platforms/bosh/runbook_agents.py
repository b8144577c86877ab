"""A step of all agents in a runbook: what they show, deploys, gates, and what helps then."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rollover.fleet.names import InstanceName
from rollover.platforms.bosh.runbook_drafting import AgentsStep, DirectorStep
from rollover.platforms.bosh.runbook_facts import DeploymentFacts, Facts, InstanceFacts
from rollover.platforms.bosh.runbook_markdown import (
    bullets,
    many,
    output,
    sentence,
    shell,
    took,
)
from rollover.platforms.bosh.runbook_scene import AGENTS_SECONDS, CONNECTED_SECONDS, Scene
from rollover.platforms.bosh.runbook_shell import gates

MOST_BLOCKS = 6
"""So many deployments get commands of their own; more are one loop."""


def agents(number: int, found: AgentsStep, scene: Scene) -> Iterator[str]:
    """Yield the parts of such a step."""
    deployments = scene.deployments(found)
    yield (
        f"Takes about {took(scene.takes(found))} with one deployment after another, as below; "
        f"{took(found.rollout.duration)} with as many at a time as the director has workers, in "
        f"several shells. {sentence(_interruption(scene.facts))} Stop at the first that fails."
    )
    if not scene.facts.recovers:
        yield f"### {number}.1 Note who shows which certificate"
        yield "Once. If you repeat this step, what was noted stays."
        yield shell(gates(f"note {number}"))
        yield output(f"PASS: certificates of {len(scene.facts.instances)} agents are noted in …")
    yield f"### {number}.{1 if scene.facts.recovers else 2} Give every agent its new certificate"
    yield from _deploys(deployments, scene)
    yield f"### {number}.{2 if scene.facts.recovers else 3} Gate"
    yield from _agents_gate(number, scene)
    yield from _back_from_agents(number, scene)


def _interruption(facts: Facts) -> str:
    anew = sum(bool(each.recreate) for each in facts.instances)
    if facts.recovers:
        return "VMs are deleted and made again without a word to the jobs on them"
    told = "the jobs of each instance are drained, stopped and started once"
    if anew:
        return f"{told}; {many(anew, 'VM')} made anew, with ephemeral disks lost"
    return told


def _deploys(
    deployments: Sequence[tuple[DeploymentFacts, tuple[InstanceFacts, ...]]], scene: Scene
) -> Iterator[str]:
    # The smallest first, alone: what goes wrong goes wrong there.
    ordered = sorted(deployments, key=lambda each: (len(each[1]), each[0].name))
    lost = frozenset(scene.facts.recovery.cut_off)
    plain = [each for each, wanted in ordered if _simple(each, wanted, lost)]
    looped = plain[1:] if len(plain) > MOST_BLOCKS else []
    for each, wanted in ordered:
        if each not in looped:
            yield from _one(each, wanted, lost)
    if looped:
        names = " ".join(shlex.quote(each.name) for each in looped)
        yield f"{many(len(looped), 'deployment')}, one after another:"
        yield shell(
            f"(for deployment in {names}; do\n  {_deploy('$deployment')} ||\n  exit 1\ndone)"
        )


def _simple(
    deployment: DeploymentFacts,
    wanted: tuple[InstanceFacts, ...],
    lost: frozenset[InstanceName],
) -> bool:
    return not any(each.recreate or each.name in lost for each in (*wanted, *deployment.instances))


def _one(
    deployment: DeploymentFacts,
    wanted: tuple[InstanceFacts, ...],
    lost: frozenset[InstanceName],
) -> Iterator[str]:
    name = deployment.name
    pacing = f"{many(len(wanted), 'instance')}, {deployment.at_once} at a time"
    estimate = f", about {took(deployment.takes)}" if deployment.takes else ""
    yield f"`{name}`: {pacing}{estimate}."
    anew = tuple(each for each in wanted if each.recreate)
    cut_off = tuple(each for each in wanted if each.name in lost)
    everybody = len(deployment.instances)
    bosh = f"bosh -n -d {shlex.quote(name)}"
    if lost:
        yield "`--fix` is needed: no agent answers. Nothing on the VMs is stopped in order."
        if len(cut_off) == everybody:
            yield shell(f"{bosh} recreate --fix")
        else:
            yield shell(_deploy(name, fix=True))
        return
    if anew:
        yield "These cannot take new credentials in place, whatever a deploy says:"
        yield bullets(f"`{each.short}`: {each.recreate}" for each in anew)
    if anew and len(anew) == everybody:
        yield shell(f"{bosh} recreate")
        return
    commands = [_deploy(name)] if len(anew) < len(wanted) else []
    commands += [f"{bosh} recreate {shlex.quote(each.short)}" for each in anew]
    yield shell(" &&\n  ".join(commands))


def _deploy(deployment: str, *, fix: bool = False) -> str:
    name = '"$deployment"' if deployment == "$deployment" else shlex.quote(deployment)
    path = f'"$PRIVATE/{deployment}.yml"'
    pending = "" if fix else f'"$RUNBOOK/gate" pending {name} {path} &&\n  '
    return (
        f"(umask 077 && bosh -d {name} manifest > {path}) &&\n  {pending}"
        f"bosh -n -d {name} deploy {path}{' --fix' if fix else ''}"
    )


def _agents_gate(number: int, scene: Scene) -> Iterator[str]:
    calls = [f"agents {AGENTS_SECONDS}"]
    said = list(scene.answering())
    if scene.facts.recovers:
        calls.append(f"connected {CONNECTED_SECONDS}")
    else:
        calls.append(f"changed {number} {CONNECTED_SECONDS}")
        said[1] = (
            f"PASS: {len(scene.facts.instances)} agents: "
            "each is connected with another certificate than before"
        )
        yield (
            "A deploy can succeed although an agent changed nothing. What it shows to NATS is "
            "the proof; the number may differ where VMs came or went."
        )
    yield shell(gates(*calls))
    yield output(*said)


def _back_from_agents(number: int, scene: Scene) -> Iterator[str]:
    yield "### If the gate fails"
    if scene.facts.recovers:
        yield "Read `bosh task N --debug` of what failed, mend it, and run its command again."
        return
    yield bullets(
        (
            "`pending`: somebody else's change waits. Deploy it on its own first, or take it back.",
            "a deploy failed: read `bosh task N --debug`, mend the cause, run its command again.",
            "`still shows the certificate`: deploy once more; then `bosh -d D recreate G/ID`.",
            (
                "`unresponsive agent`, `is not connected`: `bosh -d D recreate G/ID --fix`, which "
                "stops nothing in order: not for databases without a backup."
            ),
            (
                "`in no deployment`: an orphaned VM, or one of another director. Delete it, or ask "
                "its owner."
            ),
        )
    )
    if any(isinstance(each, DirectorStep) for each in scene.draft.steps[number:]):
        yield (
            "**Never go on past this gate**: whoever fails it is cut off by the next step. It may "
            "stay like this for days: new and old certificates are accepted."
        )
    else:
        yield "There is no hurry: everybody is on the new CA, and this only takes the old one away."
