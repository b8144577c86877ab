"""Builders of small fleets for tests, with certificates that are only names.

A CA is named by a word (`old`, `new`); a chain by an instance gets `old:leaf`. A chain is accepted
when its issuer is in the bundle, or when it carries a bridge that somebody in the bundle signed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from rollover.fleet.certificate import (
    Certificate,
    Chain,
    Fault,
    FaultKind,
    Question,
    Stack,
    Verdict,
)
from rollover.fleet.fleet import (
    Authority,
    Availability,
    Endpoint,
    EndpointRef,
    Fleet,
    Group,
    Instance,
    Link,
    Role,
    SourceRef,
    State,
    Touch,
)
from rollover.fleet.goal import Prospect, RotateAuthority
from rollover.fleet.names import (
    AuthorityName,
    EndpointName,
    Fingerprint,
    GroupName,
    InstanceName,
    SlotName,
)
from rollover.fleet.plan import Rollout
from rollover.planner.safety import Knowledge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONG = timedelta(days=365)
BRIDGE = Fingerprint("bridge:new-by-old")


def certificate(
    name: str, *, not_before: datetime = NOW - LONG, not_after: datetime = NOW + LONG
) -> Certificate:
    """A certificate that is known by its name only."""
    issuer = name.split(":", maxsplit=1)[0]
    return Certificate(
        fingerprint=Fingerprint(name),
        subject=f"CN={name}",
        issuer_name=f"CN={issuer}",
        serial=1,
        not_before=not_before,
        not_after=not_after,
        dns_names=("localhost",),
    )


class World:
    """Symbolic certificates and the knowledge about them that a planner needs."""

    def __init__(self, *, target: str = "new", bridge: bool = False) -> None:
        self.target = Fingerprint(target)
        self.bridge = BRIDGE if bridge else None
        self.certificates: dict[Fingerprint, Certificate] = {}
        self.questions = 0
        for name in ("old", "new", "next", BRIDGE, "old:leaf", "new:leaf", "next:leaf"):
            self.add(certificate(name))

    def add(self, added: Certificate) -> None:
        """Make a certificate known, or replace it."""
        self.certificates[added.fingerprint] = added

    def accepts(self, question: Question) -> Verdict:
        """Accept a chain whose issuer, or whose bridge's issuer, is in the bundle and in time."""
        self.questions += 1
        for fingerprint in (*question.chain, *question.bundle):
            faults = self._dated(fingerprint, question.instant)
            if faults and fingerprint in question.chain:
                return Verdict(faults)
        issuer = question.chain[0].split(":")[0]
        anchors = [a for a in question.bundle if not self._dated(a, question.instant)]
        if issuer in anchors or (BRIDGE in question.chain[1:] and "old" in anchors):
            return Verdict()
        return Verdict((Fault(kind=FaultKind.NO_PATH, detail=f"`{issuer}` is not trusted"),))

    def _dated(self, fingerprint: Fingerprint, instant: datetime) -> tuple[Fault, ...]:
        known = self.certificates[fingerprint]
        if instant > known.not_after:
            return (Fault(kind=FaultKind.EXPIRED, detail=f"`{fingerprint}` expired"),)
        if instant < known.not_before:
            return (Fault(kind=FaultKind.NOT_YET_VALID, detail=f"`{fingerprint}` not yet valid"),)
        return ()

    def shape(self, chain: Chain) -> Hashable:
        """Chains of one issuer, with the same bridges, are judged alike; a CA is itself."""
        return (chain[0].removesuffix(":leaf"), ":" in chain[0], chain[1:])

    def prospect(self, chain: Chain) -> Prospect | None:
        """Every chain is of the one authority; what signs presents the CA itself, and no bridge."""
        if ":" not in chain[0]:
            return Prospect(chain[0], (self.target,))
        renewed = (Fingerprint(f"{self.target}:leaf"),)
        bridged = (*renewed, self.bridge) if self.bridge else None
        return Prospect(Fingerprint(chain[0].split(":")[0]), renewed, bridged)

    def knowledge(self) -> Knowledge:
        """What the planner has to be told."""
        return Knowledge(
            certificates=self.certificates,
            accepts=self.accepts,
            shape=self.shape,
            prospect=self.prospect,
        )


def endpoint(
    name: str,
    *,
    presents: str | None = "old",
    trusts: Iterable[str] | None = ("old",),
    role: Role = Role.TLS,
    slot: str | None = None,
    bundle: str | None = None,
    stack: Stack = Stack.GO,
    source: tuple[str, str] | None = None,
) -> Endpoint:
    """An endpoint by the names of its CAs. `bundle`: a slot of its own for what it trusts."""
    bundle = bundle or slot
    return Endpoint(
        name=EndpointName(name),
        role=role,
        stack=stack,
        presents=(Fingerprint(f"{presents}:leaf"),) if presents else (),
        trusts=None if trusts is None else tuple(Fingerprint(trust) for trust in trusts),
        chain_slot=SlotName(f"{slot}.crt") if slot else None,
        bundle_slot=SlotName(f"{bundle}.ca") if bundle else None,
        source=SourceRef(GroupName(source[0]), EndpointName(source[1])) if source else None,
    )


def signer(
    name: str, *, signs: str = "old", hands_out: Iterable[str] = ("old",), bundle: str
) -> Endpoint:
    """A source: it presents the CA that it signs with, and trusts the bundle that it hands out."""
    return msgspec.structs.replace(
        endpoint(name, trusts=hands_out, role=Role.SOURCE, slot=name, bundle=bundle),
        presents=(Fingerprint(signs),),
    )


