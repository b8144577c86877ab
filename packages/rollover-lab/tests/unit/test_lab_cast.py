"""How the parts of the traffic are shared out among clients."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover_lab.nats.foundation import MOST_DELIVERIES_PER_SECOND, cast_clients
from rollover_lab.nats.spec import ClusterSpec, LabSpec, RateSpec, preset_named
from rollover_lab.traffic.spec import MQTT, SENDERS, CastClient, ClientProtocol, ClientRole


def _cast(
    clients: int, *, jetstream: bool = True, rates: RateSpec | None = None
) -> tuple[CastClient, ...]:
    return cast_clients(
        LabSpec(
            name="mine",
            clients=clients,
            clusters=(ClusterSpec(jetstream=jetstream),),
            rates=rates or RateSpec(),
        )
    )


def test_twenty_clients_play_every_part() -> None:
    """The demo fleet has publishers, subscribers, requests and a stream."""
    assert Counter(part.role for part in _cast(20)) == {
        ClientRole.PUBLISHER: 4,
        ClientRole.SUBSCRIBER: 8,
        ClientRole.REQUESTER: 2,
        ClientRole.RESPONDER: 2,
        ClientRole.JS_PUBLISHER: 2,
        ClientRole.JS_CONSUMER: 2,
    }


@examples(40)
@given(clients=st.integers(0, 500), jetstream=st.booleans())
def test_every_client_gets_one_part_and_a_name_of_its_own(clients: int, jetstream: bool) -> None:  # noqa: FBT001 - by name, from hypothesis
    """As many parts as clients, no two of one name, no stream where there is no JetStream."""
    parts = _cast(clients, jetstream=jetstream)
    assert len({part.name for part in parts}) == len(parts) == clients
    assert jetstream or not {part.role for part in parts} & {
        ClientRole.JS_PUBLISHER,
        ClientRole.JS_CONSUMER,
    }


@examples(40)
@given(clients=st.integers(6, 500))
def test_six_clients_are_enough_for_every_role(clients: int) -> None:
    """From six clients on nobody sends what nobody receives; MQTT needs a port of its own."""
    assert {part.role for part in _cast(clients)} == set(ClientRole) - MQTT


def test_clients_come_through_every_port_that_clusters_have() -> None:
    """Every second client of a cluster with a WebSocket port, and MQTT clients beyond the rest."""
    parts = cast_clients(preset_named("supercluster"))
    ports = {
        name: Counter(part.port for part in parts if part.cluster == name)
        for name in ("a", "b", "c")
    }
    assert ports == {
        "a": {ClientProtocol.NATS: 6},
        "b": {ClientProtocol.NATS: 3, ClientProtocol.WEBSOCKET: 3, ClientProtocol.MQTT: 4},
        "c": {ClientProtocol.NATS: 6},
    }
    speaking = Counter(part.role for part in parts if part.port is ClientProtocol.MQTT)
    assert speaking == {ClientRole.MQTT_PUBLISHER: 2, ClientRole.MQTT_SUBSCRIBER: 2}
    assert all(part.rate_per_second > 0 for part in parts if part.role in SENDERS)


@examples(40)
@given(clients=st.integers(2, 2000), rate=st.floats(0.1, 1000))
def test_senders_slow_down_where_many_listen(clients: int, rate: float) -> None:
    """All deliveries of core messages together stay below what the clients take in."""
    parts = _cast(clients, rates=RateSpec(publish_per_second=rate))
    sent = sum(part.rate_per_second for part in parts if part.role is ClientRole.PUBLISHER)
    hearing = sum(part.role is ClientRole.SUBSCRIBER for part in parts)
    assert sent * hearing <= MOST_DELIVERIES_PER_SECOND * 1.001
    assert all(part.rate_per_second > 0 for part in parts if part.role in SENDERS)
