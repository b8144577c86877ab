"""Rules over pairs of configurations: would they let each other in, by name and by trust?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rollover.checks.configs.chains import WRONG_NAME, refused
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.addresses import Port, Url
from rollover.nats_config.tls import TlsBlock, TlsContext
from rollover.pki.names import covers

SCHISM = Rule(
    id=RuleId("peers-refuse-each-other"),
    severity=Severity.ERROR,
    title="Servers that dial each other trust each other",
    meaning="A chain that one configuration presents does not validate against the bundle of "
    "another one that it dials or that dials it.",
    why="The link may be up now; after the next reconnect it is gone for good.",
    example="Cluster B's certificate comes from another intermediate, and A trusts only the first.",
    remedy="Trust both CAs on every side first (`rollover bundle build`), then renew.",
    source="RFC 5280 §6; measured: gateways (0,0) on all nodes",
)


class _Dial(NamedTuple):
    """One URL of one configuration, with the blocks at both of its ends."""

    dialer: Used
    acceptor: Used
    url: Url


_PORTS = {
    TlsContext.CLUSTER: Port.CLUSTER,
    TlsContext.GATEWAY: Port.GATEWAY,
    TlsContext.LEAFNODES: Port.LEAFNODES,
}


def _dials(scene: ConfigScene) -> Iterator[_Dial]:
    """Yield what is dialled among these configurations, found by host and port or by port."""
    for server in scene.servers:
        for context, url, block in _urls(server):
            acceptor = _listening(scene, server, context, url)
            if acceptor is not None and block is not None:
                yield _Dial(Used(server, block), acceptor, url)


def _urls(server: Server) -> Iterator[tuple[TlsContext, Url, TlsBlock | None]]:
    config = server.config
    own = config.block(TlsContext.CLUSTER)
    for url in config.routes:
        yield TlsContext.CLUSTER, url, own
    for gateway in config.gateways:
        if gateway.name != config.gateway_name:
            for url in gateway.urls:
                yield TlsContext.GATEWAY, url, gateway.tls or config.block(TlsContext.GATEWAY)
    for remote in config.leaf_remotes:
        for url in remote.urls:
            yield TlsContext.LEAFNODES, url, remote.tls


def _listening(scene: ConfigScene, dialer: Server, context: TlsContext, url: Url) -> Used | None:
    """Return who listens there: by its port, and by its host where two have the same port."""
    candidates = [
        (server, listener)
        for server in scene.servers
        if server is not dialer
        and (listener := server.config.listener(_PORTS[context])) is not None
        and listener.port == url.port
    ]
    exact = [each for each in candidates if url.host in (each[1].host, each[1].advertise)]
    chosen = exact or (candidates if len(candidates) == 1 else [])
    for server, _ in chosen:
        block = server.config.block(context)
        if block is not None:
            return Used(server, block)
    return None


def wrong_name(scene: ConfigScene) -> Iterator[Finding]:
    """Yield addresses that the certificate of whoever listens there does not have."""
    for dial in _dials(scene):
        chain = scene.chain(dial.acceptor.block)
        if not chain or dial.dialer.block.insecure or not chain[0].names:
            continue
        if not covers(chain[0].names, dial.url.host):
            message = f"`{dial.url.host}` is not in the certificate of {dial.acceptor.subject}"
            yield found(WRONG_NAME, dial.dialer.subject, message, place=str(dial.url.place))


def schism(scene: ConfigScene) -> Iterator[Finding]:
    """Yield pairs of which one refuses the other."""
    told: set[tuple[str, str, str]] = set()
    for dial in _dials(scene):
        one, other = dial.dialer, dial.acceptor
        halves = [(one, other, Usage.SERVER)] if not one.block.insecure else []
        if other.block.demands_certificate:
            halves.append((other, one, Usage.CLIENT))
        for verifier, presenter, usage in halves:
            chain, bundle = scene.chain(presenter.block), scene.bundle(verifier.block)
            key = (verifier.subject, presenter.subject, usage.value)
            if not chain or not bundle or key in told:
                continue
            why = refused(scene, chain, bundle, usage=usage)
            if why:
                told.add(key)
                message = f"refuses {presenter.subject}: {why}"
                place = verifier.place("ca_file")
                yield found(SCHISM, verifier.subject, message, place=place)


CHECKS = (
    (WRONG_NAME, wrong_name),
    (SCHISM, schism),
)
