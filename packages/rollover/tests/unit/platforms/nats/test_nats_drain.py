"""Which connections hold up the withdrawal of a CA, judged by what they present."""

from __future__ import annotations

import pytest

from rigs.nats_fleet_rig import Authority
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName
from rollover.platforms.nats.connections import Inventory, _retired_issuer, peer, role
from rollover.probe.server_views import ConnectionView, PeerCertificate

RETIRED = Authority("retired").certificate
ISSUERS = {
    "leaf-of-retired": RETIRED.fingerprint,
    "leaf-of-new": Fingerprint("new"),
    "intermediate": RETIRED.fingerprint,
}
INVENTORY = Inventory(
    issuer_of=ISSUERS.get,
    retired={RETIRED.fingerprint: RETIRED},
    own=frozenset({Fingerprint("our-probe")}),
)


def view(*shown: str) -> ConnectionView:
    """A connection that presents certificates with these fingerprints."""
    certificates = tuple(
        PeerCertificate(subject="", spki_sha256="", cert_sha256=text) for text in shown
    )
    return ConnectionView(cid=7, ip="10.0.0.1", port=4711, tls_peer_certs=certificates)


@pytest.mark.parametrize(
    ("shown", "standing"),
    [
        ((), None),
        (("our-probe",), None),
        (("leaf-of-new",), None),
        (("leaf-of-new", "some-root"), None),
        (("leaf-of-retired",), "CN=retired"),
        (("stranger",), ""),
        (("stranger", "some-root"), ""),
        (("stranger", RETIRED.fingerprint), "CN=retired"),
        (("stranger", "intermediate"), "CN=retired"),
    ],
)
def test_a_connection_is_judged_by_all_that_it_shows(
    shown: tuple[str, ...], standing: str | None
) -> None:
    """Retired by leaf, root or intermediate; unknown is said; the rest and ours are fine."""
    assert _retired_issuer(view(*shown), INVENTORY) == standing


def test_a_peer_without_a_name_goes_by_its_address() -> None:
    """People must be able to find it."""
    assert peer(view()) == "10.0.0.1:4711"


HUB, SPOKE, BOTH_WAYS = (Role.LEAFNODE,), (Role.LEAF_REMOTE,), (Role.LEAFNODE, Role.LEAF_REMOTE)


@pytest.mark.parametrize(
    ("kind", "by", "described", "through"),
    [
        ("Client", "nats", HUB, Role.CLIENT_PORT),
        ("Client", "websocket", HUB, Role.WEBSOCKET),
        ("Client", "mqtt", HUB, Role.MQTT),
        ("Client", "something new", HUB, None),
        ("Leafnode", "", HUB, Role.LEAFNODE),
        ("Leafnode", "", SPOKE, Role.LEAF_REMOTE),
        ("Leafnode", "", BOTH_WAYS, None),
        ("Leafnode", "websocket", HUB, None),
        ("", "", HUB, None),
    ],
)
def test_a_connection_is_of_the_port_that_it_came_through(
    kind: str, by: str, described: tuple[Role, ...], through: Role | None
) -> None:
    """By kind and type; a server that takes leaf nodes and is one lists both alike."""
    instance = InstanceDescription(
        name=InstanceName("n1"),
        endpoints=tuple(
            EndpointDescription(name=EndpointName(item.value), role=item) for item in described
        ),
    )
    assert role(ConnectionView(cid=7, kind=kind, type=by), instance) is through
