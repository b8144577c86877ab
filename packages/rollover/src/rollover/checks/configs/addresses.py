"""Rules over addresses: do those that are dialled and advertised stand in the certificates?"""

from __future__ import annotations

from collections.abc import Iterator

from nats_config.server import PortKind
from nats_config.tls import TlsContext
from rollover.checks.configs.directory import PORTS, Address, Directory, addresses
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.names import RuleId
from rollover.pki.names import covers, ip_address

WRONG_NAME = Rule(
    id=RuleId("name-not-in-certificate"),
    severity=Severity.ERROR,
    title="Addresses that are dialled stand in the certificates",
    meaning="A URL of one configuration, or an advertised address, is not among the names of the "
    "server that listens there.",
    why="The dialer refuses it; routes in the other direction hide that until a restart.",
    example="`routes: [nats-route://10.0.0.2:6222]`, and the certificate has DNS names only.",
    remedy="Issue it with that name or address too.",
    source="RFC 9525 §6; measured",
)
GOSSIP = Rule(
    id=RuleId("gossip-not-in-certificate"),
    severity=Severity.WARNING,
    title="Nodes that others only hear of can be verified",
    meaning="A node of a cluster of three or more is dialled by peers that have no URL of it: by "
    "its IP address, and with the name of their own seed. Its certificate has neither.",
    why="That route is refused (`cannot validate certificate … because it doesn't contain any IP "
    "SANs`) and the cluster is no full mesh, while every route that is written is up.",
    example="Three nodes with `routes: [nats-route://n1.example:6222]`, each with a certificate of "
    "its own name only.",
    remedy="Give all nodes one common name by which the seed is dialled, or their IP addresses; "
    "or `advertise` a name that stands in the certificate; or write all routes on all nodes.",
    source="server/route.go (the name of the seed stands in for an IP address); measured on 2.15.1 "
    "with three nodes",
)
_LEAST_TO_HEAR_OF = 3


def _dialled(configs: ConfigScene) -> Iterator[Finding]:
    """Yield addresses that the certificate of whoever listens there does not have."""
    directory = Directory(configs)
    for server in configs.servers:
        for address in addresses(server):
            if address.block is None or not address.block.insecure:
                yield from _not_covered(directory, server, address)


def _not_covered(directory: Directory, server: Server, address: Address) -> Iterator[Finding]:
    reached, host = directory.reached(server, address), address.url.host
    if reached.with_names and not reached.covers(host):
        subject = Used(server, address.block).subject if address.block else server.name
        message = f"`{host}` is not in the certificate of {reached.blocks[0].subject}"
        yield found(WRONG_NAME, subject, message, place=str(address.url.place))


def _advertised(configs: ConfigScene) -> Iterator[Finding]:
    """Yield addresses that servers tell others and that their own certificate does not have.

    A warning only: peers fall back on the name that they dialled first where it is an address.
    """
    for used in configs.used:
        port = PORTS.get(used.block.context)
        listener = used.server.config.listener(port) if port is not None else None
        chain = configs.chain(used.block)
        if listener is None or not listener.advertise or not chain or not chain[0].names:
            continue
        host = listener.advertise
        if ip_address(host) is None and host.rpartition(":")[2].isdigit():
            host = host.rpartition(":")[0]
        if host and not covers(chain[0].names, host):
            message = f"`{host}` is advertised, and is not in the certificate"
            place, severity = str(listener.place), Severity.WARNING
            yield found(WRONG_NAME, used.subject, message, place=place, severity=severity)


def names(configs: ConfigScene) -> Iterator[Finding]:
    """Yield addresses, dialled or advertised, that no certificate has."""
    yield from _dialled(configs)
    yield from _advertised(configs)


def gossip(configs: ConfigScene) -> Iterator[Finding]:
    """Yield nodes that peers learn of from others, and could not verify."""
    directory = Directory(configs)
    clusters: dict[str, list[Used]] = {}
    for used in configs.used:
        if used.block.context is TlsContext.CLUSTER and used.server.config.cluster_name:
            clusters.setdefault(used.server.config.cluster_name, []).append(used)
    for members in clusters.values():
        if len(members) >= _LEAST_TO_HEAR_OF:
            met = _met(directory, members)
            seeds = {url.host for each in members for url in each.server.config.routes}
            for used in members:
                if len(met[used.server.config.path]) < len(members) - 1:
                    yield from _unheard(configs, used, seeds)


def _met(directory: Directory, members: list[Used]) -> dict[str, set[str]]:
    """Return for each node the others with which it has a written route, in either direction."""
    met: dict[str, set[str]] = {each.server.config.path: set() for each in members}
    for used in members:
        for address in addresses(used.server):
            blocks = directory.reached(used.server, address).blocks
            if address.context is TlsContext.CLUSTER and len(blocks) == 1:
                pair = (used.server.config.path, blocks[0].server.config.path)
                for one, other in (pair, pair[::-1]):
                    if one != other and one in met:
                        met[one].add(other)
    return met


def _unheard(configs: ConfigScene, used: Used, seeds: set[str]) -> Iterator[Finding]:
    listener = used.server.config.listener(PortKind.CLUSTER)
    chain = configs.chain(used.block)
    if listener is None or listener.advertise or not chain or not chain[0].names:
        return
    told = ip_address(listener.host)
    known = told is not None and not told.is_unspecified
    by_address = covers(chain[0].names, listener.host) if known else bool(chain[0].ip_addresses)
    missing = sorted(each for each in seeds if not covers(chain[0].names, each))
    if not by_address and (missing or not seeds):
        name = f"the name of the seed, `{missing[0]}`" if missing else "a name of a seed"
        message = (
            f"peers that hear of it dial its address; its certificate has neither that nor {name}"
        )
        yield found(GOSSIP, used.subject, message, place=str(listener.place))


CHECKS = ((WRONG_NAME, names), (GOSSIP, gossip))
