"""Which connections to NATS still live on a retired CA: by the ledger, for NATS shows no issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.errors import AdapterError, EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Holdout
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.platforms.bosh.births import Births
from rollover.platforms.bosh.connections import AgentConnection, Listing, read
from rollover.platforms.bosh.ledger import Ledger
from rollover.platforms.bosh.properties import NatsTls
from rollover.platforms.bosh.records import BoshInstance
from rollover.probe.monitoring import Monitor
from rollover.probe.views import ConnectionView


class Agents(NamedTuple):
    """What is known of agents."""

    ledger: Ledger
    placed: Callable[[], Iterable[BoshInstance]]
    births: Births
    at: datetime


def listed(monitor: Monitor | None) -> tuple[ConnectionView, ...]:
    """Return the live connections; `EvidenceMissing` when they cannot be listed."""
    if monitor is None:
        raise EvidenceMissing(
            "the connections of the director's NATS cannot be listed: no monitoring port is "
            "described",
            hint="set `nats.enable_metrics_endpoint: true` and name the port as "
            "`director.monitor` (it listens on localhost:8222 of the director VM: use a tunnel)",
        )
    try:
        return monitor.connections()
    except AdapterError as error:
        raise EvidenceMissing(
            f"the connections of the director's NATS cannot be listed: {error.message}",
            hint=error.hint or "look at `director.monitor`",
        ) from None


def holdouts(
    server: InstanceName,
    views: Sequence[ConnectionView],
    *,
    retired: Sequence[Certificate],
    tls: Sequence[NatsTls],
    agents: Agents,
    own: frozenset[Fingerprint],
) -> Iterator[Holdout]:
    """Yield who comes from a retired CA, and who may: nobody can tell of those.

    `tls`: what the director VM may have; `own`: the certificates that Rollover itself presents.
    Director and health monitor are none of them: they are made anew together with NATS.
    """
    listing = read(views)
    gone = {each.fingerprint: each for each in retired}
    trusted = [one.fingerprint for each in tls for one in each.bundle]
    placed = {each.agent_id: each for each in agents.placed() if each.agent_id}
    _note(listing, placed, trusted=trusted, agents=agents)
    for each in listing.agents:
        issuer = _issuer(each, placed.get(each.agent_id), gone, trusted=trusted, agents=agents)
        if issuer is not None:
            instance = placed.get(each.agent_id)
            yield Holdout(
                server=server,
                connection=each.cid,
                peer=instance.name if instance is not None else f"agent {each.agent_id}",
                certificate=each.cert_sha256,
                issuer=issuer,
            )
    by_cid = {view.cid: view for view in views}
    for other in listing.others:
        shown = by_cid[other.cid].tls_peer_certs
        certificate = Fingerprint(shown[0].cert_sha256.lower() if shown else "")
        if certificate not in own:
            peer = other.subject or f"{other.ip}:{by_cid[other.cid].port}"
            yield Holdout(server=server, connection=other.cid, peer=peer, certificate=certificate)


def _note(
    listing: Listing,
    placed: dict[str, BoshInstance],
    *,
    trusted: Iterable[Fingerprint],
    agents: Agents,
) -> None:
    """Let the ledger know who is connected, where that is news: later ones are concluded by it."""
    seen = {agent: each.cert_sha256 for agent, each in listing.current().items()}
    if any(_latest(agents.ledger, agent) != found for agent, found in seen.items()):
        born = {agent: agents.births.after(each) for agent, each in placed.items()}
        agents.ledger.saw(seen, born=born, trusted=trusted, at=agents.at)


def _latest(ledger: Ledger, agent: str) -> Fingerprint | None:
    sightings = ledger.sightings(agent)
    return sightings[-1].certificate if sightings else None


def _issuer(
    connection: AgentConnection,
    instance: BoshInstance | None,
    retired: dict[Fingerprint, Certificate],
    *,
    trusted: Iterable[Fingerprint],
    agents: Agents,
) -> str | None:
    """Return the retired CA that a connection comes from, empty when nobody knows; None: none."""
    states = agents.ledger.states(
        connection.agent_id,
        trusted=trusted,
        certificate=connection.cert_sha256,
        born=agents.births.after(instance) if instance is not None else None,
        at=agents.at,
    )
    signers = {each.signer for each in states}
    if not signers:
        return ""
    if not signers & retired.keys():
        return None
    return retired[signers.pop()].subject if len(signers) == 1 else ""