def instance(
    name: str, *endpoints: Endpoint, availability: Availability = Availability.READY
) -> Instance:
    """An instance with its endpoints."""
    return Instance(
        name=InstanceName(name),
        endpoints=endpoints,
        availability=availability,
        why="" if availability is Availability.READY else availability.value,
    )


def group(
    name: str,
    *instances: Instance,
    touch: Touch = Touch.RELOAD,
    weight: int | None = None,
    seconds: float = 1.0,
) -> Group:
    """A group of instances."""
    return Group(
        name=GroupName(name),
        instances=instances,
        touch=touch,
        weight=weight,
        seconds_per_instance=seconds,
    )


def uniform(name: str, size: int, *endpoints: Endpoint, touch: Touch = Touch.RELOAD) -> Group:
    """A group of `size` instances that are alike, named `name1`, `name2`, …."""
    return group(
        name,
        *(instance(f"{name}{number}", *endpoints) for number in range(1, size + 1)),
        touch=touch,
    )


def links(
    dialers: Group,
    dialing: str,
    acceptors: Group,
    accepting: str,
    *,
    mutual: bool = True,
    same_instance: bool = False,
) -> list[Link]:
    """Every instance of one group dials every other of the second; or only itself."""
    return [
        Link(
            dialer=EndpointRef(dialer.name, EndpointName(dialing)),
            acceptor=EndpointRef(acceptor.name, EndpointName(accepting)),
            mutual=mutual,
            name="localhost",
        )
        for dialer in dialers.instances
        for acceptor in acceptors.instances
        if (dialer.name == acceptor.name) == same_instance
    ]


def fleet(groups: Sequence[Group], all_links: Iterable[Link], world: World) -> Fleet:
    """A fleet of the one authority `nats-ca`."""
    versions = tuple(Fingerprint(literal) for literal in ("old", "new", "next"))
    return Fleet(
        name="test",
        groups=tuple(groups),
        links=tuple(all_links),
        authorities=(Authority(name=AuthorityName("nats-ca"), versions=versions),),
        certificates=world.certificates,
    )


def goal(
    *,
    target: str = "new",
    trusted: Iterable[str] = ("new",),
    retired: Iterable[str] = ("old",),
    bridge: bool = False,
    compromised: bool = False,
    margin: timedelta = timedelta(minutes=5),
) -> RotateAuthority:
    """The goal of an ordinary rotation, unless said otherwise."""
    return RotateAuthority(
        authority=AuthorityName("nats-ca"),
        target=Fingerprint(target),
        trusted=tuple(Fingerprint(text) for text in trusted),
        retired=tuple(Fingerprint(text) for text in retired),
        bridge=BRIDGE if bridge else None,
        compromised=compromised,
        step_margin=margin,
    )


def with_weight(changed: Group, weight: int) -> Group:
    """The same group, whose rollouts cost so much."""
    return msgspec.structs.replace(changed, weight=weight)


def with_availability(
    changed: Fleet, unavailable: Mapping[str, Availability], may_be: Mapping[str, tuple[State, ...]]
) -> Fleet:
    """The same fleet, in which some instances are out of reach and may be in further states."""

    def each(one: Instance) -> Instance:
        reach = unavailable.get(one.name, one.availability)
        return msgspec.structs.replace(
            one,
            availability=reach,
            why="" if reach is Availability.READY else reach.value,
            may_be=may_be.get(one.name, one.may_be),
        )

    return _each(changed, each)


def with_groups_reversed(changed: Fleet) -> Fleet:
    """The same fleet with its groups in the opposite order."""
    return msgspec.structs.replace(changed, groups=changed.groups[::-1])


def after(changed: Fleet, rollouts: Iterable[Rollout]) -> Fleet:
    """The fleet after some rollouts, as it would be observed then."""
    held = {
        (name, endpoint): (chain, bundle)
        for rollout in rollouts
        for assignment in rollout.assignments
        for name in assignment.instances
        for endpoint, chain, bundle in zip(
            assignment.endpoints, assignment.presents, assignment.trusts, strict=True
        )
    }

    def observed(one: Instance) -> Instance:
        endpoints = tuple(
            msgspec.structs.replace(
                item,
                presents=held.get((one.name, item.name), (item.presents,))[0],
                trusts=held.get((one.name, item.name), ((), item.trusts))[1],
            )
            for item in one.endpoints
        )
        return msgspec.structs.replace(one, endpoints=endpoints)

    return _each(changed, observed)


def after_reissue(changed: Fleet, issuer: str) -> Fleet:
    """The same fleet with every chain issued by another CA."""

    def reissued(one: Instance) -> Instance:
        chain = (Fingerprint(f"{issuer}:leaf"),)
        endpoints = tuple(
            msgspec.structs.replace(item, presents=chain if item.presents else ())
            for item in one.endpoints
        )
        return msgspec.structs.replace(one, endpoints=endpoints)

    return _each(changed, reissued)


def _each(changed: Fleet, change: Callable[[Instance], Instance]) -> Fleet:
    return msgspec.structs.replace(
        changed,
        groups=tuple(
            msgspec.structs.replace(group, instances=tuple(map(change, group.instances)))
            for group in changed.groups
        ),
    )
