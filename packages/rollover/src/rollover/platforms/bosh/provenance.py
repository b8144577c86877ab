"""Which CA and bundle each agent has, concluded from what was handed out and seen, kept in a file.

NATS shows of an agent's certificate only its fingerprint. So which CA issued it, and which bundle
came with it, is concluded: a certificate was issued after the agent was last seen with another
one, and before it was first seen itself; what the director handed out in that time is what it can
have come with.

The director's clock and ours may differ, so a VM that it made around the time of a `create-env`
can be of either side of it. Its tasks are numbered, though: what was made by one that is younger
than the first look at the new director was given what that one hands out, whatever any clock says.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Lock, RLock
from typing import NamedTuple, Protocol

import msgspec

from rollover import files
from rollover.errors import AdapterError, SpecError
from rollover.files import TooLarge, read_bounded
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.certificate import parse_der
from rollover.platforms.bosh.director_records import BoshInstance


class IssuedCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The CA that signs agents' certificates, and the bundle that they are given, since when."""

    signer: Certificate
    bundle: tuple[Certificate, ...]
    since: datetime | None = None
    """When the director began to hand this out; None: before Rollover first looked."""
    task: int | None = None
    """The last task of the director when it was seen to do so: later ones hand out this."""
    trusted_certs: str | None = None
    """`director.trusted_certs`, which agents are given besides; None: it is not known."""

    @property
    def state(self) -> AgentState:
        """What an agent has that was given this."""
        bundle = tuple(certificate.fingerprint for certificate in self.bundle)
        return AgentState(self.signer.fingerprint, bundle)

    @property
    def trusted(self) -> frozenset[Fingerprint]:
        """The CAs that NATS accepts while this is handed out: it has the same bundle."""
        return frozenset(self.state.bundle)


FILE_VERSION = 1
MOST_SIGHTINGS = 4
"""Certificates kept of one agent, the latest."""
MOST_AGENTS = 50_000
"""Agents kept: of short-lived VMs there is no end."""
Bundle = tuple[Fingerprint, ...]


class AgentState(NamedTuple):
    """What an agent was given at one time: the CA of its certificate, and what it trusts."""

    signer: Fingerprint
    bundle: Bundle


class IssuedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the director handed out, until the next one's `since`."""

    signer: Fingerprint
    bundle: Bundle
    since: datetime | None = None
    """When it began, at the latest; None: before anybody looked."""
    earliest: datetime | None = None
    """When it can have begun at the earliest; None: at any time."""
    noted: datetime
    """When it was seen first to be handed out."""
    confirmed: datetime
    """When it was seen last to be handed out."""
    task: int | None = None
    """The last task of the director when this was seen to have begun; None: nobody asked."""

    @property
    def state(self) -> AgentState:
        """What an agent has that was given this."""
        return AgentState(self.signer, self.bundle)


class ObservedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of an agent, as the NATS server saw it."""

    certificate: Fingerprint
    first_observed: datetime = msgspec.field(name="first_seen")
    last_observed: datetime = msgspec.field(name="last_seen")
    after: datetime | None = None
    """When the agent was last seen with another certificate: this one is younger."""
    signer: Fingerprint | None = None
    """Where it comes from, once there is no doubt."""
    bundle: Bundle | None = None
    issued_here: bool = False
    """Rollover made it itself: the director's own record does not know of it."""

    @property
    def settled(self) -> AgentState | None:
        """What the agent holds, when there is no doubt."""
        if self.signer is None or self.bundle is None:
            return None
        return AgentState(self.signer, self.bundle)


class SentCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that Rollover itself sent to an agent."""

    agent: str
    signer: Fingerprint
    bundle: Bundle
    at: datetime


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file. `certificates` holds the DER of every CA that is named."""

    version: int = FILE_VERSION
    certificates: dict[Fingerprint, bytes] = {}
    credentials: tuple[IssuedRecord, ...] = msgspec.field(default=(), name="handouts")
    agents: dict[str, tuple[ObservedCertificate, ...]] = {}
    """By agent id, the latest certificate last."""
    issued: dict[Fingerprint, SentCertificate] = {}


def issued_within(
    records: Sequence[IssuedRecord], *, after: datetime | None, until: datetime
) -> tuple[IssuedRecord, ...]:
    """Return what can have been handed out at some time after `after` (None: ever) and `until`."""
    ends: list[datetime | None] = [record.since for record in records[1:]]
    return tuple(
        record
        for record, end in zip(records, [*ends, None], strict=True)
        if (record.earliest is None or record.earliest <= until)
        and (end is None or after is None or end > after)
    )


