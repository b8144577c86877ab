"""Who meets whom: blocks that dial and blocks that they reach, gathered so that no pair is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from rollover.checks.configs.directory import Address, Directory, Key, addresses
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.nats_config.tls import TlsBlock, TlsContext

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
        return Used(self.server, self.block).subject


class Meeting(NamedTuple):
    """Dialers and whom they reach: each of the first each of the second, but on their own side."""

    dialers: tuple[Dialer, ...]
    acceptors: tuple[Used, ...]
    of_gateways: bool = False

    def side(self, server: Server) -> str:
        """Return what stands on one side: a server, or all servers of one gateway."""
        return server.config.gateway_name if self.of_gateways else server.config.path


def _subject(used: Used) -> str:
    return used.subject


class Crowd:
    """Blocks that have something in common, by side: counted, and some of them named."""

    def __init__(
        self, meeting: Meeting, members: Iterable[Used], *, named: Callable[[Used], str] = _subject
    ) -> None:
        self._named = named
        self._sides: dict[str, list[Used]] = {}
        for each in members:
            self._sides.setdefault(meeting.side(each.server), []).append(each)
        self._count = sum(map(len, self._sides.values()))

    def but(self, side: str) -> Iterator[Used]:
        """Yield the members that stand on other sides."""
        for other, members in self._sides.items():
            if other != side:
                yield from members

    def seen_from(self, side: str) -> str:
        """Return `n2 cluster.tls, n3 cluster.tls and 7 more`; empty when nobody else is there."""
        count = self._count - len(self._sides.get(side, ()))
        names = [self._named(each) for each in islice(self.but(side), MOST_NAMED)]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        return ", ".join(names) + more


def meetings(configs: ConfigScene) -> Iterator[Meeting]:
    """Yield who reaches whom: by the names of clusters and gateways, and by what is written.

    Servers tell each other of their peers: those of one cluster all meet, and so do gateways.
    """
    yield from _clusters(configs)
    yield from _gateways(configs)
    yield from _written(configs)


def _clusters(configs: ConfigScene) -> Iterator[Meeting]:
    members: dict[str, list[Used]] = {}
    for used in configs.used:
        name = used.server.config.cluster_name
        if used.block.context is TlsContext.CLUSTER and name:
            members.setdefault(name, []).append(used)
    for blocks in members.values():
        yield Meeting(tuple(map(_dials, blocks)), tuple(blocks))


def _dials(used: Used) -> Dialer:
    return Dialer(used.server, used.block, used.place("ca_file"))


def _gateways(configs: ConfigScene) -> Iterator[Meeting]:
    """Yield gateways that dial with their own block, and remotes that have one for themselves."""
    members: dict[str, list[Used]] = {}
    for used in configs.used:
        name = used.server.config.gateway_name
        if used.block.context is TlsContext.GATEWAY and name:
            members.setdefault(name, []).append(used)
    everybody = tuple(used for blocks in members.values() for used in blocks)
    plain = [used for used in everybody if not _remotes(used.server)]
    if plain:
        yield Meeting(tuple(map(_dials, plain)), everybody, of_gateways=True)
    special: dict[str, list[Dialer]] = {}
    for server in configs.servers:
        remotes = _remotes(server)
        own = server.config.block(TlsContext.GATEWAY)
        for name in members if remotes and server.config.gateway_name else ():
            block = remotes.get(name, own)
            if block is not None:
                special.setdefault(name, []).append(_dials(Used(server, block)))
    for name, dialers in special.items():
        yield Meeting(tuple(dialers), tuple(members[name]), of_gateways=True)


def _remotes(server: Server) -> dict[str, TlsBlock]:
    """Return the blocks of gateway remotes that have one of their own, by name."""
    return {each.name: each.tls for each in server.config.gateways if each.tls is not None}


def _written(configs: ConfigScene) -> Iterator[Meeting]:
    """Yield who is dialled by what is written, where the names above do not tell it."""
    directory = Directory(configs)
    dialers: dict[Key, list[Dialer]] = {}
    for server in configs.servers:
        for address in addresses(server):
            reached = directory.reached(server, address)
            blocks = reached.unnamed if address.block is not None else reached.blocks
            if blocks and not _ambiguous(server, address, blocks):
                dialer = Dialer(server, address.block, str(address.url.place))
                dialers.setdefault(reached.key, []).append(dialer)
    for key, several in dialers.items():
        with_block = tuple(each for each in several if each.block is not None)
        if with_block:
            yield Meeting(with_block, directory.known(key).unnamed)
        without = tuple(each for each in several if each.block is None)
        if without:
            yield Meeting(without, directory.known(key).blocks)


def _ambiguous(server: Server, address: Address, blocks: tuple[Used, ...]) -> bool:
    """Say whether nobody is meant for sure: a leaf node joins whoever of several answers."""
    if address.context is not TlsContext.LEAFNODES:
        return False
    return len(blocks) > 1 and sum(each.server is not server for each in blocks[:3]) > 1
