"""Who meets whom: blocks that dial, blocks that answer, gathered so that no pair is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from nats_config.server import PortKind, Url
from nats_config.tls import TlsBlock, TlsContext
from rollover.fleet.certificate import Certificate
from rollover.pki.names import covers, ip_address
from rollover.platforms.nats.rules.context import ConfigContext, Server, UsedBlock

# Who listens where: the blocks that answer at the addresses which configurations dial.

PORTS = {
    TlsContext.TOP: PortKind.CLIENT,
    TlsContext.CLUSTER: PortKind.CLUSTER,
    TlsContext.GATEWAY: PortKind.GATEWAY,
    TlsContext.LEAFNODES: PortKind.LEAFNODES,
    TlsContext.WEBSOCKET: PortKind.WEBSOCKET,
    TlsContext.MQTT: PortKind.MQTT,
}


class DialledAddress(NamedTuple):
    """A URL in a configuration, for whom it is, and the block that dials it."""

    context: TlsContext
    url: Url
    block: TlsBlock | None
    gateway: str = ""


def dialled_addresses(server: Server) -> Iterator[DialledAddress]:
    """Yield every URL that a server dials, but for those of its own gateway."""
    config = server.config
    own = config.block(TlsContext.CLUSTER)
    for url in config.routes:
        yield DialledAddress(TlsContext.CLUSTER, url, own)
    for gateway in config.gateways:
        if gateway.name != config.gateway_name:
            block = gateway.tls or config.block(TlsContext.GATEWAY)
            for url in gateway.urls:
                yield DialledAddress(TlsContext.GATEWAY, url, block, gateway.name)
    for remote in config.leaf_remotes:
        for url in () if remote.disabled else remote.urls:
            yield DialledAddress(TlsContext.LEAFNODES, url, remote.tls)


Key = tuple[TlsContext, int, str, str]
"""An address as it is dialled: for whom, port, host, and the name of the cluster or gateway."""


class Reached:
    """The blocks that may answer at an address, and their names as one."""

    def __init__(
        self, key: Key, blocks: tuple[UsedBlock, ...], chains: Iterable[tuple[Certificate, ...]]
    ) -> None:
        self.key = key
        self.blocks = blocks
        leaves = [chain[0] for chain in chains if chain and chain[0].names]
        self.with_names = bool(leaves)
        names = {name for leaf in leaves for name in leaf.names}
        # Hundreds of servers have hundreds of names: those that match as they are need no search.
        self._exact = {name.lower() for name in names}
        self._others = tuple(name for name in names if name[:2] == "*." or ip_address(name))

    @cached_property
    def unnamed(self) -> tuple[UsedBlock, ...]:
        """Those of them whom no name of a cluster or gateway gathers with the dialer."""
        name = self.key[3]
        if not name:
            return self.blocks
        return tuple(used for used in self.blocks if _name_of_side(used) != name)

    def covers(self, host: str) -> bool:
        """Say whether any of their certificates has the name or address that is dialled."""
        return host.lower().removesuffix(".") in self._exact or covers(self._others, host)


class Directory:
    """Who listens where, for every address that is dialled."""

    def __init__(self, configs: ConfigContext) -> None:
        self._configs = configs
        self._hosts: dict[tuple[TlsContext, int, str], list[UsedBlock]] = {}
        self._anywhere: dict[tuple[TlsContext, int], list[UsedBlock]] = {}
        self._reached: dict[Key, Reached] = {}
        for used in configs.used:
            self._enter(used)

    def _enter(self, used: UsedBlock) -> None:
        context = used.block.context
        port = PORTS.get(context)
        listener = used.server.config.listener(port) if port is not None else None
        if listener is None:
            return
        advertised = listener.advertise.rpartition(":")[0] or listener.advertise
        for host in {listener.host, advertised}:
            self._hosts.setdefault((context, listener.port, host), []).append(used)
        if listener.host in _EVERY_ADDRESS:
            self._anywhere.setdefault((context, listener.port), []).append(used)

    def reached(self, dialer: Server, address: DialledAddress) -> Reached:
        """Return who may listen there: by host and port; by port alone where no host is told."""
        key = (address.context, address.url.port, address.url.host, _side(dialer, address))
        if key not in self._reached:
            blocks = self._candidates(key)
            chains = (self._configs.chain(used.block) for used in blocks)
            self._reached[key] = Reached(key, blocks, chains)
        return self._reached[key]

    def known(self, key: Key) -> Reached:
        """Return what `reached` has returned before."""
        return self._reached[key]

    def _candidates(self, key: Key) -> tuple[UsedBlock, ...]:
        context, port, host, name = key
        exact = self._hosts.get((context, port, host), ())
        some = tuple(used for used in exact if _may_be(used, name))
        anywhere = self._anywhere.get((context, port), ())
        return some or tuple(used for used in anywhere if _may_be(used, name))


_EVERY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared, not bound


def _side(dialer: Server, address: DialledAddress) -> str:
    """Return the name that whoever answers must have: a route stays within its cluster."""
    if address.context is TlsContext.CLUSTER:
        return dialer.config.cluster_name
    return address.gateway


def _name_of_side(used: UsedBlock) -> str:
    config = used.server.config
    names = {TlsContext.CLUSTER: config.cluster_name, TlsContext.GATEWAY: config.gateway_name}
    return names.get(used.block.context, "")


def _may_be(used: UsedBlock, name: str) -> bool:
    """Say whether a block can be meant; a cluster without a name can be any."""
    if used.block.context is TlsContext.GATEWAY:
        return not name or _name_of_side(used) == name
    return not name or _name_of_side(used) in ("", name)


# Who meets whom: gathered, because the pairs of many servers are too many to name each.

MOST_NAMED = 3
"""Peers that a finding names; the others are counted."""


class Dialer(NamedTuple):
    """One party that dials; `block` is None for one that has no `tls` block to dial with."""

    server: Server
    block: TlsBlock | None
    place: str
    """Where it is written that it dials."""

    @property
    def subject(self) -> str:
        """The name that findings carry."""
        if self.block is None:
            return f"{self.server.name} remote"
        return UsedBlock(self.server, self.block).subject


class PeerPairs(NamedTuple):
    """Dialers and whom they reach: each of the first each of the second, but on their own side."""

    dialers: tuple[Dialer, ...]
    acceptors: tuple[UsedBlock, ...]
    of_gateways: bool = False

    def side(self, server: Server) -> str:
        """Return what stands on one side: a server, or all servers of one gateway."""
        return server.config.gateway_name if self.of_gateways else server.config.path


class Crowd:
    """Blocks that have something in common, by side: counted, and some of them named."""

    def __init__(
        self,
        pairs: PeerPairs,
        members: Iterable[UsedBlock],
        *,
        named: Callable[[UsedBlock], str] = lambda used: used.subject,
    ) -> None:
        self._named = named
        self._sides: dict[str, list[UsedBlock]] = {}
        for member in members:
            self._sides.setdefault(pairs.side(member.server), []).append(member)
        self._count = sum(map(len, self._sides.values()))

    def but(self, side: str) -> Iterator[UsedBlock]:
        """Yield the members that stand on other sides."""
        for other, members in self._sides.items():
            if other != side:
                yield from members

    def describe_others(self, side: str) -> str:
        """Return `n2 cluster.tls, n3 cluster.tls and 7 more`; empty when nobody else is there."""
        count = self._count - len(self._sides.get(side, ()))
        names = [self._named(used) for used in islice(self.but(side), MOST_NAMED)]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        return ", ".join(names) + more


def peer_pairs(configs: ConfigContext) -> Iterator[PeerPairs]:
    """Yield who reaches whom: by the names of clusters and gateways, and by what is written.

    Servers tell each other of their peers: those of one cluster all meet, and so do gateways.
    """
    yield from _pairs_in_clusters(configs)
    yield from _pairs_of_gateways(configs)
    yield from _pairs_as_written(configs)


def blocks_by_name(configs: ConfigContext, context: TlsContext) -> dict[str, list[UsedBlock]]:
    """Return the blocks of clusters or gateways by the name of these; without the nameless."""
    named: dict[str, list[UsedBlock]] = {}
    for used in configs.used:
        name = _name_of_side(used)
        if used.block.context is context and name:
            named.setdefault(name, []).append(used)
    return named


def _pairs_in_clusters(configs: ConfigContext) -> Iterator[PeerPairs]:
    for blocks in blocks_by_name(configs, TlsContext.CLUSTER).values():
        yield PeerPairs(tuple(map(_dialer_of, blocks)), tuple(blocks))


def _dialer_of(used: UsedBlock) -> Dialer:
    return Dialer(used.server, used.block, used.place("ca_file"))


def _pairs_of_gateways(configs: ConfigContext) -> Iterator[PeerPairs]:
    """Yield gateways that dial with their own block, and remotes that have one for themselves."""
    members = blocks_by_name(configs, TlsContext.GATEWAY)
    everybody = tuple(used for blocks in members.values() for used in blocks)
    plain = [used for used in everybody if not _remotes(used.server)]
    if plain:
        yield PeerPairs(tuple(map(_dialer_of, plain)), everybody, of_gateways=True)
    special: dict[str, list[Dialer]] = {}
    for server in configs.servers:
        remotes = _remotes(server)
        own = server.config.block(TlsContext.GATEWAY)
        for name in members if remotes and server.config.gateway_name else ():
            block = remotes.get(name, own)
            if block is not None:
                special.setdefault(name, []).append(_dialer_of(UsedBlock(server, block)))
    for name, dialers in special.items():
        yield PeerPairs(tuple(dialers), tuple(members[name]), of_gateways=True)


def _remotes(server: Server) -> dict[str, TlsBlock]:
    """Return the blocks of gateway remotes that have one of their own, by name."""
    return {
        gateway.name: gateway.tls for gateway in server.config.gateways if gateway.tls is not None
    }


def _pairs_as_written(configs: ConfigContext) -> Iterator[PeerPairs]:
    """Yield who is dialled by what is written, where the names above do not tell it."""
    directory = Directory(configs)
    dialers: dict[Key, list[Dialer]] = {}
    for server in configs.servers:
        for address in dialled_addresses(server):
            reached = directory.reached(server, address)
            blocks = reached.unnamed if address.block is not None else reached.blocks
            if blocks and not _ambiguous(server, address, blocks):
                dialer = Dialer(server, address.block, str(address.url.place))
                dialers.setdefault(reached.key, []).append(dialer)
    for key, several in dialers.items():
        with_block = tuple(dialer for dialer in several if dialer.block is not None)
        if with_block:
            yield PeerPairs(with_block, directory.known(key).unnamed)
        # One without a block meets all of them: no name of a cluster or gateway told it before.
        without = tuple(dialer for dialer in several if dialer.block is None)
        if without:
            yield PeerPairs(without, directory.known(key).blocks)


def _ambiguous(server: Server, address: DialledAddress, blocks: tuple[UsedBlock, ...]) -> bool:
    """Say whether nobody is meant for sure: a leaf node joins whoever of several answers."""
    if address.context is not TlsContext.LEAFNODES:
        return False
    # Three are enough to see two others: one of them may be the dialer itself.
    return len(blocks) > 1 and sum(block.server is not server for block in blocks[:3]) > 1
