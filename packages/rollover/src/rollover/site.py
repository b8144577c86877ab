"""The public library and its composition root: the one place that names concrete platforms.

::

    with open_fleet("fleet.yml") as fleet:
        plan = fleet.plan(Request(authority=fleet.authority()))

What it yields is a `rollover.engine.service.Rollover`; the commands call the same methods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from rollover.codec.fleet_file import read_fleet
from rollover.engine.authorities import Authorities
from rollover.engine.fleet_context import FleetContext, Waits
from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.ports import CredentialStore, Delivery, Platform
from rollover.engine.service import Rollover
from rollover.errors import SpecError, StoreError
from rollover.fleet.description import (
    CommandDelivery,
    FleetDescription,
    GroupDescription,
    KubernetesDelivery,
)
from rollover.fleet.names import InstanceName
from rollover.platforms.nats import discovery, instance_files
from rollover.platforms.nats.clients import NatsClients
from rollover.platforms.nats.described_group import DescribedGroup
from rollover.platforms.nats.discovery import Discovery, DiscoveryRemark
from rollover.platforms.nats.servers import NatsServers, configured
from rollover.rule_catalogue import whole_catalogue
from rollover.store import state_files
from rollover.store.credentials import MemoryCredentials, open_credentials
from rollover.store.journal import open_journal
from rollover.store.leases import open_leases, this_process
from rollover.store.sealing import SealingKeys, keys_from_file, keys_from_text

if TYPE_CHECKING:
    from rollover.platforms.bosh.agents import BoshAgents
    from rollover.platforms.bosh.connection import DirectorConnection
    from rollover.platforms.bosh.director_options import DirectorOptions
    from rollover.platforms.bosh.director_vm import DirectorVm
    from rollover.platforms.bosh.discovery import DirectorDiscovery

KEY_VARIABLE = "ROLLOVER_KEY"
"""Holds the sealing key where it is not to lie beside what it seals."""


def now() -> datetime:
    """Return the time, aware and in UTC: the only clock of the program."""
    return datetime.now(UTC)


def load_fleet(path: Path) -> FleetDescription:
    """Read the fleet file; `SpecError` when it is missing or wrong."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SpecError(
            "there is no such fleet file",
            place=str(path),
            hint="`rollover discover --config FILE… -o fleet.yml` writes one, "
            "or name another with `--fleet`",
        ) from None
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="look at its permissions"
        ) from None
    return read_fleet(data, place=str(path))


