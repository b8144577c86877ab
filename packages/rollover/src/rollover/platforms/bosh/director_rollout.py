"""Deploys the director VM with what was ordered: variables, ops file, `create-env`, confirmation.

Every part can be done again: new variables are found by their certificates, the same ops file is
the one that is there, and a director VM that already has what is wanted is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rollover.errors import RolloverError, SpecError, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Evidence,
    Fact,
    Failed,
    Order,
    Result,
)
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import InstanceName, short
from rollover.pki.certificate import Signed, anatomy, check_signature
from rollover.platforms.bosh import (
    create_env,
    director_fleet,
    director_vm_observer,
    nats_port,
    nats_properties,
    ops_files,
    vars_store,
)
from rollover.platforms.bosh.create_env import CreateEnvEnded
from rollover.platforms.bosh.director_vm_observer import DirectorVmObservation, DirectorVmObserver
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls
from rollover.platforms.bosh.ops_files import PlainManifest, WantedTls
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile
from rollover.platforms.bosh.vars_store import NewCredential

BY_STATE_FILE = "state file"


class _Prepared(NamedTuple):
    """All that is decided before anything is changed."""

    wanted: WantedTls
    before: NatsTls
    credentials: Mapping[str, NewCredential]
    """New ones by the name of the variable that they succeed."""
    manifest: PlainManifest


class DirectorRollout:
    """Deploys one director VM.

    `known` are CA certificates, by which the issuer of a leaf is found.
    """

    def __init__(
        self,
        observer: DirectorVmObserver,
        *,
        ledger: ProvenanceFile,
        known: Callable[[], Sequence[Certificate]],
        create_env_seconds: float,
        confirm_seconds: float,
        poll_seconds: float,
    ) -> None:
        self._observer = observer
        self._environment = observer.environment
        self._workplace = observer.workplace
        self._clock = observer.clock
        self._ledger = ledger
        self._known = known
        self._create_env_seconds = create_env_seconds
        self._confirm_seconds = confirm_seconds
        self._poll_seconds = poll_seconds

    def deploy(self, order: Order) -> Result:
        """Bring the director VM what was ordered; raises only as long as nothing was begun."""
        begun = time.monotonic()
        self._environment.command.refuse_leftovers()
        observation = self._observer.observe()
        materials = {
            director_fleet.PARTS[endpoint.endpoint]: endpoint for endpoint in order.endpoints
        }
        prepared = _prepared(materials, observation, known=self._known)
        recorded = observation.conclusion.recorded
        if recorded is not None and observation.certainly_has(prepared.wanted.state):
            return self._confirmed(order.instance, prepared.wanted, observation, begun=begun)
        self._add_variables(prepared)
        wanted = ops_files.write_ops_file(
            prepared.manifest, prepared.wanted, self._environment.stored()
        )
        ops_file = None if wanted is None else self._workplace.put_ops_file(wanted)
        self._check_outcome(prepared, ops_file)
        return self._run(order, prepared, ops_file, begun=begun)

    def _add_variables(self, prepared: _Prepared) -> None:
        stored = self._environment.stored()
        wanted = {
            base: credential
            for base, credential in prepared.credentials.items()
            if not nats_properties.holders_of(credential.chain, stored)
        }
        if not wanted:
            return
        store = self._environment.store
        bases = prepared.manifest.names.all
        number = vars_store.free_suffix(bases, wanted, stored)
        self._workplace.back_up(store)
        # Noted first: after a crash in between, the clean-up takes away what was added, and finds
        # nothing where nothing was.
        self._workplace.note_added(nats_properties.suffixed_name(base, number) for base in wanted)
        vars_store.VarsFile(store).change(
            lambda now: {**now, **vars_store.with_added(now, wanted, number=number)}
        )
        # Whoever edits the store by hand meanwhile may need what was added.
        self._workplace.back_up(store)

    def _check_outcome(self, prepared: _Prepared, ops_file: Path | None) -> None:
        """Refuse to deploy anything but what is wanted: five properties, and nothing generated."""
        inputs = self._environment.inputs()
        ops_files_added = () if ops_file is None else (ops_file,)
        candidate = self._environment.candidates(ops_files_added, inputs)[-1]
        if candidate.properties is None:
            raise SpecError(
                f"`create-env` would fail: {candidate.trouble}",
                hint="make the manifest and its variables complete, then run it again",
            )
        if candidate.properties.tls.state != prepared.wanted.state:
            raise VerificationError(
                f"{candidate.named} does not come to what is wanted: an ops file on the command "
                "line or a variable given with `-v` or `-l` stands in the way",
                hint=f"look at the properties `nats.tls` of group `{prepared.manifest.group}`",
            )

    def _run(
        self, order: Order, prepared: _Prepared, ops_file: Path | None, *, begun: float
    ) -> Result:
        environment = self._environment
        recorded = environment.state().current_manifest_sha
        # What was handed out until now has to be known, whoever observed last.
        before = IssuedCredentials(signer=prepared.before.signer, bundle=prepared.before.bundle)
        self._ledger.record_issued(before, at=self._clock())
        ended = create_env.run_create_env(
            environment.command,
            ops_file,
            log=self._workplace.log(self._clock()),
            lock=self._workplace.lock,
            timeout_seconds=self._create_env_seconds,
        )
        if not ended.succeeded:
            # `create-env` clears the SHA before it changes anything (bosh-cli,
            # deployment/record.go): where it still stands, nothing was changed.
            untouched = environment.state().current_manifest_sha == recorded and recorded != ""
            return self._failed(
                order, ended, ops_file, restored=untouched and ended.code is not None
            )
        try:
            observation = self._settled(prepared.wanted)
            # Nobody has observed agents since it began: whoever is seen from now on may be of
            # either. A task that is younger than the last one now is certainly of the new director.
            self._ledger.record_issued(
                IssuedCredentials(
                    signer=prepared.wanted.chains[NatsPart.CLIENT_CA][0],
                    bundle=prepared.wanted.bundle,
                    since=self._clock(),
                    task=self._observer.last_task(),
                )
            )
            return self._confirmed(
                order.instance, prepared.wanted, observation, begun=begun, ended=ended
            )
        except (RolloverError, OSError) as error:
            return _unconfirmed(order.instance, error, ended)

    def _settled(self, wanted: WantedTls) -> DirectorVmObservation:
        """Observe until the director answers and NATS shows what is wanted, or the time is up."""
        deadline = time.monotonic() + self._confirm_seconds
        while True:
            observation = self._observer.observe()
            if (
                observation.certainly_has(wanted.state) and self._observer.answers()
            ) or time.monotonic() > deadline:
                return observation
            time.sleep(self._poll_seconds)

    def _failed(
        self, order: Order, ended: CreateEnvEnded, ops_file: Path | None, *, restored: bool
    ) -> Failed:
        again = self._environment.command.shell_text(ops_file)
        if ended.code is None:
            return Failed(
                instance=order.instance,
                seconds=ended.seconds,
                code="timed-out",
                message=f"`create-env` (process {ended.process}) still runs after "
                f"{ended.seconds / 60:.0f} minutes; it was left alone, its log is `{ended.log}`",
                hint="wait until it has ended, then run it again; `director.create_env_minutes` "
                "says how long it may take",
                restored=False,
            )
        said = create_env.last_log_lines(ended.log)
        return Failed(
            instance=order.instance,
            seconds=ended.seconds,
            code="rejected",
            message=f"`create-env` ended with exit code {ended.code} (`{ended.log}`):\n{said}",
            hint="mend that, then run it again; nothing was changed"
            if restored
            else f"mend that, then bring the director VM up by hand, in "
            f"`{self._environment.command.directory}`: {again}",
            restored=restored,
        )

    def _evidence(
        self, instance: InstanceName, wanted: WantedTls, observation: DirectorVmObservation
    ) -> tuple[Evidence, ...]:
        at, subject = self._clock(), EndpointRef(instance, director_fleet.NATS_ENDPOINT)
        sha = self._environment.state().current_manifest_sha
        recorded = observation.conclusion.recorded
        return (
            Evidence(
                fact=Fact.LOADED,
                subject=EndpointRef(instance, director_fleet.AGENT_SOURCE),
                holds=recorded is not None and observation.certainly_has(wanted.state),
                observed=short(sha) or "no manifest is recorded as deployed",
                expected=short(recorded.sha) if recorded else "",
                at=at,
                by=BY_STATE_FILE,
            ),
            nats_port.presents_evidence(
                subject, wanted.chains[NatsPart.SERVER], observation.nats, at=at
            ),
            nats_port.advertises_evidence(subject, wanted.bundle, observation.nats, at=at),
        )

    def _confirmed(
        self,
        instance: InstanceName,
        wanted: WantedTls,
        observation: DirectorVmObservation,
        *,
        begun: float,
        ended: CreateEnvEnded | None = None,
    ) -> Result:
        evidence = self._evidence(instance, wanted, observation)
        seconds = time.monotonic() - begun
        if all(proof.holds for proof in evidence) and self._observer.answers():
            return Applied(
                instance=instance,
                seconds=seconds,
                evidence=evidence,
                reload_seconds=ended.seconds if ended is not None else 0.0,
            )
        doubts = (
            observation.conclusion.silent,
            observation.conclusion.doubt,
            observation.conclusion.disagreement,
        )
        seen = "; ".join(doubt for doubt in doubts if doubt) or "the director does not answer"
        return Failed(
            instance=instance,
            seconds=seconds,
            code="verification",
            message=f"the director VM does not show what was deployed: {seen}",
            hint="look at its jobs (`monit summary` on it); then run it again",
            restored=False,
            evidence=evidence,
        )


def _prepared(
    materials: Mapping[NatsPart, EndpointMaterial],
    observation: DirectorVmObservation,
    *,
    known: Callable[[], Sequence[Certificate]],
) -> _Prepared:
    possible = director_vm_observer.distinct_states(observation.conclusion.possible)
    if not possible or observation.conclusion.doubt:
        raise VerificationError(
            f"what the director VM has is not known: {observation.conclusion.doubt}",
            hint="deploy it with your own line first, then run it again",
        )
    before = possible[0]
    wanted = WantedTls(
        bundle=_bundle(materials, before),
        chains={part: _chain(materials.get(part), part, before) for part in NatsPart},
    )
    manifest = ops_files.plain_manifest(
        observation.inputs, tls=observation.inputs.evaluate().properties().tls
    )
    authorities = (*wanted.bundle, wanted.chains[NatsPart.CLIENT_CA][0], *known())
    return _Prepared(wanted, before, _new_credentials(materials, manifest, authorities), manifest)


def _bundle(
    materials: Mapping[NatsPart, EndpointMaterial], before: NatsTls
) -> tuple[Certificate, ...]:
    wanted = {material.bundle for material in materials.values() if material.bundle is not None}
    if len(wanted) > 1:
        raise SpecError(
            "different bundles were ordered for one director VM, which has one property for them",
            hint="report this: `nats.tls.ca` is one slot",
        )
    return wanted.pop() if wanted else before.bundle


def _chain(
    material: EndpointMaterial | None, part: NatsPart, before: NatsTls
) -> tuple[Certificate, ...]:
    if material is not None and material.signer is not None:
        return (material.signer.certificate,)
    if material is None or material.chain is None:
        return before.pairs[part].chain
    if len(material.chain) > 1:
        raise SpecError(
            f"a chain of {len(material.chain)} certificates was ordered for `nats.tls.{part}`: "
            "the director's clients send only the first",
            hint="rotate without a cross-signed bridge",
        )
    return material.chain


def _new_credentials(
    materials: Mapping[NatsPart, EndpointMaterial],
    manifest: PlainManifest,
    authorities: Sequence[Certificate],
) -> dict[str, NewCredential]:
    """Return what has to be in the vars store besides what is there, by base name."""
    found: dict[str, NewCredential] = {}
    for part, material in materials.items():
        base = manifest.names.of[part]
        if material.signer is not None:
            ca = material.signer.certificate
            found[base] = NewCredential(chain=(ca,), key=material.signer.key, ca=ca)
        elif material.chain is not None and material.key is not None:
            found[base] = NewCredential(
                chain=material.chain,
                key=material.key,
                ca=_issuer(material.chain[0], authorities),
            )
    return found


def _issuer(leaf: Certificate, authorities: Iterable[Certificate]) -> Certificate:
    for authority in authorities:
        if (
            authority.subject == leaf.issuer_name
            and check_signature(anatomy(leaf), by=anatomy(authority)) is Signed.GOOD
        ):
            return authority
    raise SpecError(
        f"`{leaf.subject}` ({short(leaf.fingerprint)}) comes from a CA that is not known",
        hint="bring it in: `rollover authority import`",
    )


def _unconfirmed(
    instance: InstanceName, error: RolloverError | OSError, ended: CreateEnvEnded
) -> Failed:
    return Failed(
        instance=instance,
        seconds=ended.seconds,
        code=error.code if isinstance(error, RolloverError) else "verification",
        message=f"`create-env` ended well, but what it did cannot be confirmed: {error}",
        hint=(error.hint if isinstance(error, RolloverError) else "")
        or "run it again once that is mended",
        restored=False,
    )
