"""Look at a whole fleet: every group through its platform, then one typed fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from rollover.engine.platform_port import Platforms
from rollover.errors import EvidenceMissing
from rollover.fleet.assemble import assemble
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import FleetDescription, GroupDescription
from rollover.fleet.evidence import Observation
from rollover.fleet.model import Authority, Fleet
from rollover.fleet.names import Fingerprint, InstanceName

MOST_GROUPS_AT_ONCE = 8


def observe(described: FleetDescription, platforms: Platforms) -> dict[InstanceName, Observation]:
    """Return one observation for each instance, groups side by side."""
    with ThreadPoolExecutor(max_workers=MOST_GROUPS_AT_ONCE) as pool:
        seen = pool.map(lambda group: _observe_group(group, platforms), described.groups)
        return {each.instance: each for observations in seen for each in observations}


def _observe_group(group: GroupDescription, platforms: Platforms) -> list[Observation]:
    names = [instance.name for instance in group.instances]
    return list(platforms(group.name).observe(names))


def fleet_of(
    described: FleetDescription,
    observations: Mapping[InstanceName, Observation],
    *,
    authorities: Iterable[Authority],
    known: Mapping[Fingerprint, Certificate],
) -> Fleet:
    """Return the fleet that was observed.

    Raises `EvidenceMissing` when an instance was never seen and nothing is known of its state:
    no step could then be proven safe for it.
    """
    unknown = [
        f"`{name}` ({observation.why})"
        for name, observation in observations.items()
        if not observation.endpoints
    ]
    if unknown:
        raise EvidenceMissing(
            f"nothing is known of the state of {', '.join(unknown[:5])}",
            hint="make it reachable once, or take it out of the fleet file",
        )
    return assemble(described, observations, authorities=tuple(authorities), known=known)