def possible_states(
    records: Sequence[IssuedRecord],
    *,
    trusted: frozenset[Fingerprint],
    after: datetime | None,
    until: datetime,
    connected: bool,
) -> tuple[AgentState, ...]:
    """Return what an agent can hold whose certificate was issued in that time, likeliest first.

    `trusted` are the CAs that the server accepts: whoever is `connected` comes from one of them.
    From before Rollover first observed, any of them is possible, each with itself as the bundle;
    with only one of them there is no doubt. Between two observations something may have been handed
    out that nobody saw.
    """
    found = [handed.state for handed in issued_within(records, after=after, until=until)]
    found += _unseen_states(records, after=after, until=until)
    if records and (after is None or after < records[0].noted):
        past = sorted(trusted - {state.signer for state in found})
        found += [AgentState(fingerprint, (fingerprint,)) for fingerprint in past]
    fitting = [state for state in found if not connected or state.signer in trusted]
    # The latest is the likeliest: it is handed out for longest.
    return tuple(dict.fromkeys(reversed(fitting or found)))


def _unseen_states(
    records: Sequence[IssuedRecord], *, after: datetime | None, until: datetime
) -> Iterator[AgentState]:
    """Yield what may have been handed out between two that were seen, where nobody timed it.

    From one CA to another there is a time of both, and of one alone between two times of both.
    """
    for before, then in pairwise(records):
        timed = then.since is None or then.earliest is None or then.earliest == then.since
        if timed or (after is not None and then.since is not None and then.since <= after):
            continue
        if then.earliest is None or then.earliest < until:
            for signer in dict.fromkeys((before.signer, then.signer)):
                if set(before.bundle) == set(then.bundle):
                    yield AgentState(signer, (signer,))
                elif not set(before.bundle) & set(then.bundle):
                    yield AgentState(signer, (*before.bundle, *then.bundle))


def states_of_agent(
    provenance: Provenance,
    agent: str,
    *,
    trusted: frozenset[Fingerprint],
    certificate: Fingerprint | None,
    born: datetime | None,
    at: datetime,
) -> tuple[AgentState, ...]:
    """Return what an agent can hold, likeliest first.

    `certificate` is that of its live connection; None: it is not connected, or nobody can see.
    Such a one may have been given anything since it was last seen. `born`: its VM is younger.
    """
    seen = provenance.agents.get(agent, ())
    current = next((sighting for sighting in seen if sighting.certificate == certificate), None)
    if current is not None and current.settled is not None:
        return (current.settled,)
    if current is not None:
        return possible_states(
            provenance.credentials,
            trusted=trusted,
            after=max((time for time in (current.after, born) if time is not None), default=None),
            until=current.first_observed,
            connected=True,
        )
    last = seen[-1] if seen else None
    since = possible_states(
        provenance.credentials,
        trusted=trusted,
        after=last.last_observed if last is not None else born,
        until=at,
        connected=False,
    )
    if last is None:
        return since
    before = states_of_agent(
        provenance, agent, trusted=trusted, certificate=last.certificate, born=born, at=at
    )
    return tuple(dict.fromkeys((*before, *since)))


def with_issued_credentials(
    provenance: Provenance, credentials: IssuedCredentials, *, at: datetime
) -> Provenance:
    """Return the provenance with what the director hands out now."""
    signer, bundle = credentials.state
    certificates = provenance.certificates | {
        certificate.fingerprint: certificate.der
        for certificate in (credentials.signer, *credentials.bundle)
    }
    *before, last = provenance.credentials or (None,)
    if last is not None and last.state == (signer, bundle):
        handed = msgspec.structs.replace(last, confirmed=max(at, last.confirmed))
    else:
        unknown = last is not None and credentials.since is None
        handed = IssuedRecord(
            signer=signer,
            bundle=bundle,
            since=at if unknown else credentials.since,
            earliest=last.confirmed if unknown and last is not None else credentials.since,
            noted=at,
            confirmed=at,
            task=credentials.task,
        )
        before = list(provenance.credentials)
    kept = tuple(record for record in (*before, handed) if record is not None)
    return msgspec.structs.replace(provenance, certificates=certificates, credentials=kept)


def with_connections(
    provenance: Provenance, seen: Mapping[str, Fingerprint], *, at: datetime
) -> Provenance:
    """Return the provenance with the certificates of connected agents, by agent id."""
    agents = dict(provenance.agents)
    for agent, certificate in seen.items():
        agents[agent] = tuple(
            _with_sighting(agents.get(agent, ()), certificate, provenance.issued, at)
        )
    if len(agents) > MOST_AGENTS:
        # Who was forgotten is taken for one that was never seen: more is possible, never less.
        latest = sorted(agents, key=lambda agent: agents[agent][-1].last_observed)[-MOST_AGENTS:]
        agents = {text: agents[text] for text in latest}
    return msgspec.structs.replace(provenance, agents=agents)


