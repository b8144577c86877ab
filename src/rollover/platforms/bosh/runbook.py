"""A rotation as files and instructions, for people who let no tool do it.

The steps are those of a plan, the ops files those that a rollout would use, made for the manifest
at hand; nothing in them is secret. Gates are those that Rollover itself would insist on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover import replacing
from rollover.checks.rule import Finding
from rollover.engine.authorities import next_name
from rollover.engine.recovery import LOSSES, Recovery
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.names import Fingerprint
from rollover.fleet.plan import Plan, Rollout
from rollover.manifest.values import Key, Tree
from rollover.pki.issue import issue_authority, reissue_like
from rollover.pki.keys import generate
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import describe, ops_files, references, runbook_text, survey
from rollover.platforms.bosh.environment import Candidate, Environment
from rollover.platforms.bosh.ops_files import OpsFile, Plain, Wanted
from rollover.platforms.bosh.properties import NatsTls, Part
from rollover.platforms.bosh.records import BoshInstance
from rollover.platforms.bosh.references import Names
from rollover.platforms.bosh.runbook_text import DeploymentFacts, Paths, Step
from rollover.platforms.bosh.versions import Way

RUNBOOK = "RUNBOOK.md"
FORGET = "forget-nats-certificates.yml"
"""Takes the certificates out of the vars store, so that `create-env` makes new ones."""
KEEP = "keep-options.yml"
"""Has definitions ask for what their certificates have."""
_READABLE, _DIRECTORY = 0o644, 0o755
_PARTS = {
    describe.NATS: Part.SERVER,
    describe.DIRECTOR_CLIENT: Part.DIRECTOR,
    describe.HEALTH_MONITOR: Part.HEALTH_MONITOR,
    describe.SOURCE: Part.CLIENT_CA,
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a runbook has to know of a fleet besides its plan."""

    director: str
    """The director's URL."""
    deployments: tuple[DeploymentFacts, ...]
    findings: tuple[Finding, ...] = ()
    recovery: Recovery = Recovery()
    """What has expired, and who is cut off by it."""


def facts_of(
    world: survey.World,
    *,
    director: str,
    findings: Iterable[Finding] = (),
    recovery: Recovery | None = None,
) -> Facts:
    """Return the facts of what a director told."""
    return Facts(
        director=director,
        deployments=tuple(
            _deployment(place, version=world.info.version) for place in world.placements
        ),
        findings=tuple(findings),
        recovery=recovery or Recovery(),
    )


def _deployment(place: survey.Placement, *, version: tuple[int, ...]) -> DeploymentFacts:
    verdicts = {each: survey.verdict_of(each, place, version=version) for each in place.with_vm}
    return DeploymentFacts(
        name=place.deployment.name,
        instances=len(verdicts),
        recreated=tuple(
            f"`{_short(each)}`: {found.why}"
            for each, found in verdicts.items()
            if found.way is Way.RECREATE
        ),
        with_disks=tuple(_short(each) for each in place.instances if each.disk_cids),
        ignored=tuple(_short(each) for each in place.instances if each.ignore),
        stopped=tuple(_short(each) for each in place.with_vm if each.state != "started"),
    )


def _short(instance: BoshInstance) -> str:
    return f"{instance.group}/{instance.id}"


