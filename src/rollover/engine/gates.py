"""What must be seen before the next step: fresh handshakes, and the drain of what is withdrawn.

A reload that succeeds proves nothing, and a connection that is still open proves nothing: every
mistake is silent until the next reconnect. So gates dial afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from rollover.engine.platform_port import Platforms
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Holdout, Identity
from rollover.fleet.model import Availability, Fleet, Group
from rollover.fleet.names import Fingerprint, GroupName, InstanceName


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate saw."""

    gate: str
    evidence: tuple[Evidence, ...] = ()
    holdouts: tuple[Holdout, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the next step may begin."""
        return not self.holdouts and all(each.holds for each in self.evidence)


def handshake_gate(
    fleet: Fleet, platforms: Platforms, identities: Sequence[Identity], *, groups: set[GroupName]
) -> GateResult:
    """Dial every endpoint of some groups afresh, with the chains of each CA that can be had."""
    evidence: list[Evidence] = []
    for group in fleet.groups:
        if group.name not in groups:
            continue
        for (by_all, by_some), names in _by_trust(group).items():
            accepted = [each for each in identities if each.issuer in by_all]
            refused = [each for each in identities if each.issuer not in by_some]
            evidence += platforms(group.name).handshakes(names, accepted=accepted, refused=refused)
    return GateResult(gate="handshakes", evidence=tuple(evidence))


Trust = tuple[frozenset[Fingerprint], frozenset[Fingerprint]]
"""What all endpoints of an instance trust, and what at least one of them does."""


def _by_trust(group: Group) -> dict[Trust, list[InstanceName]]:
    """Return the instances that can be dialled, by what their endpoints trust."""
    found: dict[Trust, list[InstanceName]] = {}
    for instance in group.instances:
        if instance.availability is Availability.UNREACHABLE:
            continue
        bundles = [set(each.trusts) for each in instance.endpoints if each.trusts is not None]
        by_all = frozenset(set.intersection(*bundles)) if bundles else frozenset()
        by_some = frozenset(set.union(*bundles)) if bundles else frozenset()
        found.setdefault((by_all, by_some), []).append(instance.name)
    return found


def drain_gate(fleet: Fleet, platforms: Platforms, retired: Sequence[Certificate]) -> GateResult:
    """Ask every server for the live connections that still present a retired CA's certificates."""

    def ask(group: Group) -> list[Holdout]:
        names = [
            each.name
            for each in group.instances
            if each.availability is not Availability.UNREACHABLE
        ]
        return list(platforms(group.name).holdouts(names, retired=retired))

    with ThreadPoolExecutor(max_workers=8) as pool:
        found = [holdout for each in pool.map(ask, fleet.groups) for holdout in each]
    return GateResult(gate="drained", holdouts=tuple(found))


def cycle(fleet: Fleet, platforms: Platforms, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
    """Ask the peers of connections to come again, through the servers that hold them."""
    owner = {instance.name: group.name for group in fleet.groups for instance in group.instances}
    groups: dict[GroupName, list[Holdout]] = {}
    for each in holdouts:
        groups.setdefault(owner[each.server], []).append(each)
    for name, mine in groups.items():
        yield from platforms(name).cycle(mine)


def drained(
    look: Callable[[], GateResult],
    *,
    ask: Callable[[Sequence[Holdout]], None],
    expired: Callable[[], bool],
    pause: Callable[[], None],
) -> GateResult:
    """Return the drain gate once it holds, or as it is when time is up. Asks each peer once."""
    asked: set[tuple[str, int]] = set()
    while True:
        result = look()
        fresh = [each for each in result.holdouts if (each.server, each.connection) not in asked]
        if result.holds or expired():
            return result
        if fresh:
            ask(fresh)
            asked.update((each.server, each.connection) for each in fresh)
        pause()
