"""Shares the parts of the traffic out among a lab's clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import cycle

from rollover_lab.spec import ClusterSpec, LabSpec, RateSpec
from rollover_lab.traffic.spec import Part, Port, Role

MOST_DELIVERIES_PER_SECOND = 800.0
"""Of each kind: what clients in one Python process take in on two cores, with time left for a
rotation beside them."""

_SHARES = {
    Role.PUBLISHER: 4,
    Role.SUBSCRIBER: 8,
    Role.REQUESTER: 2,
    Role.RESPONDER: 2,
    Role.JS_PUBLISHER: 2,
    Role.JS_CONSUMER: 2,
}
"""Out of 20 clients. In the order in which a small lab gives out its first parts."""

_JETSTREAM = frozenset({Role.JS_PUBLISHER, Role.JS_CONSUMER})


def play(spec: LabSpec) -> tuple[Part, ...]:
    """Return a part for each client of the lab: all roles where there are enough clients.

    Every subscriber hears every publisher; the senders of a kind slow down so far that all
    deliveries stay below `MOST_DELIVERIES_PER_SECOND`. Several clusters have the clients in turn.
    """
    return (*_placed(_of_nats(spec), spec), *_of_mqtt(spec))


def _of_nats(spec: LabSpec) -> tuple[Part, ...]:
    stores = any(cluster.jetstream for cluster in spec.clusters)
    roles = [role for role in _SHARES if stores or role not in _JETSTREAM]
    counts = _shared_out(spec.clients, {role: _SHARES[role] for role in roles})
    return tuple(
        Part(f"{role}-{number}", role, _rate(role, counts, spec.rates))
        for role in roles
        for number in range(1, counts[role] + 1)
    )


def _placed(parts: tuple[Part, ...], spec: LabSpec) -> Iterator[Part]:
    """Yield the parts with their clusters, every second one of those with `websocket` there."""
    if spec.plain:
        yield from parts
        return
    counts: Counter[str] = Counter()
    for part, cluster in zip(parts, cycle(spec.clusters), strict=False):
        through = cluster.websocket and counts[cluster.name] % 2 == 0
        counts[cluster.name] += 1
        port = Port.WEBSOCKET if through else Port.NATS
        yield part._replace(cluster=cluster.name, port=port)


def _of_mqtt(spec: LabSpec) -> Iterator[Part]:
    """Yield MQTT clients, publishers and subscribers in turn."""
    clusters = [each for cluster in spec.clusters for each in _mqtt_clients(cluster)]
    roles = cycle((Role.MQTT_PUBLISHER, Role.MQTT_SUBSCRIBER))
    pairs = list(zip(clusters, roles, strict=False))
    counts = Counter(role for _, role in pairs)
    numbers: Counter[Role] = Counter()
    for cluster, role in pairs:
        numbers[role] += 1
        name, rate = f"{role}-{numbers[role]}", _rate(role, counts, spec.rates)
        yield Part(name, role, rate, cluster=cluster.name, port=Port.MQTT)


def _mqtt_clients(cluster: ClusterSpec) -> tuple[ClusterSpec, ...]:
    return (cluster,) * cluster.mqtt_clients if cluster.mqtt else ()


def _shared_out(total: int, shares: dict[Role, int]) -> dict[Role, int]:
    """Share `total` out by d'Hondt's rule, after one for each as far as that goes."""
    counts = dict.fromkeys(shares, 0)
    for role in _turns(total, shares, counts):
        counts[role] += 1
    return counts


def _turns(total: int, shares: dict[Role, int], counts: dict[Role, int]) -> Iterator[Role]:
    first = list(shares)[:total]
    yield from first
    for _ in range(total - len(first)):
        yield max(shares, key=lambda role: shares[role] / (counts[role] + 1))


def _rate(role: Role, counts: Mapping[Role, int], rates: RateSpec) -> float:
    match role:
        case Role.PUBLISHER:
            return _bounded(rates.publish_per_second, counts[role] * counts[Role.SUBSCRIBER])
        case Role.REQUESTER:
            return _bounded(rates.request_per_second, counts[role])
        case Role.JS_PUBLISHER:
            return _bounded(rates.jetstream_per_second, counts[role] * counts[Role.JS_CONSUMER])
        case Role.MQTT_PUBLISHER:
            hearings = counts[role] * counts[Role.MQTT_SUBSCRIBER]
            return _bounded(rates.jetstream_per_second, hearings)
        case _:
            return 0.0


def _bounded(per_second: float, hearings: int) -> float:
    return min(per_second, MOST_DELIVERIES_PER_SECOND / max(1, hearings))