def write_runbook(
    directory: Path,
    plan: Plan,
    *,
    environment: Environment,
    facts: Facts,
    kept: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write ops files and `RUNBOOK.md` into a directory, and return what was written.

    `kept`: the ops files of a rotation that is under way already (`Workplace.ops_files`). Raises
    `SpecError` when the manifest cannot be interpolated, or is no one's that is known. There is no
    private key in anything that is written.
    """
    paths = Paths(directory.absolute(), environment.command)
    drafting = _Drafting(plan, environment, kept)
    if facts.recovery.needed or facts.recovery.expired:
        files, text = _recovery(drafting.manifest, plan, facts, paths)
    else:
        files, text = _rotation(drafting, plan, facts, paths)
    everything = {**files, RUNBOOK: text.encode()}
    directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    for name, content in everything.items():
        replacing.replace(directory / name, content, mode=_READABLE, durable=False)
    return tuple(directory / name for name in everything)


def _rotation(
    drafting: _Drafting, plan: Plan, facts: Facts, paths: Paths
) -> tuple[dict[str, bytes], str]:
    files: dict[str, bytes] = {}
    steps: list[Step] = []
    for rollout in plan.rollouts:
        if rollout.group != describe.DIRECTOR:
            steps.append(Step(rollout, None))
            continue
        found = drafting.ops_file(rollout)
        name = _unused(found.name, files) if found is not None else ""
        if found is not None:
            files[name] = found.content
        steps.append(Step(rollout, name))
    last = next((step.ops_file for step in reversed(steps) if step.ops_file), "")
    clean_up = drafting.clean_up()
    if last and clean_up is not None:
        files[clean_up.name] = clean_up.content
    text = runbook_text.rotation(
        plan,
        tuple(steps),
        deployments=facts.deployments,
        director=facts.director,
        findings=facts.findings,
        paths=paths,
        clean_up=clean_up.name if last and clean_up is not None else "",
    )
    return files, text


def _unused(name: str, taken: Mapping[str, bytes]) -> str:
    """Return a name for a file: that of the procedure, numbered where a plan needs several."""
    stem, _, ending = name.rpartition(".")
    numbered = (f"{stem}-{number}.{ending}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)


def _recovery(
    manifest: Plain, plan: Plan, facts: Facts, paths: Paths
) -> tuple[dict[str, bytes], str]:
    removed = [{"type": "remove", "path": f"/{name}?"} for name in manifest.names.all]
    files = {FORGET: ops_files.rendered(removed, comment=_FORGETS)}  # type: ignore[arg-type]  # invariant
    keeping = list(_keeping(manifest))
    if keeping:
        files[KEEP] = ops_files.rendered(keeping, comment=_KEEPS)
    text = runbook_text.recovery(
        plan,
        deployments=facts.deployments,
        director=facts.director,
        findings=facts.findings,
        expired=facts.recovery.expired,
        losses=LOSSES,
        paths=paths,
        forget=FORGET,
        keep=KEEP if keeping else "",
        variables=manifest.names.all,
    )
    return files, text


_FORGETS = (
    "Recovery from an expired NATS CA, for the vars store: never for `create-env`.\n"
    "Without these variables the next `create-env` makes new ones."
)
_KEEPS = (
    "Recovery from an expired NATS CA: new certificates get what the present ones have.\n"
    "Give it to `bosh create-env` as the last ops file, or write it into your manifest for good."
)


def _keeping(manifest: Plain) -> Iterator[dict[Key, Tree]]:
    """Yield definitions that have to say more, so that nothing of a certificate is lost (H10)."""
    for part in Part:
        name = manifest.names.of[part]
        definition = manifest.definitions.get(name)
        if definition is None:
            continue
        present = definition.options if isinstance(definition.options, dict) else {}
        ca = present.get("ca")
        wanted = ops_files.options(manifest, part, ca=ca if isinstance(ca, str) else "")
        if wanted != present:
            yield {"type": "replace", "path": f"/variables/name={name}/options?", "value": wanted}


class _Imagined(NamedTuple):
    """Certificates that stand for those to come. Their keys are thrown away at once."""

    ca: Certificate
    leaves: Mapping[Part, Certificate]


class _Drafting:
    """Writes the ops files of a plan, the names of variables to come included."""

    def __init__(self, plan: Plan, environment: Environment, kept: Sequence[Path]) -> None:
        self._plan = plan
        self._inputs = environment.inputs()
        plain = self._inputs.evaluate().properties()
        self.manifest = ops_files.plain(self._inputs, tls=plain.tls)
        self._now = _deployed(environment, kept, plain.tls)
        self._imagined = _imagined(self._now, at=plan.made_at)
        self._number = self._free_number()
        self._made: frozenset[str] = frozenset()
        """Variables that an earlier ops file of this runbook has `create-env` generate."""
        self._variables = {**self._inputs.stored, **self._to_come()}

    def ops_file(self, rollout: Rollout) -> OpsFile | None:
        """Return the ops file of a rollout of the director VM; None when it needs none."""
        found = ops_files.written(
            self.manifest,
            self._wanted(rollout),
            self._variables,
            missing=frozenset(self._variables.keys() - self._inputs.stored.keys() - self._made),
        )
        if found is not None:
            self._made |= {name for name in self._variables if f"/name={name}?" in found.text}
        return found

    def clean_up(self) -> OpsFile | None:
        """Return the clean-up of the vars store that follows the last one; None: nothing to do."""
        directors = [each for each in self._plan.rollouts if each.group == describe.DIRECTOR]
        if not directors:
            return None
        wanted = self._wanted(directors[-1])
        renames = {}
        for part in Part:
            base = self.manifest.names.of[part]
            if wanted.chains[part] != self.manifest.tls.pairs[part].chain:
                holders = references.holders(wanted.chains[part], self._variables)
                renames[base] = holders[0]
        if not renames:
            return None
        return ops_files.clean_up(renames, renames.values())

    def _wanted(self, rollout: Rollout) -> Wanted:
        assignment = rollout.assignments[0]
        chains: dict[Part, tuple[Certificate, ...]] = {}
        bundle: tuple[Certificate, ...] = ()
        for at, endpoint in enumerate(assignment.endpoints):
            part = _PARTS[endpoint]
            chains[part] = self._chain(part, assignment.presents[at])
            bundle = tuple(self._authority(each) for each in assignment.trusts[at] or ())
        return Wanted(bundle=bundle, chains=chains)

    def _chain(self, part: Part, presented: tuple[Fingerprint, ...]) -> tuple[Certificate, ...]:
        for known in (self._now, self.manifest.tls):
            if tuple(each.fingerprint for each in known.pairs[part].chain) == presented:
                return known.pairs[part].chain
        if len(presented) > 1:
            raise SpecError(
                "a plan with a cross-signed bridge cannot be written as a runbook",
                hint="plan without it: the director's clients send their own certificate only",
            )
        leaves = self._imagined.leaves
        return (leaves[part] if part is not Part.CLIENT_CA else self._imagined.ca,)

    def _authority(self, fingerprint: Fingerprint) -> Certificate:
        known = {
            one.fingerprint: one for tls in (self._now, self.manifest.tls) for one in tls.bundle
        }
        if fingerprint in known:
            return known[fingerprint]
        if fingerprint == self._plan.goal.target:
            return self._imagined.ca
        raise SpecError(
            "a plan with more than one new CA (a standby) cannot be written as a runbook",
            hint="plan without `--standby`",
        )

    def _free_number(self) -> int:
        taken = self._inputs.stored
        numbers = range(references.FIRST_SUFFIX, references.LAST_SUFFIX)
        names = self.manifest.names.all
        return next(
            number
            for number in numbers
            if not any(references.suffixed(name, number) in taken for name in names)
        )

    def _to_come(self) -> dict[str, Tree]:
        """Return the variables that `create-env` will generate: certificates, no keys."""
        ca = write_certificates((self._imagined.ca,)).decode()
        names: Names = self.manifest.names
        found: dict[str, Tree] = {}
        for part in Part:
            leaf = self._imagined.ca if part is Part.CLIENT_CA else self._imagined.leaves[part]
            value: dict[Key, Tree] = {
                "certificate": write_certificates((leaf,)).decode(),
                "ca": ca,
            }
            found[references.suffixed(names.of[part], self._number)] = value
        return found


def _deployed(environment: Environment, kept: Sequence[Path], plain: NatsTls) -> NatsTls:
    """Return what is deployed by the record; the plain manifest where that says nothing."""
    sha = environment.state().current_manifest_sha
    found: tuple[Candidate, ...] = environment.candidates(kept, environment.inputs())
    for each in found:
        if each.properties is not None and each.sha == sha:
            return each.properties.tls
    return plain


def _imagined(now: NatsTls, *, at: datetime) -> _Imagined:
    key = generate(KeyKind.P256)
    present = now.signer
    lifetime = present.not_after - present.not_before
    ca = issue_authority(
        common_name=next_name(present, at=at, taken=()), key=key, not_before=at, lifetime=lifetime
    )
    leaves: dict[Part, Certificate] = {
        part: reissue_like(
            now.pairs[part].chain[0],
            key=generate(KeyKind.P256),
            authority=ca,
            authority_key=key,
            not_before=at,
        )
        for part in Part
        if part is not Part.CLIENT_CA
    }
    return _Imagined(ca, leaves)
