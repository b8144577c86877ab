"""The servers' own CA rotated over a whole supercluster: every port of every kind, nothing lost."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rigs.rotating import UNHARMED, Losses, holds, rotate, trusted_and_presented
from rollover.engine.events import Ending
from rollover_lab.nats.gateway_renewal import observe_gateways
from rollover_lab.nats.lab import running
from rollover_lab.nats.spec import RateSpec, preset_named
from rollover_lab.traffic.spec import ClientRole

SPEC = msgspec.structs.replace(
    preset_named("supercluster"),
    # A third of the messages: on a busy machine they take more of the time than the rotation.
    rates=RateSpec(publish_per_second=5, request_per_second=3, jetstream_per_second=3),
)
CAME_ANEW = (
    *("publisher-2", "subscriber-4", "requester-2"),  # through WebSocket
    *("mqtt-publisher-1", "mqtt-publisher-2", "mqtt-subscriber-1", "mqtt-subscriber-2"),
)


def test_the_own_ca_rotates_over_clusters_leaf_nodes_websocket_and_mqtt(tmp_path: Path) -> None:
    """Clients on every port lose nothing; the drains of one port do not wait for those of another.

    MQTT subscribers have every number that was sent, each once acknowledged.
    """
    with running(SPEC, tmp_path / "lab") as lab:
        losses = Losses(lab)
        outcome = rotate(lab)
        assert outcome.ending is Ending.DONE, outcome.message
        assert losses.since() == UNHARMED
        assert all(observe_gateway.stands for observe_gateway in observe_gateways(lab))
        trusted, presented = trusted_and_presented(lab)
        assert not any("Demo NATS CA 1" in text for text in (*trusted, *presented))
        assert any("Demo NATS CA 2" in text for text in trusted)
        assert holds(lab)
    counted = {client.name: client for client in lab.traffic().clients}
    for name in CAME_ANEW:
        assert (counted[name].swaps, counted[name].disconnects) == (1, 0), name
    assert {value.server.partition(":")[0] for value in counted.values()} == {"tls", "wss", "mqtts"}
    heard = [
        value.received for value in counted.values() if value.role is ClientRole.MQTT_SUBSCRIBER
    ]
    sent = sum(value.sent for value in counted.values() if value.role is ClientRole.MQTT_PUBLISHER)
    assert sent > 0
    assert heard == [sent, sent]
    assert lab.traffic().final
    assert lab.traffic().lost == 0
