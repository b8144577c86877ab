"""A fleet in memory with real certificates: servers that dial each other, clients that dial them.

Every link is checked before each instance changes, by who trusts whom at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from rigs.memory_platform import MemoryInstance, MemoryPlatform
from rigs.memory_state import MemoryJournal, MemoryLeases
from rollover.engine.authorities import Authorities, store_name
from rollover.engine.events import Conduct, Outcome
from rollover.engine.fleet_context import FleetContext, Waits
from rollover.engine.goals import Request
from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.ports import Holder, Leases, Pacing, Platform
from rollover.engine.service import Rollover
from rollover.fleet.certificate import Certificate, Flags, KeyKind
from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
    links,
)
from rollover.fleet.evidence import (
    Evidence,
    Holdout,
    Identity,
    Observation,
    ObservedEndpoint,
    Order,
    Result,
)
from rollover.fleet.fleet import Link, Role, Touch
from rollover.fleet.names import AuthorityName, EndpointName, Fingerprint, GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.certificate import Signed, anatomy, check_signature
from rollover.pki.issue import LEAF_NODE, issue_authority, issue_leaf
from rollover.pki.keys import PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.rule_catalogue import whole_catalogue
from rollover.store.credentials import MemoryCredentials

AUTHORITY = AuthorityName("nats-ca")
SERVERS, CLIENTS = GroupName("servers"), GroupName("clients")
PORT, ROUTE, CLIENT = EndpointName("port"), EndpointName("route"), EndpointName("client")
BEGUN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOST = "127.0.0.1"


class Issued:
    """A CA with its key."""

    def __init__(self, certificate: Certificate, key: PrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    def leaf(self, name: str, *, days: float = 365) -> Certificate:
        """Return a leaf for both roles on loopback."""
        return issue_leaf(
            profile=LEAF_NODE,
            common_name=name,
            names=(HOST,),
            key=generate(KeyKind.P256),
            authority=self.certificate,
            authority_key=self.key,
            not_before=BEGUN - timedelta(days=1),
            lifetime=timedelta(days=days),
        )


@cache
def authority(
    common_name: str = "CA 1", *, begins: timedelta = timedelta(days=-2), days: float = 3650
) -> Issued:
    """Return a CA, the same for the same words."""
    key = generate(KeyKind.P256)
    certificate = issue_authority(
        common_name=common_name,
        key=key,
        not_before=BEGUN + begins,
        lifetime=timedelta(days=days),
    )
    return Issued(certificate, key)


def conduct(*, approve: Callable[..., bool] = lambda *_: True, **more: object) -> Conduct:
    """Say yes to everything, unless said otherwise."""
    quiet = {"tell": lambda _: None, "stopping": lambda: False}
    return Conduct(approve=approve, **(quiet | more))  # type: ignore[arg-type]  # by name


def first(count: int) -> Conduct:
    """Approve so many rollouts and decline the next."""
    answers = iter([True] * count)
    return conduct(approve=lambda *_: next(answers, False))


class NamedPlatforms:
    """`Platforms` that are there already; `refresh` is what a director would say of the fleet."""

    def __init__(
        self,
        platforms: Mapping[str, Platform],
        *,
        refresh: Callable[[FleetDescription], FleetDescription] = lambda described: described,
    ) -> None:
        self._platforms = platforms
        self._refresh = refresh

    def __call__(self, group: str) -> Platform:
        """Return the platform of that name."""
        return self._platforms[group]

    def completed(self, described: FleetDescription) -> FleetDescription:
        """Return the fleet as it is now."""
        return self._refresh(described)


class MemoryFleet:
    """Two servers and three clients, with one CA and its key in the store."""

    def __init__(self, *, servers: int = 2, clients: int = 3, standby: bool = False) -> None:
        trusted = (authority(), *((authority("CA 2"),) if standby else ()))
        self.begin(_described(servers, clients, trusted), trusted)

    def begin(self, described: FleetDescription, trusted: Sequence[Issued]) -> None:
        """Start what is described, with leaves of the first CA that is trusted."""
        self.ca = trusted[0]
        self.credentials = MemoryCredentials()
        for issued in trusted:
            self.keep(issued)
        self.journal = MemoryJournal()
        self.leases: Leases = MemoryLeases()
        self.now = BEGUN
        self.paused = False
        self.described = described
        self.links: tuple[Link, ...] = tuple(links(described))
        self.broken: list[str] = []
        self.memory = {
            group.name: self.platform(group, tuple(issued.certificate for issued in trusted))
            for group in described.groups
        }
        self.platforms: dict[str, Platform] = {
            str(group_name): self.memory[group_name] for group_name in self.memory
        }

    def platform(self, group: GroupDescription, bundle: tuple[Certificate, ...]) -> MemoryPlatform:
        """Return a group that presents leaves of the CA and trusts a bundle."""
        return MemoryPlatform(
            group,
            {
                instance.name: tuple(
                    ObservedEndpoint(endpoint=endpoint.name, presents=chain, trusts=bundle)
                    for chain in [(self.ca.leaf(instance.name),)]
                    for endpoint in instance.endpoints
                )
                for instance in group.instances
            },
            clock=self.clock,
            wait=lambda _: self.check(),
        )

    def keep(self, issued: Issued, *, key: bool = True) -> Fingerprint:
        """Put a CA into the store."""
        self.credentials.add(
            store_name(AUTHORITY),
            write_certificates((issued.certificate,)),
            key=SecretBytes(to_pem(issued.key)) if key else None,
            flags=Flags(self_signed=True),
            at=BEGUN,
        )
        return issued.certificate.fingerprint

    def clock(self) -> datetime:
        """Return the time: every look at it takes a millisecond."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def instance(self, name: str) -> MemoryInstance:
        """Return an instance by its name."""
        return next(each for known, each in self.instances() if known == name)

    def instances(self) -> Iterator[tuple[InstanceName, MemoryInstance]]:
        """Yield every instance."""
        for group in self.described.groups:
            for description in group.instances:
                yield description.name, self.memory[group.name].instance(description.name)

    def check(self) -> None:
        """Note every link that does not work at this moment."""
        held = {
            (name, seen.endpoint): seen for name, each in self.instances() for seen in each.state
        }
        for link in self.links:
            dialer = held[link.dialer.instance, link.dialer.endpoint]
            acceptor = held[link.acceptor.instance, link.acceptor.endpoint]
            if not (_accepts(dialer, acceptor) and _accepts(acceptor, dialer)):
                self.broken.append(str(link))

    def site(
        self,
        *,
        task: str = "one",
        refresh: Callable[[FleetDescription], FleetDescription] = lambda described: described,
        recover: bool = False,
        **more: float,
    ) -> FleetContext:
        """Return a site as another process would open it."""
        waits = {"drain_seconds": 0.05, "return_seconds": 0.01, "poll_seconds": 0.005} | more
        return FleetContext(
            self.described,
            platforms=NamedPlatforms(self.platforms, refresh=refresh),
            known=KnownCertificates(
                Authorities(self.credentials, self.described), clock=self.clock
            ),
            journal=self.journal,
            leases=self.leases,
            clock=self.clock,
            holder=Holder(host="here", pid=1, task=task),
            catalogue=whole_catalogue,
            pause_requested=lambda: self.paused,
            waits=Waits(**waits),
            recover=recover,
        )

    def rotate(
        self, steered: Conduct | None = None, *, recover: bool = False, **asked: object
    ) -> Outcome:
        """Run a rotation as a process of its own would."""
        wanted = Request(authority=AUTHORITY, **asked)  # type: ignore[arg-type]  # by name
        return Rollover(self.site(recover=recover)).rotate(wanted, steered or conduct())

    def roll_back(self, steered: Conduct | None = None) -> Outcome:
        """Take the last rotation back."""
        return Rollover(self.site()).rollback(AUTHORITY, steered or conduct())

    def trusted(self) -> set[str]:
        """Return the subjects of the CAs that anybody trusts."""
        return {
            one.subject
            for _, each in self.instances()
            for seen in each.state
            for one in seen.trusts or ()
        }

    def issuers(self) -> set[str]:
        """Return the issuers of the leaves that are presented."""
        return {seen.presents[0].issuer_name for _, each in self.instances() for seen in each.state}


