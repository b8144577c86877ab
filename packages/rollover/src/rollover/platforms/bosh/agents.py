"""The agents of a director's deployments: the `Platform` for all VMs that a director has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from rollover.engine.ports import Moment, Pacing
from rollover.errors import EvidenceMissing, StaleError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import DirectorDescription, GroupDescription
from rollover.fleet.evidence import (
    Evidence,
    Failed,
    Holdout,
    Identity,
    Observation,
    Order,
    Result,
)
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh import agent_availability
from rollover.platforms.bosh.agent_observer import (
    AgentObserver,
    DeploymentListings,
    ObservedAgents,
    all_instances,
    deployments_of,
)
from rollover.platforms.bosh.agent_pinger import AgentPinger, SpeaksToAgents
from rollover.platforms.bosh.agent_proof import (
    AgentPatience,
    AgentProver,
    ping_evidence,
    state_fits,
)
from rollover.platforms.bosh.agent_rollout import AgentRollout, DirectUpdate
from rollover.platforms.bosh.connections import Connections, Listing
from rollover.platforms.bosh.deploy_rollout import DeployRollout
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.held_credentials import HeldCredentials
from rollover.platforms.bosh.placeholder_certificates import LIFETIME
from rollover.platforms.bosh.provenance import AgentState, IssuedCredentials
from rollover.platforms.bosh.rules.agents import NO_CONNECTIONS, Gathered, findings
from rollover.rules.rule import Finding


class _Observed(NamedTuple):
    """An observation of the fleet, and when it ended."""

    ended: float
    names: frozenset[InstanceName]
    handed: AgentState
    fleet: ObservedAgents


class BoshAgents:
    """`Platform` and `ReportsFindings` for all agents of a director (rollover.engine).

    `held`: what the director hands out, and what agents have of it. `connections` prove what
    they have. `recover`: who does not answer is recreated.

    An instance whose VM is gone blocks nothing: whatever VM it gets next has what the director
    hands out then. It is reported as ready, with just that.
    """

    def __init__(
        self,
        group: GroupDescription,
        held: HeldCredentials,
        *,
        settings: DirectorDescription,
        director: DirectorApi,
        mbus: SpeaksToAgents | None,
        connections: Connections,
        recover: bool = False,
        patience: AgentPatience = AgentPatience(),  # noqa: B008 - it is frozen
    ) -> None:
        self.group = group
        self._held = held
        self._settings = settings
        self._director = director
        self._connections = connections
        self._recover = recover
        self._patience = patience
        self._clock = held.clock
        self._listings = DeploymentListings(director)
        self._pinger = AgentPinger(
            mbus, instances=self._all_instances, expired=lambda: held.expired
        )
        self._observer = AgentObserver(
            self._listings,
            connections=connections,
            pinger=self._pinger,
            clock=held.clock,
            patience=patience,
        )
        self._last: _Observed | None = None
        # Why the last rollout failed, by instance: it is refusing until another one succeeds.
        self._refused: dict[InstanceName, str] = {}
        # Who was silent when a recovery began: nobody waits for them, they are recreated.
        self._given_up: set[InstanceName] = set()

    def describe(self, group: GroupDescription) -> None:
        """Take a description of the same group with the instances that there are now."""
        self.group = group

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each agent holds, as far as it can be concluded, and whether it answers."""
        credentials = self._held.issued_credentials()
        fleet = self._fleet(instances, credentials)
        for name in instances:
            instance = fleet.instances.get(name)
            if instance is None or instance.agent_id is None:
                yield self._gone(name, credentials)
            else:
                yield self._observation(instance, fleet, credentials)

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Give agents what the director hands out now, and wait until each of them proves it.

        By the director, deployment by deployment, its own `max_in_flight` and canaries kept; with
        `in_place: direct` agent by agent, in the window. Raises `EvidenceMissing` when nobody can
        list the connections, and `StaleError` when the director hands out something else than
        was ordered; nothing is begun then.
        """
        credentials = self._held.issued_credentials()
        _check_orders(orders, credentials)
        self._last = None
        listed_at = self._clock()
        listed = self._listings.listed(deployments_of(order.instance for order in orders))
        prover = self._prover(credentials)
        _check_listing(prover.begin(all_instances(listed), listed_at=listed_at))
        version = self._director.info().version
        rollout = AgentRollout(
            listed,
            settings=self._settings,
            observer=self._observer,
            deploys=DeployRollout(
                self._director,
                prover=prover,
                version=version,
                patience=self._patience,
                task_seconds=self._settings.task_minutes * 60,
                stopping=stopping,
            ),
            direct=DirectUpdate(
                mbus=self._pinger,
                prover=prover,
                ledger=self._held.ledger,
                issued=credentials,
                signer_key=self._held.signer_key,
                clock=self._clock,
                patience=self._patience,
            ),
            version=version,
            trusted_certs=credentials.trusted_certs,
            recover=self._recover,
        )
        for result in rollout.results(orders, pacing=pacing, stopping=stopping):
            yield self._remembered(result)

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],  # noqa: ARG002 - agents accept nobody, they dial
        refused: Sequence[Identity],  # noqa: ARG002 - likewise
    ) -> Iterator[Evidence]:
        """Have every agent answer a ping, waiting out what a restart of NATS costs them (H13)."""
        deployments = deployments_of(instances)
        placed = self._listings.placed(deployments)
        awaited = [
            _agent_id(placed, instance) for instance in instances if instance not in self._given_up
        ]
        answers = self._observer.answering(
            [agent for agent in awaited if agent], deployments, seconds=self._patience.answer
        )
        silent = [instance for instance in instances if _agent_id(placed, instance) not in answers]
        still = self._listings.placed(deployments_of(silent))
        for name in instances:
            answer = answers.get(_agent_id(placed, name))
            if answer is None:
                yield self._silence(name, there=bool(_agent_id(still, name)))
            else:
                said = answer.error or answer.value.decode(errors="replace")
                yield ping_evidence(name, said, at=self._clock(), holds=not answer.error)

    def holdouts(
        self,
        instances: Sequence[InstanceName],  # noqa: ARG002 - the director's NATS lists them
        *,
        retired: Sequence[Certificate],  # noqa: ARG002 - likewise
    ) -> Iterator[Holdout]:
        """Yield nothing: connections are listed by the server that holds them."""
        return iter(())

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:  # noqa: ARG002 - likewise
        """Yield nothing: an agent that was given new credentials has restarted."""
        return iter(())

    def findings(self, moment: Moment) -> Iterator[Finding]:
        """Yield the hazards that concern agents and deployments: the rules `bosh-…`."""
        credentials = self._held.issued_credentials()
        fleet = self._recent_fleet(
            [instance.name for instance in self.group.instances], credentials
        )
        early = moment in {Moment.CHECK, Moment.BEFORE}
        several = moment is Moment.BETWEEN and len(credentials.bundle) > 1
        deployments = deployments_of(instance.name for instance in fleet.there)
        after = moment is Moment.AFTER
        yield from findings(
            Gathered(
                at=self._clock(),
                version=self._director.info().version,
                instances=fleet.there,
                observed=fleet.observed,
                listing=fleet.listing,
                strangers=Listing() if after else self._observer.strangers(fleet.listing),
                locks=() if after else self._observer.locks(briefly=moment is not Moment.CHECK),
                configs=self._director.configs("deploy") if early else (),
                resurrection=self._director.resurrection() if early else None,
                pending=self._listings.pending(deployments) if early or several else {},
                ends={
                    instance.name: self._held.issued_at(instance, fleet.observed[instance.name])
                    + LIFETIME
                    for instance in fleet.there
                },
                provenance=self._held.ledger.read(),
                distrusted=frozenset(self._distrusted(fleet, credentials)),
                recover=self._recover,
                expired=self._held.expired,
            ),
            moment,
        )

    def _distrusted(
        self, fleet: ObservedAgents, credentials: IssuedCredentials
    ) -> Iterator[InstanceName]:
        """Yield who may be cut off because its CA is not trusted any more: somebody deployed."""
        trusted = credentials.trusted
        for instance in fleet.there:
            agent = fleet.observed[instance.name]
            if agent.listed and not agent.answers and agent.connection is None:
                states = self._held.states(instance, agent, credentials)
                if any(state.signer not in trusted for state in states):
                    yield instance.name

    # Observing.

    def _fleet(
        self, names: Sequence[InstanceName], credentials: IssuedCredentials
    ) -> ObservedAgents:
        # Nobody comes back by a CA that has expired, however long he is given.
        hopeful = not self._held.expired and not self._recover
        fleet = self._observer.observe(names, prover=self._prover(credentials), hopeful=hopeful)
        self._last = _Observed(monotonic(), frozenset(names), credentials.state, fleet)
        return fleet

    def _recent_fleet(
        self, names: Sequence[InstanceName], credentials: IssuedCredentials
    ) -> ObservedAgents:
        """Return the last observation, if it is of a moment ago and the same, or observe again."""
        last = self._last
        if (
            last is not None
            and monotonic() - last.ended < self._patience.fresh
            and (last.names, last.handed) == (frozenset(names), credentials.state)
        ):
            return last.fleet
        return self._fleet(names, credentials)

    def _prover(self, credentials: IssuedCredentials) -> AgentProver:
        return AgentProver(
            connections=self._connections,
            mbus=self._pinger,
            ledger=self._held.ledger,
            creation_times=self._held.creation_times,
            trusted=credentials.trusted,
            clock=self._clock,
            patience=self._patience,
        )

    def _all_instances(self) -> tuple[BoshInstance, ...]:
        names = [instance.name for instance in self.group.instances]
        return all_instances(self._listings.listed(deployments_of(names)))

    def _observation(
        self, instance: BoshInstance, fleet: ObservedAgents, credentials: IssuedCredentials
    ) -> Observation:
        at, name = self._clock(), instance.name
        agent = fleet.observed[name]
        availability, why = agent_availability.availability_of(
            instance, agent, at=at, recover=self._recover, refused=self._refused.get(name, "")
        )
        if self._recover and not agent.answers:
            self._given_up.add(name)
        issued = self._held.issued_at(instance, agent)
        first, *others = (
            self._held.endpoint(state, credentials, issued=issued)
            for state in self._held.states(instance, agent, credentials)
        )
        return Observation(
            instance=name,
            at=at,
            availability=availability,
            why=why,
            endpoints=(first,),
            may_use=tuple((other,) for other in others),
        )

    def _gone(self, name: InstanceName, credentials: IssuedCredentials) -> Observation:
        at = self._clock()
        return Observation(
            instance=name,
            at=at,
            why="its VM is gone",
            endpoints=(self._held.endpoint(credentials.state, credentials, issued=at),),
        )

    def _silence(self, name: InstanceName, *, there: bool) -> Evidence:
        """Return what a silent agent means: nothing, when it is gone or was given up."""
        answer, holds = "no answer", False
        if not there:
            answer, holds = "its VM is gone", True
        elif name in self._given_up:
            answer, holds = "no answer, as before: it will be recreated with --fix", True
        return ping_evidence(name, answer, at=self._clock(), holds=holds)

    # Rolling out.

    def _remembered(self, result: Result) -> Result:
        self._given_up.discard(result.instance)
        if isinstance(result, Failed):
            self._refused[result.instance] = result.message
        else:
            self._refused.pop(result.instance, None)
        return result


def _agent_id(placed: Mapping[InstanceName, BoshInstance], name: InstanceName) -> str:
    """Return the id of an instance's agent, empty when it has none."""
    found = placed.get(name)
    return "" if found is None or found.agent_id is None else found.agent_id


def _check_orders(orders: Sequence[Order], credentials: IssuedCredentials) -> None:
    for order in orders:
        if not state_fits(credentials.state, order):
            raise StaleError(
                f"`{order.instance}` is to get something else than the director hands out now "
                f"(signed by `{credentials.signer.subject}`, {len(credentials.bundle)} trusted "
                "CAs)",
                hint="somebody ran `create-env` meanwhile: run Rollover again, it plans anew",
            )


def _check_listing(listing: Listing) -> None:
    if listing.missing:
        raise EvidenceMissing(
            f"nothing could be proven of agents afterwards: {listing.missing}",
            hint=NO_CONNECTIONS.remedy,
        )
