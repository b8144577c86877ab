"""Clients that come through the WebSocket and the MQTT port of a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.client_pki import Authority
from rigs.rotating import await_connected, await_true
from rollover.delivery import client_status
from rollover.delivery.client_status import ClientStatus
from rollover_lab.nats.lab import Lab, running
from rollover_lab.nats.spec import ClusterSpec, LabSpec
from rollover_lab.traffic.report import ClientReport
from rollover_lab.traffic.spec import ClientRole

SPEC = LabSpec(
    name="ports",
    clusters=(ClusterSpec(servers=1, websocket=True, mqtt=True, mqtt_clients=2),),
    clients=4,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server with every kind of port for clients."""
    with running(SPEC, tmp_path_factory.mktemp("ports") / "lab") as fleet:
        yield fleet


def _of(lab: Lab, role: ClientRole) -> ClientReport:
    return next(client for client in lab.traffic().clients if client.role is role)


def test_every_port_has_clients(lab: Lab) -> None:
    """The URLs that they are connected to tell which."""
    await_connected(lab)
    schemes = {client.server.partition(":")[0] for client in lab.traffic().clients}
    assert schemes == {"tls", "wss", "mqtts"}


def test_what_mqtt_acknowledged_survives_the_death_of_the_server(lab: Lab) -> None:
    """A session outlives its connection: whatever was sent comes, and the break is counted."""
    await_connected(lab)
    before = {client.name: client for client in lab.traffic().clients}
    lab.restart_server("n1", kill=True)
    await_connected(lab)
    sent = _of(lab, ClientRole.MQTT_PUBLISHER).sent
    await_true(lambda: _of(lab, ClientRole.MQTT_SUBSCRIBER).received > sent, what="all and more")
    await_true(
        lambda: _of(lab, ClientRole.MQTT_SUBSCRIBER).missing == 0, what="every number before"
    )
    for client in lab.traffic().clients:
        broke = client.disconnects - before[client.name].disconnects
        came = client.reconnects - before[client.name].reconnects
        assert (broke, came) == (1, 1), client.name


def test_mqtt_keeps_what_it_uses_when_no_server_takes_the_new(lab: Lab) -> None:
    """New certificates are tried beside the connection: refused ones break nothing.

    The client says so, and that all is well when the former files are back.
    """
    name = "mqtt-subscriber-1"

    def status() -> ClientStatus:
        return client_status.read(lab.layout.status(name))

    await_connected(lab)
    before, broken = status(), _of(lab, ClientRole.MQTT_SUBSCRIBER).disconnects
    files = lab.layout.client_material(name)
    kept = {path: path.read_bytes() for path in files}
    stranger = Authority("a stranger").issue(name)
    files.certificate.write_bytes(stranger.certificate)
    files.key.write_bytes(stranger.key)
    await_true(lambda: bool(status().error), what="a refusal")
    assert status().connected
    assert status().certificate_sha256 == before.certificate_sha256
    for path, content in kept.items():
        path.write_bytes(content)
    await_true(lambda: not status().error, what="the files that are in use")
    assert _of(lab, ClientRole.MQTT_SUBSCRIBER).disconnects == broken
    assert status().swaps == before.swaps
