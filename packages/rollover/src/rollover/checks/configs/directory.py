"""Who listens where: the blocks that answer at the addresses which configurations dial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from nats_config.server import PortKind, ServerListener, Url
from nats_config.tls import TlsBlock, TlsContext
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.fleet.certificate import Certificate
from rollover.pki.names import covers, ip_address

PORTS = {
    TlsContext.TOP: PortKind.CLIENT,
    TlsContext.CLUSTER: PortKind.CLUSTER,
    TlsContext.GATEWAY: PortKind.GATEWAY,
    TlsContext.LEAFNODES: PortKind.LEAFNODES,
    TlsContext.WEBSOCKET: PortKind.WEBSOCKET,
    TlsContext.MQTT: PortKind.MQTT,
}


class Address(NamedTuple):
    """A URL in a configuration, for whom it is, and the block that dials it."""

    context: TlsContext
    url: Url
    block: TlsBlock | None
    gateway: str = ""


def addresses(server: Server) -> Iterator[Address]:
    """Yield every URL that a server dials, but for those of its own gateway."""
    config = server.config
    own = config.block(TlsContext.CLUSTER)
    for url in config.routes:
        yield Address(TlsContext.CLUSTER, url, own)
    for gateway in config.gateways:
        if gateway.name != config.gateway_name:
            block = gateway.tls or config.block(TlsContext.GATEWAY)
            for url in gateway.urls:
                yield Address(TlsContext.GATEWAY, url, block, gateway.name)
    for remote in config.leaf_remotes:
        for url in () if remote.disabled else remote.urls:
            yield Address(TlsContext.LEAFNODES, url, remote.tls)


Key = tuple[TlsContext, int, str, str]
"""An address as it is dialled: for whom, port, host, and the name of the cluster or gateway."""


class Reached:
    """The blocks that may answer at an address, and their names as one."""

    def __init__(
        self, key: Key, blocks: tuple[Used, ...], chains: Iterable[tuple[Certificate, ...]]
    ) -> None:
        self.key = key
        self.blocks = blocks
        leaves = [chain[0] for chain in chains if chain and chain[0].names]
        self.with_names = bool(leaves)
        names = {name for leaf in leaves for name in leaf.names}
        self._exact = {name.lower() for name in names}
        self._others = tuple(each for each in names if each[:2] == "*." or ip_address(each))

    @cached_property
    def unnamed(self) -> tuple[Used, ...]:
        """Those of them whom no name of a cluster or gateway gathers with the dialer."""
        name = self.key[3]
        return tuple(each for each in self.blocks if _name(each) != name) if name else self.blocks

    def covers(self, host: str) -> bool:
        """Say whether any of their certificates has the name or address that is dialled."""
        return host.lower().removesuffix(".") in self._exact or covers(self._others, host)


class Directory:
    """Who listens where, for every address that is dialled."""

    def __init__(self, configs: ConfigScene) -> None:
        self._configs = configs
        self._hosts: dict[tuple[TlsContext, int, str], list[Used]] = {}
        self._anywhere: dict[tuple[TlsContext, int], list[Used]] = {}
        self._reached: dict[Key, Reached] = {}
        for used in configs.used:
            self._enter(used)

    def _enter(self, used: Used) -> None:
        context = used.block.context
        port = PORTS.get(context)
        listener = used.server.config.listener(port) if port is not None else None
        if listener is None:
            return
        for host in _hosts(listener):
            self._hosts.setdefault((context, listener.port, host), []).append(used)
        if listener.host in _EVERY_ADDRESS:
            self._anywhere.setdefault((context, listener.port), []).append(used)

    def reached(self, dialer: Server, address: Address) -> Reached:
        """Return who may listen there: by host and port; by port alone where no host is told."""
        key = (address.context, address.url.port, address.url.host, _side(dialer, address))
        if key not in self._reached:
            blocks = self._candidates(key)
            chains = (self._configs.chain(each.block) for each in blocks)
            self._reached[key] = Reached(key, blocks, chains)
        return self._reached[key]

    def known(self, key: Key) -> Reached:
        """Return what `reached` has returned before."""
        return self._reached[key]

    def _candidates(self, key: Key) -> tuple[Used, ...]:
        context, port, host, name = key
        exact = self._hosts.get((context, port, host), ())
        some = [each for each in exact if _may_be(each, name)]
        if not some:
            some = [each for each in self._anywhere.get((context, port), ()) if _may_be(each, name)]
        return tuple(some)


_EVERY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared, not bound


def _hosts(listener: ServerListener) -> set[str]:
    return {listener.host, listener.advertise.rpartition(":")[0] or listener.advertise}


def _side(dialer: Server, address: Address) -> str:
    """Return the name that whoever answers must have: a route stays within its cluster."""
    if address.context is TlsContext.CLUSTER:
        return dialer.config.cluster_name
    return address.gateway


def _name(used: Used) -> str:
    config = used.server.config
    names = {TlsContext.CLUSTER: config.cluster_name, TlsContext.GATEWAY: config.gateway_name}
    return names.get(used.block.context, "")


def _may_be(used: Used, name: str) -> bool:
    """Say whether a block can be meant; a cluster without a name can be any."""
    if used.block.context is TlsContext.GATEWAY:
        return not name or _name(used) == name
    return not name or _name(used) in ("", name)
