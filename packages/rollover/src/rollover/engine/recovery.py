"""When a CA has expired: who is cut off by it, read off the certificates, and what that costs.

What a source feeds cannot be reached any more once its certificates are refused: it gets new ones
only by being made anew, without a word to what runs on it. That is never safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from rollover.engine.observed_fleet import ObservedFleet
from rollover.fleet.certificate import FaultKind
from rollover.fleet.fleet import Availability
from rollover.fleet.names import InstanceName
from rollover.planner.safety import Knowledge
from rollover.rules.handshakes import Handshakes

LOSSES = (
    "instances that do not answer are made anew: nothing on them is stopped in order, their "
    "ephemeral disks are lost, and writes on their way to persistent disks may be lost, which can "
    "leave databases and other stateful services damaged"
)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What the certificates say of a fleet whose CA has expired.

    `expired`: the CA versions that have, with the time. `cut_off`: the instances whose next
    handshake is refused for that reason; those that answer do so on connections that are still
    open, and no longer than those.
    """

    expired: tuple[str, ...] = ()
    cut_off: tuple[InstanceName, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether anybody can only be had back by being made anew."""
        return bool(self.cut_off)


def recovery(observed: ObservedFleet, knowledge: Knowledge, *, now: datetime) -> Recovery:
    """Return who is cut off because certificates have expired; empty where nobody is."""
    return Recovery(
        expired=tuple(_expired(observed, now)), cut_off=tuple(_cut_off(observed, knowledge, now))
    )


def _expired(observed: ObservedFleet, now: datetime) -> Iterator[str]:
    labels = {
        version: authority.label(version)
        for authority in observed.fleet.authorities
        for version in authority.versions
    }
    trusted = set(observed.trusted_versions())
    for certificate in observed.versions:
        if certificate.fingerprint in trusted and certificate.not_after < now:
            label = labels.get(certificate.fingerprint, certificate.subject)
            at = f"{certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
            yield f"`{label}` ({certificate.subject}) expired at {at}"


def _cut_off(
    observed: ObservedFleet, knowledge: Knowledge, now: datetime
) -> Iterator[InstanceName]:
    fed = {
        (instance.name, endpoint.name)
        for instance in observed.fleet.instances()
        if instance.availability is not Availability.IGNORED
        for endpoint in instance.endpoints
        if endpoint.source is not None
    }
    handshakes = Handshakes(
        observed.fleet, accepts=knowledge.accepts, shape=knowledge.shape, now=now
    )
    found: dict[InstanceName, None] = {}
    for link in observed.fleet.links:
        if (link.dialer.instance, link.dialer.endpoint) not in fed:
            continue
        if any(fault.kind is FaultKind.EXPIRED for fault in handshakes.on(link).faults):
            found[link.dialer.instance] = None
    yield from found
