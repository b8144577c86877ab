"""A rotation as files and instructions, for people who let no tool do it.

The steps are those of a plan, the ops files those that a rollout would use, made for the manifest
at hand; nothing in them is secret. Gates are those that Rollover itself would insist on. What
people read is in `templates/`; here is what it is made from.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import jinja2
import msgspec

from rollover import files
from rollover.engine.recovery import LOSSES, Recovery
from rollover.fleet.names import InstanceName, short
from rollover.fleet.plan import Plan
from rollover.platforms.bosh import director_fleet, nats_properties, runbook_ops_files
from rollover.platforms.bosh.command_line import (
    CreateEnvLine,
    placeholder_variable,
    variable_placeholder,
)
from rollover.platforms.bosh.cost import UpdateWay
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.director_fleet import Placement
from rollover.platforms.bosh.director_records import STARTED, BoshInstance
from rollover.platforms.bosh.nats_properties import BUNDLE
from rollover.platforms.bosh.ops_files import UPDATE_VALUES
from rollover.platforms.bosh.rules.agents import RECOVERY_LOSES, RECREATE_NEEDED, RESURRECTION
from rollover.platforms.bosh.runbook_ops_files import (
    FORGET,
    GO_BACK,
    KEEP,
    AgentsStep,
    DirectorStep,
    RunbookDraft,
    RunbookStep,
)
from rollover.rules.rule import Finding, Severity

_OF_RECOVERY = frozenset((RECREATE_NEEDED.id, RECOVERY_LOSES.id))
"""What a recovery comes to anyway."""

MONITOR = "http://127.0.0.1:8222"
"""The monitoring port of NATS on the director VM, or at the near end of a tunnel."""


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One instance that has a VM. `recreate`: why it cannot take credentials in place, if so."""

    name: InstanceName
    recreate: str = ""
    disk: bool = False
    ignored: bool = False
    stopped: bool = False

    @property
    def short(self) -> str:
        """Its name within its deployment: `group/id`."""
        return self.name.partition("/")[2]

    @property
    def left_out(self) -> bool:
        """Whether a deploy passes it by."""
        return self.ignored or self.stopped


class DeploymentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment, how many of its instances it updates at once, and how long that takes."""

    name: str
    instances: tuple[InstanceFacts, ...] = ()
    at_once: int = 1
    takes: timedelta = timedelta()

    @property
    def with_disks(self) -> tuple[str, ...]:
        """Those with a persistent disk."""
        return tuple(instance.short for instance in self.instances if instance.disk)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Those that deploys pass by because somebody has said so."""
        return tuple(instance.short for instance in self.instances if instance.ignored)

    @property
    def stopped(self) -> tuple[str, ...]:
        """Those whose jobs are to be stopped."""
        return tuple(instance.short for instance in self.instances if instance.stopped)


class OperatorAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How people reach a director and its NATS, without any secret.

    Where `client` and `ca_cert` are None, they use what the bosh CLI takes by itself.
    `sets`: the environment variables that the `create-env` script sets.
    """

    url: str
    client: str | None = None
    secret_file: Path | None = None
    ca_cert: Path | None = None
    monitor: str = MONITOR
    sets: tuple[str, ...] = ()


class RunbookFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `resurrection` None: the director does not say whether it is on."""

    access: OperatorAccess
    name: str
    uuid: str
    deployments: tuple[DeploymentFacts, ...] = ()
    findings: tuple[Finding, ...] = ()
    recovery: Recovery = Recovery()
    resurrection: bool | None = None
    ledger: Path | None = None
    """Where Rollover notes what it has seen of agents: it does not see what people do."""

    @property
    def instances(self) -> tuple[InstanceFacts, ...]:
        """All instances that have a VM."""
        return tuple(
            instance for deployment in self.deployments for instance in deployment.instances
        )

    @property
    def recovers(self) -> bool:
        """Whether anybody is cut off by a CA that has expired, and is made anew."""
        return self.recovery.needed

    @property
    def anew(self) -> frozenset[InstanceName]:
        """Who is made anew: who takes nothing in place, and who is cut off."""
        old = {instance.name for instance in self.instances if instance.recreate}
        return frozenset(old | set(self.recovery.cut_off))

    @property
    def untold(self) -> tuple[Finding, ...]:
        """The findings that the runbook does not say, or see to, by itself."""
        cut_off = {str(name) for name in self.recovery.cut_off}
        return tuple(
            finding
            for finding in self.findings
            if finding.rule != RESURRECTION.id
            and not (self.recovers and (finding.rule in _OF_RECOVERY or finding.subject in cut_off))
        )


