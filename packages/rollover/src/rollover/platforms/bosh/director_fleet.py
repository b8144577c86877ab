"""The fleet that a director is: all that it tells, its own VM, and an instance for each agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from rollover.errors import Denied, NotFound
from rollover.fleet.certificate import Stack
from rollover.fleet.description import (
    DirectorDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.platforms.bosh import cost
from rollover.platforms.bosh.agent_availability import AGENT_WAIT
from rollover.platforms.bosh.cost import (
    WORKERS,
    DeploymentCost,
    InstanceUpdate,
    ManifestPacing,
    RoundCost,
    UpdateWay,
    deployment_cost,
    read_pacing,
    round_cost,
)
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import (
    UNRESPONSIVE,
    BoshInstance,
    CertificateExpiry,
    Deployment,
    DirectorInfo,
    DirectorLock,
    NamedConfig,
    Stemcell,
)
from rollover.platforms.bosh.login import nats_address
from rollover.platforms.bosh.nats_properties import NatsPart

_T = TypeVar("_T")

ASKED_AT_ONCE = 5
"""Deployments that are asked for at the same time, as the bosh CLI does."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with its instances, and how its manifest paces them."""

    deployment: Deployment
    instances: tuple[BoshInstance, ...]
    updates: ManifestPacing = msgspec.field(default_factory=ManifestPacing)

    @property
    def with_vm(self) -> tuple[BoshInstance, ...]:
        """The instances that an agent runs for."""
        return tuple(instance for instance in self.instances if instance.vm_cid is not None)


class DirectorObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What a director told of everything that matters to a rotation.

    `silent`: what it would not tell, each with the reason.
    """

    info: DirectorInfo
    placements: tuple[Placement, ...]
    stemcells: tuple[Stemcell, ...] = ()
    locks: tuple[DirectorLock, ...] = ()
    expiries: tuple[CertificateExpiry, ...] = ()
    deploy_configs: tuple[NamedConfig, ...] = ()
    variables: dict[str, tuple[str, ...]] = {}
    """By deployment."""
    silent: tuple[tuple[str, str], ...] = ()

    @property
    def instances(self) -> tuple[BoshInstance, ...]:
        """All instances."""
        return tuple(instance for place in self.placements for instance in place.instances)


def observe_director(director: Director) -> DirectorObservation:
    """Return all of it, each agent asked for its state."""
    info = director.info()
    places = observe_placements(director, director.instances)
    optional = _OptionalAnswers()
    return DirectorObservation(
        info=info,
        placements=places,
        stemcells=optional.ask("stemcells", director.stemcells, otherwise=()),
        locks=optional.ask("locks", director.locks, otherwise=()),
        expiries=optional.ask("certificate expiry", director.certificate_expiry, otherwise=()),
        deploy_configs=optional.ask("configs", lambda: director.configs("deploy"), otherwise=()),
        variables=optional.ask(
            "variables", lambda: dict(_variables(director, places)), otherwise={}
        ),
        silent=tuple(optional.silent),
    )


class _OptionalAnswers:
    """Asks for what a rotation can do without, and notes what an old director does not tell."""

    def __init__(self) -> None:
        self.silent: list[tuple[str, str]] = []

    def ask(self, what: str, call: Callable[[], _T], *, otherwise: _T) -> _T:
        try:
            return call()
        except (NotFound, Denied) as error:
            self.silent.append((what, error.message))
            return otherwise


def observe_placements(
    director: Director, listing: Callable[[str], tuple[BoshInstance, ...]]
) -> tuple[Placement, ...]:
    """Return every deployment with its instances by `listing`, one of the director's methods.

    A deployment that goes while it is asked for is left out: some come and go all the time.
    """

    def place(deployment: Deployment) -> Placement | None:
        try:
            return Placement(
                deployment=deployment,
                instances=tuple(
                    sorted(listing(deployment.name), key=lambda instance: instance.name)
                ),
                updates=read_pacing(director.manifest(deployment.name)),
            )
        except NotFound:
            return None

    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="rollover-bosh") as pool:
        found = list(pool.map(place, director.deployments()))
    return tuple(placement for placement in found if placement is not None)


def lose_nobody(_: BoshInstance) -> bool:
    """Say of no instance that it is lost."""
    return False


def cost_of(
    places: Iterable[Placement],
    *,
    version: tuple[int, ...],
    direct: bool,
    workers: int | None = None,
    lost: Callable[[BoshInstance], bool] = lose_nobody,
) -> RoundCost:
    """Return what a round over these deployments takes; `direct`: Rollover tells agents itself.

    `lost`: instances that nobody can reach any more, and that are made anew for that reason.
    """
    costs = (
        _cost_of_deployment(place, version=version, direct=direct, lost=lost) for place in places
    )
    return round_cost(
        (deployment for deployment in costs if deployment.instances), workers=workers or WORKERS
    )


def update_way_of(
    instance: BoshInstance, place: Placement, *, version: tuple[int, ...]
) -> InstanceUpdate:
    """Return how an instance takes new credentials.

    Where the listing does not say what it was made from, it counts as the oldest stemcell of its
    deployment.
    """
    if instance.stemcell is not None:
        return cost.update_of(version, instance.stemcell)
    updates = [cost.update_of(version, stemcell) for stemcell in place.deployment.stemcells]
    return max(updates, key=lambda update: update.seconds, default=cost.update_of(version, None))


def _cost_of_deployment(
    place: Placement,
    *,
    version: tuple[int, ...],
    direct: bool,
    lost: Callable[[BoshInstance], bool],
) -> DeploymentCost:
    def update(instance: BoshInstance) -> InstanceUpdate:
        if lost(instance):
            return cost.LOST_UPDATE
        found = update_way_of(instance, place, version=version)
        if direct and found.way is UpdateWay.IN_PLACE:
            return InstanceUpdate(way=UpdateWay.DIRECT, seconds=cost.DIRECT_SECONDS)
        return found

    pairs = ((instance, update(instance)) for instance in place.with_vm)
    return deployment_cost(place.deployment.name, pairs, updates=place.updates)


def _variables(
    director: Director, places: Iterable[Placement]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for place in places:
        name = place.deployment.name
        try:
            yield name, tuple(variable.name for variable in director.variables(name))
        except NotFound:
            continue


# Its description: the director VM, and one instance for each agent.


DIRECTOR_GROUP, AGENTS_GROUP = GroupName("director"), GroupName("agents")
DIRECTOR_PLATFORM, AGENTS_PLATFORM = "bosh-director", "bosh-agents"
DIRECTOR_VM = InstanceName("director/0")
NATS_ENDPOINT, DIRECTOR_CLIENT = EndpointName("nats"), EndpointName("director")
HEALTH_MONITOR_CLIENT, AGENT_SOURCE = EndpointName("health-monitor"), EndpointName("agents")
MBUS_ENDPOINT = EndpointName("mbus")
PARTS = {
    NATS_ENDPOINT: NatsPart.SERVER,
    DIRECTOR_CLIENT: NatsPart.DIRECTOR,
    HEALTH_MONITOR_CLIENT: NatsPart.HEALTH_MONITOR,
    AGENT_SOURCE: NatsPart.CLIENT_CA,
}
"""Which property of `nats.tls` an endpoint presents; each trusts `nats.tls.ca`."""
CREATE_ENV_SECONDS = 600.0
"""A director VM deleted and made again: minutes; nobody has measured it."""


def expand_fleet(
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
    places = observe_placements(director, director.instances if asked else director.placed)
    round_of_agents = cost_of(
        places,
        version=director.info().version,
        direct=described.director.in_place == "direct",
        workers=described.director.parallel,
        lost=lambda instance: recover and (expired or instance.job_state == UNRESPONSIVE),
    )
    agents = [instance for place in places for instance in place.with_vm]
    # An alias of the bosh CLI says nothing about where NATS is.
    found = msgspec.structs.replace(described.director, environment=director.access.url)
    expanded = with_agents(
        msgspec.structs.replace(described, director=found), agents, cost=round_of_agents
    )
    return msgspec.structs.replace(expanded, director=described.director)


def with_agents(
    described: FleetDescription, agents: Sequence[BoshInstance], *, cost: RoundCost
) -> FleetDescription:
    """Return the description with the director VM and these agents. Pure."""
    if described.director is None:
        return described
    groups = {group.name: group for group in described.groups}
    own = [_filled(_director_group(described.director), groups.pop(DIRECTOR_GROUP, None))]
    if agents:
        own.append(_filled(_agents_group(agents, cost), groups.pop(AGENTS_GROUP, None)))
    else:
        groups.pop(AGENTS_GROUP, None)
    links = tuple(_links(described.director, agents=bool(agents)))
    known = {(link.dialer, link.acceptor) for link in described.links}
    more = (link for link in links if (link.dialer, link.acceptor) not in known)
    return msgspec.structs.replace(
        described,
        groups=(*own, *groups.values()),
        links=(*described.links, *more),
    )


def _filled(found: GroupDescription, described: GroupDescription | None) -> GroupDescription:
    """Return a group as it was found, with the pacing that a person gave it."""
    if described is None:
        return found
    reasons = {instance.name: instance.ignored for instance in described.instances}
    instances = tuple(
        msgspec.structs.replace(instance, ignored=reasons.get(instance.name, ""))
        for instance in found.instances
    )
    return msgspec.structs.replace(described, platform=found.platform, instances=instances)


def _director_group(described: DirectorDescription) -> GroupDescription:
    vm = InstanceDescription(
        name=DIRECTOR_VM,
        endpoints=tuple(_director_endpoints(described)),
        monitor=described.monitor,
    )
    return GroupDescription(
        name=DIRECTOR_GROUP,
        platform=DIRECTOR_PLATFORM,
        instances=(vm,),
        touch=Touch.RECREATE,
        seconds_per_instance=CREATE_ENV_SECONDS,
        confirm_seconds=described.create_env_minutes * 60,
    )


def _director_endpoints(described: DirectorDescription) -> Iterator[EndpointDescription]:
    """Yield the parties on the director VM; `nats.tls.ca` is one property for all of them."""
    yield EndpointDescription(
        name=NATS_ENDPOINT,
        role=Role.CLIENT_PORT,
        address=nats_address(described),
        certificate="nats.tls.server",
        ca="nats.tls.ca",
        verify=True,
    )
    clients = (
        (DIRECTOR_CLIENT, "nats.tls.director"),
        (HEALTH_MONITOR_CLIENT, "nats.tls.health_monitor"),
    )
    for name, certificate in clients:
        yield EndpointDescription(
            name=name,
            role=Role.CLIENT,
            stack=Stack.OPENSSL,
            certificate=certificate,
            ca="nats.tls.ca",
        )
    yield EndpointDescription(
        name=AGENT_SOURCE, role=Role.SOURCE, certificate="nats.tls.client_ca", ca="nats.tls.ca"
    )


def _agents_group(agents: Iterable[BoshInstance], cost: RoundCost) -> GroupDescription:
    """Return the agents, paced so that a rollout of them takes what the round is to cost."""
    instances = tuple(
        InstanceDescription(name=name, endpoints=(_mbus_endpoint(),))
        for name in sorted(agent.name for agent in agents)
    )
    canaries = min(cost.canaries, len(instances))
    rest = len(instances) - canaries
    waves = canaries + -(-rest // cost.max_in_flight)
    return GroupDescription(
        name=AGENTS_GROUP,
        platform=AGENTS_PLATFORM,
        instances=instances,
        touch=Touch.RECREATE if cost.recreated == len(instances) else Touch.RESTART,
        max_in_flight=cost.max_in_flight,
        canaries=canaries,
        seconds_per_instance=round(cost.seconds / max(1, waves), 1),
        confirm_seconds=AGENT_WAIT.total_seconds(),
    )


def _mbus_endpoint() -> EndpointDescription:
    return EndpointDescription(
        name=MBUS_ENDPOINT,
        role=Role.CLIENT,
        certificate="mbus.cert",
        ca="mbus.ca",
        source=f"{DIRECTOR_GROUP}/{AGENT_SOURCE}",
    )


def _links(described: DirectorDescription, *, agents: bool) -> Iterator[LinkDescription]:
    acceptor = f"{DIRECTOR_GROUP}/{NATS_ENDPOINT}"
    name = nats_address(described).rpartition(":")[0].strip("[]")
    if agents:
        yield LinkDescription(
            dialer=f"{AGENTS_GROUP}/{MBUS_ENDPOINT}", acceptor=acceptor, name=name
        )
    for dialer in (DIRECTOR_CLIENT, HEALTH_MONITOR_CLIENT):
        yield LinkDescription(
            dialer=f"{DIRECTOR_GROUP}/{dialer}", acceptor=acceptor, name=name, within=True
        )
