"""New credentials for agents in place: with the director's algorithm, and directly by Rollover.

Run: `python benchmarks/agents_in_place.py [--agents N] [--in-flight K] [--by-director M]`.
Agents of the lab, with the waits of real ones, on a real nats-server. The director asks an agent
for the result of `update_settings` with a timeout of 45 s; that question is lost while the agent
restarts. Rollover asks with 2 s. First M agents take the director's way, side by side, then all N
the direct one, K at a time behind a canary; each is proven by its new certificate at the server
and a ping. Not in either figure: what a deploy does besides (drain, stop, apply, start).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from os import getloadavg
from pathlib import Path
from time import monotonic

from cryptography.hazmat.primitives.serialization import Encoding

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rigs.bosh_nats_rig import DIRECTOR_NAME, BoshAuthority, BoshNats, bosh_nats, cloud_process
from rollover.engine.ports import Pacing
from rollover.engine.rollout import in_window
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Applied, EndpointMaterial, Order
from rollover.fleet.names import InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.certificate import parse_der
from rollover.platforms.bosh.agent_pinger import Mbus, MbusAccess
from rollover.platforms.bosh.agent_proof import MBUS, AgentPatience, AgentProver
from rollover.platforms.bosh.agent_rollout import AgentSettings, DirectUpdate
from rollover.platforms.bosh.connections import MonitoredConnections
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile, VmCreationTimes
from rollover.probe.monitoring import Monitor
from rollover_lab.bosh.cloud.client import LabCloud

DIRECTOR_POLL_SECONDS = 45.0
GOAL_SECONDS = 3.5
STEMCELL = {"name": "bosh-lab-ubuntu-jammy-go_agent", "version": "1.500"}
START_SECONDS = 120.0


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def certificate(authority: BoshAuthority) -> Certificate:
    """Return the CA as Rollover sees it."""
    return parse_der(authority.certificate.public_bytes(Encoding.DER))


class _Forgetful:
    """A director that remembers no events: the agents here were not made by one."""

    def creation_task(self, vm_cid: str) -> int | None:
        """Return nothing."""
        del vm_cid
        return None


class Bench:
    """Agents with certificates of the old CA; the new one signs, and both are trusted."""

    def __init__(self, nats: BoshNats, new: BoshAuthority, state: Path, *, agents: int) -> None:
        self._nats, self._new = nats, new
        self.names = [f"agent-{number:03d}" for number in range(agents)]
        self.mbus = Mbus(self._access)
        self._ledger = ProvenanceFile(state / "agents.json")
        self._old = certificate(nats.authority)

    def _access(self) -> MbusAccess:
        pair = self._nats.authority.client(DIRECTOR_NAME)
        return MbusAccess(
            address=f"127.0.0.1:{self._nats.port}",
            chain=pair.certificate.encode(),
            key=SecretBytes(pair.private_key.encode()),
            trust=self._nats.authority.pem.encode(),
        )

    def start(self, cloud: LabCloud) -> None:
        """Start all agents, and wait until they answer."""
        for name in self.names:
            settings = self._nats.settings(name)
            cloud.create_vm(agent_id=name, settings=settings, stemcell=STEMCELL)
        answers = self.mbus.ping(self.names, timeout_seconds=START_SECONDS)
        assert len(answers) == len(self.names), f"{len(answers)} agents answer"

    def hand_out(self, *bundle: Certificate) -> IssuedCredentials:
        """Have the new CA sign from now on, with that bundle."""
        handout = IssuedCredentials(signer=certificate(self._new), bundle=bundle)
        self._ledger.record_issued(handout, at=now())
        return handout

    def give(
        self, names: Sequence[str], handout: IssuedCredentials, *, poll: float, in_flight: int
    ) -> tuple[float, list[float]]:
        """Update agents and return the seconds of all, and of each agent's update."""
        patience = AgentPatience(ping=10.0, prove=120.0, update=250.0, poll=poll)
        trusted = frozenset(item.fingerprint for item in (self._old, handout.signer))
        prover = AgentProver(
            connections=MonitoredConnections(
                Monitor(f"http://127.0.0.1:{self._nats.monitor}", timeout_seconds=15.0)
            ),
            mbus=self.mbus,
            ledger=self._ledger,
            creation_times=VmCreationTimes(_Forgetful(), self._ledger),
            trusted=trusted,
            clock=now,
            patience=patience,
        )
        direct = DirectUpdate(
            mbus=self.mbus,
            prover=prover,
            ledger=self._ledger,
            issued=handout,
            signer_key=lambda _: SecretBytes(self._new.key_pem.encode()),
            clock=now,
            patience=patience,
        )
        instances = {InstanceName(f"d/g/{name}"): _instance(name) for name in names}
        prover.begin(tuple(instances.values()), listed_at=now())
        material = EndpointMaterial(endpoint=MBUS, issuer=handout.signer, bundle=handout.bundle)
        begun = monotonic()
        results = list(
            in_window(
                lambda order: direct.give(
                    order, instances[order.instance], AgentSettings(trusted_certs="")
                ),
                [Order(instance=name, endpoints=(material,)) for name in instances],
                pacing=Pacing(canaries=1 if in_flight < len(names) else 0, max_in_flight=in_flight),
                stopping=lambda: False,
            )
        )
        seconds = monotonic() - begun
        for result in results:
            assert isinstance(result, Applied), result
        assert len(results) == len(names)
        return seconds, [result.reload_seconds for result in results if isinstance(result, Applied)]

    def both(self) -> tuple[Certificate, ...]:
        """Return the bundle of old and new."""
        return self._old, certificate(self._new)


