"""The NATS clients of one group: the `Platform` for parties that only dial.

A client tells itself what it uses while it runs; else its files say what it would use next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import monotonic, sleep
from typing import NamedTuple

from rollover.delivery import client_status
from rollover.delivery.client_status import ClientStatus
from rollover.engine.ports import Delivery, Pacing, Receipt
from rollover.engine.rollout import in_window
from rollover.errors import (
    AdapterError,
    EvidenceMissing,
    RolloverError,
    SpecError,
    VerificationError,
)
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import (
    Applied,
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
from rollover.fleet.fleet import Availability, EndpointRef, Role, Touch
from rollover.fleet.names import Fingerprint, InstanceName, short
from rollover.fleet.secret import SecretBytes
from rollover.platforms.nats import configuration, instance_files
from rollover.platforms.nats.connections import Connected, ConnectionRoster
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.instance_files import (
    SYSTEM_STORE,
    HeldFiles,
    after_delivery,
    files_of,
)
from rollover.platforms.nats.reload import RESTARTING, restart
from rollover.platforms.nats.servers import NatsServers, untouched
from rollover.probe.server_views import ConnectionView

# What one client uses: what it says itself while it runs, else what its files hold.

NOT_RUNNING = "it is not running: it starts with what its files hold"


class StatusReport(NamedTuple):
    """What a client says of itself. `status` None: it does not run, or says nothing."""

    status: ClientStatus | None
    trouble: str = ""


def read_report(delivery: Delivery, instance: InstanceDescription, *, local: bool) -> StatusReport:
    """Read a client's status file; `local`: its process is on this machine and can be looked for.

    The status of a process that has ended says nothing.
    """
    if instance.status_file is None:
        return StatusReport(None)
    try:
        found = delivery.read(instance.name, (instance.status_file,))
        status = client_status.decode(
            found[instance.status_file], place=f"{instance.name}: {instance.status_file}"
        )
    except AdapterError:
        return StatusReport(None)
    except SpecError as error:
        return StatusReport(None, error.message)
    return StatusReport(status if not local or _runs(status.pid) else None)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks whether the process is there: kill(2)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and of another user
    return True


def uses(status: ClientStatus, held: ObservedEndpoint) -> bool:
    """Say whether a client reports exactly this leaf and this bundle."""
    leaf = held.presents[0].fingerprint if held.presents else ""
    trusts = tuple(anchor.fingerprint for anchor in held.trusts or () if anchor is not SYSTEM_STORE)
    return status.certificate_sha256 == leaf and _distinct(status.ca_sha256) == trusts


def _distinct(fingerprints: Iterable[Fingerprint]) -> tuple[Fingerprint, ...]:
    return tuple(dict.fromkeys(fingerprints))


def endpoint_of_client(instance: InstanceDescription, held: HeldFiles) -> ObservedEndpoint | None:
    """Return what the files of a client's own endpoint hold, None when they cannot be used."""
    for endpoint in instance.endpoints:
        if endpoint.role is Role.CLIENT:
            return held.by_name.get(endpoint.name)
    return None


class FoundClient(NamedTuple):
    """Everything that was found out about one client."""

    disk: HeldFiles
    kept: HeldFiles | None
    report: StatusReport
    connected_leaves: frozenset[str]
    """Of its live connections; only looked for when it reports nothing."""
    known: Mapping[Fingerprint, Certificate]
    unwritable: str = ""


def observation(instance: InstanceDescription, found: FoundClient, *, at: datetime) -> Observation:
    """Return the observation that follows from what was found."""
    if not any((endpoint.certificate or endpoint.ca) for endpoint in instance.endpoints):
        why = "no files are described: fill in `certificate`, `key` and `ca`"
        return _observation(instance, (), why, at=at, availability=Availability.UNREACHABLE)
    used, doubt = _used(instance, found)
    availability, why = _availability(instance, found, doubt)
    may_use = tuple(_may_use(instance, found, used))
    return _observation(instance, used, why, at=at, availability=availability, may_use=may_use)


def _observation(
    instance: InstanceDescription,
    used: tuple[ObservedEndpoint, ...],
    why: str,
    *,
    at: datetime,
    availability: Availability,
    may_use: tuple[tuple[ObservedEndpoint, ...], ...] = (),
) -> Observation:
    return Observation(
        instance=instance.name,
        at=at,
        availability=Availability.IGNORED if instance.ignored else availability,
        why=f"ignored: {instance.ignored}" if instance.ignored else why,
        endpoints=used,
        may_use=may_use,
    )


