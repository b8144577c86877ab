"""Which connections to NATS still live on a retired CA."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from rigs import bosh_director_files as files
from rigs.bosh_director_files import VM
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Holdout
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh import connections
from rollover.platforms.bosh.connections import KnownAgents
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.nats_properties import ChainAndKey, NatsPart, NatsTls
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile, VmCreationTimes
from rollover.probe.server_views import ConnectionView, PeerCertificate

NOW = datetime.now(UTC)
OLD, NEW = files.generation(), files.generation(2)
OWN = Fingerprint("f" * 64)


def view(cid: int, name: str, certificate: str) -> ConnectionView:
    """A connection that shows a certificate."""
    shown = PeerCertificate(
        subject=f"CN={name},O=Cloud Foundry,C=USA", spki_sha256="", cert_sha256=certificate
    )
    return ConnectionView(cid=cid, ip="10.0.0.9", port=4711, tls_peer_certs=(shown,))


def agent(cid: int, name: str, certificate: str) -> ConnectionView:
    """A connection of an agent."""
    return view(cid, f"{name}.agent.bosh-internal", certificate)


def tls(*bundle: Certificate, clients: files.Generation = NEW) -> NatsTls:
    """What the director has."""
    pairs = {
        part: ChainAndKey(chain=(clients.of[part].certificate,), key=clients.of[part].secret)
        for part in NatsPart
    }
    return NatsTls(bundle=bundle, bundle_text="", pairs=pairs)


def ledger(folder: Path) -> ProvenanceFile:
    """An hour ago the old CA signed, since a minute the new one."""
    found = ProvenanceFile(folder / "agents.json")
    begun = NOW - timedelta(hours=1)
    found.record_issued(IssuedCredentials(signer=OLD.ca, bundle=(OLD.ca,), since=begun), at=begun)
    found.record_connected(
        {"a": Fingerprint("a" * 64)}, born={}, trusted=[OLD.ca.fingerprint], at=begun
    )
    changed = NOW - timedelta(minutes=1)
    found.record_issued(IssuedCredentials(signer=OLD.ca, bundle=(OLD.ca,)), at=changed)
    found.record_issued(
        IssuedCredentials(signer=NEW.ca, bundle=(OLD.ca, NEW.ca), since=changed), at=changed
    )
    return found


class Forgetful:
    """A director that remembers no events."""

    def creation_task(self, vm_cid: str) -> int | None:
        """Return nothing."""
        del vm_cid
        return None


def agents(known: ProvenanceFile, *instances: BoshInstance) -> KnownAgents:
    """What is known of agents."""
    return KnownAgents(known, lambda: instances, VmCreationTimes(Forgetful(), known), NOW)


def left(folder: Path, *views: ConnectionView, has: NatsTls | None = None) -> list[Holdout]:
    """Who is left of the old CA."""
    instance = BoshInstance(deployment="cf", group="api", id="1", agent_id="a", vm_cid="vm")
    return list(
        connections.holdouts(
            VM,
            views,
            retired=[OLD.ca],
            tls=[has or tls(OLD.ca, NEW.ca)],
            agents=agents(ledger(folder), instance),
            own=frozenset([OWN]),
        )
    )


def test_an_agent_with_a_certificate_from_before_is_named(tmp_path: Path) -> None:
    """By its name in the fleet, with the CA."""
    [found] = left(tmp_path, agent(1, "a", "a" * 64))
    assert (found.peer, found.issuer_name, found.connection) == ("cf/api/1", OLD.ca.subject, 1)


def test_an_agent_with_a_new_certificate_is_none(tmp_path: Path) -> None:
    """Its first was seen before the change, this one only now: it was issued in between."""
    seen = ledger(tmp_path)
    at = NOW - timedelta(seconds=30)
    seen.record_connected({"a": Fingerprint("a" * 64)}, born={}, trusted=[], at=at)
    instance = BoshInstance(deployment="cf", group="api", id="1", agent_id="a", vm_cid="vm")
    found = connections.holdouts(
        VM,
        [agent(2, "a", "c" * 64)],
        retired=[OLD.ca],
        tls=[tls(OLD.ca, NEW.ca)],
        agents=agents(seen, instance),
        own=frozenset(),
    )
    assert list(found) == []


def test_an_agent_of_which_nobody_knows_is_named_without_a_ca(tmp_path: Path) -> None:
    """It may come from either; it is in no deployment."""
    [found] = left(tmp_path, agent(1, "stranger", "d" * 64))
    assert (found.peer, found.issuer_name) == ("agent stranger", "")


def test_whoever_is_accepted_by_one_ca_alone_comes_from_it(tmp_path: Path) -> None:
    """Once NATS trusts the new one only, all that are connected are its."""
    assert left(tmp_path, agent(1, "stranger", "d" * 64), has=tls(NEW.ca)) == []


def test_other_clients_are_named_but_for_our_own(tmp_path: Path) -> None:
    """With the subject that they show."""
    views = (view(1, "nats-exporter", "e" * 64), view(2, "rollover-probe", OWN))
    [found] = left(tmp_path, *views)
    assert "nats-exporter" in found.peer


def test_the_directors_own_jobs_are_none(tmp_path: Path) -> None:
    """They change together with NATS: a rollback would wait for them for ever."""
    leaf = OLD.of[NatsPart.DIRECTOR].certificate
    found = left(
        tmp_path,
        view(1, "default.director.bosh-internal", leaf.fingerprint),
        has=tls(OLD.ca, NEW.ca, clients=OLD),
    )
    assert found == []
