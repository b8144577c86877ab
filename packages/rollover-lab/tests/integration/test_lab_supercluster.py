"""A supercluster of real servers: it comes up, and its gateways part when an issuer changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from rigs import commands
from rigs.patience import Patience
from rollover.errors import ExitCode
from rollover_lab.commands import lab
from rollover_lab.nats import lab as nats_lab
from rollover_lab.nats.gateway_renewal import observe_gateways, renew, restart_cluster
from rollover_lab.nats.lab import Lab
from rollover_lab.nats.naive_swap import broken_links
from rollover_lab.nats.spec import ClusterSpec, GatewayTrust, Intermediate, LabSpec, preset_named

WAIT_SECONDS = 60.0

SMALL = LabSpec(
    name="two",
    clusters=(
        ClusterSpec(name="a", servers=1, jetstream=False),
        ClusterSpec(name="b", servers=1, jetstream=False),
    ),
    clients=12,
)


def _await(condition: Callable[[], bool], what: str) -> None:
    patience = Patience(WAIT_SECONDS)
    while not condition():
        assert patience.lasts(), f"waited {WAIT_SECONDS:g} s for {what}"
        time.sleep(0.1)


def _all_stand(fleet: Lab) -> bool:
    found = observe_gateways(fleet)
    return bool(found) and all(link.stands for link in found)


def test_the_command_knows_every_intermediate_and_trust() -> None:
    """What it offers is what a lab has."""
    assert set(lab.INTERMEDIATES) == set(Intermediate)
    assert set(lab.TRUSTS) == set(GatewayTrust)


def test_the_preset_comes_up_with_every_link_working(tmp_path: Path) -> None:
    """Clusters, gateways in both directions, a leaf node, WebSocket and MQTT ports, traffic."""
    with nats_lab.running(preset_named("supercluster"), tmp_path / "lab") as fleet:
        roles = {
            endpoint.role.value
            for group in fleet.description.groups
            for instance in group.instances
            for endpoint in instance.endpoints
        }
        assert {"gateway", "gateway-remote", "leafnode", "leaf-remote", "websocket", "mqtt"} < roles
        assert _all_stand(fleet)
        assert broken_links(fleet.description) == ()
        heard = fleet.traffic().received
        _await(lambda: fleet.traffic().received > heard, "messages")
        assert fleet.traffic().lost == 0


def test_a_renewal_by_another_intermediate_parts_the_clusters(tmp_path: Path) -> None:
    """With the issuer's own `ca.pem` nothing shows until a reconnect, and then all is gone."""
    with nats_lab.running(SMALL, tmp_path / "lab") as fleet:
        renew(fleet, "b", by=Intermediate.E1)
        assert _all_stand(fleet)
        assert fleet.traffic().disconnects == 0
        broken = {
            (broken_link.dialer, broken_link.acceptor)
            for broken_link in broken_links(fleet.description)
        }
        assert broken == {
            ("a1/gateway-remote-b", "b1/gateway"),
            ("b1/gateway-remote-a", "a1/gateway"),
        }
        by_hand = ("lab", "renew", "b", "--by", "E1", "--restart", "--directory", tmp_path / "lab")
        ran = commands.run(*by_hand, "--output", "json")
        assert ran.code == ExitCode.STOPPED
        assert {gateway["stands"] for gateway in ran.json["gateways"]} == {False}
        assert not any(link.stands for link in observe_gateways(fleet))


def test_with_a_curated_bundle_the_same_renewal_passes(tmp_path: Path) -> None:
    """Every side trusts each intermediate: gateways come back after the same disturbance."""
    spec = msgspec.structs.replace(SMALL, gateway_trust=GatewayTrust.BUNDLE)
    with nats_lab.running(spec, tmp_path / "lab") as fleet:
        renew(fleet, "b", by=Intermediate.E1)
        assert broken_links(fleet.description) == ()
        assert (fleet.traffic().lost, fleet.traffic().disconnects) == (0, 0)
        restart_cluster(fleet, "b")
        _await(lambda: _all_stand(fleet), "the gateways")
