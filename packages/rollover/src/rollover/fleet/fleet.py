"""A fleet: groups of instances, their endpoints, and the links between those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

import msgspec

from rollover.fleet.certificate import Bundle, Certificate, Chain, Stack
from rollover.fleet.names import (
    AuthorityName,
    EndpointName,
    Fingerprint,
    GroupName,
    InstanceName,
    SlotName,
)


class Role(StrEnum):
    """What an endpoint is for; it decides how it is probed and which usages its chain needs."""

    CLIENT_PORT = "client-port"
    ROUTE = "route"
    GATEWAY = "gateway"
    GATEWAY_REMOTE = "gateway-remote"
    LEAFNODE = "leafnode"
    LEAF_REMOTE = "leaf-remote"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"
    MONITORING = "monitoring"
    CLIENT = "client"
    TLS = "tls"
    SOURCE = "source"
    """No TLS party: what a director or a store would hand out at this moment.

    It *presents* the CA certificate that it signs with, and *trusts* the bundle that it hands out.
    """


class Touch(StrEnum):
    """What it takes for an instance to use new material; each is far dearer than the one before."""

    WATCH = "watch"
    """The instance takes up changed files by itself."""
    RELOAD = "reload"
    RECONNECT = "reconnect"
    RESTART = "restart"
    RECREATE = "recreate"


TOUCH_WEIGHT: Mapping[Touch, int] = MappingProxyType(
    {
        Touch.WATCH: 1,
        Touch.RELOAD: 1,
        Touch.RECONNECT: 5,
        Touch.RESTART: 20,
        Touch.RECREATE: 200,
    }
)
"""What one rollout costs by its kind; only the order of magnitude matters to the search."""


class Availability(StrEnum):
    """Whether an instance can be changed and confirmed now."""

    READY = "ready"
    IGNORED = "ignored"
    UNREACHABLE = "unreachable"
    REFUSING = "refusing"
    """It answers, but did not take the material that it was given."""


class EndpointRef(msgspec.Struct, frozen=True, order=True, gc=False):
    """Names one endpoint of a fleet."""

    instance: InstanceName
    endpoint: EndpointName

    def __str__(self) -> str:
        return f"{self.instance}/{self.endpoint}"


class SourceRef(msgspec.Struct, frozen=True, gc=False):
    """Where an endpoint's material comes from: a rollout delivers what that one holds then."""

    group: GroupName
    endpoint: EndpointName


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One TLS party of an instance: it presents a chain, or none, and trusts a bundle, or none.

    `trusts` None: it verifies nobody. Endpoints of one instance that name the same slot hold the
    same material; an endpoint without a slot name has slots of its own.
    """

    name: EndpointName
    role: Role = Role.TLS
    stack: Stack = Stack.GO
    presents: Chain = ()
    trusts: Bundle | None = None
    chain_slot: SlotName | None = None
    bundle_slot: SlotName | None = None
    address: str | None = None
    source: SourceRef | None = None
    bundle_file: str | None = None
    """Where its bundle lies, below the directory of its instance if it lies there."""


class State(msgspec.Struct, frozen=True):
    """What every endpoint of an instance presents and trusts, in the order of its endpoints."""

    presents: tuple[Chain, ...]
    trusts: tuple[Bundle | None, ...]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest thing that changes at once; all its endpoints change together.

    `may_be`: further states that it may be in, because it was given them and could not be
    confirmed since. The safety rule ranges over all of them.
    """

    name: InstanceName
    endpoints: tuple[Endpoint, ...]
    availability: Availability = Availability.READY
    why: str = ""
    may_be: tuple[State, ...] = ()

    @property
    def state(self) -> State:
        """The state that was observed last."""
        return State(
            tuple(endpoint.presents for endpoint in self.endpoints),
            tuple(endpoint.trusts for endpoint in self.endpoints),
        )


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Instances of the same shape that one rollout covers."""

    name: GroupName
    instances: tuple[Instance, ...]
    platform: str = ""
    touch: Touch = Touch.RELOAD
    max_in_flight: int = 1
    canaries: int = 1
    seconds_per_instance: float = 1.0
    weight: int | None = None
    """What a rollout costs; None: by its touch. 0: a store's flags, which touch no instance."""

    @property
    def rollout_weight(self) -> int:
        """The cost of one rollout of this group."""
        return TOUCH_WEIGHT[self.touch] if self.weight is None else self.weight

    @property
    def waves(self) -> int:
        """How often as many instances as may be in flight begin: the canaries, then the rest."""
        canaries = min(self.canaries, len(self.instances))
        rest = len(self.instances) - canaries
        return canaries + -(-rest // max(1, self.max_in_flight))

    @property
    def rollout_time(self) -> timedelta:
        """How long one rollout is expected to take, with all its waves."""
        return timedelta(seconds=self.waves * self.seconds_per_instance)


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Dialer to acceptor: the connection that has to keep working.

    `name` is what the dialer expects in the acceptor's leaf; None: it does not look. `mutual`:
    the acceptor verifies the dialer too.
    """

    dialer: EndpointRef
    acceptor: EndpointRef
    mutual: bool = True
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.dialer} → {self.acceptor}"


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A named CA: its certificates, oldest first."""

    name: AuthorityName
    versions: tuple[Fingerprint, ...] = ()

    def label(self, fingerprint: Fingerprint) -> str:
        """Return `name@n` for a version of this authority, counted from 1."""
        return f"{self.name}@{self.versions.index(fingerprint) + 1}"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Groups, instances, endpoints, links, and the authorities that they use.

    `certificates` knows every fingerprint that a chain or bundle of the fleet names.
    """

    name: str
    groups: tuple[Group, ...]
    links: tuple[Link, ...] = ()
    authorities: tuple[Authority, ...] = ()
    certificates: Mapping[Fingerprint, Certificate] = msgspec.field(default_factory=dict)

    def group(self, name: str) -> Group:
        """Return the group of that name; KeyError when there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def authority(self, name: str) -> Authority:
        """Return the authority of that name; KeyError when there is none."""
        for authority in self.authorities:
            if authority.name == name:
                return authority
        raise KeyError(name)

    def instances(self) -> Iterator[Instance]:
        """Every instance of every group, in order."""
        for group in self.groups:
            yield from group.instances
