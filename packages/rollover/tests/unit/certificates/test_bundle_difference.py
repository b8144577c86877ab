"""What a change of a bundle would break, in terms of configurations and of fleets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs.config_scenes import Desk, Tls
from rigs.pki_forge import CA, LEAF, NOW, Forged, forge
from rollover.certificates.bundle_difference import compare, in_configs, in_fleet
from rollover.engine.topology import FleetObservation
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.fleet import Endpoint, EndpointRef, Fleet, Group, Instance, Link
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName

WHOLE = EndpointName("tls")


def certificates(*several: Forged) -> tuple[Certificate, ...]:
    """The certificates without their keys."""
    return tuple(pair.certificate for pair in several)


def member(
    name: str, leaf: Forged, trusts: tuple[Forged, ...], stack: Stack = Stack.GO
) -> Instance:
    """A party that presents a leaf and trusts some CAs."""
    endpoint = Endpoint(
        name=WHOLE, stack=stack, presents=(leaf.certificate.fingerprint,),
        trusts=tuple(trust.certificate.fingerprint for trust in trusts),
    )  # fmt: skip
    return Instance(name=InstanceName(name), endpoints=(endpoint,))


def survey(
    instances: tuple[Instance, ...], *known: Forged, links: Mapping[str, str]
) -> FleetObservation:
    """A fleet as it was observed."""
    found: dict[Fingerprint, Certificate] = {
        pair.certificate.fingerprint: pair.certificate for pair in known
    }
    fleet = Fleet(
        name="f",
        groups=(Group(name=GroupName("g"), instances=instances),),
        links=tuple(
            Link(dialer=EndpointRef(InstanceName(a), WHOLE),
                 acceptor=EndpointRef(InstanceName(b), WHOLE))
            for a, b in links.items()
        ),
        certificates=found,
    )  # fmt: skip
    return FleetObservation(fleet, keys=frozenset(), at=NOW)


def test_additions_removals_renewals_and_order_are_told() -> None:
    """The same authority with a new certificate is a renewal, not just something new."""
    old, new = forge("old", CA), forge("new", CA)
    renewed = forge("old", CA, key=old.key)
    change = compare(certificates(old, new), certificates(new, renewed))
    assert change.added == certificates(renewed)
    assert change.removed == certificates(old)
    assert change.renewed == (renewed.certificate.fingerprint,)
    assert not change.reordered
    assert compare(certificates(old, new), certificates(new, old)).reordered
    assert compare(certificates(old), certificates(old, old)).nothing


def test_links_of_a_fleet_stop_and_begin_to_work() -> None:
    """Taking the old CA away cuts off whoever still presents a leaf of it; adding one lets in."""
    old, new = forge("old", CA), forge("new", CA)
    first, second = forge("n1", LEAF, by=old), forge("n2", LEAF, by=new)
    instances = (member("n1", first, (old,)), member("n2", second, (old,)))
    seen = survey(instances, old, new, first, second, links={"n1": "n2", "n2": "n1"})
    wider = in_fleet(seen, certificates(old), certificates(old, new))
    assert (len(wider.stops), len(wider.begins)) == (0, 2)
    assert wider.using == ("n1/tls", "n2/tls")
    assert wider.proven
    both = (member("n1", first, (old, new)), member("n2", second, (old, new)))
    seen = survey(both, old, new, first, second, links={"n1": "n2", "n2": "n1"})
    narrower = in_fleet(seen, certificates(old, new), certificates(new))
    assert {stop.link for stop in narrower.stops} == {"n1/tls → n2/tls", "n2/tls → n1/tls"}
    assert all(stop.reason for stop in narrower.stops)


def test_an_addition_can_break_a_link_too() -> None:
    """Same subject, no identifiers: an OpenSSL peer tries the first only; the order decides."""
    bare = CA._replace(subject_key_id=False)
    leafs = LEAF._replace(authority_key_id=False)
    old, new = forge("NATS CA", bare), forge("NATS CA", bare)
    leaf = forge("n1", leafs, by=old)
    instances = (
        member("n1", leaf, (old,), Stack.OPENSSL),
        member("n2", leaf, (old,), Stack.OPENSSL),
    )
    seen = survey(instances, old, new, leaf, links={"n1": "n2"})
    assert in_fleet(seen, certificates(old), certificates(new, old)).stops
    assert not in_fleet(seen, certificates(old), certificates(old, new)).stops


def test_nothing_is_proven_of_who_was_not_seen_or_trusts_something_else() -> None:
    """A bundle that nobody trusts, and an instance that does not answer."""
    old, new = forge("old", CA), forge("new", CA)
    leaf = forge("n1", LEAF, by=old)
    silent = Instance(name=InstanceName("n2"), endpoints=(Endpoint(name=WHOLE),))
    seen = survey((member("n1", leaf, (old,)), silent), old, leaf, links={})
    assert in_fleet(seen, certificates(old), certificates(new)).unseen == ("n2",)
    other = in_fleet(seen, certificates(new), certificates(old))
    assert not other.using
    assert not other.proven


@pytest.mark.parametrize("kept", ["A", "B"])
def test_peers_of_configurations_stop_to_trust_each_other(tmp_path: Path, kept: str) -> None:
    """Two gateways with leafs of two CAs and one bundle of both: neither CA can go."""
    desk = Desk(tmp_path)
    authorities = {"A": desk.authority("A"), "B": desk.authority("B")}
    both = tuple(authorities.values())
    for name, address, authority in (("a", "127.0.0.1", "A"), ("b", "127.0.0.2", "B")):
        leaf = desk.leaf("127.0.0.1", "127.0.0.2", by=authorities[authority], subject=name)
        more = f"name: {name.upper()}\nlisten: '{address}:7222'\n"
        desk.server(f"{name}1", gateway=Tls((leaf,), both), inside={"gateway": more})
    scene = desk.scene()
    old, new = certificates(*both), certificates(authorities[kept])
    effect = in_configs(scene, old, new, path=Path("none"))
    assert len(effect.using) == 2
    assert effect.stops
    assert not effect.begins
    assert in_configs(scene, old, old, path=Path("none")).stops == ()
    back = in_configs(scene, old, certificates(*reversed(both)), path=Path("none"))
    assert (back.stops, back.begins) == ((), ())


def test_one_configuration_speaks_for_peers_and_clients_of_its_issuer(tmp_path: Path) -> None:
    """A route's peers have, as a rule, the same issuer; clients are known by their files."""
    desk = Desk(tmp_path)
    old = desk.authority("Old")
    desk.client("app", desk.leaf(by=old, subject="app"))
    desk.server(
        cluster=Tls((desk.leaf(by=old),), (old, desk.root)),
        top=Tls((desk.leaf(),), (old, desk.root), more="verify: true"),
    )
    effect = in_configs(
        desk.scene(), certificates(old, desk.root), certificates(desk.root), path=Path("none")
    )
    links = " | ".join(stop.link for stop in effect.stops)
    assert "issuer `CN=Old`" in links
    assert "the client `CN=app`" in links


def test_only_the_files_named_are_changed(tmp_path: Path) -> None:
    """A block whose `ca_file` holds other CAs is left alone."""
    desk = Desk(tmp_path)
    desk.server(cluster=Tls((desk.leaf(),), (desk.root,)))
    other = forge("other", CA, now=datetime.now(UTC))
    scene = desk.scene()
    assert in_configs(scene, certificates(other), (), path=Path("none")).using == ()
    named = in_configs(
        scene, certificates(other), certificates(other), path=tmp_path / "n1-cluster-ca.pem"
    )
    assert named.using == ("n1 cluster.tls",)
