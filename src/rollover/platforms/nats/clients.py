"""The NATS clients of one group: the `Platform` for parties that only dial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from rollover.engine.delivery_port import Delivery
from rollover.engine.platform_port import Pacing
from rollover.engine.window import in_window
from rollover.errors import EvidenceMissing, RolloverError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import FileDelivery, GroupDescription, InstanceDescription
from rollover.fleet.evidence import (
    Evidence,
    Holdout,
    Identity,
    Observation,
    Order,
    Result,
)
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.platforms.nats import client_rollout, configured, disk
from rollover.platforms.nats.client_state import FoundClient, observation, read_report
from rollover.platforms.nats.places import resolved
from rollover.platforms.nats.reload import Way
from rollover.platforms.nats.roster import Roster
from rollover.platforms.nats.servers import NatsServers, untouched
from rollover.probe.views import ConnectionView

INSTANCES_AT_ONCE = 16
NOTICE_SECONDS = 0.5
"""How long a client that is to reconnect may take to do so by itself."""


class NatsClients:
    """`Platform` (rollover.engine.platform_port) for a group of NATS clients.

    `servers` are the groups that they connect to: those see with which certificates. `shared`
    says which cannot be changed apart, and why (`places.shared`). Clients accept nothing, so there
    is nothing to dial and nobody to move.
    """

    def __init__(
        self,
        group: GroupDescription,
        *,
        delivery: Delivery,
        base: Path,
        servers: Sequence[NatsServers],
        clock: Callable[[], datetime],
        known: Callable[[], Sequence[Certificate]] = tuple,
        environment: Mapping[str, str] = MappingProxyType({}),
        shared: Mapping[InstanceName, str] = MappingProxyType({}),
    ) -> None:
        self.group = group
        self._delivery = delivery
        self._servers = tuple(servers)
        self._clock = clock
        self._known = known
        self._local = isinstance(group.delivery, FileDelivery)
        self._shared = shared
        self._way = Way(group.touch, group.confirm_seconds, environment)
        self._instances = {each.name: resolved(each, base=base) for each in group.instances}

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each client uses: by its own report while it runs, else by its files."""
        roster = Roster(self._connections)
        known = {one.fingerprint: one for one in self._known()}

        def one(name: InstanceName) -> Observation:
            return self._observe(self._instance(name), roster=roster, known=known)

        with ThreadPoolExecutor(INSTANCES_AT_ONCE, thread_name_prefix="nats-client") as pool:
            yield from pool.map(one, instances)

    def _observe(
        self,
        instance: InstanceDescription,
        *,
        roster: Roster,
        known: Mapping[Fingerprint, Certificate],
    ) -> Observation:
        contents = disk.read(self._delivery, instance)
        kept = disk.read_kept(self._delivery, instance) if self._local else {}
        before = disk.Contents({**contents.files, **kept}, contents.troubles)
        found = FoundClient(
            disk=disk.held(instance, contents),
            kept=disk.held(instance, before) if kept else None,
            report=read_report(self._delivery, instance, local=self._local),
            connected_leaves=_leaves(roster, instance),
            known=known,
            unwritable=self._unchangeable(instance) if self._local else "",
        )
        return observation(instance, found, at=self._clock())

    def _unchangeable(self, instance: InstanceDescription) -> str:
        return self._shared.get(instance.name) or disk.unwritable(instance)

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Deliver, and wait until each client shows that it uses what it was given."""
        roster = Roster(self._connections)

        def work(order: Order) -> Result:
            try:
                return client_rollout.Attempt(
                    order,
                    self._instance(order.instance),
                    delivery=self._delivery,
                    way=self._way,
                    roster=roster,
                    reconnect=self._reconnect,
                    local=self._local,
                    clock=self._clock,
                ).result()
            except RolloverError as error:
                return untouched(order, error)

        return in_window(work, orders, pacing=pacing, stopping=stopping)

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys of files on this machine; what is elsewhere stays there."""
        if not self._local:
            return {}
        return disk.private_keys(self._delivery, map(self._instance, instances))

    def renamed_by_hand(self) -> str:
        """Return how a person names another file in the settings of these clients."""
        return configured.renamed_by_hand(self.group)

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
            names = {each.name for each in servers.group.instances}
            mine = tuple(each for each in holdouts if each.server in names)
            if mine:
                yield from servers.cycle(mine, notice_seconds=NOTICE_SECONDS)

    def _reconnect(self, holdouts: Sequence[Holdout]) -> None:
        refused = [each.observed for each in self.cycle(holdouts) if not each.holds]
        if refused:
            raise EvidenceMissing(
                f"a client could not be made to reconnect: {'; '.join(refused)}",
                hint="describe the system account under `system`, or the client's `status_file`",
            )

    def _connections(self) -> Iterator[tuple[InstanceName, ConnectionView]]:
        if not self._servers:
            raise EvidenceMissing(
                f"no server can be asked about the clients of `{self.group.name}`",
                hint="describe the servers that they connect to in the same fleet file",
            )
        for each in self._servers:
            yield from each.connections()

    def _instance(self, name: InstanceName) -> InstanceDescription:
        if name not in self._instances:
            raise SpecError(
                f"group `{self.group.name}` has no instance `{name}`",
                hint="name it in the fleet file",
            )
        return self._instances[name]


def _leaves(roster: Roster, instance: InstanceDescription) -> frozenset[str]:
    """Return what the live connections of a client present; nothing when nobody can say."""
    if instance.status_file is not None:
        return frozenset()
    try:
        return frozenset(each.leaf for each in roster.of(instance.name))
    except EvidenceMissing:
        return frozenset()