class Through:
    """A platform that hands everything on to another, for those that change one thing of it."""

    def __init__(self, behind: MemoryPlatform) -> None:
        self.behind = behind

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Hand on."""
        return self.behind.observe(instances)

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Hand on."""
        return self.behind.roll_out(orders, pacing=pacing, stopping=stopping)

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Hand on."""
        return self.behind.handshakes(instances, accepted=accepted, refused=refused)

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Hand on."""
        return self.behind.holdouts(instances, retired=retired)

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Hand on."""
        return self.behind.cycle(holdouts)


def _accepts(verifier: ObservedEndpoint, presenter: ObservedEndpoint) -> bool:
    for anchor in verifier.trusts or ():
        for present in presenter.presents:
            if anchor.subject == present.issuer_name:
                return check_signature(anatomy(present), by=anatomy(anchor)) is Signed.GOOD
    return False


def _described(servers: int, clients: int, trusted: tuple[Issued, ...]) -> FleetDescription:
    server_ends = (
        EndpointDescription(
            name=PORT, role=Role.CLIENT_PORT, address=f"{HOST}:1", certificate="c", ca="a",
            verify=True,
        ),
        EndpointDescription(
            name=ROUTE, role=Role.ROUTE, address=f"{HOST}:2", certificate="c", ca="a",
            verify=True,
        ),
    )  # fmt: skip
    client_end = EndpointDescription(name=CLIENT, role=Role.CLIENT, certificate="c", ca="a")
    return FleetDescription(
        version=1,
        name="in-memory",
        groups=(
            GroupDescription(
                name=SERVERS,
                platform="memory",
                instances=tuple(
                    InstanceDescription(name=InstanceName(f"n{number}"), endpoints=server_ends)
                    for number in range(1, servers + 1)
                ),
            ),
            GroupDescription(
                name=CLIENTS,
                platform="memory",
                instances=tuple(
                    InstanceDescription(name=InstanceName(f"c{number}"), endpoints=(client_end,))
                    for number in range(1, clients + 1)
                ),
                touch=Touch.WATCH,
                max_in_flight=2,
            ),
        ),
        links=(
            LinkDescription(dialer=f"{SERVERS}/{ROUTE}", acceptor=f"{SERVERS}/{ROUTE}"),
            LinkDescription(dialer=f"{CLIENTS}/{CLIENT}", acceptor=f"{SERVERS}/{PORT}"),
        ),
        authorities=(
            AuthorityDescription(
                name=AUTHORITY,
                certificates=tuple(issued.certificate.fingerprint for issued in trusted),
            ),
        ),
    )
