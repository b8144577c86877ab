"""The words of a runbook: Markdown with commands and gates, for one fleet."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover.checks.rule import Finding, Severity
from rollover.fleet.plan import Plan, Rollout
from rollover.platforms.bosh import describe
from rollover.platforms.bosh.command_line import CommandLine, placeholder, variable
from rollover.platforms.bosh.ops_files import REMOVE_OLD_CA

_CONNECTIONS = (
    "curl -s 'http://127.0.0.1:8222/connz?auth=1&limit=65536' \\\n"
    "  | jq -r '.connections[] | .tls_peer_certs[0] | \"\\(.subject) \\(.cert_sha256)\"' | sort"
)
"""On the director VM; needs `nats.enable_metrics_endpoint`."""


_WINDOW = (
    "Take a maintenance window with as few writes as possible, and backups of what has persistent "
    "disks, before step 1."
)


class DeploymentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment. Instances are named `group/id`."""

    name: str
    instances: int
    recreated: tuple[str, ...] = ()
    """Those that cannot take new credentials in place, each with the reason."""
    with_disks: tuple[str, ...] = ()
    """Those with a persistent disk."""
    ignored: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


class Step(NamedTuple):
    """A rollout of the plan. `ops_file` None: of agents; empty: `create-env` without one."""

    rollout: Rollout
    ops_file: str | None


