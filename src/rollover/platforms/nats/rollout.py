"""Brings one order to one server: deliver, reload, confirm; or put everything back and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import NamedTuple

from rollover.engine.delivery_port import Delivery, Receipt
from rollover.errors import EvidenceMissing, RolloverError, Unreachable, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Applied, Evidence, Fact, Failed, Identity, Order, Result
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import EndpointName
from rollover.platforms.nats import configured, disk
from rollover.platforms.nats.access import Access
from rollover.platforms.nats.confirm import differences, seen_as_delivered, settled
from rollover.platforms.nats.disk import Disk
from rollover.platforms.nats.material import after_delivery, files_of
from rollover.platforms.nats.ports import asks, fitting, look, served, silence
from rollover.platforms.nats.reload import Reload, Way, reload
from rollover.probe.contexts import Contexts
from rollover.probe.result import Handshake

LONGEST_RESTORE_SECONDS = 15.0

Shape = tuple[tuple[Certificate, ...], tuple[bytes, ...]]
"""What a port shows: the chain it serves, the names it accepts."""


class Tools(NamedTuple):
    """What a rollout works with."""

    delivery: Delivery
    way: Way
    access: Callable[[InstanceDescription, Disk, Disk], Access]
    """By what its files hold before and after."""
    contexts: Contexts
    clock: Callable[[], datetime]
    identities: Sequence[Identity]
    confirm_seconds: float


class _Failure(NamedTuple):
    """Why an order failed, and whether the instance has again what it had."""

    error: RolloverError
    restored: bool
    evidence: tuple[Evidence, ...] = ()
    aftermath: str = ""


def apply(order: Order, instance: InstanceDescription, tools: Tools) -> Result:
    """Bring the order to the server. Failures are results; nothing is raised."""
    started = monotonic()
    attempt = _Attempt(order, instance, tools)
    failure = attempt.run()
    seconds = monotonic() - started
    if failure is None:
        return Applied(
            instance=order.instance,
            seconds=seconds,
            evidence=attempt.evidence,
            reload_seconds=attempt.reload_seconds,
        )
    after = f"; and then: {failure.aftermath}" if failure.aftermath else ""
    return Failed(
        instance=order.instance,
        seconds=seconds,
        code=failure.error.code,
        message=f"{failure.error.message}{after}",
        hint=failure.error.hint,
        restored=failure.restored,
        evidence=failure.evidence,
    )


class _Attempt:
    """One order on its way; `evidence` and `reload_seconds` are filled in as it goes."""

    def __init__(self, order: Order, instance: InstanceDescription, tools: Tools) -> None:
        self.order = order
        self.instance = instance
        self.tools = tools
        self.evidence: tuple[Evidence, ...] = ()
        self.reload_seconds = 0.0

    def run(self) -> _Failure | None:
        """Bring the order; None when it was confirmed."""
        try:
            target = configured.repointed(self.instance, self.order)
            files = (
                *files_of(self.order, target),
                *configured.edited(self.tools.delivery, self.instance, self.order),
            )
            contents = disk.read(self.tools.delivery, self.instance)
            expected = disk.held(target, after_delivery(contents, files))
            before = self._look(disk.held(self.instance, contents))
            receipt = self.tools.delivery.deliver(self.instance.name, files)
        except RolloverError as error:
            return _Failure(error, restored=True)
        access = self.tools.access(self.instance, disk.held(self.instance, contents), expected)
        try:
            self._take_up(access, expected, before, receipt=receipt)
            self.tools.delivery.confirm(receipt)
        except RolloverError as error:
            return self._give_back(access, before, receipt=receipt, error=error)
        return None

    def _look(self, held: Disk) -> Mapping[EndpointName, Handshake]:
        """Look at every port as it is; a server that does not answer is left alone."""
        shown = look(
            self.instance,
            contexts=self.tools.contexts,
            identity=fitting(held, self.tools.identities),
        )
        silent = [reason for each in shown.values() if (reason := silence(each))]
        if silent:
            raise Unreachable(
                "; ".join(silent),
                system=f"nats-server `{self.instance.name}`",
                operation="roll out",
                hint="start it, or correct the addresses in the fleet file; nothing was changed",
            )
        return shown

    def _take_up(
        self,
        access: Access,
        expected: Disk,
        before: Mapping[EndpointName, Handshake],
        *,
        receipt: Receipt,
    ) -> None:
        loaded = reload(access, self.tools.way)
        self.reload_seconds = loaded.seconds
        seen = settled(lambda: self._confirm(expected), timeout_seconds=self.tools.confirm_seconds)
        self.evidence = (*self._delivered(receipt), *self._loaded(loaded), *seen)
        wrong = differences(seen)
        if wrong:
            raise VerificationError(
                f"`{self.instance.name}` does not show what was delivered: {wrong}",
                hint="compare the fleet file with the server's configuration: does it load these "
                "files on these ports?",
            )
        if loaded.loaded_at is None and shapes(before) == shapes(self._look(expected)):
            raise EvidenceMissing(
                f"nothing proves that `{self.instance.name}` took its new files",
                hint="describe its `monitor` address, or the system account under `system`",
            )

    def _confirm(self, expected: Disk) -> tuple[Evidence, ...]:
        return seen_as_delivered(
            self.instance,
            expected,
            identities=self.tools.identities,
            contexts=self.tools.contexts,
            at=self.tools.clock(),
        )

    def _subjects(self) -> tuple[EndpointRef, ...]:
        return tuple(
            EndpointRef(self.instance.name, each.endpoint) for each in self.order.endpoints
        )

    def _delivered(self, receipt: Receipt) -> tuple[Evidence, ...]:
        at, count = self.tools.clock(), len(receipt.files)
        observed = f"{count} files, delivery {receipt.delivery}"
        return tuple(
            Evidence(
                fact=Fact.DELIVERED, subject=each, holds=True, observed=observed, at=at, by="disk"
            )
            for each in self._subjects()
        )

    def _loaded(self, loaded: Reload) -> tuple[Evidence, ...]:
        if loaded.loaded_at is None:
            return ()
        observed = f"config_load_time {loaded.loaded_at:%Y-%m-%dT%H:%M:%S.%fZ}, by {loaded.how}"
        at = self.tools.clock()
        return tuple(
            Evidence(
                fact=Fact.LOADED, subject=each, holds=True, observed=observed, at=at, by="varz"
            )
            for each in self._subjects()
        )

    # The way back.

    def _give_back(
        self,
        access: Access,
        before: Mapping[EndpointName, Handshake],
        *,
        receipt: Receipt,
        error: RolloverError,
    ) -> _Failure:
        try:
            self.tools.delivery.restore(receipt)
        except RolloverError as second:
            return _Failure(error, False, self.evidence, f"{second.message}; {second.hint}")
        aftermath = ""
        try:
            reload(access, self.tools.way)
        except RolloverError as second:
            # What counts is what the ports show: a server may refuse its old files and serve them.
            aftermath = second.message
        restored = self._shows_again(before)
        return _Failure(error, restored, self.evidence, "" if restored else aftermath)

    def _shows_again(self, before: Mapping[EndpointName, Handshake]) -> bool:
        def unchanged() -> tuple[Evidence, ...]:
            now = look(self.instance, contexts=self.tools.contexts)
            at, wanted, found = self.tools.clock(), shapes(before), shapes(now)
            return tuple(
                Evidence(
                    fact=Fact.PRESENTS,
                    subject=EndpointRef(self.instance.name, name),
                    holds=found[name] == wanted[name],
                    observed=silence(now[name]),
                    at=at,
                )
                for name in wanted
            )

        patience = min(self.tools.confirm_seconds, LONGEST_RESTORE_SECONDS)
        return all(each.holds for each in settled(unchanged, timeout_seconds=patience))


def shapes(shown: Mapping[EndpointName, Handshake]) -> dict[EndpointName, Shape]:
    """Return what ports show, in a form that compares."""
    return {
        name: (served(each), each.advertised_der if asks(each) else ())
        for name, each in shown.items()
    }
