"""Observes the director VM, and concludes which manifest it was deployed from.

The state file names one manifest by its SHA. What NATS shows, and what the director says of its
certificates, can contradict that, or settle it where the record says nothing. The conclusion is
pure; `DirectorVmObserver` asks, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from rollover.errors import AdapterError
from rollover.fleet.evidence import Identity
from rollover.platforms.bosh import nats_port
from rollover.platforms.bosh.create_env import (
    CreateEnvInputs,
    CreateEnvironment,
    CreateEnvState,
    ManifestCandidate,
)
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    CertificateExpiry,
    Deployment,
    DirectorInfo,
)
from rollover.platforms.bosh.nats_port import ObservedNats
from rollover.platforms.bosh.nats_properties import (
    BUNDLE,
    DirectorProperties,
    NatsPart,
    NatsTls,
    TlsState,
)
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.probe.monitoring import Monitor

CLOSE_DATES = timedelta(seconds=1)
"""The director writes dates in whole seconds."""


class DirectorEvidence(NamedTuple):
    """Everything that was seen of a running director."""

    nats: ObservedNats
    expiries: tuple[CertificateExpiry, ...]
    """What the director says of its certificates; empty when it says nothing."""
    at: datetime


class Conclusion(NamedTuple):
    """What the director VM uses.

    `possible`: the manifests that it can be, the likeliest first. `recorded`: the one of the state
    file. `doubt` says why nothing is certain; `disagreement` that the record cannot be right.
    """

    possible: tuple[ManifestCandidate, ...]
    recorded: ManifestCandidate | None
    doubt: str = ""
    disagreement: str = ""
    silent: str = ""
    """Why NATS shows nothing, if it does not."""

    @property
    def properties(self) -> DirectorProperties | None:
        """Those of the likeliest manifest."""
        return self.possible[0].properties if self.possible else None

    @property
    def certain(self) -> bool:
        """Whether there is one possibility only, and it is seen."""
        return not self.doubt and not self.silent and len(distinct_states(self.possible)) == 1


def conclude_deployed(
    candidates: Sequence[ManifestCandidate], state: CreateEnvState, seen: DirectorEvidence
) -> Conclusion:
    """Return what follows from the manifests, the record, and what was seen."""
    usable = [candidate for candidate in candidates if candidate.properties is not None]
    # Of several with one SHA the plain one counts: after a clean-up the ops file changes nothing.
    recorded = next(
        (candidate for candidate in usable if candidate.sha == state.current_manifest_sha), None
    )
    silent = seen.nats.silence
    if recorded is not None and not _against(recorded, seen):
        return Conclusion((recorded,), recorded, silent=silent)
    fitting = tuple(
        candidate for candidate in _latest_first(usable) if not _against(candidate, seen)
    )
    disagreement = ""
    if recorded is not None:
        disagreement = (
            f"the state file says that {recorded.named} is deployed, but {_against(recorded, seen)}"
        )
    if fitting:
        # The record stays possible: whoever wrote it had a reason.
        also = (recorded,) if recorded is not None else ()
        return Conclusion((*fitting, *also), recorded, disagreement=disagreement, silent=silent)
    doubt = disagreement or _why_nothing_fits(candidates, usable, seen)
    kept = (recorded,) if recorded is not None else _latest_first(usable)
    return Conclusion(kept, recorded, doubt=doubt, disagreement=disagreement, silent=silent)


def distinct_states(candidates: Iterable[ManifestCandidate]) -> tuple[NatsTls, ...]:
    """Return the different states of `nats.tls` among manifests, in their order."""
    found = {
        candidate.properties.tls.state: candidate.properties.tls
        for candidate in reversed(tuple(candidates))
        if candidate.properties is not None
    }
    return tuple(reversed(found.values()))


def _latest_first(usable: Sequence[ManifestCandidate]) -> tuple[ManifestCandidate, ...]:
    """Return manifests, the one with the latest ops file first, the plain one last."""
    return tuple(reversed(usable))


def _against(candidate: ManifestCandidate, seen: DirectorEvidence) -> str:
    """Say what speaks against a manifest; empty when nothing does."""
    if candidate.properties is None:
        return candidate.trouble
    tls = candidate.properties.tls
    return nats_port.contradiction(tls, seen.nats, at=seen.at) or next(
        _other_dates(tls, seen.expiries), ""
    )


def _other_dates(tls: NatsTls, expiries: Iterable[CertificateExpiry]) -> Iterator[str]:
    """Yield the dates of the director's that differ; of a bundle it tells the first one's only."""
    expected = {
        f"nats.tls.{BUNDLE}": tls.bundle[0],
        f"nats.tls.{NatsPart.CLIENT_CA}.certificate": tls.signer,
        f"nats.tls.{NatsPart.DIRECTOR}.certificate": tls.pairs[NatsPart.DIRECTOR].chain[0],
    }
    for expiry in expiries:
        for path, certificate in expected.items():
            if (
                expiry.path.endswith(path)
                and abs(expiry.expires_at - certificate.not_after) > CLOSE_DATES
            ):
                yield (
                    f"the director's `{path}` ends {expiry.expires_at:%Y-%m-%d %H:%M:%SZ}, "
                    f"not {certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
                )


def _why_nothing_fits(
    candidates: Sequence[ManifestCandidate],
    usable: Sequence[ManifestCandidate],
    seen: DirectorEvidence,
) -> str:
    if not usable:
        return f"the manifest cannot be interpolated: {candidates[0].trouble}"
    broken = [candidate for candidate in candidates if candidate.properties is None]
    if broken:
        return f"{broken[-1].named}, which may run, cannot be made any more: {broken[-1].trouble}"
    return f"{usable[-1].named} is not what runs: {_against(usable[-1], seen)}"


# Observing.


class DirectorCalls(Protocol):
    """What is asked of the director's API."""

    def info(self) -> DirectorInfo:
        """Return who it is."""
        ...

    def certificate_expiry(self) -> tuple[CertificateExpiry, ...]:
        """Return when its certificates end."""
        ...

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments."""
        ...

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its agent."""
        ...

    def last_task(self) -> int | None:
        """Return the last task that there is."""
        ...

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        ...


