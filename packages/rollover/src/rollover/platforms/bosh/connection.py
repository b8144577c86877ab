"""One director as a fleet file describes it, and all that work on it shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.service import Outlook
from rollover.errors import EvidenceMissing, NotFound, PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import DirectorDescription, FleetDescription, GroupDescription
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh.agent_pinger import Mbus, MbusAccess
from rollover.platforms.bosh.agents import BoshAgents
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_fleet import expand_fleet, nats_address
from rollover.platforms.bosh.director_vm import WORKPLACE, DirectorVm
from rollover.platforms.bosh.login import access_to
from rollover.platforms.bosh.nats_properties import DirectorProperties, NatsPart
from rollover.platforms.bosh.provenance import ProvenanceFile
from rollover.platforms.bosh.vars_store import RotationFiles

if TYPE_CHECKING:
    from rollover.platforms.bosh import runbook

LEDGER = "agents.json"
"""In the state directory: what is known of agents' certificates."""
RECENT_SECONDS = 5.0


class PresentSigner(NamedTuple):
    """The CA that a director signs with now, and its key."""

    certificate: Certificate
    key: SecretBytes

    @property
    def pem(self) -> bytes:
        """The certificate, as a store keeps it."""
        return write_certificates((self.certificate,))


class DirectorConnection:
    """One director as a fleet file describes it. Nothing is asked before it is needed.

    `base` is the directory of the fleet file, `state` that of our own. `environment` are the
    variables that the bosh CLI takes, too.
    """

    def __init__(
        self,
        settings: DirectorDescription,
        *,
        base: Path,
        state: Path,
        environment: Mapping[str, str],
        recover: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._base = base
        self._state = state
        self._variables = environment
        self._recover = recover
        self._clock = clock
        self._ledger = ProvenanceFile(state / LEDGER)

    @cached_property
    def director(self) -> Director:
        """The director's API."""
        return Director(access_to(self._settings, environment=self._variables, base=self._base))

    @property
    def _reached(self) -> DirectorDescription:
        """The description with a URL: an alias of the bosh CLI says nothing of where NATS is."""
        return msgspec.structs.replace(self._settings, environment=self.director.access.url)

    def close(self) -> None:
        """Give back what is open."""
        if "director" in self.__dict__:
            self.director.close()

    @cached_property
    def environment(self) -> CreateEnvironment:
        """The director's own deployment; `SpecError` when nobody said where it is."""
        if self._settings.create_env is None:
            raise SpecError(
                "how the director itself is deployed is not known",
                field="director.create_env",
                hint="name there a file with your own `bosh create-env …` command line; its "
                "manifest and vars store hold the certificates of NATS",
            )
        path = self._base / self._settings.create_env
        return CreateEnvironment.from_file(path, environment=self._variables)

    def expand(self, described: FleetDescription) -> FleetDescription:
        """Return the fleet with every VM that the director has now."""
        expired = self._recover and self._expired()
        return expand_fleet(described, self.director, recover=self._recover, expired=expired)

    def _expired(self) -> bool:
        """Say whether all that agents trust has expired, and nothing was done about it yet."""
        if RotationFiles((self._state / WORKPLACE).absolute()).ops_files():
            return False
        with suppress(SpecError):
            bundle = self.environment.inputs().evaluate().properties().tls.bundle
            return all(certificate.not_after < self._clock() for certificate in bundle)
        return False

    def signer(self) -> PresentSigner | None:
        """Return the CA of the operator's own manifest; None when it cannot be read there.

        The platform finds and names what is wrong with it.
        """
        with suppress(SpecError):
            pair = self.environment.inputs().evaluate().properties().tls.pairs[NatsPart.CLIENT_CA]
            with suppress(PemError):
                fits = from_pem(pair.key.reveal()).key_identity == pair.chain[0].key_identity
                return PresentSigner(pair.chain[0], pair.key) if fits else None
        return None

    def director_vm(self, group: GroupDescription, *, known: KnownCertificates) -> DirectorVm:
        """Make the platform of the director VM."""
        return DirectorVm(
            group,
            settings=self._reached,
            environment=self.environment,
            director=self.director,
            ledger=self._ledger,
            identities=known.all_identities,
            known=known.of_authorities,
            base=self._base,
            state=self._state,
            clock=self._clock,
        )

    def agents(
        self, group: GroupDescription, vm: DirectorVm, *, known: KnownCertificates
    ) -> BoshAgents:
        """Make the platform of all agents, which get what that director VM hands out."""
        recent = _Recent(lambda: _deployed(vm))
        return BoshAgents(
            group,
            settings=self._reached,
            director=self.director,
            handout=vm.issued_credentials,
            # The store has the keys of CAs that were replaced at the director since.
            signer_key=lambda version: vm.signer_key(version) or known.key_of(version),
            mbus=Mbus(lambda: _mbus_access(self._reached, recent())),
            ledger=self._ledger,
            known=known.of_authorities,
            recover=self._recover,
            clock=self._clock,
        )

    def write_runbook(self, directory: Path, outlook: Outlook) -> tuple[Path, ...]:
        """Write the plan as ops files and instructions, and return what was written."""
        from rollover.platforms.bosh import director_fleet, runbook  # noqa: PLC0415

        facts = runbook.runbook_facts(
            director_fleet.observe_director(self.director),
            access=self._access_of_people(),
            findings=outlook.findings,
            recovery=outlook.recovery,
            resurrection=self.director.resurrection(),
            ledger=(self._state / LEDGER).absolute(),
        )
        return runbook.write_runbook(
            directory,
            outlook.plan,
            environment=self.environment,
            facts=facts,
            kept=RotationFiles((self._state / WORKPLACE).absolute()).ops_files(),
        )

    def _access_of_people(self) -> runbook.OperatorAccess:
        """Return how people reach what the description says; paths made absolute."""
        from rollover.platforms.bosh import runbook  # noqa: PLC0415 - one use

        def placed(path: str | None) -> Path | None:
            return None if path is None else (self._base / path).absolute()

        found = self.environment.command.environment
        return runbook.OperatorAccess(
            url=self.director.access.url,
            client=self._settings.client,
            secret_file=placed(self._settings.client_secret_file),
            ca_cert=placed(self._settings.ca_cert),
            monitor=self._settings.monitor or runbook.MONITOR,
            sets=tuple(name for name, value in found.items() if self._variables.get(name) != value),
        )


class _Recent:
    """What a director VM was deployed with, found out anew when that was a while ago.

    Each time takes handshakes with NATS; whoever waits for NATS to come back asks twice a second.
    """

    def __init__(self, ask: Callable[[], DirectorProperties | None]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._found: DirectorProperties | None = None
        self._asked_at = float("-inf")

    def __call__(self) -> DirectorProperties | None:
        with self._lock:
            if time.monotonic() - self._asked_at > RECENT_SECONDS:
                self._found = self._ask()
                self._asked_at = time.monotonic()
            return self._found


def _deployed(vm: DirectorVm) -> DirectorProperties | None:
    try:
        return vm.properties()
    except EvidenceMissing:
        return None  # which the observation of the director VM says by itself


def _mbus_access(settings: DirectorDescription, found: DirectorProperties | None) -> MbusAccess:
    """Return how the director itself reaches NATS."""
    if found is None:
        raise NotFound(
            "what it was deployed with is not known",
            system="director",
            operation="read its manifest",
            hint="`rollover check` says what is missing of the manifest or its variables",
        )
    own = found.tls.pairs[NatsPart.DIRECTOR]
    return MbusAccess(
        address=nats_address(settings),
        chain=write_certificates(own.chain),
        key=own.key,
        trust=write_certificates(found.tls.bundle),
    )
