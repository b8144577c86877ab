"""Shares the parts of the traffic out among a lab's clients."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.lab.spec import LabSpec, RateSpec
from rollover.lab.traffic.spec import Part, Role

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
    deliveries stay below `MOST_DELIVERIES_PER_SECOND`.
    """
    stores = any(cluster.jetstream for cluster in spec.clusters)
    roles = [role for role in _SHARES if stores or role not in _JETSTREAM]
    counts = _shared_out(spec.clients, {role: _SHARES[role] for role in roles})
    return tuple(
        Part(f"{role}-{number}", role, _rate(role, counts, spec.rates))
        for role in roles
        for number in range(1, counts[role] + 1)
    )


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


def _rate(role: Role, counts: dict[Role, int], rates: RateSpec) -> float:
    match role:
        case Role.PUBLISHER:
            return _bounded(rates.publish_per_second, counts[role] * counts[Role.SUBSCRIBER])
        case Role.REQUESTER:
            return _bounded(rates.request_per_second, counts[role])
        case Role.JS_PUBLISHER:
            return _bounded(rates.jetstream_per_second, counts[role] * counts[Role.JS_CONSUMER])
        case _:
            return 0.0


def _bounded(per_second: float, hearings: int) -> float:
    return min(per_second, MOST_DELIVERIES_PER_SECOND / max(1, hearings))
