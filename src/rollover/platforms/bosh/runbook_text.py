"""A runbook as a page: what comes before the steps, the steps, what comes after them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rollover.checks.rule import Finding, Severity
from rollover.engine.recovery import LOSSES
from rollover.fleet.plan import Plan
from rollover.platforms.bosh import runbook_steps, runbook_ticket
from rollover.platforms.bosh.ops_files import UPDATE_VALUES
from rollover.platforms.bosh.runbook_drafting import GO_BACK
from rollover.platforms.bosh.runbook_markdown import (
    bullets,
    detour,
    listed,
    output,
    page,
    sentence,
    shell,
    tasks,
)
from rollover.platforms.bosh.runbook_scene import AGENTS_SECONDS, Scene
from rollover.platforms.bosh.runbook_shell import SETTINGS, asked_for, gates


def document(plan: Plan, scene: Scene) -> str:
    """Return the whole runbook of a plan."""
    numbers = range(1, len(scene.draft.steps) + 1)
    return page(
        (
            *_title(plan, scene),
            *runbook_ticket.ticket(plan, scene),
            *runbook_ticket.glance(scene),
            *_preparing(scene),
            *_before(scene),
            *(part for number in numbers for part in runbook_steps.step(number, scene)),
            *(_blocked(plan) if not plan.complete else ()),
            *_clean_up(scene),
            *(_end(scene) if plan.complete else ()),
            *_giving_up(scene),
        )
    )


def _title(plan: Plan, scene: Scene) -> Iterator[str]:
    what = "Recover from an expired NATS CA" if scene.facts.recovers else "Rotate the NATS CA"
    yield f"# {what}: `{plan.fleet}`"
    yield (
        f"Made from a plan of {plan.made_at:%Y-%m-%d %H:%M} UTC, for the director "
        f"`{scene.facts.name}` ({scene.facts.access.url}) and for the files of this machine. "
        "What it knows of deployments and VMs is of that time: write it anew right before you "
        "begin. Once step 1 is done, follow this one to its end."
    )
    if scene.facts.recovers:
        yield f"**This is not safe.** {sentence(LOSSES)}"
        yield bullets(scene.facts.recovery.expired)
        yield from _what_may_be_lost(scene)


def _what_may_be_lost(scene: Scene) -> Iterator[str]:
    with_disks = [
        (each.name, [one.short for one in each.instances if one.disk])
        for each in scene.facts.deployments
    ]
    found = [f"`{name}`: {listed(shorts)}" for name, shorts in with_disks if shorts]
    if found:
        yield "These have persistent disks, and may lose writes that are on their way:"
        yield bullets(found)
        yield (
            "While one of them still answers, stop it in order: `bosh -d D stop --hard G/ID`. It "
            "keeps its disk, and costs nothing here; `bosh -d D start G/ID` brings it back after "
            "the last step. Snapshot or back up the disks of the others. Take a maintenance "
            "window with as few writes as possible."
        )


# Before the first step.


def _preparing(scene: Scene) -> Iterator[str]:
    access = scene.facts.access
    yield "## What you need"
    yield bullets(
        (
            (
                f"A shell (sh, bash, zsh) on the machine with `{scene.shell.command.manifest}`, as "
                "the user who runs `create-env`, with `bosh` 6 or later and `curl`."
            ),
            (
                "A login at the director that sees all deployments: `BOSH_CLIENT` and "
                "`BOSH_CLIENT_SECRET`, or `bosh log-in`."
            ),
            (
                f"The monitoring port of NATS at `{access.monitor}`. It listens on the director VM "
                "only (`nats.enable_metrics_endpoint: true`): "
                "`ssh -N -L 8222:127.0.0.1:8222 jumpbox@DIRECTOR`, opened again after each "
                "`create-env`. Another address: `export NATS_MONITOR=http://…`."
            ),
            "A plan for those whose jobs stop, and somebody to tell.",
        )
    )
    yield (
        "Read this into every shell that you use. Each block can then be pasted as it is, from "
        "any directory. `gate` only looks: it says `PASS` and what it saw, or `FAIL` and what is "
        "missing, with exit code 1. **At `FAIL`, and whenever a command fails, stop.** Each step "
        "says what then."
    )
    yield shell(f". {shlex.quote(str(scene.shell.directory / SETTINGS))}")
    if access.sets:
        yield f"Your `create-env` script also sets {listed(access.sets)}: set them as it does."
    if scene.shell.left_out:
        yield (
            "Your line gives variables with `-v`. Their values are not written down: set "
            "`VAR_…` yourself first (`read -rs VAR_…` keeps it out of the history)."
        )
        yield shell(asked_for(scene.shell.left_out))


def _before(scene: Scene) -> Iterator[str]:
    facts = scene.facts
    yield "## Before step 1"
    yield from _findings(facts.untold, recovers=facts.recovers)
    yield from _left_out(scene)
    yield (
        "Copies of the vars store and the state file, in a directory for you alone. They hold "
        "every key of the director: never commit, mail or attach them. Then the resurrector: it "
        "would make VMs anew that only reconnect."
    )
    yield shell(
        '(umask 077 && mkdir -p "$PRIVATE" &&\n'
        '  { test -e "$PRIVATE/vars-store.before" ||\n'
        '    cp -p "$VARS_STORE" "$PRIVATE/vars-store.before"; } &&\n'
        '  { test -e "$PRIVATE/state.before" ||\n'
        '    cp -p "$STATE_FILE" "$PRIVATE/state.before"; }) &&\n'
        "  bosh update-resurrection off"
    )
    yield "Begin only when all of this holds:"
    calls, said = _first_gates(scene)
    yield shell(gates(*calls))
    yield output(*said)
    yield tasks(
        (
            "Nobody deploys until the end: pipelines are paused, colleagues are told.",
            "This page was written today.",
            "There is a backup of what has persistent disks.",
        )
    )
    if not facts.recovers:
        yield (
            "`deployed` fails when manifest, ops files or variables were changed since the last "
            "`create-env`: deploy that first, on its own, or take it back."
        )


def _first_gates(scene: Scene) -> tuple[list[str], list[str]]:
    facts, begins = scene.facts, scene.draft.begins_with
    manifest = f"the manifest with {begins}" if begins else "the manifest"
    found = [
        ("login", f"the director {facts.name} answers, and accepts the login"),
        ("idle", "nothing is locked"),
        ("deployments", "all deployments are in the runbook"),
        (f"deployed {begins}".rstrip(), f"{manifest} is what is deployed"),
    ]
    if facts.resurrection is not None:
        found.insert(1, ("resurrection off", "resurrection is off"))
    if not facts.recovers and facts.instances:
        count = len(facts.instances)
        found += [
            ("agents", f"{count} agents: all answer, and their jobs run"),
            ("connected", f"{count} agents: all are connected to NATS"),
        ]
    return [call for call, _ in found], [f"PASS: {said}" for _, said in found]


def _findings(findings: tuple[Finding, ...], *, recovers: bool) -> Iterator[str]:
    """Yield what Rollover has found. Whoever recovers cannot wait until all is well."""
    blocking = [each for each in findings if each.severity is not Severity.WARNING and not recovers]
    others = [each for each in findings if each not in blocking]
    if blocking:
        yield "**These stand in the way**; mend them, and write the runbook anew:"
        yield bullets(_told(each) for each in blocking)
    if others:
        yield "To know:"
        yield bullets(_told(each) for each in others)


def _told(finding: Finding) -> str:
    return f"{finding.subject}: {finding.message}. {finding.remedy}"


def _left_out(scene: Scene) -> Iterator[str]:
    for each in scene.facts.deployments:
        ignored = [one.short for one in each.instances if one.ignored]
        if ignored:
            yield (
                f"Ignored in `{each.name}`: {listed(ignored)}. A deploy leaves them out, and when "
                "the old CA is gone their agents are too: "
                f"`bosh -d {shlex.quote(each.name)} unignore G/ID`."
            )
        stopped = [one.short for one in each.instances if one.stopped]
        if stopped:
            yield (
                f"Stopped in `{each.name}`: {listed(stopped)}. They get no new credentials: "
                f"`bosh -d {shlex.quote(each.name)} start G/ID`, or delete their VMs "
                "(`stop --hard`)."
            )


# After the last step.


def _blocked(plan: Plan) -> Iterator[str]:
    yield "## Not planned yet"
    yield (
        "This stands in the way of the rest. Mend it, and write the runbook anew; until then "
        "this one ends here, and the resurrector stays off only as long as you watch."
    )
    yield bullets(f"{each.message}. {each.lift}" for each in plan.blocked)


def _clean_up(scene: Scene) -> Iterator[str]:
    if not scene.draft.clean_up:
        return
    ends = scene.draft.ends_with
    removed = " ".join(map(shlex.quote, scene.draft.removed))
    yield f"## Step {len(scene.draft.steps) + 1}: clean up the vars store"
    yield (
        "New values get the old names, so that your own line deploys the director as it is. The "
        "store is replaced at once, and only if that would deploy exactly what is deployed."
    )
    yield shell(
        f'(umask 077 && bosh int "$VARS_STORE" -o "$RUNBOOK/{UPDATE_VALUES}" \\\n'
        '    --vars-file "$VARS_STORE" --var-errs > "$PRIVATE/vars-store.new") &&\n'
        f'  "$RUNBOOK/gate" same "$PRIVATE/vars-store.new" {shlex.quote(ends)} &&\n'
        '  cp -p "$VARS_STORE" "$PRIVATE/vars-store.before-clean-up" &&\n'
        '  mv "$PRIVATE/vars-store.new" "$VARS_STORE"'
    )
    yield output("PASS: the new vars store comes to what is deployed")
    yield shell(gates("deployed", f"gone {removed}"))
    yield output(
        "PASS: the manifest is what is deployed",
        "PASS: the vars store has no variable of the rotation",
    )
    yield "`create-env` then finds nothing to do: `No deployment, stemcell or release changes.`"
    yield shell(scene.shell.create_env(""))
    yield "### If it fails"
    yield (
        "The store is as it was, or replaced whole. Something else in the manifest may use these "
        "variables: change that by hand, to the new values. After it, to take it back:"
    )
    yield detour('cp -p "$PRIVATE/vars-store.before-clean-up" "$VARS_STORE"')


def _end(scene: Scene) -> Iterator[str]:
    yield "## In the end"
    calls = [f"agents {AGENTS_SECONDS}"] if scene.facts.instances else []
    calls += ["deployed"] if scene.draft.clean_up or scene.facts.recovers else []
    yield shell(
        " &&\n  ".join(["bosh update-resurrection on", *([gates(*calls)] if calls else [])])
    )
    yield (
        "When that has passed, and nothing is to be taken back any more: the copies hold the keys "
        "of the old CA and every password. Delete them."
    )
    yield shell('rm -r "${PRIVATE:?}"')
    if scene.facts.ledger is not None:
        yield (
            "Rollover has not seen what was done here, and would doubt what agents have. The gates "
            "have proven it: let it forget what it saw of them before. It looks anew by itself."
        )
        yield shell(f"rm -f {shlex.quote(str(scene.facts.ledger))}")
    yield tasks(_afterwards(scene))


def _afterwards(scene: Scene) -> Iterator[str]:
    if scene.facts.recovers:
        yield "Every stateful service is whole by its own measure; what was stopped is started."
    yield "No ops file of this runbook is on your line, in a pipeline or in a repository."
    yield "The vars store has changed: whoever keeps a copy of it elsewhere has the new one."
    if not scene.facts.recovers:
        yield "What was stopped, started or unignored for this is as its owners want it."
        yield "`notes/` beside this page is in the ticket: which agent showed which certificate."
    yield "`rollover check` says nothing of this CA; its next end is in a calendar."
    yield "Agents write the keys that they are given to their logs: no log collector has them."


def _giving_up(scene: Scene) -> Iterator[str]:
    if not scene.draft.go_back:
        return
    last = scene.withdraws
    first = scene.agents_after(0)
    after = scene.agents_after(last)
    yield "## To give it up after step " + str(first) + " has begun"
    yield (
        f"Rarely worth it: after step {first} everything works with both CAs, and may stay so. "
        f"If step {last} was done, take that back first, as it says. Once step {after} has begun "
        "there is no way back: go on to the end."
    )
    yield "1. Both are trusted, and the old CA signs again:"
    yield detour(
        f"{scene.shell.create_env(GO_BACK)} &&\n  "
        + gates(f"deployed {GO_BACK}", f"agents {AGENTS_SECONDS}", "note back")
    )
    yield (
        f"2. The commands of step {first}.2 for every deployment. "
        f'Gate: `"$RUNBOOK/gate" changed back {AGENTS_SECONDS}`.'
    )
    yield "3. Your own line alone:"
    yield detour(
        f"{scene.shell.create_env('')} &&\n  " + gates("deployed", f"agents {AGENTS_SECONDS}")
    )
    yield f"4. The commands of step {first}.2 once more, so that nobody trusts the new CA."
    yield "5. The vars store as it was; then the end, as above:"
    yield detour(
        'cp -p "$PRIVATE/vars-store.before" "$VARS_STORE" &&\n  '
        + gates("deployed", f"connected {AGENTS_SECONDS}")
    )