def _with_sighting(
    before: tuple[ObservedCertificate, ...],
    certificate: Fingerprint,
    issued: Mapping[Fingerprint, SentCertificate],
    at: datetime,
) -> Iterator[ObservedCertificate]:
    others = [sighting for sighting in before if sighting.certificate != certificate]
    known = next((sighting for sighting in before if sighting.certificate == certificate), None)
    yield from others[-(MOST_SIGHTINGS - 1) :]
    if known is not None:
        yield msgspec.structs.replace(known, last_observed=max(at, known.last_observed))
        return
    made = issued.get(certificate)
    yield ObservedCertificate(
        certificate=certificate,
        first_observed=at,
        last_observed=at,
        after=max((other.last_observed for other in others), default=None),
        signer=made.signer if made else None,
        bundle=made.bundle if made else None,
        issued_here=made is not None,
    )


def with_settled(
    provenance: Provenance,
    *,
    trusted: frozenset[Fingerprint],
    connected: Mapping[str, datetime | None],
    at: datetime,
) -> Provenance:
    """Return the provenance with everything written down that has become beyond doubt.

    `connected` are the agents that are connected now, each with a time that its VM is younger
    than.
    """
    agents = dict(provenance.agents)
    for agent, born in connected.items():
        *before, last = provenance.agents.get(agent, (None,))
        if last is None or last.settled is not None:
            continue
        states = states_of_agent(
            provenance, agent, trusted=trusted, certificate=last.certificate, born=born, at=at
        )
        if len(states) == 1:
            settled = msgspec.structs.replace(
                last, signer=states[0].signer, bundle=states[0].bundle
            )
            agents[agent] = (*(sighting for sighting in before if sighting is not None), settled)
    return msgspec.structs.replace(provenance, agents=agents)


# The file.


FILE_LIMIT = 256 * 1024 * 1024
"""Octets; an agent takes about 300."""