class Paths(NamedTuple):
    """Where the runbook's files are, and the operator's line."""

    directory: Path
    command: CommandLine

    def create_env(self, ops_file: str) -> str:
        """Return the operator's line with one of the files, to be run in its directory."""
        path = self.directory / ops_file if ops_file else None
        return f"cd {shlex.quote(str(self.command.directory))}\n{self.command.shown(path)}"

    def interpolate(self, ops_file: str, vars_file: str) -> str:
        """Return `bosh int` of what `create-env` would deploy; it generates nothing."""
        command = self.command
        words = ["bosh", "int", shlex.quote(str(command.manifest)), "--var-errs"]
        ops = [*command.ops_files, *([self.directory / ops_file] if ops_file else ())]
        for flag, values in (
            ("-o", ops),
            ("-l", [vars_file, *command.vars_files]),
            ("--vars-env", command.prefixes),
            ("--var-file", command.contents),
        ):
            for value in values:
                words += [flag, shlex.quote(str(value))]
        for name in self.left_out:
            words += ["-v", placeholder(name)]
        return " ".join(words)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The variables that the line gives with `-v`: their values are not written down."""
        return tuple(each.partition("=")[0] for each in self.command.assignments)

    @property
    def store(self) -> str:
        """The vars store, quoted for a shell."""
        return shlex.quote(str(self.command.vars_store or "creds.yml"))


def rotation(
    plan: Plan,
    steps: Sequence[Step],
    *,
    deployments: Sequence[DeploymentFacts],
    director: str,
    findings: Sequence[Finding],
    paths: Paths,
    clean_up: str,
) -> str:
    """Return the runbook of a rotation, or of what is left of one."""
    names = [step.ops_file or "" for step in steps if step.ops_file is not None]
    parts = [
        *_title("Rotate the NATS CA", plan, director),
        *_steps_at_a_glance(steps),
        *_before(deployments, findings, director, paths),
    ]
    for number, step in enumerate(steps, 1):
        if step.ops_file is not None:
            parts += _create_env_step(number, step, director, paths)
        else:
            parts += _agents_step(number, deployments, director)
    if not plan.complete:
        parts += _blocked(plan)
    elif clean_up:
        parts += _clean_up(len(steps) + 1, clean_up, names[-1], paths)
    parts += _take_back(names, paths)
    return _joined(parts)


def recovery(  # noqa: PLR0913 - a document of all of these
    plan: Plan,
    *,
    deployments: Sequence[DeploymentFacts],
    director: str,
    findings: Sequence[Finding],
    expired: Sequence[str],
    losses: str,
    paths: Paths,
    forget: str,
    keep: str,
    variables: Sequence[str],
) -> str:
    """Return the runbook of the recovery from an expired CA. It never calls itself safe."""
    parts = [
        *_title("Recover from an expired NATS CA", plan, director),
        "**This is not safe.** " + _sentence(losses),
        *(f"- {each}" for each in expired),
        *_what_may_be_lost(deployments),
        _WINDOW,
        *_before(deployments, findings, director, paths, recovers=True),
        "## Step 1: take the expired certificates out of the vars store",
        f"`create-env` makes what is missing: {_listed(variables)}. Nothing else may be missing.",
        _shell(_replacing_store(paths, paths.directory / forget)),
        "## Step 2: deploy the director with new certificates",
        *(
            ["Certificates have more than their definitions say; this file keeps it."]
            if keep
            else []
        ),
        _shell(paths.create_env(keep)),
        *_gate(
            f"`bosh -e {director} env` answers.",
            "NATS presents a new certificate, and its CA is the new one: "
            "`rollover topology`, or the log of the health monitor.",
        ),
        "## Step 3: make every VM anew",
        "`--fix` is needed: no agent answers. Nothing on the VMs is stopped in order.",
        *(_recreate(each, director) for each in deployments if each.instances),
        *_gate(
            "No instance is `unresponsive agent`: "
            f"`bosh -e {director} instances --failing` is empty.",
            "Jobs with persistent disks are healthy by their own measure.",
        ),
        "## Step 4: turn the resurrector on again",
        _shell(f"bosh -e {director} update-resurrection on"),
    ]
    return _joined(parts)


def _title(title: str, plan: Plan, director: str) -> Iterator[str]:
    yield f"# {title}: `{plan.fleet}`"
    yield (
        f"Director {director}. Made from a plan of {plan.made_at:%Y-%m-%d %H:%M} UTC; what the "
        "fleet was then may have changed: make it anew right before you begin."
    )


def _steps_at_a_glance(steps: Sequence[Step]) -> Iterator[str]:
    rows = ["| step | what | file |", "|---|---|---|"]
    for number, step in enumerate(steps, 1):
        what = ", ".join(each.value for each in step.rollout.phases)
        where = "director VM" if step.ops_file is not None else "all agents"
        rows.append(f"| {number} | {where}: {what} | {_code(step.ops_file)} |")
    yield "\n".join(rows)


def _before(
    deployments: Sequence[DeploymentFacts],
    findings: Sequence[Finding],
    director: str,
    paths: Paths,
    *,
    recovers: bool = False,
) -> Iterator[str]:
    """Yield what comes first. Whoever recovers cannot wait until all is well."""
    yield "## Before you begin"
    blocking = [each for each in findings if each.severity is not Severity.WARNING and not recovers]
    others = [each for each in findings if each not in blocking]
    if blocking:
        yield "These stand in the way; mend them first:"
        yield "\n".join(f"- **{each.subject}**: {each.message}. {each.remedy}" for each in blocking)
    if others:
        yield "\n".join(f"- {each.subject}: {each.message}. {each.remedy}" for each in others)
    yield from _left_out(deployments)
    if paths.left_out:
        yield (
            "Your line gives variables with `-v`. Their values are not written down here: set "
            "them in the shell that you use, or every command refuses to run."
        )
        yield _shell("\n".join(f"{variable(name)}=" for name in paths.left_out))
    yield "Keep a copy of the vars store and the state file, and stop the resurrector:"
    yield _shell(
        f"cp -a {paths.store} {paths.store}.before-rotation\n"
        f"cp -a {shlex.quote(str(paths.command.state))} "
        f"{shlex.quote(str(paths.command.state))}.before-rotation\n"
        f"bosh -e {director} update-resurrection off"
    )
    yield from _gate(
        f"`bosh -e {director} locks` is empty, and nobody deploys until the end.",
        *(
            []
            if recovers
            else [f"`bosh -e {director} instances --failing` is empty: every agent answers."]
        ),
        "What would be deployed is what is deployed: the two are the same.\n\n"
        + _indented(
            _shell(
                f"{paths.interpolate('', str(paths.command.vars_store or 'creds.yml'))} "
                "| sha512sum\n"
                f"jq -r .current_manifest_sha {shlex.quote(str(paths.command.state))}"
            )
        ),
    )


def _left_out(deployments: Iterable[DeploymentFacts]) -> Iterator[str]:
    for each in deployments:
        if each.ignored:
            yield (
                f"Ignored in `{each.name}`: {_listed(each.ignored)}. A deploy leaves them out; "
                f"after the last step their agents are gone: `bosh -d {each.name} unignore` them."
            )
        if each.stopped:
            yield (
                f"Stopped in `{each.name}`: {_listed(each.stopped)}. They get no new credentials: "
                f"`bosh -d {each.name} start` them, or delete their VMs (`stop --hard`)."
            )


def _create_env_step(number: int, step: Step, director: str, paths: Paths) -> Iterator[str]:
    ops_file = step.ops_file or ""
    yield f"## Step {number}: the director VM ({_phases(step.rollout)})"
    yield _told(step.rollout)
    yield (
        f"`create-env` with {_code(ops_file)} as the last ops file:"
        if ops_file
        else "`create-env` as you always run it, without an ops file of a rotation:"
    )
    yield _shell(paths.create_env(ops_file))
    yield from _gate(
        f"`bosh -e {director} env` answers.",
        "Every agent answers again; that takes up to 70 s after NATS is up: "
        f"`bosh -e {director} instances --failing` is empty.",
    )
    if ops_file.startswith(REMOVE_OLD_CA.removesuffix(".yml")):
        yield (
            "Whoever is not connected now still lives on the old CA. Step back first (below), "
            "then look at them."
        )


def _agents_step(
    number: int, deployments: Sequence[DeploymentFacts], director: str
) -> Iterator[str]:
    yield f"## Step {number}: all agents"
    yield "Note who is connected with which certificate, on the director VM:"
    yield _shell(f"{_CONNECTIONS} > /tmp/connections-before-{number}")
    yield "Deploy every deployment again, with its own manifest:"
    for each in deployments:
        if each.instances:
            yield _deploy(each, director)
    yield from _gate(
        "Every task ended as `done`; for one that failed, mend the cause and deploy again.",
        "Every agent has another certificate than before: no line is in both lists.\n\n"
        + _indented(
            _shell(
                f"{_CONNECTIONS} > /tmp/connections-after-{number}\n"
                f"comm -12 /tmp/connections-before-{number} /tmp/connections-after-{number} "
                "| grep agent.bosh-internal"
            )
        ),
        "As many agents are connected as there are VMs "
        f"({sum(each.instances for each in deployments)} when this was written).",
        f"`bosh -e {director} instances --failing` is empty.",
    )


def _deploy(facts: DeploymentFacts, director: str) -> str:
    bosh = f"bosh -e {director} -n -d {facts.name}"
    if not facts.recreated:
        return _shell(
            f"bosh -e {director} -d {facts.name} manifest > {facts.name}.yml\n"
            f"{bosh} deploy {facts.name}.yml"
        )
    shown = "\n".join(f"- {each}" for each in facts.recreated)
    return (
        f"`{facts.name}` has VMs that cannot take new credentials in place:\n\n{shown}\n\n"
        + _shell(f"{bosh} recreate")
    )


def _recreate(facts: DeploymentFacts, director: str) -> str:
    return _shell(f"bosh -e {director} -n -d {facts.name} recreate --fix")


def _what_may_be_lost(deployments: Iterable[DeploymentFacts]) -> Iterator[str]:
    with_disks = [each for each in deployments if each.with_disks]
    if with_disks:
        yield "These have persistent disks, and may lose writes that are on their way:"
        yield "\n".join(f"- `{each.name}`: {_listed(each.with_disks)}" for each in with_disks)


def _clean_up(number: int, name: str, last: str, paths: Paths) -> Iterator[str]:
    store = str(paths.command.vars_store or "creds.yml")
    after = f"{store}.new"
    yield f"## Step {number}: clean up the vars store"
    yield (
        "New values get the old names. The file is replaced only if what would be deployed "
        "without an ops file is exactly what is deployed with one."
    )
    yield _shell(
        f"{_cleaned(paths, paths.directory / name)} &&\n"
        f"  with=$({paths.interpolate(last, store)}) &&\n"
        f"  without=$({paths.interpolate('', after)}) &&\n"
        '  test -n "$with" && test "$with" = "$without" &&\n'
        f"  cp -a {paths.store} {paths.store}.before-clean-up &&\n"
        f"  mv {shlex.quote(after)} {paths.store}"
    )
    yield from _gate(
        "`create-env` as you always run it, without an ops file of the rotation, says "
        "`No deployment, stemcell or release changes. Skipping deploy.`",
    )
    yield (
        "Then delete the copies of the vars store (they hold the old CA's key), never use the "
        "ops files of this rotation again, and turn the resurrector on: `update-resurrection on`."
    )


def _cleaned(paths: Paths, ops_file: Path) -> str:
    """Return what writes a new vars store beside the old one; it fails where `bosh int` does."""
    after = shlex.quote(f"{paths.command.vars_store or 'creds.yml'}.new")
    return (
        f"(umask 077 && bosh int {paths.store} -o {shlex.quote(str(ops_file))} "
        f"--vars-file {paths.store} --var-errs > {after})"
    )


def _replacing_store(paths: Paths, ops_file: Path) -> str:
    after = shlex.quote(f"{paths.command.vars_store or 'creds.yml'}.new")
    return (
        f"{_cleaned(paths, ops_file)} &&\n"
        f"  test $(wc -l < {after}) -gt 1 &&\n"
        f"  cp -a {paths.store} {paths.store}.expired &&\n"
        f"  mv {after} {paths.store}"
    )


def _take_back(names: Sequence[str], paths: Paths) -> Iterator[str]:
    if not names:
        return
    yield "## If a step has to be taken back"
    yield (
        "Run `create-env` with the ops file of the step before it (before the first: with none); "
        "agents that were cut off are back within seconds. Once agents have been deployed, deploy "
        "them again after that too."
    )
    if len(names) > 1 and names[0]:
        yield _shell(paths.create_env(names[0]))


def _blocked(plan: Plan) -> Iterator[str]:
    yield "## Not planned yet"
    yield "This stands in the way of the rest; write the runbook again when it is mended:"
    yield "\n".join(f"- {each.message}. {each.lift}" for each in plan.blocked)


def _told(rollout: Rollout) -> str:
    lines = []
    for each in rollout.changes:
        changes = []
        if each.present is not None:
            verb = "signs with" if each.endpoint == describe.SOURCE else "presents"
            changes.append(f"{verb} {each.present} instead of {each.present_from}")
        if each.trust is not None:
            changes.append(f"trusts {' and '.join(each.trust)}")
        lines.append(f"- `{each.endpoint}` {', '.join(changes)}")
    return "\n".join(lines)


def _phases(rollout: Rollout) -> str:
    return ", ".join(each.value for each in rollout.phases)


def _gate(*conditions: str) -> Iterator[str]:
    yield "Go on only when all of this holds:"
    yield "\n".join(f"- [ ] {each}" for each in conditions)


def _shell(text: str) -> str:
    return f"```sh\n{text}\n```"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
