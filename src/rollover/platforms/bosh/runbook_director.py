"""A step of the director VM in a runbook: new certificates, `create-env`, gates, the way back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rollover.platforms.bosh.runbook_drafting import FORGET, KEEP, DirectorStep
from rollover.platforms.bosh.runbook_markdown import code, detour, listed, output, shell, took
from rollover.platforms.bosh.runbook_scene import AGENTS_SECONDS, CONNECTED_SECONDS, Scene
from rollover.platforms.bosh.runbook_shell import gates


def director(number: int, found: DirectorStep, scene: Scene) -> Iterator[str]:
    """Yield the parts of such a step."""
    yield (
        f"Takes about {took(found.rollout.duration)}. Meanwhile the director's API is away and "
        "agents are without NATS; jobs on other VMs go on. Nobody can deploy."
    )
    if found.forgets:
        yield from _forgetting(number, scene)
    if found.makes:
        yield from _making(number, found, scene)
    yield f"### {number}.{_part(found)} Deploy the director"
    yield f"Your own line, {_with(found.ops_file)}. Nothing else may differ from before."
    yield shell(scene.shell.create_env(found.ops_file))
    yield "It ends with `Succeeded`. If it fails, run the same again: it goes on where it was."
    yield f"### {number}.{_part(found) + 1} Gate"
    yield from _director_gate(found, scene)
    yield from _back_from_director(number, found, scene)


def _part(found: DirectorStep) -> int:
    return 1 + found.makes + found.forgets


def _with(ops_file: str) -> str:
    return f"with {code(ops_file)} as its last ops file" if ops_file else "without an ops file"


def _forgetting(number: int, scene: Scene) -> Iterator[str]:
    names = scene.draft.manifest.names.all
    yield f"### {number}.1 Take the expired certificates out of the vars store"
    yield (
        f"These go, and nothing else: {listed(names)}. The store is replaced at once, and only by "
        "one that is complete."
    )
    yield shell(
        '(umask 077 && bosh int "$VARS_STORE" '
        f'-o "$RUNBOOK/{FORGET}" > "$PRIVATE/vars-store.new") &&\n'
        '  test "$(wc -l < "$PRIVATE/vars-store.new")" -gt 1 &&\n'
        '  mv "$PRIVATE/vars-store.new" "$VARS_STORE" &&\n'
        f"  {gates('gone ' + ' '.join(map(shlex.quote, names)))}"
    )
    yield output("PASS: the vars store has no variable of the rotation")


def _making(number: int, found: DirectorStep, scene: Scene) -> Iterator[str]:
    yield f"### {number}.{_part(found) - 1} Make the new certificates; nothing is deployed yet"
    if found.ops_file == KEEP:
        yield f"Certificates have more than their definitions say; {code(KEEP)} keeps it."
    elif found.ops_file:
        yield f"They go into the vars store. What they are to have is in {code(found.ops_file)}."
    yield shell(f"{scene.shell.make(found.ops_file)} &&\n  {gates(_bundle(found))}")
    yield output(_says_bundle(found))
    yield (
        "If it fails, nothing was deployed: put the vars store back "
        '(`cp -p "$PRIVATE/vars-store.before" "$VARS_STORE"`), and stop.'
    )


def _bundle(found: DirectorStep) -> str:
    return f"bundle {found.bundle} {found.ops_file}".rstrip()


def _deployed(ops_file: str) -> str:
    return f"deployed {shlex.quote(ops_file)}" if ops_file else "deployed"


def _says_bundle(found: DirectorStep) -> str:
    return f"PASS: {_manifest(found.ops_file)} comes to a bundle of {found.bundle}"


def _manifest(ops_file: str) -> str:
    return f"the manifest with {ops_file}" if ops_file else "the manifest"


def _director_gate(found: DirectorStep, scene: Scene) -> Iterator[str]:
    calls = [_deployed(found.ops_file), "login"]
    said = [
        f"PASS: {_manifest(found.ops_file)} is what is deployed",
        f"PASS: the director {scene.facts.name} answers, and accepts the login",
    ]
    if not scene.facts.recovers and scene.facts.instances:
        calls += [f"agents {AGENTS_SECONDS}", f"connected {CONNECTED_SECONDS}"]
        said += list(scene.answering())
        yield (
            "If the way to NATS's monitoring port is a tunnel, open it again: the director VM is "
            "a new one. Agents need up to 70 s after NATS is up; the gate waits for them."
        )
    yield shell(gates(*calls))
    yield output(*said)


def _back_from_director(number: int, found: DirectorStep, scene: Scene) -> Iterator[str]:
    yield "### If the gate fails, or you want to go back"
    if scene.facts.recovers:
        yield (
            "There is no way back: nobody accepts the certificates that there were. Run this step "
            "again; the copies in `$PRIVATE` are for comparison."
        )
        return
    after = scene.agents_after(number)
    until = f"as long as step {after} has not begun" if after else "at any time"
    yield (
        f"Do not go on. This way is open {until}: `create-env` {_with(found.back_to)}. Agents that "
        "were cut off are back within seconds, by themselves."
    )
    restored = 'cp -p "$PRIVATE/vars-store.before" "$VARS_STORE" &&\n' if number == 1 else ""
    yield detour(
        f"{restored}{scene.shell.create_env(found.back_to)} &&\n  "
        + gates(_deployed(found.back_to), f"agents {AGENTS_SECONDS}")
    )
    yield "Then look at those that the gate named; `bosh -d D recreate G/ID --fix` makes one anew."
