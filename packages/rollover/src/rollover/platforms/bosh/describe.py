"""The fleet that a director is: the director VM, and one instance for each agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    DirectorDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.model import Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.platforms.bosh import survey
from rollover.platforms.bosh.address import director_url
from rollover.platforms.bosh.asking import UNRESPONSIVE
from rollover.platforms.bosh.cost import RoundCost
from rollover.platforms.bosh.director import Director
from rollover.platforms.bosh.properties import Part
from rollover.platforms.bosh.records import BoshInstance

DIRECTOR, AGENTS = GroupName("director"), GroupName("agents")
DIRECTOR_PLATFORM, AGENTS_PLATFORM = "bosh-director", "bosh-agents"
DIRECTOR_VM = InstanceName("director/0")
NATS, DIRECTOR_CLIENT = EndpointName("nats"), EndpointName("director")
HEALTH_MONITOR, SOURCE = EndpointName("health-monitor"), EndpointName("agents")
MBUS = EndpointName("mbus")
PARTS = {
    NATS: Part.SERVER,
    DIRECTOR_CLIENT: Part.DIRECTOR,
    HEALTH_MONITOR: Part.HEALTH_MONITOR,
    SOURCE: Part.CLIENT_CA,
}
"""Which property of `nats.tls` an endpoint presents; each trusts `nats.tls.ca`."""
NATS_PORT = 4222
CREATE_ENV_SECONDS = 600.0
"""A director VM deleted and made again: minutes; nobody has measured it."""
AGENT_WAIT_SECONDS = 600.0
"""How long a director waits for an agent (`director.agent_wait_timeout`)."""


def expand(
    described: FleetDescription,
    director: Director,
    *,
    recover: bool = False,
    expired: bool = False,
) -> FleetDescription:
    """Return the description with the director VM and every VM that the director has now.

    Nothing is asked of agents, but to `recover`: then it matters who answers, and where all that
    agents trust has `expired`, nobody will. Groups that are described under the names `director`
    and `agents` keep their pacing, and the reasons for which instances in them are ignored. A
    fleet without a director is returned as it is.
    """
    if described.director is None:
        return described
    asked = recover and not expired
    places = survey.placements(director, director.instances if asked else director.placed)
    cost = survey.cost_of(
        places,
        version=director.info().version,
        direct=described.director.in_place == "direct",
        workers=described.director.parallel,
        lost=lambda each: recover and (expired or each.job_state == UNRESPONSIVE),
    )
    agents = [each for place in places for each in place.with_vm]
    # An alias of the bosh CLI says nothing about where NATS is.
    found = msgspec.structs.replace(described.director, environment=director.access.url)
    expanded = with_agents(msgspec.structs.replace(described, director=found), agents, cost=cost)
    return msgspec.structs.replace(expanded, director=described.director)


def with_agents(
    described: FleetDescription, agents: Sequence[BoshInstance], *, cost: RoundCost
) -> FleetDescription:
    """Return the description with the director VM and these agents. Pure."""
    if described.director is None:
        return described
    groups = {each.name: each for each in described.groups}
    own = [_filled(_director_group(described.director), groups.pop(DIRECTOR, None))]
    if agents:
        own.append(_filled(_agents_group(agents, cost), groups.pop(AGENTS, None)))
    else:
        groups.pop(AGENTS, None)
    links = tuple(_links(described.director, agents=bool(agents)))
    known = {(each.dialer, each.acceptor) for each in described.links}
    more = (each for each in links if (each.dialer, each.acceptor) not in known)
    return msgspec.structs.replace(
        described,
        groups=(*own, *groups.values()),
        links=(*described.links, *more),
    )


def nats_address(described: DirectorDescription) -> str:
    """Return `host:port` at which agents reach the director's NATS."""
    if described.nats is not None:
        return described.nats
    host = urlsplit(director_url(described.environment)).netloc.rpartition(":")[0]
    return f"{host}:{NATS_PORT}"


def _filled(found: GroupDescription, described: GroupDescription | None) -> GroupDescription:
    """Return a group as it was found, with the pacing that a person gave it."""
    if described is None:
        return found
    reasons = {each.name: each.ignored for each in described.instances}
    instances = tuple(
        msgspec.structs.replace(each, ignored=reasons.get(each.name, ""))
        for each in found.instances
    )
    return msgspec.structs.replace(described, platform=found.platform, instances=instances)


def _director_group(described: DirectorDescription) -> GroupDescription:
    vm = InstanceDescription(
        name=DIRECTOR_VM,
        endpoints=tuple(_director_endpoints(described)),
        monitor=described.monitor,
    )
    return GroupDescription(
        name=DIRECTOR,
        platform=DIRECTOR_PLATFORM,
        instances=(vm,),
        touch=Touch.RECREATE,
        seconds_per_instance=CREATE_ENV_SECONDS,
        confirm_seconds=described.create_env_minutes * 60,
    )


def _director_endpoints(described: DirectorDescription) -> Iterator[EndpointDescription]:
    """Yield the parties on the director VM; `nats.tls.ca` is one property for all of them."""
    yield EndpointDescription(
        name=NATS,
        role=Role.CLIENT_PORT,
        address=nats_address(described),
        certificate="nats.tls.server",
        ca="nats.tls.ca",
        verify=True,
    )
    clients = ((DIRECTOR_CLIENT, "nats.tls.director"), (HEALTH_MONITOR, "nats.tls.health_monitor"))
    for name, certificate in clients:
        yield EndpointDescription(
            name=name,
            role=Role.CLIENT,
            stack=Stack.OPENSSL,
            certificate=certificate,
            ca="nats.tls.ca",
        )
    yield EndpointDescription(
        name=SOURCE, role=Role.SOURCE, certificate="nats.tls.client_ca", ca="nats.tls.ca"
    )


def _agents_group(agents: Iterable[BoshInstance], cost: RoundCost) -> GroupDescription:
    """Return the agents, paced so that a rollout of them takes what the round is to cost."""
    instances = tuple(
        InstanceDescription(name=name, endpoints=(_mbus(),))
        for name in sorted(each.name for each in agents)
    )
    canaries = min(cost.canaries, len(instances))
    rest = len(instances) - canaries
    waves = canaries + -(-rest // cost.max_in_flight)
    return GroupDescription(
        name=AGENTS,
        platform=AGENTS_PLATFORM,
        instances=instances,
        touch=Touch.RECREATE if cost.recreated == len(instances) else Touch.RESTART,
        max_in_flight=cost.max_in_flight,
        canaries=canaries,
        seconds_per_instance=round(cost.seconds / max(1, waves), 1),
        confirm_seconds=AGENT_WAIT_SECONDS,
    )


def _mbus() -> EndpointDescription:
    return EndpointDescription(
        name=MBUS,
        role=Role.CLIENT,
        certificate="mbus.cert",
        ca="mbus.ca",
        source=f"{DIRECTOR}/{SOURCE}",
    )


def _links(described: DirectorDescription, *, agents: bool) -> Iterator[LinkDescription]:
    acceptor = f"{DIRECTOR}/{NATS}"
    name = nats_address(described).rpartition(":")[0].strip("[]")
    if agents:
        yield LinkDescription(dialer=f"{AGENTS}/{MBUS}", acceptor=acceptor, name=name)
    for dialer in (DIRECTOR_CLIENT, HEALTH_MONITOR):
        yield LinkDescription(
            dialer=f"{DIRECTOR}/{dialer}", acceptor=acceptor, name=name, within=True
        )
