"""The ops files of a plan, written before there is a new certificate, and the steps that use them.

Certificates whose keys are thrown away at once take the place of what `create-env` will generate.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bosh_interpolate import load
from bosh_interpolate.values import Key, Tree
from rollover.codec.manifests import manifest_errors
from rollover.engine.authorities import next_name
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.goal import RotateAuthority
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Plan, Rollout
from rollover.pki.issue import issue_authority, reissue_like
from rollover.pki.keys import generate
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import director_fleet, nats_properties, ops_files
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls
from rollover.platforms.bosh.ops_files import PlainManifest, WantedTls

FORGET = "forget-nats-certificates.yml"
"""Takes the certificates out of the vars store, so that `create-env` makes new ones."""
KEEP = "keep-options.yml"
"""Has definitions ask for what their certificates have."""
GO_BACK = "go-back.yml"
"""Both CAs are trusted, and everything comes from the old one."""
_COMMENTS = {
    FORGET: "Recovery from an expired NATS CA, for the vars store: never for `create-env`.\n"
    "Without these variables the next `create-env` makes new ones.",
    KEEP: "Recovery from an expired NATS CA: new certificates get what the present ones have.\n"
    "Give it to `bosh create-env` as the last ops file, or write it into your manifest for good.",
    GO_BACK: "The way back of a CA rotation: both CAs are trusted, the old one signs again.\n"
    "Give it to `bosh create-env` as the last ops file, before your own line alone.",
}


class DirectorStep(NamedTuple):
    """`create-env` with an ops file, or with none where that is empty."""

    rollout: Rollout
    ops_file: str
    back_to: str
    """The ops file of what is deployed before it; empty: none."""
    bundle: int
    """How many CAs are trusted from then on."""
    makes: bool = False
    """Whether new certificates have to be made for it."""
    forgets: bool = False
    """Whether the present certificates go first: all that they are trusted by has expired."""


class AgentsStep(NamedTuple):
    """The agents get what the director hands out by then."""

    rollout: Rollout

    @property
    def instances(self) -> frozenset[InstanceName]:
        """The instances that the step is for."""
        assigned = (assignment.instances for assignment in self.rollout.assignments)
        return frozenset(itertools.chain.from_iterable(assigned))


RunbookStep = DirectorStep | AgentsStep


class RunbookDraft(NamedTuple):
    """The steps of a plan with their files. Of the names of ops files, empty ones mean none."""

    steps: tuple[RunbookStep, ...]
    files: Mapping[str, bytes]
    manifest: PlainManifest
    signer: Certificate
    """The CA that signs for agents now."""
    begins_with: str
    """The ops file that is deployed when the first step begins."""
    ends_with: str
    """The one that is deployed when the last step has ended."""
    clean_up: str
    removed: tuple[str, ...]
    """The variables that the clean-up takes out of the vars store."""
    go_back: str


def draft_ops_files(
    plan: Plan, environment: CreateEnvironment, *, kept: Sequence[Path] = ()
) -> RunbookDraft:
    """Return the steps of a plan. `kept`: the ops files of a rotation that is under way already.

    Raises `SpecError` for a manifest that cannot be interpolated, and for a plan that people
    cannot carry out with what `create-env` generates.
    """
    if not isinstance(plan.goal, RotateAuthority):
        raise SpecError(
            "bundles and chains that are brought along cannot be written as a runbook",
            hint="leave `--bundle` and `--renew` out, or let `rollover rotate` do it",
        )
    return _Drafting(plan, plan.goal.target, environment, kept).draft()


class _Imagined(NamedTuple):
    """Certificates that stand for those to come. Their keys are thrown away at once."""

    ca: Certificate
    leaves: Mapping[NatsPart, Certificate]


class _Drafting:
    """Writes the ops files of a plan, the names of variables to come included."""

    def __init__(
        self, plan: Plan, target: Fingerprint, environment: CreateEnvironment, kept: Sequence[Path]
    ) -> None:
        self._plan = plan
        self._target = target
        self._inputs = environment.inputs()
        plain = self._inputs.evaluate().properties()
        self.manifest = ops_files.plain_manifest(self._inputs, tls=plain.tls)
        # What the record names; the plain manifest where it names nothing that is known.
        sha = environment.state().current_manifest_sha
        candidates = environment.candidates(kept, self._inputs)
        deployed = next(
            (
                candidate
                for candidate in candidates
                if candidate.properties is not None and candidate.sha == sha
            ),
            None,
        )
        self._now = plain.tls
        self._begins_with = ""
        self._files: dict[str, bytes] = {}
        if deployed is not None and deployed.properties is not None:
            self._now = deployed.properties.tls
            if deployed.ops_file is not None:
                self._begins_with = self._kept(deployed.ops_file.name, deployed.ops_file)
        self._imagined = _imagined(self._now, at=plan.made_at)
        self._number = self._free_number()
        self._made: frozenset[str] = frozenset()
        """Variables that an earlier ops file of this runbook has `create-env` generate."""
        self._variables = {**self._inputs.stored, **self._to_come()}

    def draft(self) -> RunbookDraft:
        """Return the steps, and with them every file."""
        forgets = self._forgets()
        steps = tuple(self._forgetting() if forgets else self._steps())
        clean_up, removed = ("", ()) if forgets else self._clean_up()
        deployed = [step.ops_file for step in steps if isinstance(step, DirectorStep)]
        return RunbookDraft(
            steps=steps,
            go_back=self._go_back(steps) if clean_up else "",
            files=self._files,
            manifest=self.manifest,
            signer=self._now.signer,
            begins_with=self._begins_with,
            ends_with=(deployed or [self._begins_with])[-1],
            clean_up=clean_up,
            removed=removed,
        )

    def _steps(self) -> Iterator[RunbookStep]:
        before = self._begins_with
        for rollout in self._plan.rollouts:
            if rollout.group != director_fleet.DIRECTOR_GROUP:
                yield AgentsStep(rollout)
                continue
            step = self._director_step(rollout, before)
            before = step.ops_file
            yield step

    def _director_step(self, rollout: Rollout, before: str) -> DirectorStep:
        wanted = self._wanted(rollout)
        missing = self._variables.keys() - self._inputs.stored.keys() - self._made
        found = ops_files.write_ops_file(
            self.manifest, wanted, self._variables, missing=frozenset(missing)
        )
        made = {name for name in missing if found and f"/name={name}?" in found.text}
        self._made |= made
        name = "" if found is None else self._kept(found.name, found.content)
        return DirectorStep(rollout, name, before, bundle=len(wanted.bundle), makes=bool(made))

    def _kept(self, name: str, content: bytes | Path) -> str:
        """Take in a file; return its name, that of the procedure, numbered if that is taken."""
        data = content.read_bytes() if isinstance(content, Path) else content
        stem, _, ending = name.rpartition(".")
        numbered = (f"{stem}-{number}.{ending}" for number in range(2, len(self._files) + 3))
        taken = self._files
        free = next(tried for tried in (name, *numbered) if taken.get(tried, data) == data)
        self._files[free] = data
        return free

    def _clean_up(self) -> tuple[str, tuple[str, ...]]:
        """Take in the clean-up of what the last step deploys; return it and what it removes."""
        if not self._plan.complete:
            return "", ()
        directors = self._rollouts_of_director()
        chains = (
            self._wanted(directors[-1]).chains
            if directors
            else {part: self._now.pairs[part].chain for part in NatsPart}
        )
        names = self.manifest.names.of
        renames = {
            names[part]: self._holder(names[part], chains[part])
            for part in NatsPart
            if chains[part] != self.manifest.tls.pairs[part].chain
        }
        if not renames:
            return "", ()
        removed = tuple(dict.fromkeys(name for name in renames.values() if name not in renames))
        found = ops_files.clean_up_ops_file(renames, removed)
        return self._kept(found.name, found.content), removed

    def _holder(self, base: str, chain: tuple[Certificate, ...]) -> str:
        holder = nats_properties.holder_of(chain, base, self._variables)
        if holder is None:
            raise SpecError(
                f"no variable of the vars store holds what is to be deployed as `{base}`",
                hint="put back a backup of the vars store, or let `rollover rotate` go on",
            )
        return holder

    def _go_back(self, steps: Sequence[RunbookStep]) -> str:
        """Take in the file that leads back from where agents have new certificates already.

        Only from a step that still trusts what is trusted now, and only to the operator's own
        line: what was half-way before has no name to go back to.
        """
        first = next((step for step in steps if isinstance(step, DirectorStep)), None)
        if first is None or self._begins_with or len(steps) < 3:  # noqa: PLR2004 - a way back
            return ""
        bundle = self._wanted(first.rollout).bundle
        if not set(self._now.bundle) <= set(bundle):
            return ""
        chains = {part: self._now.pairs[part].chain for part in NatsPart}
        found = ops_files.write_ops_file(
            self.manifest, WantedTls(bundle=bundle, chains=chains), self._variables
        )
        if found is None:
            return ""
        # Nothing is to be generated on the way back: no definitions.
        with manifest_errors():
            tree = load(found.content)
        kept = [
            operation
            for operation in (tree if isinstance(tree, list) else ())
            if isinstance(operation, dict) and "/variables/" not in str(operation["path"])
        ]
        return self._kept(GO_BACK, ops_files.render_operations(kept, comment=_COMMENTS[GO_BACK]))

    def _rollouts_of_director(self) -> list[Rollout]:
        return [
            rollout
            for rollout in self._plan.rollouts
            if rollout.group == director_fleet.DIRECTOR_GROUP
        ]

    # When all that is trusted has expired.

    def _forgets(self) -> bool:
        """Say whether no certificate of the director is worth keeping: nobody accepts any."""
        at = self._plan.made_at
        directors = self._rollouts_of_director()
        return len(directors) == 1 and all(
            certificate.not_after < at for certificate in self._now.bundle
        )

    def _forgetting(self) -> Iterator[RunbookStep]:
        removed: list[dict[Key, Tree]] = [
            {"type": "remove", "path": f"/{name}?"} for name in self.manifest.names.all
        ]
        self._kept(FORGET, ops_files.render_operations(removed, comment=_COMMENTS[FORGET]))
        # Definitions that have to say more, so that nothing of a certificate is lost (H10).
        restated: list[dict[Key, Tree]] = [
            {"type": "replace", "path": f"/variables/name={name}/options?", "value": wanted}
            for name, present, wanted in ops_files.restated_options(self.manifest)
            if wanted != present
        ]
        keep = ""
        if restated:
            keep = self._kept(KEEP, ops_files.render_operations(restated, comment=_COMMENTS[KEEP]))
        for rollout in self._plan.rollouts:
            if rollout.group == director_fleet.DIRECTOR_GROUP:
                yield DirectorStep(rollout, keep, "", bundle=1, makes=True, forgets=True)
            else:
                yield AgentsStep(rollout)

    # What a rollout is to come to.

    def _wanted(self, rollout: Rollout) -> WantedTls:
        assignment = rollout.assignments[0]
        chains: dict[NatsPart, tuple[Certificate, ...]] = {}
        bundle: tuple[Certificate, ...] = ()
        for at, endpoint in enumerate(assignment.endpoints):
            part = director_fleet.PARTS[endpoint]
            chains[part] = self._chain(part, assignment.presents[at])
            bundle = tuple(
                self._authority(fingerprint) for fingerprint in assignment.trusts[at] or ()
            )
        return WantedTls(bundle=bundle, chains=chains)

    def _chain(self, part: NatsPart, presented: tuple[Fingerprint, ...]) -> tuple[Certificate, ...]:
        for known in (self._now, self.manifest.tls):
            if (
                tuple(certificate.fingerprint for certificate in known.pairs[part].chain)
                == presented
            ):
                return known.pairs[part].chain
        if len(presented) > 1:
            raise SpecError(
                "a plan with a cross-signed bridge cannot be written as a runbook",
                hint="plan without it: the director's clients send their own certificate only",
            )
        leaves = self._imagined.leaves
        return (leaves[part] if part is not NatsPart.CLIENT_CA else self._imagined.ca,)

    def _authority(self, fingerprint: Fingerprint) -> Certificate:
        known = {
            authority.fingerprint: authority
            for tls in (self._now, self.manifest.tls)
            for authority in tls.bundle
        }
        if fingerprint in known:
            return known[fingerprint]
        if fingerprint == self._target:
            return self._imagined.ca
        raise SpecError(
            "a plan with more than one new CA (a standby) cannot be written as a runbook",
            hint="plan without `--standby`: `create-env` would put the standby's key beside the "
            "other one into the vars store, and what leaks there would leak both",
        )

    # Variables to come.

    def _free_number(self) -> int:
        taken = self._inputs.stored
        numbers = range(nats_properties.FIRST_SUFFIX, nats_properties.LAST_SUFFIX)
        names = self.manifest.names.all
        return next(
            number
            for number in numbers
            if not any(nats_properties.suffixed_name(name, number) in taken for name in names)
        )

    def _to_come(self) -> dict[str, Tree]:
        """Return the variables that `create-env` will generate: certificates, no keys."""
        ca = write_certificates((self._imagined.ca,)).decode()
        found: dict[str, Tree] = {}
        for part in NatsPart:
            leaf = self._imagined.ca if part is NatsPart.CLIENT_CA else self._imagined.leaves[part]
            value: dict[Key, Tree] = {
                "certificate": write_certificates((leaf,)).decode(),
                "ca": ca,
            }
            found[nats_properties.suffixed_name(self.manifest.names.of[part], self._number)] = value
        return found


def _imagined(now: NatsTls, *, at: datetime) -> _Imagined:
    key = generate(KeyKind.P256)
    present = now.signer
    lifetime = present.not_after - present.not_before
    ca = issue_authority(
        common_name=next_name(present, at=at, taken=()), key=key, not_before=at, lifetime=lifetime
    )
    leaves: dict[NatsPart, Certificate] = {
        part: reissue_like(
            now.pairs[part].chain[0],
            key=generate(KeyKind.P256),
            authority=ca,
            authority_key=key,
            not_before=at,
        )
        for part in NatsPart
        if part is not NatsPart.CLIENT_CA
    }
    return _Imagined(ca, leaves)
