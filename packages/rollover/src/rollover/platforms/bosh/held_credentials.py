"""What agents hold, as far as it can be concluded: nobody shows an agent's certificate or bundle.

What the director hands out is noted in the ledger as often as it is asked for; which of it an
agent was given follows from the certificates that it was seen with (`provenance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

import msgspec

from rollover.errors import AdapterError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import ObservedEndpoint
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh import agent_availability
from rollover.platforms.bosh.agent_availability import ObservedAgent
from rollover.platforms.bosh.agent_proof import MBUS
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.placeholder_certificates import PlaceholderCertificates, SignerKey
from rollover.platforms.bosh.provenance import (
    AgentState,
    IssuedCredentials,
    ProvenanceFile,
    VmCreationTimes,
)


class HeldCredentials:
    """What a director hands out to its agents, and what each of them has of it.

    `handed_out` says what the director hands out now, `signer_key` knows the keys of its CAs,
    `known` are certificates that were seen in use.
    """

    def __init__(
        self,
        handed_out: Callable[[], IssuedCredentials],
        *,
        signer_key: SignerKey,
        known: Callable[[], Iterable[Certificate]] = tuple,
        director: DirectorApi,
        ledger: ProvenanceFile,
        clock: Callable[[], datetime],
    ) -> None:
        self.signer_key = signer_key
        self.ledger = ledger
        self.clock = clock
        self.creation_times = VmCreationTimes(director, ledger)
        self.expired = False
        """All that agents trust has, as far as it was noted last."""
        self._handed_out = handed_out
        self._director = director
        self._placeholders = PlaceholderCertificates(signer_key, known=known)

    def issued_credentials(self) -> IssuedCredentials:
        """Return what the director hands out now, and note it; `EvidenceMissing` when unknown."""
        credentials = self._handed_out()
        self.expired = all(
            certificate.not_after < self.clock() for certificate in credentials.bundle
        )
        recorded = self.ledger.read().credentials
        if not recorded or recorded[-1].state != credentials.state:
            # Asked for after it was seen: what a later task makes is given this, or what follows.
            with suppress(AdapterError):
                credentials = msgspec.structs.replace(credentials, task=self._director.last_task())
        self.ledger.record_issued(credentials, at=self.clock())
        return credentials

    def states(
        self, instance: BoshInstance, agent: ObservedAgent, credentials: IssuedCredentials
    ) -> tuple[AgentState, ...]:
        """Return what an agent can hold, likeliest first; never nothing."""
        trusted = credentials.trusted
        states = self.ledger.states(
            instance.agent_id or "",
            trusted=trusted,
            certificate=None if agent.connection is None else agent.connection.cert_sha256,
            born=self.creation_times.after(instance),
            at=self.clock(),
        )
        if agent.answers:
            # Connected, whether or not anybody can list it.
            states = tuple(state for state in states if state.signer in trusted) or states
        return states or (credentials.state,)

    def issued_at(self, instance: BoshInstance, agent: ObservedAgent) -> datetime:
        """Return when an agent's certificate was issued, as early as it can have been."""
        certificates = self.ledger.observed_certificates(instance.agent_id or "")
        return agent_availability.issued_at(
            instance,
            first_seen=certificates[-1].first_observed if certificates else None,
            after=certificates[-1].after if certificates else None,
            since=None if agent.connection is None else agent.connection.since,
            at=self.clock(),
        )

    def endpoint(
        self, state: AgentState, credentials: IssuedCredentials, *, issued: datetime
    ) -> ObservedEndpoint:
        """Return an agent's endpoint in that state, its certificate issued at that time."""
        signer = self._authority(state.signer, credentials)
        return ObservedEndpoint(
            endpoint=MBUS,
            presents=(self._placeholders.of(signer, issued=issued),),
            trusts=tuple(self._authority(fingerprint, credentials) for fingerprint in state.bundle),
        )

    def _authority(self, fingerprint: Fingerprint, credentials: IssuedCredentials) -> Certificate:
        for certificate in (credentials.signer, *credentials.bundle):
            if certificate.fingerprint == fingerprint:
                return certificate
        return self.ledger.certificate(fingerprint)
