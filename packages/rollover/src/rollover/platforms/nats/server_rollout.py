"""Brings one order to one server: deliver, reload, confirm; or put everything back and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import NamedTuple

from rollover.engine.ports import Receipt
from rollover.errors import EvidenceMissing, RolloverError, Unreachable, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Applied, Evidence, Fact, Failed, Identity, Order, Result
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName
from rollover.platforms.nats import configuration, instance_files
from rollover.platforms.nats.access import ServerAccess
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.instance_files import HeldFiles, after_delivery, files_of
from rollover.platforms.nats.ports import (
    asks,
    differences,
    evidence_of_delivery,
    fitting,
    observe_ports,
    served,
    settled,
    silence,
)
from rollover.platforms.nats.reload import Reload, reload
from rollover.probe.handshake import Handshake
from rollover.probe.stream import Contexts

LONGEST_RESTORE_SECONDS = 15.0
"""A server that does not show its former files by then is said not to have them back."""

Shape = tuple[tuple[Certificate, ...], tuple[bytes, ...]]
"""What a port shows: the chain it serves, the names it accepts."""


class _Failure(NamedTuple):
    """Why an order failed, and whether the instance has again what it had."""

    error: RolloverError
    restored: bool
    evidence: tuple[Evidence, ...] = ()
    aftermath: str = ""


class ServerAttempt:
    """One order on its way to one server; what was seen is noted as it goes.

    `access` gives the ways to it by what its files hold before and after.
    """

    def __init__(
        self,
        order: Order,
        group: DescribedGroup,
        *,
        access: Callable[[InstanceDescription, HeldFiles, HeldFiles], ServerAccess],
        contexts: Contexts,
        identities: Sequence[Identity],
        clock: Callable[[], datetime],
    ) -> None:
        self._order = order
        self._instance = group.instance(order.instance)
        self._delivery = group.delivery
        self._settings = group.reload_settings
        self._access = access
        self._contexts = contexts
        self._identities = identities
        self._clock = clock
        self._evidence: tuple[Evidence, ...] = ()
        self._reload_seconds = 0.0

    def result(self) -> Result:
        """Bring the order to the server. Failures are results; nothing is raised."""
        started = monotonic()
        failure = self._run()
        seconds = monotonic() - started
        if failure is None:
            return Applied(
                instance=self._order.instance,
                seconds=seconds,
                evidence=self._evidence,
                reload_seconds=self._reload_seconds,
            )
        after = f"; and then: {failure.aftermath}" if failure.aftermath else ""
        return Failed(
            instance=self._order.instance,
            seconds=seconds,
            code=failure.error.code,
            message=f"{failure.error.message}{after}",
            hint=failure.error.hint,
            restored=failure.restored,
            evidence=failure.evidence,
        )

    def _run(self) -> _Failure | None:
        """Bring the order; None when it was confirmed."""
        try:
            target = configuration.repointed(self._instance, self._order)
            files = (
                *files_of(self._order, target),
                *configuration.edited(
                    self._delivery,
                    self._instance,
                    self._order,
                    environment=self._settings.environment,
                ),
            )
            contents = instance_files.read(self._delivery, self._instance)
            expected = instance_files.held(target, after_delivery(contents, files))
            # Before anything is written: of a server that is down nobody could tell what it had.
            before = self._observe(instance_files.held(self._instance, contents))
            receipt = self._delivery.deliver(self._instance.name, files)
        except RolloverError as error:
            return _Failure(error, restored=True)
        access = self._access(
            self._instance, instance_files.held(self._instance, contents), expected
        )
        try:
            self._take_up(access, expected, before, receipt=receipt)
            # The last thing: it lets go of the copies of the former files.
            self._delivery.confirm(receipt)
        except RolloverError as error:
            return self._roll_back(access, before, receipt=receipt, error=error)
        return None

    def _observe(self, held: HeldFiles) -> Mapping[EndpointName, Handshake]:
        """Dial every port as it is; a server that does not answer is left alone."""
        answers = observe_ports(
            self._instance,
            contexts=self._contexts,
            identity=fitting(held, self._identities),
        )
        silent = [reason for answer in answers.values() if (reason := silence(answer))]
        if silent:
            raise Unreachable(
                "; ".join(silent),
                system=f"nats-server `{self._instance.name}`",
                operation="roll out",
                hint="start it, or correct the addresses in the fleet file; nothing was changed",
            )
        return answers

    def _take_up(
        self,
        access: ServerAccess,
        expected: HeldFiles,
        before: Mapping[EndpointName, Handshake],
        *,
        receipt: Receipt,
    ) -> None:
        loaded = reload(access, self._settings)
        self._reload_seconds = loaded.seconds
        observed = settled(
            lambda: evidence_of_delivery(
                self._instance,
                expected,
                identities=self._identities,
                contexts=self._contexts,
                at=self._clock(),
            ),
            timeout_seconds=self._settings.timeout_seconds,
        )
        self._evidence = (*self._delivered(receipt), *self._loaded(loaded), *observed)
        wrong = differences(observed)
        if wrong:
            raise VerificationError(
                f"`{self._instance.name}` does not show what was delivered: {wrong}",
                hint="compare the fleet file with the server's configuration: does it load these "
                "files on these ports?",
            )
        # Ports that look as before prove nothing: a server that ignored the signal shows the same.
        if loaded.loaded_at is None and shapes(before) == shapes(self._observe(expected)):
            raise EvidenceMissing(
                f"nothing proves that `{self._instance.name}` took its new files",
                hint="describe its `monitor` address, or the system account under `system`",
            )

    def _subjects(self) -> tuple[EndpointRef, ...]:
        return tuple(
            EndpointRef(self._instance.name, endpoint.endpoint)
            for endpoint in self._order.endpoints
        )

    def _delivered(self, receipt: Receipt) -> tuple[Evidence, ...]:
        at, count = self._clock(), len(receipt.files)
        observed = f"{count} files, delivery {receipt.delivery}"
        return tuple(
            Evidence(
                fact=Fact.DELIVERED,
                subject=subject,
                holds=True,
                observed=observed,
                at=at,
                by="disk",
            )
            for subject in self._subjects()
        )

    def _loaded(self, loaded: Reload) -> tuple[Evidence, ...]:
        if loaded.loaded_at is None:
            return ()
        observed = f"config_load_time {loaded.loaded_at:%Y-%m-%dT%H:%M:%S.%fZ}, by {loaded.how}"
        at = self._clock()
        return tuple(
            Evidence(
                fact=Fact.LOADED, subject=subject, holds=True, observed=observed, at=at, by="varz"
            )
            for subject in self._subjects()
        )

    # Rolling back.

    def _roll_back(
        self,
        access: ServerAccess,
        before: Mapping[EndpointName, Handshake],
        *,
        receipt: Receipt,
        error: RolloverError,
    ) -> _Failure:
        try:
            self._delivery.restore(receipt)
        except RolloverError as second:
            return _Failure(error, False, self._evidence, f"{second.message}; {second.hint}")
        aftermath = ""
        try:
            reload(access, self._settings)
        except RolloverError as second:
            # What counts is what the ports show: a server may refuse its old files and serve them.
            aftermath = second.message
        restored = self._shows_again(before)
        return _Failure(error, restored, self._evidence, "" if restored else aftermath)

    def _shows_again(self, before: Mapping[EndpointName, Handshake]) -> bool:
        def unchanged() -> tuple[Evidence, ...]:
            now = observe_ports(self._instance, contexts=self._contexts)
            at, wanted, found = self._clock(), shapes(before), shapes(now)
            return tuple(
                Evidence(
                    fact=Fact.PRESENTS,
                    subject=EndpointRef(self._instance.name, name),
                    holds=found[name] == wanted[name],
                    observed=silence(now[name]),
                    at=at,
                )
                for name in wanted
            )

        limit = min(self._settings.timeout_seconds, LONGEST_RESTORE_SECONDS)
        return all(evidence.holds for evidence in settled(unchanged, timeout_seconds=limit))


def shapes(answers: Mapping[EndpointName, Handshake]) -> dict[EndpointName, Shape]:
    """Return what ports show, in a form that compares."""
    return {
        name: (served(handshake), handshake.advertised_der if asks(handshake) else ())
        for name, handshake in answers.items()
    }
