"""A director in memory, which is the source of its agents, with real certificates.

NATS, the director and the health monitor share one instance and one bundle with what is handed
out. Agents get what the director holds at the moment of their rollout, and nothing else.
"""

from __future__ import annotations

from datetime import timedelta

from rigs.memory_fleet import AUTHORITY, BEGUN, HOST, Issued, MemoryFleet, authority
from rigs.memory_platform import MemoryPlatform, MemorySource
from rollover.engine.authorities import store_name
from rollover.fleet.certificate import Certificate, KeyKind, Stack
from rollover.fleet.description import (
    AuthorityDescription,
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
    LinkDescription,
)
from rollover.fleet.evidence import ObservedEndpoint
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.pki.issue import LEAF_NODE, issue_leaf
from rollover.pki.keys import from_pem, generate

DIRECTOR, AGENTS = GroupName("director"), GroupName("agents")
VM = InstanceName("director/0")
NATS, SIGNER, MBUS = EndpointName("nats"), EndpointName("agents"), EndpointName("mbus")


class DirectorFleet(MemoryFleet):
    """A director VM and some agents; `agents` are named `a1`, `a2`, …."""

    def __init__(self, *, agents: int = 3, ca: Issued | None = None) -> None:
        first = ca or authority()
        self.begin(described(agents, first), (first,))

    def platform(self, group: GroupDescription, bundle: tuple[Certificate, ...]) -> MemoryPlatform:
        """Return the director VM, or the agents that it feeds."""
        if group.name == DIRECTOR:
            states = {
                VM: tuple(
                    self._of_director(endpoint, bundle) for endpoint in group.instances[0].endpoints
                )
            }
            return MemoryPlatform(group, states, clock=self.clock, wait=lambda _: self.check())
        return MemoryPlatform(
            group,
            {
                instance.name: (self.of_agent(instance.name, self.ca, bundle),)
                for instance in group.instances
            },
            clock=self.clock,
            wait=lambda _: self.check(),
            source=MemorySource(self.held, self.issue),
        )

    def _of_director(
        self, each: EndpointDescription, bundle: tuple[Certificate, ...]
    ) -> ObservedEndpoint:
        leaf = self.ca.certificate if each.role is Role.SOURCE else self.ca.leaf(each.name)
        return ObservedEndpoint(endpoint=each.name, presents=(leaf,), trusts=bundle)

    @staticmethod
    def of_agent(name: str, ca: Issued, bundle: tuple[Certificate, ...]) -> ObservedEndpoint:
        """Return an agent with a leaf of a CA."""
        return ObservedEndpoint(endpoint=MBUS, presents=(ca.leaf(name),), trusts=bundle)

    def held(self) -> ObservedEndpoint:
        """Return what the director signs with and hands out now."""
        return next(endpoint for endpoint in self.instance(VM).state if endpoint.endpoint == SIGNER)

    def issue(self, signer: Certificate, name: InstanceName) -> Certificate:
        """Make a leaf as the director does: with the key that it was given."""
        stored = self.credentials.versions(store_name(AUTHORITY))
        number = next(
            version.number for version in stored if version.fingerprint == signer.fingerprint
        )
        key = from_pem(self.credentials.private_key(store_name(AUTHORITY), number).reveal())
        return issue_leaf(
            profile=LEAF_NODE,
            common_name=name,
            names=(HOST,),
            key=generate(KeyKind.P256),
            authority=signer,
            authority_key=key,
            not_before=max(BEGUN - timedelta(hours=1), signer.not_before),
            lifetime=timedelta(days=30),
        )

    def signs(self) -> str:
        """Return the subject of the CA that the director signs with."""
        return self.held().presents[0].subject


def described(agents: int, ca: Issued) -> FleetDescription:
    """Describe the director VM and its agents as `expand` does."""
    return FleetDescription(
        version=1,
        name="bosh",
        groups=(_director(), _agents(agents)),
        links=(
            LinkDescription(dialer=f"{AGENTS}/{MBUS}", acceptor=f"{DIRECTOR}/{NATS}"),
            *(
                LinkDescription(
                    dialer=f"{DIRECTOR}/{literal}", acceptor=f"{DIRECTOR}/{NATS}", within=True
                )
                for literal in ("director", "health-monitor")
            ),
        ),
        authorities=(
            AuthorityDescription(name=AUTHORITY, certificates=(ca.certificate.fingerprint,)),
        ),
    )


def _director() -> GroupDescription:
    ca = "nats.tls.ca"
    return GroupDescription(
        name=DIRECTOR,
        platform="memory",
        touch=Touch.RECREATE,
        instances=(
            InstanceDescription(
                name=VM,
                endpoints=(
                    EndpointDescription(
                        name=NATS,
                        role=Role.CLIENT_PORT,
                        address=f"{HOST}:4222",
                        certificate="nats.tls.server",
                        verify=True,
                        ca=ca,
                    ),
                    *(
                        EndpointDescription(
                            name=EndpointName(name),
                            role=Role.CLIENT,
                            stack=Stack.OPENSSL,
                            certificate=f"nats.tls.{name}",
                            ca=ca,
                        )
                        for name in ("director", "health-monitor")
                    ),
                    EndpointDescription(
                        name=SIGNER, role=Role.SOURCE, certificate="nats.tls.client_ca", ca=ca
                    ),
                ),
            ),
        ),
    )


def _agents(count: int) -> GroupDescription:
    fed = EndpointDescription(
        name=MBUS,
        role=Role.CLIENT,
        source=f"{DIRECTOR}/{SIGNER}",
        certificate="mbus.cert",
        ca="mbus.ca",
    )
    return GroupDescription(
        name=AGENTS,
        platform="memory",
        touch=Touch.RESTART,
        max_in_flight=2,
        instances=tuple(
            InstanceDescription(name=InstanceName(f"a{number}"), endpoints=(fed,))
            for number in range(1, count + 1)
        ),
    )