def runbook_facts(
    observation: director_fleet.DirectorObservation,
    *,
    access: OperatorAccess,
    findings: Iterable[Finding] = (),
    recovery: Recovery | None = None,
    resurrection: bool | None = None,
    ledger: Path | None = None,
) -> RunbookFacts:
    """Return the facts of what a director told."""
    recovery = recovery or Recovery()
    lost = frozenset(recovery.cut_off)
    return RunbookFacts(
        access=access,
        name=observation.info.name,
        uuid=observation.info.uuid,
        deployments=tuple(
            _deployment(place, version=observation.info.version, lost=lost)
            for place in observation.placements
        ),
        findings=tuple(findings),
        recovery=recovery,
        resurrection=resurrection,
        ledger=ledger,
    )


def _deployment(
    place: Placement, *, version: tuple[int, ...], lost: frozenset[InstanceName]
) -> DeploymentFacts:
    cost = director_fleet.cost_of(
        (place,), version=version, direct=False, lost=lambda instance: instance.name in lost
    )
    return DeploymentFacts(
        name=place.deployment.name,
        instances=tuple(_instance(instance, place, version=version) for instance in place.with_vm),
        at_once=cost.max_in_flight,
        takes=timedelta(seconds=cost.seconds),
    )


def _instance(
    instance: BoshInstance, place: Placement, *, version: tuple[int, ...]
) -> InstanceFacts:
    verdict = director_fleet.update_way_of(instance, place, version=version)
    return InstanceFacts(
        name=instance.name,
        recreate=verdict.why if verdict.way is UpdateWay.RECREATE else "",
        disk=bool(instance.disk_cids),
        ignored=instance.ignore,
        stopped=instance.state != STARTED,
    )


# The files.


RUNBOOK, SETTINGS, GATE = "RUNBOOK.md", "settings.sh", "gate"
_READABLE, _EXECUTABLE, _DIRECTORY = 0o644, 0o755, 0o755

AGENTS_SECONDS = 300
"""For agents after a restart of NATS: 70 s at worst (measured), and a slow director."""
CONNECTED_SECONDS = 120
MOST_BLOCKS = 6
"""So many deployments get commands of their own; more are one loop."""
_MOST_NAMED = 12
"""So many names are read; of more, the number is what counts."""
_MINUTE, _HOUR = 60.0, 3600.0

MeantInstances = tuple[DeploymentFacts, tuple[InstanceFacts, ...]]
"""A deployment with those of its instances that a step is for."""


