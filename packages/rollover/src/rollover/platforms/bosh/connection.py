"""One director as a fleet file describes it: its API, its files, and the platforms on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.service import Outlook
from rollover.errors import EvidenceMissing, NotFound, PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import DirectorDescription, FleetDescription, GroupDescription
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import director_fleet, runbook
from rollover.platforms.bosh.agent_pinger import Mbus, MbusAccess
from rollover.platforms.bosh.agents import BoshAgents
from rollover.platforms.bosh.connections import TIMEOUT_SECONDS, MonitoredConnections
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_vm import DirectorVm
from rollover.platforms.bosh.director_vm_observer import DirectorVmObserver
from rollover.platforms.bosh.held_credentials import HeldCredentials
from rollover.platforms.bosh.login import access_to, nats_address
from rollover.platforms.bosh.nats_properties import DirectorProperties, NatsPart
from rollover.platforms.bosh.provenance import ProvenanceFile
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.probe.monitoring import Monitor

WORKPLACE = "bosh"
"""In the state directory: what a rotation of the director needs between two runs."""
LEDGER = "agents.json"
"""In the state directory: what is known of agents' certificates."""
RECENT_SECONDS = 5.0
"""For so long what a director VM was found to be deployed with is taken for what it is."""


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
        # `create-env` runs in a directory of its own: what it is given has to be absolute.
        self._workplace = RotationFiles((state / WORKPLACE).absolute())
        self._variables = environment
        self._recover = recover
        self._clock = clock
        self._ledger_path = (state / LEDGER).absolute()
        self._ledger = ProvenanceFile(self._ledger_path)

    @cached_property
    def director(self) -> Director:
        """The director's API."""
        return Director(access_to(self._settings, environment=self._variables, base=self._base))

    @property
    def _nats_address(self) -> str:
        # By the URL: an alias of the bosh CLI says nothing of where NATS is.
        url = self.director.access.url
        return nats_address(msgspec.structs.replace(self._settings, environment=url))

    @property
    def _monitor(self) -> Monitor | None:
        """What lists the connections of NATS; None where its port is not described."""
        url = self._settings.monitor
        return None if url is None else Monitor(url, timeout_seconds=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Give back what is open."""
        # A property that was never asked for has opened nothing.
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
        return director_fleet.expand_fleet(
            described, self.director, recover=self._recover, expired=expired
        )

    def _expired(self) -> bool:
        """Say whether all that agents trust has expired, and nothing was done about it yet."""
        if self._workplace.ops_files():
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
        observer = DirectorVmObserver(
            self.environment,
            self._workplace,
            director=self.director,
            nats_address=self._nats_address,
            monitor=self._monitor,
            identities=known.all_identities,
            clock=self._clock,
        )
        return DirectorVm(
            group,
            observer,
            ledger=self._ledger,
            known=known.of_authorities,
            create_env_seconds=self._settings.create_env_minutes * 60,
        )

    def agents(
        self, group: GroupDescription, vm: DirectorVm, *, known: KnownCertificates
    ) -> BoshAgents:
        """Make the platform of all agents, which get what that director VM hands out."""
        recent = _RecentProperties(vm)
        held = HeldCredentials(
            vm.issued_credentials,
            # The store has the keys of CAs that were replaced at the director since.
            signer_key=lambda version: vm.signer_key(version) or known.key_of(version),
            known=known.of_authorities,
            director=self.director,
            ledger=self._ledger,
            clock=self._clock,
        )
        return BoshAgents(
            group,
            held,
            settings=self._settings,
            director=self.director,
            mbus=Mbus(lambda: _mbus_access(self._nats_address, recent())),
            connections=MonitoredConnections(self._monitor),
            recover=self._recover,
        )

    def write_runbook(self, directory: Path, outlook: Outlook) -> tuple[Path, ...]:
        """Write the plan as ops files and instructions, and return what was written."""
        facts = runbook.runbook_facts(
            director_fleet.observe_director(self.director),
            access=self._operator_access(),
            findings=outlook.findings,
            recovery=outlook.recovery,
            resurrection=self.director.resurrection(),
            ledger=self._ledger_path,
        )
        return runbook.write_runbook(
            directory,
            outlook.plan,
            environment=self.environment,
            facts=facts,
            kept=self._workplace.ops_files(),
        )

    def _operator_access(self) -> runbook.OperatorAccess:
        """Return how people reach what the description says; paths made absolute."""

        def absolute(path: str | None) -> Path | None:
            return None if path is None else (self._base / path).absolute()

        own = self.environment.command.environment
        return runbook.OperatorAccess(
            url=self.director.access.url,
            client=self._settings.client,
            secret_file=absolute(self._settings.client_secret_file),
            ca_cert=absolute(self._settings.ca_cert),
            monitor=self._settings.monitor or runbook.MONITOR,
            sets=tuple(name for name, value in own.items() if self._variables.get(name) != value),
        )


class _RecentProperties:
    """What a director VM was deployed with, found out anew when that was a while ago.

    Each time takes handshakes with NATS; whoever waits for NATS to come back asks twice a second.
    """

    def __init__(self, vm: DirectorVm) -> None:
        self._vm = vm
        self._lock = Lock()
        self._found: DirectorProperties | None = None
        self._asked_at = float("-inf")

    def __call__(self) -> DirectorProperties | None:
        with self._lock:
            if time.monotonic() - self._asked_at > RECENT_SECONDS:
                # Where nobody knows them, the observation of the director VM says so by itself.
                self._found = None
                with suppress(EvidenceMissing):
                    self._found = self._vm.properties()
                self._asked_at = time.monotonic()
            return self._found


def _mbus_access(address: str, deployed: DirectorProperties | None) -> MbusAccess:
    """Return how the director itself reaches NATS."""
    if deployed is None:
        raise NotFound(
            "what it was deployed with is not known",
            system="director",
            operation="read its manifest",
            hint="`rollover check` says what is missing of the manifest or its variables",
        )
    own = deployed.tls.pairs[NatsPart.DIRECTOR]
    return MbusAccess(
        address=address,
        chain=write_certificates(own.chain),
        key=own.key,
        trust=write_certificates(deployed.tls.bundle),
    )
