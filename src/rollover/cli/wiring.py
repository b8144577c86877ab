"""The composition root: the one place that names concrete platforms, stores and deliveries."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rollover.cli.options import KEY_VARIABLE
from rollover.codec.fleet_file import read_fleet
from rollover.engine.credentials_port import Credentials
from rollover.engine.delivery_port import Delivery
from rollover.engine.platform_port import Platform
from rollover.engine.site import Site
from rollover.errors import SpecError, StoreError
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import CommandDelivery as CommandSettings
from rollover.fleet.description import FleetDescription, GroupDescription
from rollover.fleet.description import KubernetesDelivery as KubernetesSettings
from rollover.fleet.evidence import Identity
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import to_pem
from rollover.platforms.nats import places
from rollover.platforms.nats.clients import NatsClients
from rollover.platforms.nats.servers import NatsServers, configured
from rollover.rule_catalogue import CATALOGUE
from rollover.store import files
from rollover.store.memory import MemoryCredentials
from rollover.store.processes import this_process
from rollover.store.sealing import SealingKeys, keys_from_file, keys_from_text
from rollover.store.sqlite_credentials import open_credentials
from rollover.store.sqlite_journal import open_journal
from rollover.store.sqlite_lease import open_leases

if TYPE_CHECKING:
    from rollover.cli.director_wiring import Bosh
    from rollover.platforms.bosh.agents import BoshAgents
    from rollover.platforms.bosh.director_vm import DirectorVm


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


@contextmanager
def open_site(fleet: Path, *, scratch: bool = False, recover: bool = False) -> Iterator[Site]:
    """Open everything that work on a fleet needs; closed again at the end.

    `scratch`: what is made meanwhile (a CA for a plan) is kept in memory only. `recover`: whoever
    does not answer may be made anew.
    """
    described = load_fleet(fleet)
    state = fleet.parent / described.state
    with ExitStack() as stack:
        credentials: Credentials = stack.enter_context(
            open_credentials(state / files.CREDENTIALS, keys=_sealing_keys(state))
        )
        if scratch:
            credentials = _copied(credentials)
        bosh = _bosh(described, base=fleet.parent.resolve(), recover=recover)
        if bosh is not None:
            stack.callback(bosh.close)
        platforms = _Platforms(described, base=fleet.parent.resolve(), bosh=bosh)
        site = Site(
            described,
            platforms=platforms,
            credentials=credentials,
            journal=stack.enter_context(open_journal(state / files.JOURNAL)),
            leases=stack.enter_context(open_leases(state / files.LEASES)),
            clock=now,
            holder=this_process(),
            catalogue=CATALOGUE,
            pause_requested=(state / files.PAUSE).exists,
            refresh=platforms.refreshed,
            recover=recover,
        )
        platforms.site = site
        if bosh is not None:
            _bring_in(site, bosh)
        yield site


def _bosh(described: FleetDescription, *, base: Path, recover: bool) -> Bosh | None:
    if described.director is None:
        return None
    from rollover.cli.director_wiring import Bosh  # noqa: PLC0415 - imports an HTTP client

    return Bosh(
        described.director, base=base, state=base / described.state, recover=recover, clock=now
    )


def director_for_runbook(fleet: Path) -> Bosh:
    """Return the director of a fleet, to be closed; `SpecError` where no runbook can be written."""
    bosh = _bosh(load_fleet(fleet), base=fleet.parent.resolve(), recover=False)
    if bosh is None:
        raise SpecError(
            "runbooks are written for the fleet of a BOSH director, and this one has none",
            field="director",
            hint="`rollover plan` shows what would be done here, `rollover rotate` does it and "
            "asks before each rollout",
        )
    return bosh


def _bring_in(site: Site, bosh: Bosh) -> None:
    """Keep the CA that the director signs with as a version: the way back leads to it."""
    found = bosh.signer()
    if found is None:
        return
    name = site.authorities.owner(found.certificate.fingerprint)
    described = [each.name for each in site.described.authorities]
    if name is None and len(described) == 1:
        name = described[0]
    if name is not None:
        site.authorities.bring_in(name, found.pem, found.key, at=now())


def _sealing_keys(state: Path) -> SealingKeys:
    text = os.environ.get(KEY_VARIABLE)
    if text:
        return keys_from_text(text, source=f"${KEY_VARIABLE}")
    path, store = state / files.SEALING_KEY, state / files.CREDENTIALS
    if store.exists() and not path.exists():
        raise StoreError(
            f"`{path}` is missing, and the private keys in `{store}` are sealed with it",
            hint=f"put back a backup of it, or name its key in ${KEY_VARIABLE}; move the store "
            "away to begin anew without those keys",
        )
    return keys_from_file(path)


def _copied(credentials: Credentials) -> MemoryCredentials:
    """Return the authorities and bridges of a store in memory, with the same numbers."""
    scratch = MemoryCredentials()
    for prefix in ("/authorities/", "/bridges/"):
        for name in credentials.names(prefix):
            for version in reversed(credentials.versions(name)):
                key = credentials.private_key(name, version.number) if version.has_key else None
                scratch.add(
                    name, version.chain, key=key, flags=version.flags, at=version.created_at
                )
    return scratch


class _Platforms:
    """Makes the platform of each group once; what they need of the site comes later."""

    def __init__(self, described: FleetDescription, *, base: Path, bosh: Bosh | None) -> None:
        self._described = described
        self._base = base
        self._bosh = bosh
        self._made: dict[str, Platform] = {}
        self._lock = threading.RLock()
        self.site: Site | None = None

    def __call__(self, name: str) -> Platform:
        with self._lock:
            if name not in self._made:
                group = next(each for each in self._described.groups if each.name == name)
                self._made[name] = self._make(group)
            return self._made[name]

    def refreshed(self, described: FleetDescription) -> FleetDescription:
        """Return the fleet as it is now; platforms learn of their instances and files.

        A director knows its instances, and the configuration of a server where its files lie.
        """
        found = described if self._bosh is None else self._bosh.expand(described)
        with self._lock:
            self._described = found
            groups = {str(each.name): each for each in found.groups}
            self._made = {name: each for name, each in self._made.items() if name in groups}
            for name, platform in self._made.items():
                if self._bosh is not None:
                    self._bosh.tell(platform, groups[name])
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
                hint=f"known are {', '.join(f'`{each}`' for each in makers)}",
            )
        return makers[group.platform](group)

    def _servers(self, group: GroupDescription) -> NatsServers:
        return NatsServers(
            group,
            delivery=self._delivery(group),
            system=self._described.system,
            base=self._base,
            identities=self._identities,
            issuer_of=self._issuer_of,
            known=self._known,
            environment=dict(os.environ),
            shared=self._shared,
            clock=now,
        )

    def _clients(self, group: GroupDescription) -> NatsClients:
        return NatsClients(
            group,
            delivery=self._delivery(group),
            base=self._base,
            servers=self._all_servers(),
            known=self._known,
            environment=dict(os.environ),
            shared=self._shared,
            clock=now,
        )

    def _director_vm(self, group: GroupDescription) -> DirectorVm:
        return self._a_director(group).director_vm(
            group, identities=self._identities, known=self._known
        )

    def _agents(self, group: GroupDescription) -> BoshAgents:
        vm = next(each for each in self._described.groups if each.platform == "bosh-director")
        return self._a_director(group).agents(
            group, self._director_vm(vm), known=self._known, stored_key=self._stored_key
        )

    def _stored_key(self, version: Fingerprint) -> SecretBytes | None:
        """Return the key of a CA that is, or was, a version of an authority."""
        authorities = self.site.authorities if self.site else None
        owner = authorities.owner(version) if authorities else None
        if authorities is None or owner is None or not authorities.has_key(owner, version):
            return None
        return SecretBytes(to_pem(authorities.signing(owner, version).key))

    def _a_director(self, group: GroupDescription) -> Bosh:
        if self._bosh is None:
            raise SpecError(
                f"group `{group.name}` belongs to a director, and none is described",
                field="director",
                hint="`rollover discover --bosh` writes a fleet file with one",
            )
        return self._bosh

    @cached_property
    def _shared(self) -> Mapping[InstanceName, str]:
        return places.shared(self._described.groups, base=self._base)

    def _all_servers(self) -> list[NatsServers]:
        found = [self(group.name) for group in self._described.groups if group.platform == "nats"]
        return [each for each in found if isinstance(each, NatsServers)]

    def _identities(self) -> tuple[Identity, ...]:
        if self.site is None:
            return ()
        found: list[Identity] = []
        for authority in self.site.authorities.all():
            found += self.site.identities(authority.name)
        return tuple(found)

    def _known(self) -> tuple[Certificate, ...]:
        return self.site.authority_certificates() if self.site else ()

    def _issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        return self.site.issuer_of(leaf) if self.site else None

    def _delivery(self, group: GroupDescription) -> Delivery:
        from rollover.delivery.command import CommandDelivery, Verb  # noqa: PLC0415 - one form is used
        from rollover.delivery.local import LocalDelivery  # noqa: PLC0415 - likewise

        state = self._base / self._described.state
        if isinstance(group.delivery, CommandSettings):
            return CommandDelivery(
                group.delivery.command,
                state=state / "deliveries",
                environment=dict(os.environ),
                timeout_seconds=group.delivery.timeout_seconds,
                verbs=frozenset((Verb.DELIVER, Verb.RESTORE, *map(Verb, group.delivery.verbs))),
            )
        if isinstance(group.delivery, KubernetesSettings):
            from rollover.delivery.kubernetes import delivery_of  # noqa: PLC0415 - likewise

            return delivery_of(group, group.delivery, base=self._base, state=state / "deliveries")
        return LocalDelivery(state=state / "deliveries")
