"""From what is described and what was observed to the fleet that is planned on. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.evidence import Observation, Seen
from rollover.fleet.model import (
    Authority,
    Availability,
    Endpoint,
    EndpointRef,
    Fleet,
    Group,
    Instance,
    Link,
    SourceRef,
    State,
)
from rollover.fleet.names import EndpointName, Fingerprint, GroupName, InstanceName, SlotName

MOST_LINKS = 5_000_000
"""A description that asks for more links than this is taken for a mistake."""


def assemble(
    description: FleetDescription,
    observations: Mapping[InstanceName, Observation],
    *,
    authorities: Sequence[Authority] = (),
    known: Mapping[Fingerprint, Certificate] | None = None,
) -> Fleet:
    """Return the fleet; `SpecError` when a link names what does not exist.

    Endpoints that were not observed present nothing and verify nobody: whoever plans looks at
    the availability of their instance first.
    """
    certificates = dict(known or {})
    for observation in observations.values():
        for seen in _all_seen(observation):
            for certificate in (*seen.presents, *(seen.trusts or ())):
                certificates[certificate.fingerprint] = certificate
    groups = tuple(_group(group, observations) for group in description.groups)
    return Fleet(
        name=description.name,
        groups=groups,
        links=tuple(links(description)),
        authorities=tuple(authorities),
        certificates=certificates,
    )


def _all_seen(observation: Observation) -> Iterator[Seen]:
    yield from observation.endpoints
    for state in observation.may_use:
        yield from state


def _group(described: GroupDescription, observations: Mapping[InstanceName, Observation]) -> Group:
    return Group(
        name=described.name,
        instances=tuple(
            _instance(each, observations.get(each.name)) for each in described.instances
        ),
        platform=described.platform,
        touch=described.touch,
        max_in_flight=described.max_in_flight,
        canaries=described.canaries,
        seconds_per_instance=described.seconds_per_instance,
    )


def _instance(described: InstanceDescription, observed: Observation | None) -> Instance:
    seen = {each.endpoint: each for each in observed.endpoints} if observed else {}
    chains, bundles = slots(described)
    endpoints = tuple(
        _endpoint(
            each,
            seen.get(each.name),
            chains[each.name],
            bundles[each.name],
            bundle_file=below(described, each.ca),
        )
        for each in described.endpoints
    )
    availability, why = _availability(described, observed)
    return Instance(
        name=described.name,
        endpoints=endpoints,
        availability=availability,
        why=why,
        may_be=tuple(_state(described, state) for state in (observed.may_use if observed else ())),
    )


def below(described: InstanceDescription, path: str | None) -> str | None:
    """Return a path as seen from the directory of an instance, where it lies below that."""
    if path is None:
        return None
    home = posixpath.normpath(described.working_directory or ".")
    path = posixpath.normpath(path)
    return path.removeprefix(f"{home}/") if posixpath.isabs(home) else path


def _availability(
    described: InstanceDescription, observed: Observation | None
) -> tuple[Availability, str]:
    if described.ignored:
        return Availability.IGNORED, f"ignored: {described.ignored}"
    if observed is None:
        return Availability.UNREACHABLE, "it was not observed"
    return observed.availability, observed.why


def _endpoint(
    described: EndpointDescription,
    seen: Seen | None,
    chain_slot: SlotName | None,
    bundle_slot: SlotName | None,
    *,
    bundle_file: str | None,
) -> Endpoint:
    presents = tuple(each.fingerprint for each in seen.presents) if seen else ()
    trusts = (
        tuple(each.fingerprint for each in seen.trusts)
        if seen is not None and seen.trusts is not None
        else None
    )
    return Endpoint(
        name=described.name,
        role=described.role,
        stack=described.stack,
        presents=presents,
        trusts=trusts,
        chain_slot=chain_slot,
        bundle_slot=bundle_slot,
        address=described.address,
        source=_source(described),
        bundle_file=bundle_file,
    )


def _source(described: EndpointDescription) -> SourceRef | None:
    if described.source is None:
        return None
    group, _, endpoint = described.source.rpartition("/")
    return SourceRef(GroupName(group), EndpointName(endpoint))


def _state(described: InstanceDescription, seen: tuple[Seen, ...]) -> State:
    by_name = {each.endpoint: each for each in seen}
    chosen = [by_name.get(each.name, Seen(endpoint=each.name)) for each in described.endpoints]
    return State(
        tuple(tuple(c.fingerprint for c in each.presents) for each in chosen),
        tuple(
            None if each.trusts is None else tuple(c.fingerprint for c in each.trusts)
            for each in chosen
        ),
    )


def slots(
    described: InstanceDescription,
) -> tuple[dict[EndpointName, SlotName | None], dict[EndpointName, SlotName | None]]:
    """Return the chain and bundle slots of each endpoint: endpoints that share a file share it.

    A slot is named after the first endpoint that uses its file, so that instances whose files
    have other paths have the same slots.
    """
    chains: dict[str, SlotName] = {}
    bundles: dict[str, SlotName] = {}
    for each in described.endpoints:
        if each.certificate is not None:
            chains.setdefault(each.certificate, SlotName(f"{each.name}:chain"))
        if each.ca is not None:
            bundles.setdefault(each.ca, SlotName(f"{each.name}:bundle"))
    return (
        {
            each.name: chains[each.certificate] if each.certificate is not None else None
            for each in described.endpoints
        },
        {
            each.name: bundles[each.ca] if each.ca is not None else None
            for each in described.endpoints
        },
    )


def links(description: FleetDescription) -> Iterator[Link]:
    """Yield every link that the description asks for, instance by instance."""
    count = 0
    for number, described in enumerate(description.links, 1):
        field = f"links[{number}]"
        dialers = _ends(description, described.dialer, f"{field}.dialer")
        acceptors = _ends(description, described.acceptor, f"{field}.acceptor")
        count += len(dialers) * len(acceptors)
        if count > MOST_LINKS:
            raise SpecError(
                f"the links add up to more than {MOST_LINKS:,}",
                field=field,
                hint="name the instances that really dial one another",
            )
        for dialer, _ in dialers:
            for acceptor, accepting in acceptors:
                apart = dialer.instance != acceptor.instance
                if apart or (described.within and dialer != acceptor):
                    yield _link(described, dialer, acceptor, accepting)


def _link(
    described: LinkDescription,
    dialer: EndpointRef,
    acceptor: EndpointRef,
    accepting: EndpointDescription,
) -> Link:
    name = described.name
    if name is None and accepting.address and not described.unverified:
        name = accepting.address.rpartition(":")[0].strip("[]")
    return Link(
        dialer=dialer,
        acceptor=acceptor,
        mutual=accepting.verify if described.mutual is None else described.mutual,
        name=None if described.unverified else name,
    )


def _ends(
    description: FleetDescription, named: str, field: str
) -> list[tuple[EndpointRef, EndpointDescription]]:
    owner, _, endpoint = named.rpartition("/")
    ends = [
        (EndpointRef(instance.name, each.name), each)
        for group in description.groups
        for instance in group.instances
        if owner in (group.name, instance.name)
        for each in instance.endpoints
        if each.name == endpoint
    ]
    if not ends:
        raise SpecError(
            f"`{named}` names no endpoint",
            field=field,
            hint="write `group/endpoint` or `instance/endpoint` as they stand under `groups`",
        )
    return ends
