"""The servers of one group of nats-servers: the `Platform` that the engine rolls out over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from rollover.engine.delivery_port import Delivery
from rollover.engine.platform_port import Pacing, Recognition
from rollover.engine.window import in_window
from rollover.errors import RolloverError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    FileDelivery,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    SystemAccount,
)
from rollover.fleet.evidence import (
    Evidence,
    Failed,
    Holdout,
    Identity,
    Observation,
    Order,
    Result,
)
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.platforms.nats import configured as configuration
from rollover.platforms.nats import disk, drain, matrix, rollout
from rollover.platforms.nats.access import Access, Account, read_account
from rollover.platforms.nats.disk import Disk
from rollover.platforms.nats.drain import Inventory
from rollover.platforms.nats.observe import Found, observation
from rollover.platforms.nats.places import resolved
from rollover.platforms.nats.ports import fitting, look
from rollover.platforms.nats.reload import Way
from rollover.probe.contexts import Contexts
from rollover.probe.views import ConnectionView

INSTANCES_AT_ONCE = 16
NOTICE_SECONDS = 5.0
"""How long a client may take to move by itself before its connection is cut."""

T = TypeVar("T")


class NatsServers:
    """`Platform` (rollover.engine.platform_port) for a group of nats-servers.

    `environment` is for the variables in configurations and the operator's restart command;
    `shared` says which instances cannot be changed apart, and why (`places.shared`).
    """

    def __init__(  # noqa: PLR0913 - what a platform works with, each by its name
        self,
        group: GroupDescription,
        *,
        delivery: Delivery,
        system: SystemAccount | None,
        base: Path,
        known: Recognition,
        clock: Callable[[], datetime],
        environment: Mapping[str, str] = MappingProxyType({}),
        shared: Mapping[InstanceName, str] = MappingProxyType({}),
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        self.group = group
        self._delivery = delivery
        self._configurations = configuration.Configurations(delivery, environment=environment)
        self._system = system
        self._base = base
        self._known = known
        self._clock = clock
        self._shared = shared
        self._way = Way(group.touch, group.confirm_seconds, environment)
        self._notice_seconds = notice_seconds
        self._instances = {each.name: resolved(each, base=base) for each in group.instances}

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each server uses now, as its ports show it."""
        contexts = Contexts()
        return _side_by_side(
            lambda each: self._observe(each, contexts=contexts), self._described(instances)
        )

    def renamed_by_hand(self) -> str:
        """Return how a person names another file in the settings of these servers."""
        return configuration.renamed_by_hand(self.group)

    def describe(self, group: GroupDescription) -> None:
        """Take a description of the same group in which files lie elsewhere."""
        self.group = group
        self._instances = {each.name: resolved(each, base=self._base) for each in group.instances}

    def elsewhere(self) -> Mapping[InstanceName, Mapping[EndpointName, str]]:
        """Return where bundles lie by the servers' own configurations, if not where described."""
        if not isinstance(self.group.delivery, FileDelivery):
            return {}
        return {
            each.name: found
            for each in self._instances.values()
            if (found := self._configurations.elsewhere(each))
        }

    def _observe(self, instance: InstanceDescription, *, contexts: Contexts) -> Observation:
        contents = disk.read(self._delivery, instance)
        local = isinstance(self.group.delivery, FileDelivery)
        kept = disk.read_kept(self._delivery, instance) if local else {}
        now = disk.held(instance, contents)
        was = self._configurations.as_kept(instance) if local else None
        old = contents if was is None else disk.read(self._delivery, was)
        before = disk.held(was or instance, disk.Contents({**old.files, **kept}, old.troubles))
        found = Found(
            disk=now,
            kept=before if kept or was else None,
            shown=look(
                instance, contexts=contexts, identity=fitting(now, self._known.all_identities())
            ),
            known=self._known.of_authorities(),
            unwritable=self._unchangeable(instance) if local else "",
        )
        return observation(instance, found, at=self._clock())

    def _unchangeable(self, instance: InstanceDescription) -> str:
        return self._shared.get(instance.name) or disk.unwritable(instance)

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Deliver, reload and confirm, the canaries first; what refuses gets its files back."""
        contexts, identities = Contexts(), self._known.all_identities()

        def work(order: Order) -> Result:
            try:
                return rollout.Attempt(
                    order,
                    self._instance(order.instance),
                    delivery=self._delivery,
                    way=self._way,
                    access=self._access,
                    contexts=contexts,
                    identities=identities,
                    clock=self._clock,
                ).result()
            except RolloverError as error:
                return untouched(order, error)

        return in_window(work, orders, pacing=pacing, stopping=stopping)

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys of files on this machine; what is elsewhere stays there."""
        if not isinstance(self.group.delivery, FileDelivery):
            return {}
        return disk.private_keys(self._delivery, self._described(instances))

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Dial every port afresh with each identity; yield what each of them answered."""
        contexts, candidates = Contexts(), matrix.Candidates(accepted, refused)
        found = _side_by_side(
            lambda each: matrix.handshakes(each, candidates, contexts=contexts, at=self._clock()),
            self._described(instances),
        )
        for evidence in found:
            yield from evidence

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Yield the live connections that present a retired CA's certificates, or unknown ones.

        Raises `EvidenceMissing` when a server's connections cannot be listed.
        """
        inventory = Inventory(
            issuer_of=self._known.issuer_of,
            retired={one.fingerprint: one for one in retired},
            own=frozenset(each.chain[0].fingerprint for each in self._known.all_identities()),
        )
        found = _side_by_side(
            lambda each: tuple(drain.holdouts(self._reach(each), inventory)),
            self._described(instances),
        )
        for each in found:
            yield from each

    def cycle(
        self, holdouts: Sequence[Holdout], *, notice_seconds: float | None = None
    ) -> Iterator[Evidence]:
        """Ask peers to move by a lame duck notice, and cut the connections of those that stay.

        `notice_seconds`: how long they may take, by default that of the constructor.
        """
        patience = self._notice_seconds if notice_seconds is None else notice_seconds
        for name in dict.fromkeys(each.server for each in holdouts):
            mine = tuple(each for each in holdouts if each.server == name)
            yield from drain.cycle(
                self._reach(self._instance(name)),
                mine,
                notice_seconds=patience,
                at=self._clock,
            )

    def connections(self) -> Iterator[tuple[InstanceName, ConnectionView]]:
        """Yield every connection of every server; `EvidenceMissing` when one cannot list them."""
        found = _side_by_side(
            lambda each: (each.name, self._reach(each).connections()), self._instances.values()
        )
        for name, views in found:
            for view in views:
                yield name, view

    def _described(self, instances: Sequence[InstanceName]) -> tuple[InstanceDescription, ...]:
        return tuple(self._instance(name) for name in instances)

    def _instance(self, name: InstanceName) -> InstanceDescription:
        if name not in self._instances:
            raise SpecError(
                f"group `{self.group.name}` has no instance `{name}`",
                hint="name it in the fleet file",
            )
        return self._instances[name]

    def _reach(self, instance: InstanceDescription) -> Access:
        held = disk.held(instance, disk.read(self._delivery, instance))
        return self._access(instance, held, held)

    def _access(self, instance: InstanceDescription, old: Disk, new: Disk) -> Access:
        """Return the ways to a server that has the one or the other state of its files."""
        before, after = old.certificates(), new.certificates()
        accepted = frozenset(before) & frozenset(after) or frozenset(before)
        return Access(
            instance=instance,
            account=self._account(),
            trust=(*before, *after, *self._known.of_authorities()),
            identities=self._known.all_identities(),
            issuers=frozenset(one.fingerprint for one in accepted),
        )

    def _account(self) -> Account | None:
        # Read at each use: the password or the certificate may have been replaced since.
        return None if self._system is None else read_account(self._system, base=self._base)