def _availability(
    instance: InstanceDescription, found: FoundClient, doubt: str
) -> tuple[Availability, str]:
    troubles = "; ".join(found.disk.troubles.values())
    status = found.report.status
    if doubt or (troubles and status is None):
        return Availability.UNREACHABLE, doubt or troubles
    if status is not None and status.error and status.connected:
        return Availability.REFUSING, status.error
    if found.unwritable:
        return Availability.REFUSING, found.unwritable
    # One that was cut off is let in again by new files, and by nothing else.
    cut_off = status.error if status is not None else ""
    stopped = NOT_RUNNING if instance.status_file is not None and status is None else ""
    return Availability.READY, found.report.trouble or troubles or cut_off or stopped


def _used(
    instance: InstanceDescription, found: FoundClient
) -> tuple[tuple[ObservedEndpoint, ...], str]:
    """Return what the client uses now, and a doubt about it in words, if any."""
    status, own = found.report.status, endpoint_of_client(instance, found.disk)
    if status is None or (own is not None and uses(status, own)):
        return found.disk.endpoints, ""
    if found.kept is not None:
        kept = endpoint_of_client(instance, found.kept)
        if kept is not None and uses(status, kept):
            return found.kept.endpoints, ""
    presents, trusts, doubt = _reported(status, found)
    return tuple(_with_client(instance, found.disk, presents, trusts)), doubt


def _reported(
    status: ClientStatus, found: FoundClient
) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...], str]:
    """Return the certificates behind the reported fingerprints, and a doubt if some are unknown."""
    kept = found.kept.certificates() if found.kept is not None else ()
    known = dict(found.known) | {
        certificate.fingerprint: certificate for certificate in (*found.disk.certificates(), *kept)
    }
    wanted = (status.certificate_sha256, *_distinct(status.ca_sha256))
    missing = [fingerprint for fingerprint in wanted if fingerprint not in known]
    doubt = f"it uses {len(missing)} certificates that stand in none of its files"
    return (
        tuple(known[fingerprint] for fingerprint in wanted[:1] if fingerprint in known),
        tuple(known[fingerprint] for fingerprint in wanted[1:] if fingerprint in known),
        doubt if missing else "",
    )


def _with_client(
    instance: InstanceDescription,
    held: HeldFiles,
    presents: tuple[Certificate, ...],
    trusts: tuple[Certificate, ...] | None,
) -> Iterator[ObservedEndpoint]:
    """Yield the state of the files, with something else at the client's own endpoint."""
    for endpoint in instance.endpoints:
        if endpoint.role is Role.CLIENT:
            yield ObservedEndpoint(endpoint=endpoint.name, presents=presents, trusts=trusts)
        elif endpoint.name in held.by_name:
            yield held.by_name[endpoint.name]


def _may_use(
    instance: InstanceDescription, found: FoundClient, used: tuple[ObservedEndpoint, ...]
) -> Iterator[tuple[ObservedEndpoint, ...]]:
    """Yield what a restart would take, and what a client that says nothing may still have."""
    if found.disk.endpoints != used and not found.disk.troubles:
        yield found.disk.endpoints
    silent = found.report.status is None and instance.status_file is None
    if (
        silent
        and found.kept is not None
        and found.kept.endpoints not in (used, found.disk.endpoints)
    ):
        yield found.kept.endpoints
    own = endpoint_of_client(instance, found.disk)
    if silent and own is not None:
        yield from _still_connected(instance, found, own)


def _still_connected(
    instance: InstanceDescription, found: FoundClient, own: ObservedEndpoint
) -> Iterator[tuple[ObservedEndpoint, ...]]:
    """Yield the state with each leaf that a live connection shows and the files do not hold."""
    leaf = own.presents[0].fingerprint if own.presents else ""
    for connected_leaf in sorted(found.connected_leaves - {leaf, ""}):
        certificate = found.known.get(Fingerprint(connected_leaf))
        if certificate is not None:
            yield tuple(_with_client(instance, found.disk, (certificate,), own.trusts))


# One order on its way to one client, and what shows that the client uses it:
#
# - one with a status file says what its next handshake presents and trusts; when its leaf changed,
#   a server must also see it connected with the new one;
# - one without is made to reconnect, and a server must see it come back;
# - one that does not run has its files: it starts with them.

