"""Rules over instances and their links: can each be seen, changed, changed alone, and reached?"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rollover.fleet.certificate import FaultKind
from rollover.fleet.description import EndpointDescription, FileDelivery, InstanceDescription
from rollover.fleet.fleet import (
    TOUCH_WEIGHT,
    Availability,
    EndpointRef,
    Instance,
    Link,
    Role,
    Touch,
)
from rollover.fleet.names import InstanceName, RuleId
from rollover.planner.explain import BROKEN_NOW
from rollover.rules.context import RuleContext, some_names
from rollover.rules.handshakes import JudgedHandshake
from rollover.rules.rule import Finding, Rule, Severity, found

# Instances: can each of them be seen, changed, and changed alone?

UNAVAILABLE = Rule(
    id=RuleId("instance-unavailable"),
    severity=Severity.ERROR,
    title="Every instance can be changed",
    meaning="An instance is ignored on purpose, or does not take what it is given.",
    why="It keeps its old material, so the rotation stops before the step that would cut it off.",
    example="`n3`: /etc/nats/tls is read-only.",
    remedy="Bring it back, or take it out of the fleet file.",
    source="The safety rule, over every state that an unconfirmed instance may be in",
)
UNREACHABLE = Rule(
    id=RuleId("instance-unreachable"),
    severity=Severity.EVIDENCE,
    title="Every instance was seen",
    meaning="An instance does not answer, or what it uses could not be found out.",
    why="Nothing can be proven of what was not seen: no step that concerns it is safe.",
    example="`n2`: 127.0.0.1:4222 refuses connections.",
    remedy="Bring it back, mark it as `ignored` with the reason, or take it out of the fleet file.",
    source="DESIGN: stop when evidence is missing",
)
NO_MATERIAL = Rule(
    id=RuleId("no-material-files"),
    severity=Severity.ERROR,
    title="The files of every endpoint are known",
    meaning="An endpoint presents a certificate or trusts a bundle, and the fleet file does not "
    "name the file that it comes from (`certificate` and `key`, or `ca`).",
    why="What has no place cannot be delivered: the endpoint can never be given the new CA.",
    example="`billing/client` presents a certificate, no `certificate` is described.",
    remedy="Name the files in the fleet file; for clients, those that the application reads.",
    source="The fleet file",
)
SHARED_FILES = Rule(
    id=RuleId("shared-files"),
    severity=Severity.ERROR,
    title="Instances that change apart have files of their own",
    meaning="Two instances of this machine name the same certificate, key or CA file.",
    why="A delivery to one changes the other too, unseen: its next reload takes files that no "
    "proof was made for.",
    example="`n1` and `n2` both read /etc/nats/ca.pem.",
    remedy="Give each instance its own copies, or describe them as one instance.",
    source="The safety rule ranges over what changes at once",
)
SHARED_KEY = Rule(
    id=RuleId("shared-key"),
    severity=Severity.WARNING,
    title="No private key is used by two instances",
    meaning="Two instances present certificates of the same key.",
    why="A key that lies in several places is lost with the weakest of them, and a server that is "
    "told apart by its certificate is not. A rotation gives each instance a key of its own.",
    example="`c1` to `c20` all present one wildcard certificate.",
    remedy="Rotate: every instance gets a leaf of its own.",
    source="NIST SP 800-57 part 1, §5.2: a key has one use and one place",
)
ALONE = Rule(
    id=RuleId("group-of-one"),
    severity=Severity.WARNING,
    title="Groups that restart have a second instance",
    meaning="A group needs a restart or a new deploy to take new material, and has one instance.",
    why="While it restarts nobody stands in for it: its clients wait or fail.",
    example="`director` is one VM and is recreated twice during a rotation.",
    remedy="Add an instance, or plan the interruption.",
    source="DESIGN: the cost of touching a group",
)
DOUBTED = Rule(
    id=RuleId("instance-doubted"),
    severity=Severity.WARNING,
    title="What runs could start again with its files",
    meaning="An instance answers as it should, and something about it is odd: a file of it cannot "
    "be used, or it does not run.",
    why="It lives on what it loaded before: the next reload or restart fails, also that of a "
    "rollout.",
    example="`n1`: /etc/nats/tls/n1.crt: the file is empty.",
    remedy="Put the file in order, from a backup or by hand; then run `rollover check` again.",
    source="nats-server keeps what it has when a reload fails, and does not start with such files",
)
NO_RECONNECT = Rule(
    id=RuleId("no-way-to-reconnect"),
    severity=Severity.ERROR,
    title="Clients that must reconnect can be made to",
    meaning="Clients take up new material when they reconnect, and nothing can ask them to: no "
    "system account is described, and neither is their `status_file`.",
    why="The rotation stops at the rollout that gives them new material, with the servers already "
    "changed.",
    example="`touch: reconnect` on the group `clients`, and no `system` in the fleet file.",
    remedy="Describe a user of the system account under `system`, or the `status_file` of each "
    "client, or a `restart` command with `touch: restart`.",
    source="nats-server asks one connection to move through its system account only",
)

_BY = {
    Availability.IGNORED: UNAVAILABLE,
    Availability.REFUSING: UNAVAILABLE,
    Availability.UNREACHABLE: UNREACHABLE,
}


def unavailable(context: RuleContext) -> Iterator[Finding]:
    """Yield the instances that cannot be changed."""
    yield from _in_state(context, UNAVAILABLE)


def unreachable(context: RuleContext) -> Iterator[Finding]:
    """Yield the instances that were not seen."""
    yield from _in_state(context, UNREACHABLE)


def doubted(context: RuleContext) -> Iterator[Finding]:
    """Yield the instances that were seen, with what is odd about them."""
    for instance in context.fleet.instances():
        if instance.availability is Availability.READY and instance.why:
            yield found(DOUBTED, instance.name, instance.why)


def _in_state(context: RuleContext, rule: Rule) -> Iterator[Finding]:
    for instance in context.fleet.instances():
        if _BY.get(instance.availability) is rule:
            yield found(rule, instance.name, instance.why or instance.availability.value)


def no_material(context: RuleContext) -> Iterator[Finding]:
    """Yield the endpoints that hold something which comes from no file that is known."""
    for instance in context.fleet.instances():
        if not _has_files(instance):
            continue
        for endpoint in instance.endpoints:
            ref = EndpointRef(instance.name, endpoint.name)
            described = context.described_endpoint(ref)
            if described is None:
                continue
            missing = list(_missing(described, endpoint.presents, endpoint.trusts))
            if missing:
                yield found(NO_MATERIAL, str(ref), f"{' and '.join(missing)} not described")


def _has_files(instance: Instance | InstanceDescription) -> bool:
    """Say whether material is delivered as files: not to a source, nor to what it feeds."""
    return not any(
        endpoint.role is Role.SOURCE or endpoint.source is not None
        for endpoint in instance.endpoints
    )


def _missing(
    described: EndpointDescription, presents: tuple[str, ...], trusts: tuple[str, ...] | None
) -> Iterator[str]:
    if presents and described.certificate is None:
        yield "`certificate`"
    if presents and described.key is None:
        yield "`key`"
    if trusts and described.ca is None:
        yield "`ca`"
    nothing = (described.certificate, described.key, described.ca) == (None, None, None)
    if nothing and not presents and not trusts:
        yield "`certificate`, `key` and `ca`"


def shared_files(context: RuleContext) -> Iterator[Finding]:
    """Yield the files of this machine that two instances name."""
    users: dict[str, list[InstanceName]] = {}
    for group in context.description.groups:
        if not isinstance(group.delivery, FileDelivery):
            continue  # the same path in two pods, or on two hosts, is two files
        for instance in filter(_has_files, group.instances):
            for path in sorted(_paths(instance)):
                users.setdefault(path, []).append(instance.name)
    for path, names in users.items():
        if len(names) > 1:
            others = some_names(tuple(names[1:]))
            yield found(SHARED_FILES, names[0], f"`{path}` is also a file of {others}")


def _paths(instance: InstanceDescription) -> set[str]:
    home = instance.working_directory or ""
    return {
        posixpath.normpath(posixpath.join(home, path))
        for endpoint in instance.endpoints
        for path in (endpoint.certificate, endpoint.key, endpoint.ca)
        if path is not None
    }


def shared_key(context: RuleContext) -> Iterator[Finding]:
    """Yield the leaves whose key several instances use."""
    for refs in _by_key(context).values():
        instances = tuple(dict.fromkeys(ref.instance for ref in refs))
        if len(instances) > 1:
            others = tuple(ref for ref in refs if ref.instance != refs[0].instance)
            yield found(SHARED_KEY, str(refs[0]), f"{some_names(others)} present the same key")


def _by_key(context: RuleContext) -> Mapping[str, list[EndpointRef]]:
    users: dict[str, list[EndpointRef]] = {}
    for party in context.parties:
        if party.endpoint.source is not None:
            continue  # who issued its chain is concluded, the chain itself is not known
        for leaf in context.certificates(party.endpoint.presents[:1]):
            users.setdefault(leaf.key_identity or leaf.fingerprint, []).append(party.ref)
    return users


def alone(context: RuleContext) -> Iterator[Finding]:
    """Yield the groups of one instance that cannot change without going down."""
    for group in context.fleet.groups:
        interrupts = TOUCH_WEIGHT[group.touch] >= TOUCH_WEIGHT[Touch.RESTART]
        if interrupts and len(group.instances) == 1:
            yield found(
                ALONE,
                group.name,
                f"its one instance `{group.instances[0].name}` has to {group.touch.value}",
            )


def no_reconnect(context: RuleContext) -> Iterator[Finding]:
    """Yield the groups of clients that nobody can ask to reconnect."""
    if context.description.system is not None:
        return
    for group in context.description.groups:
        mute = tuple(instance.name for instance in group.instances if instance.status_file is None)
        if group.touch is Touch.RECONNECT and mute:
            yield found(NO_RECONNECT, group.name, f"{len(mute)} have no `status_file`")


CHECKS = (
    (UNREACHABLE, unreachable),
    (UNAVAILABLE, unavailable),
    (DOUBTED, doubted),
    (NO_MATERIAL, no_material),
    (SHARED_FILES, shared_files),
    (SHARED_KEY, shared_key),
    (ALONE, alone),
    (NO_RECONNECT, no_reconnect),
)


# Links: does a new handshake on each of them succeed now?

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


class _KindOfLink(NamedTuple):
    """Links that one finding speaks of: from one group to another, with one reason."""

    dialers: str
    acceptors: str
    reason: str
    by_dialer: bool


def broken_links(context: RuleContext) -> Iterator[Finding]:
    """Yield the links that do not work now, links of one kind and reason together."""
    yield from _collected(context, BROKEN, names=False)


def name_not_covered(context: RuleContext) -> Iterator[Finding]:
    """Yield the links on which only the name is wrong, or the name too."""
    yield from _collected(context, NAME, names=True)


def _collected(context: RuleContext, rule: Rule, *, names: bool) -> Iterator[Finding]:
    kinds: dict[_KindOfLink, list[Link]] = {}
    groups = {
        instance.name: group.name for group in context.fleet.groups for instance in group.instances
    }
    for link in context.fleet.links:
        judged = context.handshakes.on(link)
        reason = _reason_of(judged, names=names)
        if reason:
            kind = _KindOfLink(
                groups[link.dialer.instance],
                groups[link.acceptor.instance],
                reason,
                judged.refused_by == link.dialer,
            )
            kinds.setdefault(kind, []).append(link)
    for kind, links in kinds.items():
        first = links[0]
        refusing = first.dialer if kind.by_dialer else first.acceptor
        more = f", and {len(links) - 1} links like it" if len(links) > 1 else ""
        yield found(rule, str(first), f"{refusing} would refuse its peer: {kind.reason}{more}")


def _reason_of(judged: JudgedHandshake, *, names: bool) -> str:
    wanted = [fault for fault in judged.faults if (fault.kind is FaultKind.NAME) is names]
    return "; ".join(dict.fromkeys(fault.detail for fault in wanted))


def unverified_links(context: RuleContext) -> Iterator[Finding]:
    """Yield the endpoints that dial others and verify nobody."""
    verifying = {party.ref: party.endpoint.trusts is not None for party in context.parties}
    counts: dict[EndpointRef, int] = {}
    for link in context.fleet.links:
        # Of a dialer that was not seen nobody knows whether it verifies.
        if not verifying.get(link.dialer, True):
            counts[link.dialer] = counts.get(link.dialer, 0) + 1
    for ref, count in counts.items():
        yield found(UNVERIFIED, str(ref), f"it dials on {count} links and verifies nobody")


LINK_CHECKS = (
    (BROKEN, broken_links),
    (NAME, name_not_covered),
    (UNVERIFIED, unverified_links),
)
