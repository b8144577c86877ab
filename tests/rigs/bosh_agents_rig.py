"""The agents of a lab as a platform: a real director, a real nats-server, agents that restart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from bosh_interpolate import FileStore
from rigs.bosh_lab import BoshLab
from rollover.codec.fleet_file import read_fleet
from rollover.engine.ports import Pacing
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    DirectorDescription,
    EndpointDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import EndpointMaterial, Observation, Order, Result
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import read_certificates
from rollover.platforms.bosh.agent_pinger import Mbus, MbusAccess
from rollover.platforms.bosh.agent_proof import AgentPatience
from rollover.platforms.bosh.agents import BoshAgents
from rollover.platforms.bosh.connections import MonitoredConnections
from rollover.platforms.bosh.held_credentials import HeldCredentials
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile
from rollover.probe.monitoring import Monitor
from rollover_lab.bosh.job_config import DirectorConfig

PATIENCE = AgentPatience(
    ping=4.0, answer=90.0, prove=90.0, unchanged=8.0, briefly=2.0, update=120.0
)
MBUS = EndpointName("mbus")


def now() -> datetime:
    """Return the time, as a clock for platforms."""
    return datetime.now(UTC)


class AgentsRig:
    """`BoshAgents` for a lab; what `DirectorVm` would tell is read from the director VM's files."""

    def __init__(
        self,
        lab: BoshLab,
        state: Path,
        *,
        in_place: Literal["director", "direct"] = "director",
        recover: bool = False,
        patience: AgentPatience = PATIENCE,
    ) -> None:
        self.lab = lab
        fleet = read_fleet(lab.layout.fleet.read_bytes(), place="fleet.yml")
        assert fleet.director is not None
        self.settings: DirectorDescription = msgspec.structs.replace(
            fleet.director, in_place=in_place
        )
        self.mbus = Mbus(self.access)
        self.ledger = ProvenanceFile(state / "agents.json")
        self.group = self._group()
        held = HeldCredentials(
            self.issued_credentials,
            signer_key=self.signer_key,
            director=lab.director,
            ledger=self.ledger,
            clock=now,
        )
        self.platform = BoshAgents(
            self.group,
            held,
            settings=self.settings,
            director=lab.director,
            mbus=self.mbus,
            connections=MonitoredConnections(
                Monitor(self.settings.monitor or "", timeout_seconds=15.0)
            ),
            recover=recover,
            patience=patience,
        )

    @property
    def names(self) -> tuple[InstanceName, ...]:
        """All instances with a VM."""
        return tuple(instance.name for instance in self.group.instances)

    def config(self) -> DirectorConfig:
        """Return what the director runs with."""
        path = self.lab.layout.director_vm.director_config
        return msgspec.json.decode(path.read_bytes(), type=DirectorConfig)

    def issued_credentials(self) -> IssuedCredentials:
        """Return what the director hands out."""
        agents = self.config().agents
        signer = read_certificates(Path(agents.client_ca_certificate).read_bytes())
        bundle = read_certificates(Path(agents.bundle).read_bytes())
        return IssuedCredentials(
            signer=signer.certificates[0], bundle=bundle.certificates, trusted_certs=""
        )

    def signer_key(self, fingerprint: Fingerprint) -> SecretBytes | None:
        """Return the key of a CA from the vars store."""
        for name in ("nats_ca", "nats_ca_2"):
            found = FileStore(self.lab.layout.credentials).variables().get(name)
            if isinstance(found, dict):
                pem = str(found["certificate"]).encode()
                if read_certificates(pem).certificates[0].fingerprint == fingerprint:
                    return SecretBytes(str(found["private_key"]).encode())
        return None

    def access(self) -> MbusAccess:
        """Return how to reach NATS as the director."""
        bus = self.config().nats
        return MbusAccess(
            address=bus.address,
            chain=Path(bus.certificate).read_bytes(),
            key=SecretBytes(Path(bus.private_key).read_bytes()),
            trust=Path(bus.ca).read_bytes(),
        )

    def observe(self) -> dict[InstanceName, Observation]:
        """Look at all agents."""
        return {
            observation.instance: observation for observation in self.platform.observe(self.names)
        }

    def signers(self) -> set[str]:
        """Return the issuers of what all agents present, without doubt."""
        seen = self.observe().values()
        assert not [observation.instance for observation in seen if observation.may_use]
        return {observation.endpoints[0].presents[0].issuer_name for observation in seen}

    def bundles(self) -> set[tuple[Certificate, ...] | None]:
        """Return what all agents trust."""
        return {value.endpoints[0].trusts for value in self.observe().values()}

    def orders(self) -> list[Order]:
        """Return orders for what is handed out now."""
        handout = self.issued_credentials()
        material = EndpointMaterial(endpoint=MBUS, issuer=handout.signer, bundle=handout.bundle)
        return [Order(instance=name, endpoints=(material,)) for name in self.names]

    def roll_out(
        self, orders: Sequence[Order] | None = None, *, max_in_flight: int = 10
    ) -> list[Result]:
        """Roll out what is handed out now."""
        pacing = Pacing(canaries=1, max_in_flight=max_in_flight)
        wanted = self.orders() if orders is None else orders
        return list(self.platform.roll_out(wanted, pacing=pacing, stopping=lambda: False))

    def _group(self) -> GroupDescription:
        endpoint = EndpointDescription(name=MBUS, role=Role.CLIENT, source="director/agents")
        names = [
            instance.name for instance in self.lab.instances() if instance.agent_id is not None
        ]
        return GroupDescription(
            name=GroupName("agents"),
            platform="bosh-agents",
            instances=tuple(
                InstanceDescription(name=name, endpoints=(endpoint,)) for name in sorted(names)
            ),
            max_in_flight=10,
        )
