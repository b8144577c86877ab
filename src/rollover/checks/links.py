"""Rules over links: does a new handshake on each of them succeed now?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rollover.checks.handshakes import Handshake
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.checks.scene import Scene
from rollover.fleet.certificate import FaultKind
from rollover.fleet.model import EndpointRef, Link
from rollover.fleet.names import RuleId
from rollover.planner.cautions import BROKEN_NOW

BROKEN = Rule(
    id=BROKEN_NOW,
    severity=Severity.ERROR,
    title="A new handshake succeeds on every link",
    meaning="A new handshake on a link would fail as the fleet is now.",
    why="A link that is broken already cannot be protected: no proof covers it, and a connection "
    "that is still open on it ends with its next reconnect.",
    example="`c5/client → n1/client`: `n1` would refuse it, no path to a trusted CA.",
    remedy="Mend it first, or say why it does not matter under `silenced` in the fleet file.",
    source="The safety rule: *that works now*",
)
NAME = Rule(
    id=RuleId("name-not-covered"),
    severity=Severity.ERROR,
    title="Certificates cover the names that are dialled",
    meaning="The name or address that a dialer expects is not among the names in the acceptor's "
    "certificate.",
    why="The dialer refuses it. On routes the other direction often hides it until a restart.",
    example="`n1/route → n2/route` expects `10.0.0.2`, the certificate has `nats-2.example.com`.",
    remedy="Issue the certificate with that name, or dial the name that it has.",
    source="RFC 6125 §6.4; Go and OpenSSL verify names the same way for DNS and IP entries",
)
UNVERIFIED = Rule(
    id=RuleId("unverified-link"),
    severity=Severity.WARNING,
    title="Every dialer verifies whom it dials",
    meaning="A dialer verifies nobody: it takes any certificate.",
    why="Its links cannot break, and prove nothing; anybody can stand in the middle.",
    example="The leaf node remote of `edge-3` is set to `insecure`.",
    remedy="Give it a bundle and let it verify.",
    source="nats-server: `insecure: true` skips the dialer's check",
)


class _Kind(NamedTuple):
    """Links that one finding speaks of: from one group to another, with one reason."""

    dialers: str
    acceptors: str
    reason: str
    by_dialer: bool


def broken(context: Scene) -> Iterator[Finding]:
    """Yield the links that do not work now, links of one kind and reason together."""
    yield from _collected(context, BROKEN, names=False)


def name_not_covered(context: Scene) -> Iterator[Finding]:
    """Yield the links on which only the name is wrong, or the name too."""
    yield from _collected(context, NAME, names=True)


def _collected(context: Scene, rule: Rule, *, names: bool) -> Iterator[Finding]:
    kinds: dict[_Kind, list[Link]] = {}
    groups = {each.name: group.name for group in context.fleet.groups for each in group.instances}
    for link in context.fleet.links:
        seen = context.handshakes.on(link)
        reason = _reason(seen, names=names)
        if reason:
            kind = _Kind(
                groups[link.dialer.instance],
                groups[link.acceptor.instance],
                reason,
                seen.refused_by == link.dialer,
            )
            kinds.setdefault(kind, []).append(link)
    for kind, links in kinds.items():
        yield _finding(rule, kind, links)


def _reason(seen: Handshake, *, names: bool) -> str:
    wanted = [fault for fault in seen.faults if (fault.kind is FaultKind.NAME) is names]
    return "; ".join(dict.fromkeys(fault.detail for fault in wanted))


def _finding(rule: Rule, kind: _Kind, links: list[Link]) -> Finding:
    first = links[0]
    refusing: EndpointRef = first.dialer if kind.by_dialer else first.acceptor
    more = f", and {len(links) - 1} links like it" if len(links) > 1 else ""
    return found(rule, str(first), f"{refusing} would refuse its peer: {kind.reason}{more}")


def unverified(context: Scene) -> Iterator[Finding]:
    """Yield the endpoints that dial others and verify nobody."""
    verifying = {party.ref: party.endpoint.trusts is not None for party in context.parties}
    counts: dict[EndpointRef, int] = {}
    for link in context.fleet.links:
        if not verifying.get(link.dialer, True):
            counts[link.dialer] = counts.get(link.dialer, 0) + 1
    for ref, count in counts.items():
        yield found(UNVERIFIED, str(ref), f"it dials on {count} links and verifies nobody")


CHECKS = (
    (BROKEN, broken),
    (NAME, name_not_covered),
    (UNVERIFIED, unverified),
)