POLL_SECONDS = 0.05
LONGEST_RESTORE_SECONDS = 15.0


class _Undone(Exception):
    """The order failed; `restored` says whether the client has again what it had."""

    def __init__(self, error: RolloverError, *, restored: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.restored = restored


class ClientAttempt:
    """One order on its way to one client. `reconnect` makes the peers of connections come again."""

    def __init__(
        self,
        order: Order,
        group: DescribedGroup,
        *,
        roster: ConnectionRoster,
        reconnect: Callable[[Sequence[Holdout]], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._order = order
        self._instance = group.instance(order.instance)
        self._delivery = group.delivery
        self._settings = group.reload_settings
        self._local = group.is_local
        self._roster = roster
        self._reconnect = reconnect
        self._clock = clock
        self._deadline = monotonic() + self._settings.timeout_seconds

    def result(self) -> Result:
        """Bring the order to the client. Failures are results; nothing is raised."""
        started = monotonic()
        try:
            evidence, taken_seconds = self._run()
        except _Undone as undone:
            error, seconds = undone.error, monotonic() - started
            return Failed(
                instance=self._order.instance,
                seconds=seconds,
                code=error.code,
                message=error.message,
                hint=error.hint,
                restored=undone.restored,
            )
        return Applied(
            instance=self._order.instance,
            seconds=monotonic() - started,
            evidence=evidence,
            reload_seconds=taken_seconds,
        )

    def _run(self) -> tuple[tuple[Evidence, ...], float]:
        """Return the evidence and the seconds that the client took; raise `_Undone`."""
        try:
            files = files_of(self._order, self._instance)
            contents = instance_files.read(self._delivery, self._instance)
            old = endpoint_of_client(self._instance, instance_files.held(self._instance, contents))
            delivered = instance_files.held(self._instance, after_delivery(contents, files))
            new = endpoint_of_client(self._instance, delivered)
            if new is None:
                why = "; ".join(delivered.troubles.values()) or "no client endpoint"
                raise VerificationError(
                    f"`{self._instance.name}` would have files that it cannot use: {why}",
                    hint="correct the files on the instance, then run again",
                )
            before = self._status()
            receipt = self._delivery.deliver(self._instance.name, files)
        except RolloverError as error:
            raise _Undone(error, restored=True) from error
        started = monotonic()
        try:
            evidence = tuple(self._take_up(old, new, running=before is not None))
            taken_seconds = monotonic() - started
            self._delivery.confirm(receipt)
        except RolloverError as error:
            restored = self._roll_back(receipt, before)
            raise _Undone(error, restored=restored) from error
        return evidence, taken_seconds

    def _status(self) -> ClientStatus | None:
        return read_report(self._delivery, self._instance, local=self._local).status

    def _take_up(
        self, old: ObservedEndpoint | None, new: ObservedEndpoint, *, running: bool
    ) -> Iterator[Evidence]:
        """Make the client use its files; yield what shows that it does."""
        leaf_changed = old is None or old.presents[:1] != new.presents[:1]
        # Listed before anything is asked of it: whatever is not in this list later is new.
        there = self._connected() if self._must_reconnect(leaf_changed=leaf_changed) else ()
        yield self._evidence(new, Fact.DELIVERED, "its files", by="disk")
        if self._settings.touch in RESTARTING:
            # An unchanged leaf tells nothing of the restart: only another connection does.
            there = self._roster.of(self._name())
            restart(self._instance, self._settings)
        elif self._instance.status_file is None:
            # After a new leaf it must present that; an unchanged one shows by coming back at all.
            self._reconnect(tuple(_holdout(connected) for connected in there))
            yield self._connected_anew(new, former=there, any_leaf=not leaf_changed)
            return
        elif not running:
            yield self._evidence(new, Fact.REPORTED, NOT_RUNNING, by="status file")
            return
        if self._instance.status_file is not None:
            yield self._reported(new)
        if leaf_changed or self._instance.status_file is None:
            yield self._connected_anew(new, former=there)

    def _must_reconnect(self, *, leaf_changed: bool) -> bool:
        """Say whether only a reconnect shows anything; raise when not even that would."""
        touch = self._settings.touch
        if self._instance.status_file is not None or touch in RESTARTING:
            return False
        if touch is Touch.WATCH and not leaf_changed:
            raise EvidenceMissing(
                f"nothing can show whether `{self._instance.name}` took up its new trust bundle",
                hint="describe its `status_file`, or `touch: reconnect` for its group",
            )
        return touch is not Touch.WATCH

    # What a client with a status file says.

    def _reported(self, new: ObservedEndpoint) -> Evidence:
        last: ClientStatus | None = None
        while monotonic() < self._deadline:
            last = self._status() or last
            if last is not None and uses(last, new) and last.connected:
                leaf = short(last.certificate_sha256)
                observed = f"leaf {leaf}, {len(last.ca_sha256)} CAs, connected"
                return self._evidence(new, Fact.REPORTED, observed, by="status file")
            sleep(POLL_SECONDS)
        raise VerificationError(
            f"`{self._instance.name}` does not use what was delivered: {_why(last)}",
            hint="see what the client itself logs; is it told these files?",
        )

    # What the servers see of it.

    def _name(self) -> str:
        status = self._status()
        return status.name if status is not None else self._instance.name

    def _connected(self) -> tuple[Connected, ...]:
        found = self._roster.of(self._name())
        if not found:
            raise EvidenceMissing(
                f"no server has a connection named `{self._instance.name}`",
                hint="name the instance as the client names its connection",
            )
        return found

    def _connected_anew(
        self, new: ObservedEndpoint, *, former: tuple[Connected, ...], any_leaf: bool = False
    ) -> Evidence:
        """Wait for a connection of the client that was not there, with its new leaf."""
        before = {connected.key for connected in former}
        leaf = new.presents[0].fingerprint if new.presents else ""
        name, leaves = self._name(), ""
        while monotonic() < self._deadline:
            found = self._roster.of(name)
            for connected in found:
                if connected.key not in before and (any_leaf or connected.leaf == leaf):
                    observed = (
                        f"leaf {short(connected.leaf)}, connection {connected.view.cid} of "
                        f"{connected.server}"
                    )
                    return self._evidence(new, Fact.LOADED, observed, by="connz")
            leaves = ", ".join(short(connected.leaf) for connected in found)
            sleep(POLL_SECONDS)
        raise VerificationError(
            f"`{self._instance.name}` did not connect with its new files: the servers see "
            f"{leaves or 'no connection of it'}",
            hint="see what the client itself logs; does it read its files when it connects?",
        )

    def _evidence(self, new: ObservedEndpoint, fact: Fact, observed: str, *, by: str) -> Evidence:
        return Evidence(
            fact=fact,
            subject=EndpointRef(self._instance.name, new.endpoint),
            holds=True,
            observed=observed,
            expected=new.presents[0].fingerprint if new.presents else "",
            at=self._clock(),
            by=by,
        )

    # Rolling back.

    def _roll_back(self, receipt: Receipt, before: ClientStatus | None) -> bool:
        """Put the former files back; say whether the client is known to use them again."""
        try:
            self._delivery.restore(receipt)
            if self._settings.touch in RESTARTING:
                restart(self._instance, self._settings)
        except RolloverError:
            return False
        return before is None or self._as_before(before)

    def _as_before(self, before: ClientStatus) -> bool:
        deadline = monotonic() + min(self._settings.timeout_seconds, LONGEST_RESTORE_SECONDS)
        while True:
            now = self._status()
            # One that has ended meanwhile starts with the files that were put back.
            if now is None or (now.certificate_sha256, now.ca_sha256) == (
                before.certificate_sha256,
                before.ca_sha256,
            ):
                return True
            if monotonic() > deadline:
                return False
            sleep(POLL_SECONDS)


def _holdout(connected: Connected) -> Holdout:
    return Holdout(
        server=connected.server,
        connection=connected.view.cid,
        peer=connected.view.name,
        certificate=Fingerprint(connected.leaf),
    )


def _why(status: ClientStatus | None) -> str:
    if status is None:
        return "it says nothing"
    if status.error:
        return status.error
    if not status.connected:
        return "it is not connected"
    return (
        f"it still uses leaf `{short(status.certificate_sha256)}` and {len(status.ca_sha256)} CAs"
    )


INSTANCES_AT_ONCE = 16
NOTICE_SECONDS = 0.5
"""How long a client that is to reconnect may take to do so by itself."""


class NatsClients:
    """`Platform` (rollover.engine.ports) for a group of NATS clients.

    `servers` are the groups that they connect to: those see with which certificates. Clients accept
    nothing, so there is nothing to dial and nobody to move.
    """

    def __init__(
        self,
        group: DescribedGroup,
        *,
        servers: Sequence[NatsServers],
        clock: Callable[[], datetime],
        known: Callable[[], Sequence[Certificate]] = tuple,
    ) -> None:
        self._group = group
        self._servers = tuple(servers)
        self._clock = clock
        self._known = known

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each client uses: by its own report while it runs, else by its files."""
        roster = ConnectionRoster(self._connections)
        known = {certificate.fingerprint: certificate for certificate in self._known()}

        def observe(name: InstanceName) -> Observation:
            return self._observe(self._group.instance(name), roster=roster, known=known)

        with ThreadPoolExecutor(INSTANCES_AT_ONCE, thread_name_prefix="nats-client") as pool:
            yield from pool.map(observe, instances)

    def _observe(
        self,
        instance: InstanceDescription,
        *,
        roster: ConnectionRoster,
        known: Mapping[Fingerprint, Certificate],
    ) -> Observation:
        delivery, local = self._group.delivery, self._group.is_local
        contents = instance_files.read(delivery, instance)
        kept = instance_files.read_kept(delivery, instance) if local else {}
        before = instance_files.FileContents({**contents.files, **kept}, contents.troubles)
        found = FoundClient(
            disk=instance_files.held(instance, contents),
            kept=instance_files.held(instance, before) if kept else None,
            report=read_report(delivery, instance, local=local),
            connected_leaves=_leaves(roster, instance),
            known=known,
            unwritable=self._group.unchangeable(instance),
        )
        return observation(instance, found, at=self._clock())

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Deliver, and wait until each client shows that it uses what it was given."""
        roster = ConnectionRoster(self._connections)

        def work(order: Order) -> Result:
            try:
                return ClientAttempt(
                    order,
                    self._group,
                    roster=roster,
                    reconnect=self._reconnect,
                    clock=self._clock,
                ).result()
            except RolloverError as error:
                return untouched(order, error)

        return in_window(work, orders, pacing=pacing, stopping=stopping)

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys of files on this machine; what is elsewhere stays there."""
        return self._group.private_keys(instances)

    def renamed_by_hand(self) -> str:
        """Return how a person names another file in the settings of these clients."""
        return configuration.renamed_by_hand(self._group.description)

    def handshakes(
        self,
        instances: Sequence[InstanceName],  # noqa: ARG002 - clients accept nothing
        *,
        accepted: Sequence[Identity],  # noqa: ARG002 - likewise
        refused: Sequence[Identity],  # noqa: ARG002 - likewise
    ) -> Iterator[Evidence]:
        """Yield nothing: there is nothing to dial."""
        return iter(())

    def holdouts(
        self,
        instances: Sequence[InstanceName],  # noqa: ARG002 - their servers list them
        *,
        retired: Sequence[Certificate],  # noqa: ARG002 - likewise
    ) -> Iterator[Holdout]:
        """Yield nothing: connections are listed by the servers that hold them."""
        return iter(())

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Move the peers of connections through the servers that hold them."""
        for servers in self._servers:
            names = {instance.name for instance in servers.group.instances}
            mine = tuple(holdout for holdout in holdouts if holdout.server in names)
            if mine:
                yield from servers.cycle(mine, notice_seconds=NOTICE_SECONDS)

    def _reconnect(self, holdouts: Sequence[Holdout]) -> None:
        refused = [evidence.observed for evidence in self.cycle(holdouts) if not evidence.holds]
        if refused:
            raise EvidenceMissing(
                f"a client could not be made to reconnect: {'; '.join(refused)}",
                hint="describe the system account under `system`, or the client's `status_file`",
            )

    def _connections(self) -> Iterator[tuple[InstanceName, ConnectionView]]:
        if not self._servers:
            raise EvidenceMissing(
                f"no server can be asked about the clients of `{self._group.description.name}`",
                hint="describe the servers that they connect to in the same fleet file",
            )
        for server in self._servers:
            yield from server.connections()


def _leaves(roster: ConnectionRoster, instance: InstanceDescription) -> frozenset[str]:
    """Return what the live connections of a client present; nothing when nobody can say."""
    if instance.status_file is not None:
        return frozenset()
    try:
        return frozenset(connected.leaf for connected in roster.of(instance.name))
    except EvidenceMissing:
        return frozenset()