def _side_by_side(
    work: Callable[[InstanceDescription], T], on: Iterable[InstanceDescription]
) -> Iterator[T]:
    """Yield the results of some work on many instances, in their order, many at once."""
    with ThreadPoolExecutor(INSTANCES_AT_ONCE, thread_name_prefix="nats") as pool:
        yield from pool.map(work, on)


def untouched(order: Order, error: RolloverError) -> Failed:
    """Return the result of an order that never reached its instance."""
    return Failed(
        instance=order.instance,
        seconds=0.0,
        code=error.code,
        message=error.message,
        hint=error.hint,
        restored=True,
    )


def configured(described: FleetDescription, servers: Iterable[NatsServers]) -> FleetDescription:
    """Return a fleet with bundles where the configurations of its servers say that they lie.

    The servers' platforms take that description too.
    """
    changed: dict[GroupName, GroupDescription] = {}
    for each in servers:
        group = next(one for one in described.groups if one.name == each.group.name)
        each.describe(group)
        found = each.elsewhere()
        if found:
            changed[group.name] = placed(group, found)
            each.describe(changed[group.name])
    groups = tuple(changed.get(each.name, each) for each in described.groups)
    return msgspec.structs.replace(described, groups=groups) if changed else described


def placed(
    group: GroupDescription, files: Mapping[InstanceName, Mapping[EndpointName, str]]
) -> GroupDescription:
    """Return the description of a group some of whose bundles lie elsewhere."""
    instances = tuple(
        configuration.placed(each, files.get(each.name, {})) for each in group.instances
    )
    return msgspec.structs.replace(group, instances=instances)
