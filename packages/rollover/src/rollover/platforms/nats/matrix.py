"""Dials every port afresh with every identity: who is let in, who is not, what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Evidence, Identity
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import InstanceName
from rollover.platforms.nats.confirm import accepts, advertises, presents, refuses
from rollover.platforms.nats.places import demands, dialled
from rollover.platforms.nats.ports import Dial, dial
from rollover.probe.contexts import Contexts


class Candidates(NamedTuple):
    """Identities that must be let in, and those that must not."""

    accepted: Sequence[Identity]
    refused: Sequence[Identity]


def handshakes(
    instance: InstanceDescription, candidates: Candidates, *, contexts: Contexts, at: datetime
) -> tuple[Evidence, ...]:
    """Return what every port of one server answered to every identity."""
    everybody: tuple[Identity | None, ...] = (*candidates.accepted, *candidates.refused)
    wanted = {
        endpoint.name: everybody or (None,)
        for endpoint, _ in dialled(instance)
        if demands(endpoint)
    }
    dials = dial(instance, wanted, contexts=contexts)
    return tuple(_evidence(instance.name, dials, candidates, at=at))


def _evidence(
    instance: InstanceName, dials: Iterable[Dial], candidates: Candidates, *, at: datetime
) -> Iterator[Evidence]:
    described: set[EndpointRef] = set()
    must_go = {id(each) for each in candidates.refused}
    for endpoint, identity, shown in dials:
        subject = EndpointRef(instance, endpoint.name)
        if subject not in described:
            described.add(subject)
            yield presents(subject, shown, at=at)
            if demands(endpoint):
                yield advertises(subject, shown, at=at)
        if identity is None:
            continue
        judge = refuses if id(identity) in must_go else accepts
        yield judge(subject, shown, identity, at=at)
