"""Asks a director for its deployments, and observes their agents and who is connected to NATS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Event
from time import monotonic
from typing import NamedTuple, TypeVar

from rollover.errors import AdapterError, NotFound
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh.agent_availability import ObservedAgent
from rollover.platforms.bosh.agent_pinger import AgentAnswer, AgentPinger
from rollover.platforms.bosh.agent_proof import AgentPatience, AgentProver
from rollover.platforms.bosh.connections import Connections, Listing
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.director_fleet import ASKED_AT_ONCE
from rollover.platforms.bosh.director_records import BoshInstance, DirectorLock

SECOND_LISTING_SECONDS = 2.0
"""Between two listings, so that who is just coming or going is not taken for a stranger."""
LOCK_POLL_SECONDS = 1.0

_T = TypeVar("_T")
_NO_INSTANCES: tuple[BoshInstance, ...] = ()


class ObservedAgents(NamedTuple):
    """What was seen of instances at one time; `instances` are only those that are still there."""

    instances: Mapping[InstanceName, BoshInstance]
    observed: Mapping[InstanceName, ObservedAgent]
    listing: Listing

    @property
    def there(self) -> tuple[BoshInstance, ...]:
        """The instances that have a VM."""
        return tuple(
            instance for instance in self.instances.values() if instance.agent_id is not None
        )


class _Listed(NamedTuple):
    """A listing of the director, in which every agent was asked, and when that was begun."""

    begun: float
    instances: Mapping[str, tuple[BoshInstance, ...]]


class DeploymentListings:
    """Asks a director for its deployments, several at a time; remembers the latest full listing."""

    def __init__(self, director: DirectorApi) -> None:
        self.director = director
        self._last = _Listed(float("-inf"), {})

    def listed(self, deployments: Sequence[str]) -> dict[str, tuple[BoshInstance, ...]]:
        """Return the instances with their states; for a deployment that has gone, none."""
        begun = monotonic()
        found = _ask_in_parallel(self.director.instances, deployments, gone=_NO_INSTANCES)
        self._last = _Listed(begun, found)
        return found

    def listed_since(
        self, instant: float, deployments: Sequence[str]
    ) -> Mapping[str, tuple[BoshInstance, ...]]:
        """Return a listing that was begun since then: every silent agent costs it 15 s."""
        last = self._last
        if last.begun >= instant and last.instances.keys() >= set(deployments):
            return {deployment: last.instances[deployment] for deployment in deployments}
        return self.listed(deployments)

    def placed(self, deployments: Sequence[str]) -> dict[InstanceName, BoshInstance]:
        """Return the instances with their agents, at once."""
        found = _ask_in_parallel(self.director.placed, deployments, gone=_NO_INSTANCES)
        return {instance.name: instance for instance in all_instances(found)}

    def manifests(self, deployments: Sequence[str]) -> dict[str, str]:
        """Return the manifests; an empty one for a deployment that has gone."""
        return _ask_in_parallel(self.director.manifest, deployments, gone="")

    def pending(self, deployments: Sequence[str]) -> dict[str, int]:
        """Return how many lines of each manifest a deploy would change."""

        def lines(deployment: str) -> int:
            try:
                diff = self.director.diff(deployment, self.director.manifest(deployment))
            except AdapterError:
                # A diff that cannot be made is told by the deploy itself.
                return 0
            return sum(1 for line in diff if line.change)

        return _ask_in_parallel(lines, deployments, gone=0)


class AgentObserver:
    """Asks the director, NATS and agents; changes nothing but the ledger."""

    def __init__(
        self,
        listings: DeploymentListings,
        *,
        connections: Connections,
        pinger: AgentPinger,
        clock: Callable[[], datetime],
        patience: AgentPatience,
    ) -> None:
        self.listings = listings
        self._director = listings.director
        self._connections = connections
        self._pinger = pinger
        self._clock = clock
        self._patience = patience

    def observe(
        self, names: Sequence[InstanceName], *, prover: AgentProver, hopeful: bool
    ) -> ObservedAgents:
        """Observe instances: with `hopeful`, agents may need as long as a restart costs them."""
        begun, deployments = monotonic(), deployments_of(names)
        # Pings go first: a listing waits 15 s for each agent that is still on its way back.
        agents = self._agents(deployments)
        seconds = self._seconds_to_answer() if hopeful else self._patience.ping
        answers = self.answering(agents, deployments, seconds=seconds)
        # Where NATS cannot be reached, agents were heard by way of such a listing just now.
        instances = {
            instance.name: instance
            for instance in all_instances(self.listings.listed_since(begun, deployments))
        }
        listing = prover.observe(tuple(instances.values()), always=True)
        current, just_created = listing.current(), listing.just_created()
        observed = {
            name: ObservedAgent(
                connection=current.get(instance.agent_id or ""),
                just_created=instance.agent_id in just_created,
                answers=instance.agent_id in answers and not answers[instance.agent_id or ""].error,
                listed=not listing.missing,
            )
            for name, instance in instances.items()
        }
        return ObservedAgents(instances, observed, listing)

    def answering(
        self, agents: Collection[str], deployments: Sequence[str], *, seconds: float
    ) -> Mapping[str, AgentAnswer]:
        """Return which agents of these deployments answer within that time.

        Time is for those that have to come back. Who stays connected and is silent hangs, and a
        VM that was deleted meanwhile is not waited for either.
        """
        end = monotonic() + seconds
        answers: dict[str, AgentAnswer] = {}
        while silent := [agent for agent in agents if agent not in answers]:
            before = self._connections.listing()
            left = max(0.0, end - monotonic())
            # Without a listing nobody can say who hangs: all the time is given to the one ping.
            seconds_of_ping = left if before.missing else min(self._patience.ping, left)
            answers.update(self._pinger.ping(silent, timeout_seconds=seconds_of_ping))
            away = {agent for agent in silent if agent not in answers}
            away -= _connected_throughout(before, self._connections.listing())
            if not away or monotonic() >= end or not away & self._agents(deployments):
                break
        return answers

    def _agents(self, deployments: Sequence[str]) -> frozenset[str]:
        placed = self.listings.placed(deployments).values()
        return frozenset(instance.agent_id for instance in placed if instance.agent_id is not None)

    def silent(self, instances: Sequence[BoshInstance]) -> frozenset[InstanceName]:
        """Return those whose agent does not answer a ping."""
        agents = {
            instance.agent_id: instance.name
            for instance in instances
            if instance.agent_id is not None
        }
        answers = self._pinger.ping(agents.keys(), timeout_seconds=self._patience.ping)
        return frozenset(name for agent, name in agents.items() if agent not in answers)

    def _seconds_to_answer(self) -> float:
        """Return how long agents may take: long when NATS has started a moment ago (H13)."""
        started = self._connections.started_at()
        if started is None:
            return self._patience.ping
        age = (self._clock() - started).total_seconds()
        return max(self._patience.ping, self._patience.answer - age)

    def strangers(self, listing: Listing) -> Listing:
        """Return who belongs to no deployment, in two listings one after another."""
        first = self._unknown(listing)
        if not first.agents and not first.others:
            return first
        Event().wait(min(SECOND_LISTING_SECONDS, self._patience.ping))
        second = self._unknown(self._connections.listing())
        cids = {agent.cid for agent in first.agents} | {other.cid for other in first.others}
        return Listing(
            agents=tuple(agent for agent in second.agents if agent.cid in cids),
            others=tuple(other for other in second.others if other.cid in cids),
        )

    def _unknown(self, listing: Listing) -> Listing:
        if not listing.agents and not listing.others:
            return Listing()
        names = tuple(deployment.name for deployment in self._director.deployments())
        known = {instance.agent_id for instance in self.listings.placed(names).values()}
        return Listing(
            agents=tuple(agent for agent in listing.agents if agent.agent_id not in known),
            others=listing.others,
        )

    def locks(self, *, briefly: bool) -> tuple[DirectorLock, ...]:
        """Return the locks that are held; with `briefly`, those that are not let go of soon."""
        # A health check's lock is let go of within moments: nobody is to stop for one.
        held = frozenset(self._director.locks())
        waited = 0.0
        while briefly and held and waited < self._patience.briefly:
            pause = min(LOCK_POLL_SECONDS, self._patience.briefly)
            Event().wait(pause)
            waited += pause
            held &= frozenset(self._director.locks())
        return tuple(sorted(held, key=lambda lock: lock.resource))


def _connected_throughout(before: Listing, after: Listing) -> frozenset[str]:
    """Return the agents that have the same connection in both listings."""
    now = after.current()
    return frozenset(
        agent
        for agent, connection in before.current().items()
        if agent in now and now[agent].cid == connection.cid
    )


def deployments_of(names: Iterable[InstanceName]) -> tuple[str, ...]:
    """Return the deployments that instances belong to."""
    return tuple(dict.fromkeys(name.partition("/")[0] for name in names))


def all_instances(listed: Mapping[str, tuple[BoshInstance, ...]]) -> tuple[BoshInstance, ...]:
    """Return the instances of several deployments."""
    return tuple(instance for instances in listed.values() for instance in instances)


def _ask_in_parallel(
    ask: Callable[[str], _T], deployments: Sequence[str], *, gone: _T
) -> dict[str, _T]:
    """Return the answers for several deployments; for one that has gone, `gone`."""

    def ask_about(deployment: str) -> _T:
        try:
            return ask(deployment)
        except NotFound:
            # Some deployments come and go all the time.
            return gone

    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="deployment") as pool:
        return dict(zip(deployments, pool.map(ask_about, deployments), strict=True))