def discover_nats(
    configs: Sequence[Path],
    *,
    monitors: Sequence[str] = (),
    working_directory: Path | None = None,
    former: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Discovery:
    """Describe the fleet that configurations and monitoring ports show.

    `former`: a fleet file, if it is there, whose words that only a person can know are kept.
    Raises `SpecError` when nothing is named to look at.
    """
    if not configs and not monitors:
        raise SpecError(
            "nothing to look at",
            hint="name configurations (`--config FILE…`) or monitoring ports (`--monitor URL`), "
            "or look at a BOSH director (`--bosh`)",
        )
    found = discovery.discover_fleet(
        configs,
        environment=dict(environment),
        working_directory=working_directory,
        monitors=monitors,
    )
    if former is None or not former.is_file():
        return found
    try:
        before = load_fleet(former)
    except SpecError as error:
        remark = DiscoveryRemark(
            subject=str(former), message=f"nothing of it can be kept: {error.message}"
        )
        return msgspec.structs.replace(found, remarks=(*found.remarks, remark))
    return discovery.discover_again(found, before)


def discover_bosh(
    options: DirectorOptions,
    *,
    former: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> DirectorDiscovery:
    """Describe the fleet of a director, for a fleet file at `former`, which may be there already.

    Raises `SpecError`, and the `AdapterError` of a director that cannot be asked.
    """
    from rollover.platforms.bosh import director_options  # noqa: PLC0415 - imports an HTTP client

    return director_options.describe_director(
        options,
        load_fleet(former) if former is not None and former.is_file() else None,
        environment=environment,
        base=(former.parent if former is not None else Path()).resolve(),
        now=now(),
    )


@contextmanager
def open_fleet(
    path: str | PathLike[str],
    *,
    scratch: bool = False,
    recover: bool = False,
    environment: Mapping[str, str] = os.environ,
    waits: Waits = Waits(),  # noqa: B008 - it is frozen
) -> Iterator[Rollover]:
    """Open a fleet file for work on its fleet; store and journal are closed in the end.

    `scratch`: CA versions that a plan needs are made in memory only, so planning leaves no trace.
    `recover`: whoever does not answer may be made anew. `environment`: what the sealing key, the
    director's login and variables in configurations come from. Raises `SpecError` when the file
    is missing or wrong, `StoreError` when the store is not ours.
    """
    file = Path(path)
    described = load_fleet(file)
    base, state = file.parent.resolve(), file.parent / described.state
    with ExitStack() as stack:
        credentials: CredentialStore = stack.enter_context(
            open_credentials(
                state / state_files.CREDENTIALS, keys=_sealing_keys(state, environment)
            )
        )
        if scratch:
            credentials = _copied(credentials)
        director = _director(described, base=base, environment=environment, recover=recover)
        if director is not None:
            stack.callback(director.close)
        known = KnownCertificates(Authorities(credentials, described), clock=now)
        site = FleetContext(
            described,
            platforms=GroupPlatforms(
                described, base=base, known=known, director=director, environment=environment
            ),
            known=known,
            journal=stack.enter_context(open_journal(state / state_files.JOURNAL)),
            leases=stack.enter_context(open_leases(state / state_files.LEASES)),
            clock=now,
            holder=this_process(),
            catalogue=whole_catalogue,
            pause_requested=(state / state_files.PAUSE).exists,
            recover=recover,
            waits=waits,
        )
        if director is not None:
            _bring_in_signer(known.authorities, described, director)
        yield Rollover(site)


@contextmanager
def open_director(
    path: str | PathLike[str], *, environment: Mapping[str, str] = os.environ
) -> Iterator[DirectorConnection]:
    """Open the director of a fleet file, to write runbooks; `SpecError` when there is none."""
    file = Path(path)
    director = _director(
        load_fleet(file), base=file.parent.resolve(), environment=environment, recover=False
    )
    if director is None:
        raise SpecError(
            "runbooks are written for the fleet of a BOSH director, and this one has none",
            field="director",
            hint="`rollover plan` shows what would be done here, `rollover rotate` does it and "
            "asks before each rollout",
        )
    with closing(director):
        yield director


def _director(
    described: FleetDescription, *, base: Path, environment: Mapping[str, str], recover: bool
) -> DirectorConnection | None:
    if described.director is None:
        return None
    from rollover.platforms.bosh.connection import DirectorConnection  # noqa: PLC0415 - HTTP client

    return DirectorConnection(
        described.director,
        base=base,
        state=base / described.state,
        environment=environment,
        recover=recover,
        clock=now,
    )


def _bring_in_signer(
    authorities: Authorities, described: FleetDescription, director: DirectorConnection
) -> None:
    """Keep the CA that the director signs with as a version: the way back leads to it."""
    found = director.signer()
    if found is None:
        return
    name = authorities.owner(found.certificate.fingerprint)
    if name is None and len(described.authorities) == 1:
        name = described.authorities[0].name
    if name is not None:
        authorities.bring_in(name, found.pem, found.key, at=now())


def _sealing_keys(state: Path, environment: Mapping[str, str]) -> SealingKeys:
    text = environment.get(KEY_VARIABLE)
    if text:
        return keys_from_text(text, source=f"${KEY_VARIABLE}")
    path, store = state / state_files.SEALING_KEY, state / state_files.CREDENTIALS
    if store.exists() and not path.exists():
        raise StoreError(
            f"`{path}` is missing, and the private keys in `{store}` are sealed with it",
            hint=f"put back a backup of it, or name its key in ${KEY_VARIABLE}; move the store "
            "away to begin anew without those keys",
        )
    return keys_from_file(path)


def _copied(credentials: CredentialStore) -> MemoryCredentials:
    """Return the authorities and bridges of a store in memory, with the same numbers."""
    scratch = MemoryCredentials()
    for prefix in ("/authorities/", "/bridges/"):
        for name in credentials.names(prefix):
            # The oldest first, as they were numbered.
            for version in reversed(credentials.versions(name)):
                key = credentials.private_key(name, version.number) if version.has_key else None
                scratch.add(
                    name, version.chain, key=key, flags=version.flags, at=version.created_at
                )
    return scratch


@runtime_checkable
class _Describable(Protocol):
    """A platform whose instances come and go, or whose files may move, while it is in use."""

    def describe(self, group: GroupDescription) -> None: ...


class GroupPlatforms:
    """`Platforms` of a fleet file: makes the platform of each group once, when it is asked for."""

    def __init__(
        self,
        described: FleetDescription,
        *,
        base: Path,
        known: KnownCertificates,
        director: DirectorConnection | None,
        environment: Mapping[str, str],
    ) -> None:
        self._described = described
        self._base = base
        self._known = known
        self._director = director
        self._environment = dict(environment)
        self._deliveries = base / described.state / "deliveries"
        self._made: dict[str, Platform] = {}
        # Groups are observed in threads; and making clients asks for their servers meanwhile.
        self._lock = threading.RLock()

    def __call__(self, group: str) -> Platform:
        """Return the platform of a group by the group's name: the same one each time."""
        with self._lock:
            if group not in self._made:
                described = next(
                    description
                    for description in self._described.groups
                    if description.name == group
                )
                self._made[group] = self._make(described)
            return self._made[group]

    def completed(self, described: FleetDescription) -> FleetDescription:
        """Return the fleet as it is now; platforms learn of their instances and files.

        A director knows its instances, and the configuration of a server where its files lie.
        """
        found = described if self._director is None else self._director.expand(described)
        with self._lock:
            self._described = found
            groups = {str(group.name): group for group in found.groups}
            self._made = {name: made for name, made in self._made.items() if name in groups}
            for name, platform in self._made.items():
                if isinstance(platform, _Describable):
                    platform.describe(groups[name])
            self._described = configured(found, self._all_servers())
        return self._described

    def _make(self, group: GroupDescription) -> Platform:
        makers: dict[str, Callable[[GroupDescription], Platform]] = {
            "nats": self._servers,
            "nats-client": self._clients,
            "bosh-director": self._director_vm,
            "bosh-agents": self._agents,
        }
        if group.platform not in makers:
            raise SpecError(
                f"group `{group.name}` is on the platform `{group.platform}`, which is not known",
                field="platform",
                hint=f"known are {', '.join(f'`{name}`' for name in makers)}",
            )
        return makers[group.platform](group)

    def _servers(self, group: GroupDescription) -> NatsServers:
        return NatsServers(
            self._described_group(group),
            system=self._described.system,
            known=self._known,
            clock=now,
        )

    def _clients(self, group: GroupDescription) -> NatsClients:
        return NatsClients(
            self._described_group(group),
            servers=self._all_servers(),
            known=self._known.of_authorities,
            clock=now,
        )

    def _described_group(self, group: GroupDescription) -> DescribedGroup:
        return DescribedGroup(
            group,
            delivery=self._delivery(group),
            base=self._base,
            environment=self._environment,
            shared=self._shared,
        )

    def _director_vm(self, group: GroupDescription) -> DirectorVm:
        return self._director_of(group).director_vm(group, known=self._known)

    def _agents(self, group: GroupDescription) -> BoshAgents:
        from rollover.platforms.bosh.director_vm import DirectorVm  # noqa: PLC0415 - HTTP client

        director = self._director_of(group)
        vms = (
            self(described.name)
            for described in self._described.groups
            if described.platform == "bosh-director"
        )
        vm = next(platform for platform in vms if isinstance(platform, DirectorVm))
        return director.agents(group, vm, known=self._known)

    def _director_of(self, group: GroupDescription) -> DirectorConnection:
        if self._director is None:
            raise SpecError(
                f"group `{group.name}` belongs to a director, and none is described",
                field="director",
                hint="`rollover discover --bosh` writes a fleet file with one",
            )
        return self._director

    @cached_property
    def _shared(self) -> Mapping[InstanceName, str]:
        return instance_files.shared(self._described.groups, base=self._base)

    def _all_servers(self) -> list[NatsServers]:
        found = [self(group.name) for group in self._described.groups if group.platform == "nats"]
        return [platform for platform in found if isinstance(platform, NatsServers)]

    def _delivery(self, group: GroupDescription) -> Delivery:
        from rollover.delivery.command import OperatorCommandDelivery, Verb  # noqa: PLC0415 - one form is used
        from rollover.delivery.local import LocalDelivery  # noqa: PLC0415 - likewise

        if isinstance(group.delivery, CommandDelivery):
            return OperatorCommandDelivery(
                group.delivery.command,
                state=self._deliveries,
                environment=self._environment,
                timeout_seconds=group.delivery.timeout_seconds,
                verbs=frozenset((Verb.DELIVER, Verb.RESTORE, *map(Verb, group.delivery.verbs))),
            )
        if isinstance(group.delivery, KubernetesDelivery):
            from rollover.delivery.kubernetes import delivery_of  # noqa: PLC0415 - likewise

            return delivery_of(group, group.delivery, base=self._base, state=self._deliveries)
        return LocalDelivery(state=self._deliveries)