def _instance(agent: str) -> BoshInstance:
    return BoshInstance(deployment="d", group="g", id=agent, agent_id=agent, vm_created_at=now())


def row(way: str, seconds: float, each: Sequence[float], *, in_flight: int) -> None:
    """Print one line of the table."""
    print(
        f"{way:<24}{len(each):>7}{in_flight:>11}{statistics.median(each):>12.1f}"
        f"{max(each):>10.1f}{seconds:>10.1f}",
        flush=True,
    )


def main() -> None:
    """Measure both ways in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=40)
    parser.add_argument("--in-flight", type=int, default=10)
    parser.add_argument("--by-director", type=int, default=4)
    chosen = parser.parse_args()
    new = BoshAuthority()
    print(f"load {getloadavg()[0]:.1f}; seconds of an agent: the update, its restart included")
    print(f"{'way':<24}{'agents':>7}{'in flight':>11}{'median':>12}{'most':>10}{'all':>10}")
    with tempfile.TemporaryDirectory(prefix="rollover-agents-") as folder:
        base = Path(folder)
        names = [f"agent-{number:03d}" for number in range(chosen.agents)]
        with bosh_nats(base / "nats", names) as nats, cloud_process(base / "cloud") as cloud:
            nats.trust(nats.authority, new)
            nats.restart()
            bench = Bench(nats, new, base / "state", agents=chosen.agents)
            bench.start(cloud)
            few = bench.names[: chosen.by_director]
            handout = bench.hand_out(*bench.both())
            seconds, slow = bench.give(few, handout, poll=DIRECTOR_POLL_SECONDS, in_flight=len(few))
            row("director's, 45 s", seconds, slow, in_flight=len(few))
            # Another bundle, so that those few are updated once more.
            handout = bench.hand_out(*reversed(bench.both()))
            seconds, quick = bench.give(bench.names, handout, poll=2.0, in_flight=chosen.in_flight)
            row("Rollover's, 2 s", seconds, quick, in_flight=chosen.in_flight)
    ratio = statistics.median(quick) / statistics.median(slow)
    met = "met" if statistics.median(quick) <= GOAL_SECONDS else "missed"
    print(f"ratio {ratio:.3f}; goal: {GOAL_SECONDS:g} s for each agent, {met}")


if __name__ == "__main__":
    main()