def write_runbook(
    directory: Path,
    plan: Plan,
    *,
    environment: CreateEnvironment,
    facts: RunbookFacts,
    kept: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write ops files, gates and `RUNBOOK.md` into a directory, and return what was written.

    `kept`: the ops files of a rotation that is under way already. Raises `SpecError` when the
    manifest cannot be interpolated, or the plan is none for people. There is no private key in
    anything that is written.
    """
    draft = runbook_ops_files.draft_ops_files(plan, environment, kept=kept)
    commands = OperatorCommands(directory.absolute(), environment.command, plan.made_at)
    page = RunbookPage(plan, draft, facts, commands)
    everything = {
        **draft.files,
        SETTINGS: page.rendered("runbook_settings.sh.j2").encode(),
        # It names files of the operator, whose names need not be UTF-8.
        GATE: page.rendered("runbook_gate.sh.j2").encode("utf-8", "surrogateescape"),
        RUNBOOK: page.markdown().encode(),
    }
    directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    for name, content in everything.items():
        mode = _EXECUTABLE if name == GATE else _READABLE
        files.atomic_write(directory / name, content, mode=mode, durable=False)
    return tuple(directory / name for name in everything)


class OperatorCommands(NamedTuple):
    """The operator's own `create-env` line, with the files of a runbook in `directory`."""

    directory: Path
    line: CreateEnvLine
    made_at: datetime

    @property
    def settings(self) -> Path:
        """What people read into their shell."""
        return self.directory / SETTINGS

    @property
    def stamp(self) -> str:
        """What tells this runbook's files from those of another."""
        return f"{self.made_at:%Y%m%dT%H%MZ}"

    @property
    def vars_store(self) -> Path:
        """The vars store."""
        return self.line.vars_store or self.line.directory / "creds.yml"

    @property
    def private(self) -> Path:
        """The directory for what is secret: beside the vars store, so that a rename is one."""
        return self.vars_store.parent / f"rotation-{self.stamp}"

    @property
    def left_out(self) -> tuple[str, ...]:
        """The variables that the line gives with `-v`: their values are not written down."""
        return tuple(assignment.partition("=")[0] for assignment in self.line.assignments)

    def create_env(self, ops_file: str) -> str:
        """Return the operator's line, with one of the files as the last ops file."""
        path = self.directory / ops_file if ops_file else None
        return f"(cd {shlex.quote(str(self.line.directory))} &&\n  {self.line.shell_text(path)})"

    def make(self, ops_file: str) -> str:
        """Return what generates the variables that are missing, and deploys nothing."""
        ops_files = [self.directory / ops_file] if ops_file else []
        return f'{self.interpolation(ops_files)} --vars-store "$VARS_STORE" > /dev/null'

    def interpolation(self, ops_files: Sequence[Path] = (), *, store: str = "") -> str:
        """Return `bosh int` of the operator's own files.

        `store`: a word of the shell for a vars store that is only read, so nothing is generated.
        """
        line = self.line
        words = ["bosh", "int", shlex.quote(str(line.manifest)), "--var-errs"]
        # What comes later wins: as on the operator's line, the store is asked last.
        words += ["-l", store] if store else []
        for flag, values in (
            ("-o", [*line.ops_files, *ops_files]),
            ("-l", line.vars_files),
            ("--vars-env", line.prefixes),
            ("--var-file", line.contents),
        ):
            for value in values:
                words += [flag, shlex.quote(str(value))]
        for name in self.left_out:
            words += ["-v", variable_placeholder(name)]
        return " ".join(words)


class RunbookPage(NamedTuple):
    """All that the templates are filled from."""

    plan: Plan
    draft: RunbookDraft
    facts: RunbookFacts
    commands: OperatorCommands

    def markdown(self) -> str:
        """Return `RUNBOOK.md`: one blank line between parts, however templates are laid out."""
        return re.sub(r"\n{3,}", "\n\n", self.rendered("runbook.md.j2")).strip() + "\n"

    def rendered(self, template: str) -> str:
        """Return a template, filled in."""
        return (
            _templates()
            .get_template(template)
            .render(
                page=self,
                plan=self.plan,
                draft=self.draft,
                facts=self.facts,
                commands=self.commands,
                losses=LOSSES,
                source=director_fleet.AGENT_SOURCE,
                agents_seconds=AGENTS_SECONDS,
                connected_seconds=CONNECTED_SECONDS,
                forget=FORGET,
                keep=KEEP,
                go_back=GO_BACK,
                update_values=UPDATE_VALUES,
            )
        )

    @property
    def bundle_path(self) -> str:
        """Where in the manifest the bundle is, for `bosh int --path`."""
        # The `?` of an ops file's path means "add it where it is missing", and reads nothing.
        return nats_properties.tls_path(self.draft.manifest.group, BUNDLE).removesuffix("?")

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that have to go first. Whoever recovers cannot wait until all is well."""
        if self.facts.recovers:
            return ()
        return tuple(
            finding for finding in self.facts.untold if finding.severity is not Severity.WARNING
        )

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """The other findings."""
        return tuple(finding for finding in self.facts.untold if finding not in self.blocking)

    @property
    def withdraws(self) -> int:
        """The number of the step that the old CA goes with; 0 without such a step."""
        bundles = [
            (number, step.bundle)
            for number, step in enumerate(self.draft.steps, 1)
            if isinstance(step, DirectorStep)
        ]
        later = (number for number, size in bundles[1:] if size == 1)
        return next(later, bundles[-1][0] if bundles else 0)

    def agents_after(self, number: int) -> int:
        """Return the number of the next step of agents; 0 when there is none."""
        later = enumerate(self.draft.steps[number:], number + 1)
        return next((at for at, step in later if isinstance(step, AgentsStep)), 0)

    @property
    def total(self) -> timedelta:
        """How long all steps take."""
        return sum((self.duration(step) for step in self.draft.steps), start=timedelta())

    def duration(self, step: RunbookStep) -> timedelta:
        """Return how long a step takes when deployments follow one another."""
        if isinstance(step, DirectorStep):
            return step.rollout.duration
        one_by_one = (deployment.takes for deployment, _ in self.deployments(step))
        return max(step.rollout.duration, sum(one_by_one, start=timedelta()))

    def deployments(self, step: AgentsStep) -> tuple[MeantInstances, ...]:
        """Return the deployments of a step, each with those of its instances that it is for."""
        found: list[MeantInstances] = []
        for deployment in self.facts.deployments:
            meant = tuple(
                instance for instance in deployment.instances if instance.name in step.instances
            )
            if meant:
                found.append((deployment, meant))
        return tuple(found)

    def own_blocks(self, step: AgentsStep) -> list[MeantInstances]:
        """Return the deployments that get commands of their own."""
        looped = self.looped(step)
        return [
            (deployment, meant)
            for deployment, meant in self._smallest_first(step)
            if deployment not in looped
        ]

    def looped(self, step: AgentsStep) -> list[DeploymentFacts]:
        """Return the deployments that one loop is enough for; not the first: see whether it works.

        Nobody reads hundreds of blocks, but whoever is made anew, or cut off, has reasons to read.
        """
        special = self.facts.anew
        plain = [
            deployment
            for deployment, _ in self._smallest_first(step)
            if not any(instance.name in special for instance in deployment.instances)
        ]
        return plain[1:] if len(plain) > MOST_BLOCKS else []

    def _smallest_first(self, step: AgentsStep) -> list[MeantInstances]:
        # The smallest goes first, alone: what goes wrong goes wrong there.
        return sorted(self.deployments(step), key=lambda pair: (len(pair[1]), pair[0].name))

    def done_before(self, step: AgentsStep) -> tuple[str, ...]:
        """Return the instances that need nothing in a step any more."""
        return tuple(
            instance.name
            for instance in self.facts.instances
            if instance.name not in step.instances
        )


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=False,  # noqa: S701 - Markdown and shell: names are quoted for the shell
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["many"] = lambda count, noun: f"{count} {noun}{'' if count == 1 else 's'}"
    templates.tests["agents"] = lambda step: isinstance(step, AgentsStep)
    templates.filters |= {
        "code": lambda text: f"`{text}`" if text else "",
        # What a gate is called with.
        "deployed": lambda ops_file: (
            f"deployed {shlex.quote(ops_file)}" if ops_file else "deployed"
        ),
        # One after another, each only after those before have passed.
        "gates": lambda calls: " &&\n  ".join(f'"$RUNBOOK/gate" {call}' for call in calls),
        "listed": _listed,
        # What a gate calls the manifest that is deployed with an ops file.
        "manifest_with": lambda ops_file: (
            f"the manifest with {ops_file}" if ops_file else "the manifest"
        ),
        "phases": lambda rollout: ", ".join(phase.value for phase in rollout.phases),
        "placeholder": variable_placeholder,
        "quote": lambda value: shlex.quote(str(value)),
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}.",
        "short": short,
        "took": _took,
        "variable": placeholder_variable,
    }
    return templates


def _listed(names: Sequence[str]) -> str:
    """Return names side by side, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _took(time: timedelta) -> str:
    """Return an estimate as people say it."""
    seconds = time.total_seconds()
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
