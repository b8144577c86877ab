"""Brings one order to one NATS client, and waits until it shows that it uses it.

============================  ====================================================================
a client with a status file   says what its next handshake presents and trusts; when its leaf
                              changed, a server must also see it connected with the new one
one without                   is made to reconnect; a server must see it come back
one that does not run         has its files: it starts with them
============================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from time import monotonic, sleep

from rollover.delivery.client_status import ClientStatus
from rollover.engine.delivery_port import Delivery, Receipt
from rollover.errors import EvidenceMissing, RolloverError, VerificationError
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Applied, Evidence, Fact, Failed, Holdout, Order, Result, Seen
from rollover.fleet.model import EndpointRef, Touch
from rollover.fleet.names import Fingerprint, short
from rollover.platforms.nats import disk
from rollover.platforms.nats.client_state import NOT_RUNNING, client_seen, read_report, uses
from rollover.platforms.nats.material import after_delivery, files_of
from rollover.platforms.nats.reload import RESTARTING, Way, restart
from rollover.platforms.nats.roster import Connected, Roster

POLL_SECONDS = 0.05
LONGEST_RESTORE_SECONDS = 15.0


class _Undone(Exception):
    """The order failed; `restored` says whether the client has again what it had."""

    def __init__(self, error: RolloverError, *, restored: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.restored = restored


class Attempt:
    """One order on its way to one client.

    `reconnect` makes the peers of connections come again; `local`: its files are on this machine.
    """

    def __init__(
        self,
        order: Order,
        instance: InstanceDescription,
        *,
        delivery: Delivery,
        way: Way,
        roster: Roster,
        reconnect: Callable[[Sequence[Holdout]], None],
        local: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._order = order
        self._instance = instance
        self._delivery = delivery
        self._way = way
        self._roster = roster
        self._reconnect = reconnect
        self._local = local
        self._clock = clock
        self._deadline = monotonic() + way.timeout_seconds

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
            contents = disk.read(self._delivery, self._instance)
            old = client_seen(self._instance, disk.held(self._instance, contents))
            delivered = disk.held(self._instance, after_delivery(contents, files))
            new = client_seen(self._instance, delivered)
            if new is None:
                raise _unusable(self._instance, "; ".join(delivered.troubles.values()))
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
            restored = self._give_back(receipt, before)
            raise _Undone(error, restored=restored) from error
        return evidence, taken_seconds

    def _status(self) -> ClientStatus | None:
        report = read_report(self._delivery, self._instance, local=self._local)
        return report.status

    def _take_up(self, old: Seen | None, new: Seen, *, running: bool) -> Iterator[Evidence]:
        """Make the client use its files; yield what shows that it does."""
        leaf_changed = old is None or old.presents[:1] != new.presents[:1]
        there = self._connected() if self._must_reconnect(leaf_changed=leaf_changed) else ()
        yield self._evidence(new, Fact.DELIVERED, "its files", by="disk")
        if self._way.touch in RESTARTING:
            # An unchanged leaf tells nothing of the restart: only another connection does.
            there = self._roster.of(self._name())
            restart(self._instance, self._way)
        elif self._instance.status_file is None:
            yield self._reconnected(new, there, leaf_changed=leaf_changed)
            return
        elif not running:
            yield self._evidence(new, Fact.REPORTED, NOT_RUNNING, by="status file")
            return
        if self._instance.status_file is not None:
            yield self._reported(new)
        if leaf_changed or self._instance.status_file is None:
            yield self._seen_by_server(new, former=there)

    def _must_reconnect(self, *, leaf_changed: bool) -> bool:
        """Say whether only a reconnect shows anything; raise when not even that would."""
        touch = self._way.touch
        if self._instance.status_file is not None or touch in RESTARTING:
            return False
        if touch is Touch.WATCH and not leaf_changed:
            raise EvidenceMissing(
                f"nothing can show whether `{self._instance.name}` took up its new trust bundle",
                hint="describe its `status_file`, or `touch: reconnect` for its group",
            )
        return touch is not Touch.WATCH

    # What a client with a status file says.

    def _reported(self, new: Seen) -> Evidence:
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

    def _seen_by_server(self, new: Seen, *, former: tuple[Connected, ...]) -> Evidence:
        before, leaf = {each.key for each in former}, new.presents[0].fingerprint
        return self._comes(new, lambda each: each.key not in before and each.leaf == leaf)

    def _reconnected(
        self, new: Seen, there: tuple[Connected, ...], *, leaf_changed: bool
    ) -> Evidence:
        """Make the client reconnect and wait for it; after a new leaf it must present that."""
        self._reconnect(tuple(_holdout(each) for each in there))
        former = {each.key for each in there}
        leaf = new.presents[0].fingerprint if leaf_changed else None
        return self._comes(new, lambda each: each.key not in former and leaf in (None, each.leaf))

    def _comes(self, new: Seen, wanted: Callable[[Connected], bool]) -> Evidence:
        """Wait for a connection of the client that is wanted."""
        name, seen = self._name(), ""
        while monotonic() < self._deadline:
            found = self._roster.of(name)
            for each in filter(wanted, found):
                observed = f"leaf {short(each.leaf)}, connection {each.view.cid} of {each.server}"
                return self._evidence(new, Fact.LOADED, observed, by="connz")
            seen = ", ".join(short(each.leaf) for each in found)
            sleep(POLL_SECONDS)
        raise VerificationError(
            f"`{self._instance.name}` did not connect with its new files: the servers see "
            f"{seen or 'no connection of it'}",
            hint="see what the client itself logs; does it read its files when it connects?",
        )

    def _evidence(self, new: Seen, fact: Fact, observed: str, *, by: str) -> Evidence:
        return Evidence(
            fact=fact,
            subject=EndpointRef(self._instance.name, new.endpoint),
            holds=True,
            observed=observed,
            expected=new.presents[0].fingerprint if new.presents else "",
            at=self._clock(),
            by=by,
        )

    # The way back.

    def _give_back(self, receipt: Receipt, before: ClientStatus | None) -> bool:
        """Put the former files back; say whether the client is known to use them again."""
        try:
            self._delivery.restore(receipt)
            if self._way.touch in RESTARTING:
                restart(self._instance, self._way)
        except RolloverError:
            return False
        return before is None or self._as_before(before)

    def _as_before(self, before: ClientStatus) -> bool:
        deadline = monotonic() + min(self._way.timeout_seconds, LONGEST_RESTORE_SECONDS)
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


def _unusable(instance: InstanceDescription, why: str) -> VerificationError:
    return VerificationError(
        f"`{instance.name}` would have files that it cannot use: {why or 'no client endpoint'}",
        hint="correct the files on the instance, then run again",
    )
