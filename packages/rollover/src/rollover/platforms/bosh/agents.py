"""The agents of a director's deployments: the `Platform` for VMs that a director looks after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import msgspec

from rollover.engine.ports import Moment, Pacing
from rollover.errors import AdapterError, EvidenceMissing, StaleError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import DirectorDescription, GroupDescription
from rollover.fleet.evidence import (
    Evidence,
    Failed,
    Holdout,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.platforms.bosh import agent_availability
from rollover.platforms.bosh.agent_availability import ObservedAgent
from rollover.platforms.bosh.agent_observer import (
    AgentObserver,
    ObservedAgents,
    all_instances,
    deployments_of,
)
from rollover.platforms.bosh.agent_pinger import AgentPinger, SpeaksToAgents
from rollover.platforms.bosh.agent_proof import (
    MBUS,
    AgentPatience,
    AgentProver,
    ping_evidence,
    state_fits,
)
from rollover.platforms.bosh.agent_rollout import AgentRollout, DirectUpdate
from rollover.platforms.bosh.connections import Connections, Listing, MonitoredConnections
from rollover.platforms.bosh.deploy_rollout import DeployRollout
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.placeholder_certificates import (
    LIFETIME,
    PlaceholderCertificates,
    SignerKey,
)
from rollover.platforms.bosh.provenance import (
    AgentState,
    IssuedCredentials,
    ProvenanceFile,
    VmCreationTimes,
)
from rollover.platforms.bosh.rules.agents import NO_CONNECTIONS, Gathered, findings
from rollover.rules.rule import Finding


class _Observed(NamedTuple):
    """An observation of the fleet, and when it ended."""

    ended: float
    names: frozenset[InstanceName]
    handed: AgentState
    fleet: ObservedAgents


class BoshAgents:
    """`Platform` and `Attends` for all agents of a director (rollover.engine).

    `handout` says what the director hands out now, `signer_key` knows the keys of its CAs,
    `known` are certificates that were seen in use. `connections`, by default those of the
    monitoring port, prove what agents have. `recover`: who does not answer is recreated.

    An instance whose VM is gone blocks nothing: whatever VM it gets next has what the director
    hands out then. It is reported as ready, with just that.
    """

    def __init__(  # noqa: PLR0913 - keyword-only: who knows what, each put in by the composition root
        self,
        group: GroupDescription,
        *,
        settings: DirectorDescription,
        director: DirectorApi,
        handout: Callable[[], IssuedCredentials],
        signer_key: SignerKey,
        mbus: SpeaksToAgents | None,
        ledger: ProvenanceFile,
        known: Callable[[], Iterable[Certificate]] = tuple,
        recover: bool = False,
        clock: Callable[[], datetime],
        connections: Connections | None = None,
        patience: AgentPatience | None = None,
    ) -> None:
        self.group = group
        self._settings = settings
        self._director = director
        self._handout = handout
        self._signer_key = signer_key
        self._ledger = ledger
        self._births = VmCreationTimes(director, ledger)
        self._recover = recover
        self._clock = clock
        self._connections = connections or MonitoredConnections(settings.monitor)
        self._patience = patience or AgentPatience()
        self._standins = PlaceholderCertificates(signer_key, known=known)
        self._expired = False
        """All that agents trust has, as far as it was noted last."""
        self._pinger = AgentPinger(mbus, instances=self._everybody, expired=lambda: self._expired)
        self._observer = AgentObserver(
            director,
            connections=self._connections,
            pinger=self._pinger,
            clock=clock,
            patience=self._patience,
        )
        self._last: _Observed | None = None
        self._refused: dict[InstanceName, str] = {}
        self._given_up: set[InstanceName] = set()

    def describe(self, group: GroupDescription) -> None:
        """Take a description of the same group with the instances that there are now."""
        self.group = group

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each agent holds, as far as it can be concluded, and whether it answers."""
        handout = self._noted_handout()
        fleet = self._fleet(instances, handout)
        for name in instances:
            instance = fleet.instances.get(name)
            if instance is None or instance.agent_id is None:
                yield self._gone(name, handout)
            else:
                yield self._observation(instance, fleet, handout)

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Give agents what the director hands out now, and wait until each of them proves it.

        By the director, deployment by deployment, its own `max_in_flight` and canaries kept; with
        `in_place: direct` agent by agent, in the window. Raises `EvidenceMissing` when nobody can
        list the connections, and `StaleError` when the director hands out something else than
        was ordered; nothing is begun then.
        """
        handout = self._noted_handout()
        _check_orders(orders, handout)
        self._last = None
        listed_at = self._clock()
        listed = self._observer.listed(deployments_of(order.instance for order in orders))
        prover = self._prover(handout)
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
                ledger=self._ledger,
                handout=handout,
                signer_key=self._signer_key,
                clock=self._clock,
                patience=self._patience,
            ),
            version=version,
            trusted_certs=handout.trusted_certs,
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
        placed = self._observer.placed(deployments)
        awaited = [
            _agent_id(placed, instance) for instance in instances if instance not in self._given_up
        ]
        answers = self._observer.answering(
            [text for text in awaited if text], deployments, seconds=self._patience.answer
        )
        silent = [instance for instance in instances if _agent_id(placed, instance) not in answers]
        still = self._observer.placed(deployments_of(silent))
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
        handout = self._noted_handout()
        fleet = self._recent_fleet([instance.name for instance in self.group.instances], handout)
        early = moment in {Moment.CHECK, Moment.BEFORE}
        several = moment is Moment.BETWEEN and len(handout.bundle) > 1
        deployments = deployments_of(bosh_instance.name for bosh_instance in fleet.there)
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
                pending=self._observer.pending(deployments) if early or several else {},
                ends={
                    bosh_instance.name: self._issued(bosh_instance, fleet) + LIFETIME
                    for bosh_instance in fleet.there
                },
                provenance=self._ledger.read(),
                distrusted=frozenset(self._distrusted(fleet, handout)),
                recover=self._recover,
                expired=self._expired,
            ),
            moment,
        )

    def _distrusted(
        self, fleet: ObservedAgents, handout: IssuedCredentials
    ) -> Iterator[InstanceName]:
        """Yield who may be cut off because its CA is not trusted any more: somebody deployed."""
        trusted = _trusted(handout)
        for bosh_instance in fleet.there:
            agent = fleet.observed[bosh_instance.name]
            if agent.listed and not agent.answers and agent.connection is None:
                states = self._states(bosh_instance, agent, handout)
                if any(state.signer not in trusted for state in states):
                    yield bosh_instance.name

    # Observing.

    def _noted_handout(self) -> IssuedCredentials:
        handout = self._handout()
        self._expired = all(certificate.not_after < self._clock() for certificate in handout.bundle)
        book = self._ledger.read()
        if not book.credentials or book.credentials[-1].state != _state(handout):
            # Asked for after it was seen: what a later task makes is given this, or what follows.
            with suppress(AdapterError):
                handout = msgspec.structs.replace(handout, task=self._director.last_task())
        self._ledger.record_issued(handout, at=self._clock())
        return handout

    def _fleet(self, names: Sequence[InstanceName], handout: IssuedCredentials) -> ObservedAgents:
        # Nobody comes back by a CA that has expired, however long he is given.
        hopeful = not self._expired and not self._recover
        fleet = self._observer.observe(names, prover=self._prover(handout), hopeful=hopeful)
        self._last = _Observed(monotonic(), frozenset(names), _state(handout), fleet)
        return fleet

    def _recent_fleet(
        self, names: Sequence[InstanceName], handout: IssuedCredentials
    ) -> ObservedAgents:
        """Return the last observation, if it is of a moment ago and the same, or observe again."""
        last = self._last
        if (
            last is not None
            and monotonic() - last.ended < self._patience.fresh
            and (last.names, last.handed) == (frozenset(names), _state(handout))
        ):
            return last.fleet
        return self._fleet(names, handout)

    def _prover(self, handout: IssuedCredentials) -> AgentProver:
        trusted = _trusted(handout)
        return AgentProver(
            connections=self._connections,
            mbus=self._pinger,
            ledger=self._ledger,
            births=self._births,
            trusted=lambda: trusted,
            clock=self._clock,
            patience=self._patience,
        )

    def _everybody(self) -> tuple[BoshInstance, ...]:
        names = [instance.name for instance in self.group.instances]
        return all_instances(self._observer.listed(deployments_of(names)))

    def _gone(self, name: InstanceName, handout: IssuedCredentials) -> Observation:
        at = self._clock()
        return Observation(
            instance=name,
            at=at,
            why="its VM is gone",
            endpoints=(self._seen(_state(handout), handout, at),),
        )

    def _observation(
        self, instance: BoshInstance, fleet: ObservedAgents, handout: IssuedCredentials
    ) -> Observation:
        at, name = self._clock(), instance.name
        agent = fleet.observed[name]
        availability, why = agent_availability.availability_of(
            instance, agent, at=at, recover=self._recover, refused=self._refused.get(name, "")
        )
        if self._recover and not agent.answers:
            self._given_up.add(name)
        first, *others = self._states(instance, agent, handout)
        issued = self._issued(instance, fleet)
        return Observation(
            instance=name,
            at=at,
            availability=availability,
            why=why,
            endpoints=(self._seen(first, handout, issued),),
            may_use=tuple((self._seen(other, handout, issued),) for other in others),
        )

    def _states(
        self, instance: BoshInstance, agent: ObservedAgent, handout: IssuedCredentials
    ) -> tuple[AgentState, ...]:
        trusted = _trusted(handout)
        states = self._ledger.states(
            instance.agent_id or "",
            trusted=trusted,
            certificate=None if agent.connection is None else agent.connection.cert_sha256,
            born=self._births.after(instance),
            at=self._clock(),
        )
        if agent.answers:
            # Connected, whether or not anybody can list it.
            states = tuple(state for state in states if state.signer in trusted) or states
        return states or (_state(handout),)

    def _issued(self, instance: BoshInstance, fleet: ObservedAgents) -> datetime:
        seen = self._ledger.observed_certificates(instance.agent_id or "")
        connection = fleet.observed[instance.name].connection
        return agent_availability.issued_at(
            instance,
            first_seen=seen[-1].first_observed if seen else None,
            after=seen[-1].after if seen else None,
            since=None if connection is None else connection.since,
            at=self._clock(),
        )

    def _seen(
        self, state: AgentState, handout: IssuedCredentials, issued: datetime
    ) -> ObservedEndpoint:
        return ObservedEndpoint(
            endpoint=MBUS,
            presents=(self._standins.of(self._certificate(state.signer, handout), issued=issued),),
            trusts=tuple(self._certificate(fingerprint, handout) for fingerprint in state.bundle),
        )

    def _certificate(self, fingerprint: Fingerprint, handout: IssuedCredentials) -> Certificate:
        for certificate in (handout.signer, *handout.bundle):
            if certificate.fingerprint == fingerprint:
                return certificate
        return self._ledger.certificate(fingerprint)

    def _silence(self, name: InstanceName, *, there: bool) -> Evidence:
        """Return what a silent agent means: nothing, when it is gone or was given up."""
        said, holds = "no answer", False
        if not there:
            said, holds = "its VM is gone", True
        elif name in self._given_up:
            said, holds = "no answer, as before: it will be recreated with --fix", True
        return ping_evidence(name, said, at=self._clock(), holds=holds)

    # Rolling out.

    def _remembered(self, result: Result) -> Result:
        self._given_up.discard(result.instance)
        if isinstance(result, Failed):
            self._refused[result.instance] = result.message
        else:
            self._refused.pop(result.instance, None)
        return result


def _trusted(handout: IssuedCredentials) -> frozenset[Fingerprint]:
    return frozenset(certificate.fingerprint for certificate in handout.bundle)


def _state(handout: IssuedCredentials) -> AgentState:
    bundle = tuple(certificate.fingerprint for certificate in handout.bundle)
    return AgentState(handout.signer.fingerprint, bundle)


def _agent_id(placed: Mapping[InstanceName, BoshInstance], name: InstanceName) -> str:
    """Return the id of an instance's agent, empty when it has none."""
    found = placed.get(name)
    return "" if found is None or found.agent_id is None else found.agent_id


def _check_orders(orders: Sequence[Order], handout: IssuedCredentials) -> None:
    for order in orders:
        if not state_fits(_state(handout), order):
            raise StaleError(
                f"`{order.instance}` is to get something else than the director hands out now "
                f"(signed by `{handout.signer.subject}`, {len(handout.bundle)} trusted CAs)",
                hint="somebody ran `create-env` meanwhile: run Rollover again, it plans anew",
            )


def _check_listing(listing: Listing) -> None:
    if listing.missing:
        raise EvidenceMissing(
            f"nothing could be proven of agents afterwards: {listing.missing}",
            hint=NO_CONNECTIONS.remedy,
        )
