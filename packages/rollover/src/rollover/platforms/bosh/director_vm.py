"""The director VM: NATS, director and health monitor, and what the director hands out to agents.

All of it comes from one manifest, and changes at once, by `create-env`: the `Platform` of the
group `director`. What is in use is concluded from the state file, fresh handshakes and lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from rollover.engine.ports import Moment, Pacing
from rollover.errors import EvidenceMissing, RolloverError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import GroupDescription
from rollover.fleet.evidence import (
    Evidence,
    Fact,
    Failed,
    Holdout,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, EndpointRef
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh import (
    connections,
    create_env,
    director_fleet,
    director_vm_observer,
    nats_port,
    vars_store,
)
from rollover.platforms.bosh.create_env import stored_chains
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.director_rollout import DirectorRollout
from rollover.platforms.bosh.director_vm_observer import Conclusion, DirectorVmObserver
from rollover.platforms.bosh.nats_properties import DirectorProperties, NatsPart, NatsTls
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile, VmCreationTimes
from rollover.platforms.bosh.rules import director
from rollover.rules.rule import Finding

POLL_SECONDS = 0.5


class DirectorVm:
    """`Platform`, `ReportsFindings` and `Cleanup` for the one instance of the group `director`.

    `known` are all CA certificates that Rollover knows.
    """

    def __init__(
        self,
        group: GroupDescription,
        observer: DirectorVmObserver,
        *,
        ledger: ProvenanceFile,
        known: Callable[[], Sequence[Certificate]],
        create_env_seconds: float,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.group = group
        self.observer = observer
        self.environment = observer.environment
        self.workplace = observer.workplace
        self._director = observer.director
        self._clock = observer.clock
        self._ledger = ledger
        self._creation_times = VmCreationTimes(observer.director, ledger)
        self._rollout = DirectorRollout(
            observer,
            ledger=ledger,
            known=known,
            create_env_seconds=create_env_seconds,
            confirm_seconds=group.confirm_seconds,
            poll_seconds=poll_seconds,
        )

    # What agents get from it.

    def issued_credentials(self) -> IssuedCredentials:
        """Return what the director hands out to agents now; `EvidenceMissing` when it is unknown.

        `since` is known once the ledger has seen it begin.
        """
        found = self.properties()
        now = IssuedCredentials(
            signer=found.tls.signer, bundle=found.tls.bundle, trusted_certs=found.trusted_certs
        )
        for last in self._ledger.issued_credentials()[-1:]:
            if (last.signer, last.bundle) == (now.signer, now.bundle):
                return msgspec.structs.replace(now, since=last.since, task=last.task)
        return now

    def properties(self) -> DirectorProperties:
        """Return the director's properties as they are deployed; `EvidenceMissing` else."""
        conclusion = self.observer.observe().conclusion
        if conclusion.properties is None:
            raise EvidenceMissing(
                f"what the director has is not known: {conclusion.doubt}",
                hint="make the manifest and its variables complete again, as they were deployed",
            )
        return conclusion.properties

    def signer_key(self, fingerprint: Fingerprint) -> SecretBytes | None:
        """Return the key of a CA that is in the vars store or the manifest; None: it is not."""
        inputs = self.environment.inputs()
        for name, chain in stored_chains({**inputs.stored, **inputs.given}).items():
            value = inputs.given.get(name, inputs.stored.get(name))
            key = value.get("private_key") if isinstance(value, dict) else None
            if chain[0].fingerprint == fingerprint and isinstance(key, str) and key:
                return SecretBytes(key.encode("utf-8", "surrogateescape"))
        for candidate in self.environment.candidates((), inputs):
            if candidate.properties and candidate.properties.tls.signer.fingerprint == fingerprint:
                return candidate.properties.tls.pairs[NatsPart.CLIENT_CA].key
        return None

    # Observing.

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what NATS, director and health monitor use, and what agents are handed."""
        for name in instances:
            self._check_known(name)
            conclusion = self.observer.observe().conclusion
            first, *others = director_vm_observer.distinct_states(conclusion.possible) or (None,)
            availability, why = self._availability(conclusion)
            yield Observation(
                instance=name,
                at=self._clock(),
                availability=availability,
                why=why,
                endpoints=() if first is None else self._endpoints(first),
                may_use=tuple(self._endpoints(other) for other in others if other is not None),
            )

    def _availability(self, conclusion: Conclusion) -> tuple[Availability, str]:
        if create_env.is_running(self.workplace.lock):
            return Availability.UNREACHABLE, "a `create-env` is still running"
        if conclusion.doubt or conclusion.silent:
            reasons = [conclusion.silent, conclusion.doubt]
            if conclusion.doubt and (kept := self.workplace.backups()):
                reasons.append(f"the latest copy of the vars store is `{kept[-1]}`")
            return Availability.UNREACHABLE, "; ".join(reason for reason in reasons if reason)
        return Availability.READY, conclusion.disagreement

    def _endpoints(self, tls: NatsTls) -> tuple[ObservedEndpoint, ...]:
        described = {
            endpoint.name for instance in self.group.instances for endpoint in instance.endpoints
        }
        return tuple(
            ObservedEndpoint(endpoint=endpoint, presents=tls.pairs[part].chain, trusts=tls.bundle)
            for endpoint, part in director_fleet.PARTS.items()
            if endpoint in described
        )

    def _check_known(self, name: InstanceName) -> None:
        if name not in {instance.name for instance in self.group.instances}:
            raise SpecError(
                f"group `{self.group.name}` has no instance `{name}`",
                hint="the director VM is the only one in it",
            )

    # Changing.

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Deploy the director VM with what is ordered. Once begun, a `create-env` is waited for."""
        del pacing  # There is one VM.
        for order in orders:
            if stopping():
                return
            begun = time.monotonic()
            try:
                self._check_known(order.instance)
                yield self._rollout.deploy(order)
            except (RolloverError, OSError) as error:
                # Nothing was begun: what happens behind that is a result by itself.
                yield _untouched(order, error, time.monotonic() - begun)

    # Proving.

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Dial NATS afresh with each identity; the jobs beside it accept no connections."""
        for name in instances:
            self._check_known(name)
            dials = nats_port.dial_nats(self.observer.nats_address, (*accepted, *refused))
            yield from nats_port.dial_evidence(
                EndpointRef(name, director_fleet.NATS_ENDPOINT),
                dials,
                refused=refused,
                at=self._clock(),
            )

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Yield the connections that come, or may come, from a retired CA.

        Raises `EvidenceMissing` when the connections cannot be listed.
        """
        for name in instances:
            self._check_known(name)
            conclusion = self.observer.observe().conclusion
            yield from connections.holdouts(
                name,
                connections.live_connections(self.observer.monitor),
                retired=retired,
                tls=director_vm_observer.distinct_states(conclusion.possible),
                agents=connections.KnownAgents(
                    self._ledger, self._instances, self._creation_times, self._clock()
                ),
                own=frozenset(
                    identity.chain[0].fingerprint for identity in self.observer.identities()
                ),
            )

    def _instances(self) -> Iterable[BoshInstance]:
        for deployment in self._director.deployments():
            yield from self._director.placed(deployment.name)

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Yield that nobody is asked: an agent gets new credentials by a rollout of its own."""
        for holdout in holdouts:
            yield Evidence(
                fact=Fact.DRAINED,
                subject=EndpointRef(holdout.server, director_fleet.NATS_ENDPOINT),
                holds=True,
                observed=f"connection {holdout.connection} of `{holdout.peer}` was left alone: "
                "agents connect again when they are rolled out",
                at=self._clock(),
                by=nats_port.BY_CONNZ,
            )

    # Findings and cleanup.

    def findings(self, moment: Moment) -> Iterator[Finding]:
        """Yield what stands in the way at the director VM, its vars store and its command line."""
        yield from director.findings(
            moment,
            environment=self.environment,
            workplace=self.workplace,
            observe=self.observer.observe,
            at=self._clock(),
        )

    def clean_up(self) -> Iterator[Evidence]:
        """Put new values under the old names in the vars store, and drop what is left over.

        What would be deployed stays the same to the byte: that is proven before anything changes.
        """
        instance = self.group.instances[0].name
        yield from vars_store.clean_up_vars_store(
            self.environment,
            self.workplace,
            subject=EndpointRef(instance, director_fleet.AGENT_SOURCE),
            at=self._clock(),
        )


def _untouched(order: Order, error: RolloverError | OSError, seconds: float) -> Failed:
    if isinstance(error, RolloverError):
        return Failed(
            instance=order.instance,
            seconds=seconds,
            code=error.code,
            message=error.message,
            hint=error.hint,
        )
    return Failed(
        instance=order.instance,
        seconds=seconds,
        code="rejected",
        message=f"a file cannot be written: {error}",
        hint="look at the permissions and the room of the state directory and the vars store",
    )