class DirectorVmObservation(NamedTuple):
    """What was seen of the director VM at one time, and what follows from it."""

    inputs: CreateEnvInputs
    nats: ObservedNats
    conclusion: Conclusion

    def certainly_has(self, wanted: TlsState) -> bool:
        """Say whether it uses what is wanted, seen and without doubt."""
        possible = distinct_states(self.conclusion.possible)
        return self.conclusion.certain and possible[0].state == wanted


class DirectorVmObserver:
    """Asks the files, the NATS port and the API of one director VM. Changes nothing.

    `monitor` lists the connections of NATS; None where its port is not described. `identities`
    are the chains that Rollover presents itself.
    """

    def __init__(
        self,
        environment: CreateEnvironment,
        workplace: RotationFiles,
        *,
        director: DirectorCalls,
        nats_address: str,
        monitor: Monitor | None,
        identities: Callable[[], Sequence[Identity]],
        clock: Callable[[], datetime],
    ) -> None:
        self.environment = environment
        self.workplace = workplace
        self.director = director
        self.nats_address = nats_address
        self.monitor = monitor
        self.identities = identities
        self.clock = clock

    def observe(self) -> DirectorVmObservation:
        """Return what the director VM uses, and what that was concluded from."""
        inputs = self.environment.inputs()
        candidates = self.environment.candidates(self.workplace.ops_files(), inputs)
        trusted = {
            authority.fingerprint
            for candidate in candidates
            if candidate.properties is not None
            for authority in candidate.properties.tls.bundle
        }
        # Every identity that is turned away is a line in the server's log.
        identities = [identity for identity in self.identities() if identity.issuer in trusted]
        shown = ObservedNats(
            nats_port.dial_nats(self.nats_address, identities),
            nats_port.client_certificates(nats_port.listed_connections(self.monitor)),
        )
        # Where NATS is down the whole VM is: the director would only cost its timeout.
        expiries = self._expiries() if shown.presented else ()
        seen = DirectorEvidence(shown, expiries, self.clock())
        return DirectorVmObservation(
            inputs, shown, conclude_deployed(candidates, self.environment.state(), seen)
        )

    def _expiries(self) -> tuple[CertificateExpiry, ...]:
        try:
            return self.director.certificate_expiry()
        except AdapterError:
            # It only confirms; whether the director answers is asked where it matters.
            return ()

    def answers(self) -> bool:
        """Say whether the director's API answers."""
        try:
            self.director.info()
        except AdapterError:
            return False
        return True

    def last_task(self) -> int | None:
        """Return the director's last task so far; None when it does not say."""
        try:
            return self.director.last_task()
        except AdapterError:
            return None
