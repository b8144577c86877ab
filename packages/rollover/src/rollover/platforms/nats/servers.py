"""The servers of one group of nats-servers: the `Platform` that the engine rolls out over.

Of what a server uses now, what its ports show counts; its files say the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from rollover.engine.ports import Pacing, Recognition
from rollover.engine.rollout import in_window
from rollover.errors import RolloverError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import (
    EndpointDescription,
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
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Availability, EndpointRef
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.platforms.nats import (
    configuration,
    connections,
    instance_files,
    ports,
)
from rollover.platforms.nats.access import ServerAccess, read_account
from rollover.platforms.nats.connections import Inventory
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.instance_files import HeldFiles, demands
from rollover.platforms.nats.ports import (
    agrees,
    asks,
    bundle_agrees,
    bundle_from_names,
    fitting,
    names,
    observe_ports,
    served,
    silence,
)
from rollover.platforms.nats.server_rollout import ServerAttempt
from rollover.probe.handshake import Handshake
from rollover.probe.server_views import ConnectionView
from rollover.probe.stream import Contexts

# What one server uses now.
#
# A reload takes all files or none, so the whole state of the files, or of the kept copies of an
# unconfirmed delivery, is compared with what the ports show. What the files hold beyond that is
# what a reload or a restart would take: a state that the server *may* use.

ObservedPorts = Mapping[EndpointName, Handshake]
State = tuple[ObservedEndpoint, ...]


class FoundServer(NamedTuple):
    """Everything that was found out about one server."""

    disk: HeldFiles
    kept: HeldFiles | None
    ports: ObservedPorts
    known: Sequence[Certificate]
    """CA certificates that Rollover knows of, to recognise an advertised bundle by."""
    unwritable: str = ""


def observation(instance: InstanceDescription, found: FoundServer, *, at: datetime) -> Observation:
    """Return the observation that follows from what was found."""
    doubts: list[str] = []
    used = tuple(_used(instance, found, doubts))
    silent = [reason for answer in found.ports.values() if (reason := silence(answer))]
    availability, why = _availability(instance, found, silent=silent, doubts=doubts)
    return Observation(
        instance=instance.name,
        at=at,
        availability=availability,
        why=why,
        endpoints=used,
        may_use=tuple(_may_use(instance, found, used)),
    )


def _availability(
    instance: InstanceDescription,
    found: FoundServer,
    *,
    silent: Sequence[str],
    doubts: Sequence[str],
) -> tuple[Availability, str]:
    if instance.ignored:
        return Availability.IGNORED, f"ignored: {instance.ignored}"
    if silent or doubts:
        return Availability.UNREACHABLE, "; ".join(dict.fromkeys((*silent, *doubts)))
    if found.unwritable:
        return Availability.REFUSING, found.unwritable
    # It runs with what its ports show; a reload would refuse these files until they are replaced.
    return Availability.READY, "; ".join(dict.fromkeys(found.disk.troubles.values()))


def _used(
    instance: InstanceDescription, found: FoundServer, doubts: list[str]
) -> Iterator[ObservedEndpoint]:
    """Yield what each endpoint uses; endpoints of which nothing is known are left out."""
    loaded = _loaded(found)
    for endpoint in instance.endpoints:
        handshake = found.ports.get(endpoint.name)
        on_file = loaded.by_name.get(endpoint.name)
        if handshake is not None and handshake.presented:
            yield _as_shown(endpoint, handshake, found, doubts)
        elif on_file is not None:
            yield on_file
        else:
            doubts.append(found.disk.troubles.get(endpoint.name, "its files were not read"))


def _loaded(found: FoundServer) -> HeldFiles:
    """Return the files that the server runs with: the new ones, or those that were kept."""
    if found.kept is not None and not _agree(found.disk, found.ports):
        return found.kept if _agree(found.kept, found.ports) else found.disk
    return found.disk


def _agree(disk: HeldFiles, answers: ObservedPorts) -> bool:
    """Say whether the ports that show anything show what these files hold."""
    held = disk.by_name
    return not disk.troubles and all(
        agrees(held[name], answer) for name, answer in answers.items() if answer.presented
    )


def _as_shown(
    endpoint: EndpointDescription, handshake: Handshake, found: FoundServer, doubts: list[str]
) -> ObservedEndpoint:
    return ObservedEndpoint(
        endpoint=endpoint.name,
        presents=served(handshake),
        trusts=_trusts(endpoint, handshake, found, doubts),
    )


def _trusts(
    endpoint: EndpointDescription, handshake: Handshake, found: FoundServer, doubts: list[str]
) -> tuple[Certificate, ...] | None:
    candidates = [
        disk.by_name[endpoint.name].trusts
        for disk in (_loaded(found), found.disk, found.kept)
        if disk is not None and endpoint.name in disk.by_name
    ]
    if not asks(handshake):
        if demands(endpoint):
            doubts.append(f"{handshake.address}: it asks for no certificate, `verify` is described")
        return candidates[0] if candidates else None
    for bundle in candidates:
        if bundle_agrees(bundle, handshake):
            return bundle
    kept = found.kept.certificates() if found.kept is not None else ()
    certificates = (*found.disk.certificates(), *kept, *found.known)
    authorities = tuple(certificate for certificate in certificates if certificate.is_ca)
    recognised = bundle_from_names(handshake.advertised_der, authorities)
    if recognised is None:
        doubts.append(
            f"{handshake.address}: it accepts {len(handshake.advertised)} CAs "
            f"({'; '.join(handshake.advertised)}), which no known bundle of certificates explains"
        )
        # Rather too many than too few: links that may work are then never taken for broken.
        return tuple(
            authority
            for authority in authorities
            if names((authority,))[0] in handshake.advertised_der
        )
    return recognised


def _may_use(instance: InstanceDescription, found: FoundServer, used: State) -> Iterator[State]:
    """Yield what a reload or restart would take, and kept files that nothing speaks against."""
    by_name = {endpoint.endpoint: endpoint for endpoint in used}
    on_disk = _state(instance, found.disk, by_name)
    if on_disk != used:
        yield on_disk
    if found.kept is None:
        return
    kept = _state(instance, found.kept, by_name)
    possible = _agree(found.kept, found.ports) or not _agree(found.disk, found.ports)
    if possible and kept not in (used, on_disk):
        yield kept


def _state(
    instance: InstanceDescription, disk: HeldFiles, used: Mapping[EndpointName, ObservedEndpoint]
) -> State:
    """Return what the files hold; where they cannot be used, a reload leaves things as they are."""
    merged = {**used, **disk.by_name}
    return tuple(
        merged[endpoint.name] for endpoint in instance.endpoints if endpoint.name in merged
    )


INSTANCES_AT_ONCE = 16
NOTICE_SECONDS = 5.0
"""How long a client may take to move by itself before its connection is cut."""

T = TypeVar("T")


class NatsServers:
    """`Platform` (rollover.engine.ports) for a group of nats-servers."""

    def __init__(
        self,
        group: DescribedGroup,
        *,
        system: SystemAccount | None,
        known: Recognition,
        clock: Callable[[], datetime],
        notice_seconds: float = NOTICE_SECONDS,
    ) -> None:
        self._group = group
        self._system = system
        self._known = known
        self._clock = clock
        self._notice_seconds = notice_seconds

    @property
    def group(self) -> GroupDescription:
        """The group as it is described now."""
        return self._group.description

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield what each server uses now, as its ports show it."""
        contexts = Contexts()
        return _in_parallel(
            lambda instance: self._observe(instance, contexts=contexts),
            map(self._group.instance, instances),
        )

    def renamed_by_hand(self) -> str:
        """Return how a person names another file in the settings of these servers."""
        return configuration.renamed_by_hand(self.group)

    def describe(self, group: GroupDescription) -> None:
        """Take a description of the same group in which files lie elsewhere."""
        self._group.describe(group)

    def elsewhere(self) -> Mapping[InstanceName, Mapping[EndpointName, str]]:
        """Return where bundles lie by the servers' own configurations, if not where described."""
        if not self._group.is_local:
            return {}
        return {
            instance.name: found
            for instance in self._group.instances
            if (found := self._group.configurations.elsewhere(instance))
        }

    def _observe(self, instance: InstanceDescription, *, contexts: Contexts) -> Observation:
        delivery, local = self._group.delivery, self._group.is_local
        contents = instance_files.read(delivery, instance)
        kept = instance_files.read_kept(delivery, instance) if local else {}
        now = instance_files.held(instance, contents)
        was = self._group.configurations.as_kept(instance) if local else None
        old = contents if was is None else instance_files.read(delivery, was)
        before = instance_files.held(
            was or instance, instance_files.FileContents({**old.files, **kept}, old.troubles)
        )
        found = FoundServer(
            disk=now,
            kept=before if kept or was else None,
            ports=observe_ports(
                instance, contexts=contexts, identity=fitting(now, self._known.all_identities())
            ),
            known=self._known.of_authorities(),
            unwritable=self._group.unchangeable(instance),
        )
        return observation(instance, found, at=self._clock())

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Deliver, reload and confirm, the canaries first; what refuses gets its files back."""
        contexts, identities = Contexts(), self._known.all_identities()

        def work(order: Order) -> Result:
            try:
                return ServerAttempt(
                    order,
                    self._group,
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
        return self._group.private_keys(instances)

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Dial every port afresh with each identity; yield what each of them answered."""
        contexts, candidates = Contexts(), ports.Candidates(accepted, refused)
        found = _in_parallel(
            lambda instance: ports.handshakes(
                instance, candidates, contexts=contexts, at=self._clock()
            ),
            map(self._group.instance, instances),
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
            retired={authority.fingerprint: authority for authority in retired},
            own=frozenset(
                identity.chain[0].fingerprint for identity in self._known.all_identities()
            ),
        )
        found = _in_parallel(
            lambda instance: tuple(connections.holdouts(self._reach(instance), inventory)),
            map(self._group.instance, instances),
        )
        for of_server in found:
            yield from of_server

    def cycle(
        self, holdouts: Sequence[Holdout], *, notice_seconds: float | None = None
    ) -> Iterator[Evidence]:
        """Ask peers to move by a lame duck notice, and cut the connections of those that stay.

        `notice_seconds`: how long they may take, by default that of the constructor.
        """
        notice = self._notice_seconds if notice_seconds is None else notice_seconds
        for name in dict.fromkeys(holdout.server for holdout in holdouts):
            mine = tuple(holdout for holdout in holdouts if holdout.server == name)
            yield from connections.cycle(
                self._reach(self._group.instance(name)),
                mine,
                notice_seconds=notice,
                at=self._clock,
            )

    def connections(self) -> Iterator[tuple[InstanceName, ConnectionView]]:
        """Yield every connection of every server; `EvidenceMissing` when one cannot list them."""
        found = _in_parallel(
            lambda instance: (instance.name, self._reach(instance).connections()),
            self._group.instances,
        )
        for name, views in found:
            for view in views:
                yield name, view

    def _reach(self, instance: InstanceDescription) -> ServerAccess:
        held = instance_files.held(instance, instance_files.read(self._group.delivery, instance))
        return self._access(instance, held, held)

    def _access(
        self, instance: InstanceDescription, old: HeldFiles, new: HeldFiles
    ) -> ServerAccess:
        """Return the ways to a server that has the one or the other state of its files."""
        before, after = old.certificates(), new.certificates()
        # While it takes its files nobody knows which of both it judges by: whoever both trust.
        accepted = frozenset(before) & frozenset(after) or frozenset(before)
        return ServerAccess(
            instance=instance,
            # Read at each use: the password or the certificate may have been replaced since.
            account=(
                None if self._system is None else read_account(self._system, base=self._group.base)
            ),
            trust=(*before, *after, *self._known.of_authorities()),
            identities=self._known.all_identities(),
            issuers=frozenset(authority.fingerprint for authority in accepted),
        )


def _in_parallel(
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
    for server in servers:
        group = next(group for group in described.groups if group.name == server.group.name)
        server.describe(group)
        found = server.elsewhere()
        if found:
            changed[group.name] = placed(group, found)
            server.describe(changed[group.name])
    groups = tuple(changed.get(group.name, group) for group in described.groups)
    return msgspec.structs.replace(described, groups=groups) if changed else described


def placed(
    group: GroupDescription, files: Mapping[InstanceName, Mapping[EndpointName, str]]
) -> GroupDescription:
    """Return the description of a group some of whose bundles lie elsewhere."""
    instances = tuple(
        configuration.placed(instance, files.get(instance.name, {})) for instance in group.instances
    )
    return msgspec.structs.replace(group, instances=instances)