class ProvenanceFile:
    """`Provenance` in a private file of the state directory; several threads may share it.

    Every method raises `SpecError` when the file cannot be read, `OSError` when it cannot be
    written. Another process that writes meanwhile is waited for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._provenance: Provenance | None = None
        self._stamp: tuple[int, int] | None = None

    def read(self) -> Provenance:
        """Return what is in the file now."""
        with self._lock:
            stamp = self._stamped()
            if self._provenance is None or stamp != self._stamp:
                self._provenance, self._stamp = self._read(), stamp
            return self._provenance

    def record_issued(self, credentials: IssuedCredentials, *, at: datetime | None = None) -> None:
        """Note what the director hands out, as of now; the same again changes no history."""
        instant = at or credentials.since or datetime.now(UTC)
        self._change(
            lambda provenance: with_issued_credentials(provenance, credentials, at=instant)
        )

    def issued_credentials(self) -> tuple[IssuedCredentials, ...]:
        """Return everything that was handed out, oldest first."""
        provenance = self.read()
        return tuple(
            IssuedCredentials(
                signer=self.certificate(record.signer),
                bundle=tuple(self.certificate(fingerprint) for fingerprint in record.bundle),
                since=record.since,
                task=record.task,
            )
            for record in provenance.credentials
        )

    def certificate(self, fingerprint: Fingerprint) -> Certificate:
        """Return a CA that was handed out; KeyError when it never was."""
        return parse_der(self.read().certificates[fingerprint], place=str(self._path))

    def record_connected(
        self,
        seen: Mapping[str, Fingerprint],
        *,
        born: Mapping[str, datetime | None],
        trusted: Iterable[Fingerprint],
        at: datetime,
    ) -> None:
        """Note the certificates of the agents that are connected, and conclude what can be.

        `born`: a time that an agent's VM is certainly younger than, by our clock.
        """
        accepted = frozenset(trusted)

        def change(provenance: Provenance) -> Provenance:
            provenance = with_connections(provenance, seen, at=at)
            connected = {agent: born.get(agent) for agent in seen}
            return with_settled(provenance, trusted=accepted, connected=connected, at=at)

        # Not durable: it is written at every observation, and what is lost is seen again.
        self._change(change, durable=False)

    def issued(
        self, agent: str, certificate: Fingerprint, state: AgentState, *, at: datetime
    ) -> None:
        """Note a certificate that Rollover is about to send to an agent itself."""
        made = SentCertificate(agent=agent, signer=state.signer, bundle=state.bundle, at=at)

        def change(provenance: Provenance) -> Provenance:
            others = {
                fingerprint: sent
                for fingerprint, sent in provenance.issued.items()
                if sent.agent != agent
            }
            return msgspec.structs.replace(provenance, issued=others | {certificate: made})

        self._change(change)

    def states(
        self,
        agent: str,
        *,
        trusted: Iterable[Fingerprint],
        certificate: Fingerprint | None,
        born: datetime | None,
        at: datetime,
    ) -> tuple[AgentState, ...]:
        """Return what an agent can hold, likeliest first; see `states_of_agent`."""
        return states_of_agent(
            self.read(),
            agent,
            trusted=frozenset(trusted),
            certificate=certificate,
            born=born,
            at=at,
        )

    def observed_certificates(self, agent: str) -> tuple[ObservedCertificate, ...]:
        """Return the certificates that an agent was seen with, the latest last."""
        return self.read().agents.get(agent, ())

    def _change(self, change: Callable[[Provenance], Provenance], *, durable: bool = True) -> None:
        with self._lock, self._alone():
            provenance = self.read()
            changed = change(provenance)
            if changed != provenance:
                content = msgspec.json.encode(changed)
                files.atomic_write(self._path, content, mode=0o600, durable=durable)
                self._provenance, self._stamp = changed, self._stamped()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file of its own: the other one is replaced, and a lock on it would go with the old one.
        lock = self._path.with_name(f"{self._path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _stamped(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        # With the inode: two writers within one tick of the file system's clock differ in that.
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> Provenance:
        try:
            content = read_bounded(self._path, limit=FILE_LIMIT)
        except FileNotFoundError:
            return Provenance()
        except TooLarge:
            raise self._damaged(f"it has more than {FILE_LIMIT} octets") from None
        try:
            provenance = msgspec.json.decode(content, type=Provenance)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error
        if provenance.version != FILE_VERSION:
            raise self._damaged(
                f"it has version {provenance.version}, this Rollover knows {FILE_VERSION}"
            )
        return provenance

    def _damaged(self, what: str) -> SpecError:
        return SpecError(
            f"the ledger of agents cannot be read: {what}",
            place=str(self._path),
            hint="restore it from a backup; without it, agents count as unknown as long as the "
            "NATS server trusts several CAs",
        )


# When VMs were made.


CLOCK_SKEW = timedelta(minutes=1)
"""How far the director's clock, which says when a VM was created, may be from ours."""


class KnowsCreationTasks(Protocol):
    """What is asked of the director."""

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        ...


class VmCreationTimes:
    """Says of VMs which time they are younger than, by our clock. Several threads may share one."""

    def __init__(self, director: KnowsCreationTasks, ledger: ProvenanceFile) -> None:
        self._director = director
        self._ledger = ledger
        self._lock = Lock()
        self._tasks: dict[str, int | None] = {}

    def after(self, instance: BoshInstance) -> datetime | None:
        """Return a time that an instance's VM is younger than; None when it is not known."""
        created = instance.vm_created_at
        known = None if created is None else created - CLOCK_SKEW
        provenance, cid = self._ledger.read(), instance.vm_cid
        if cid is not None and cid not in self._tasks and _clocks_leave_open(instance, provenance):
            self._note(cid)
        times = (known, self._remembered(instance, provenance.credentials))
        return max((time for time in times if time is not None), default=None)

    def _note(self, vm_cid: str) -> None:
        try:
            task = self._director.creation_task(vm_cid)
        except AdapterError:
            # Two answers are left then, and both are counted with.
            return
        with self._lock:
            self._tasks[vm_cid] = task

    def _remembered(
        self, instance: BoshInstance, records: Sequence[IssuedRecord]
    ) -> datetime | None:
        """Return since when there was handed out what the task that made a VM handed out."""
        task = self._tasks.get(instance.vm_cid or "")
        if task is None:
            return None
        return max(
            (
                record.since
                for record in records
                if record.since is not None and record.task is not None and task > record.task
            ),
            default=None,
        )


def _clocks_leave_open(instance: BoshInstance, provenance: Provenance) -> bool:
    """Say whether the clocks leave it open what a VM was given, and it matters."""
    created, seen = instance.vm_created_at, provenance.agents.get(instance.agent_id or "", ())
    if created is None or (seen and seen[-1].settled is not None):
        return False
    return any(
        record.since is not None and abs(created - record.since) <= 2 * CLOCK_SKEW
        for record in provenance.credentials
    )
