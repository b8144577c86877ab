"""Rules over pairs of configurations: would they let each other in, by name and by trust?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rollover.checks.configs.chains import refused
from rollover.checks.configs.roles import WRONG_NAME
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.addresses import Listener, Port, Url
from rollover.nats_config.tls import FORCED, TlsBlock, TlsContext
from rollover.pki.names import covers, ip_address

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


NOTHING_SHOWN = Rule(
    id=RuleId("dialer-without-certificate"),
    severity=Severity.ERROR,
    title="Who is asked for a certificate has one",
    meaning="A remote dials a server that demands certificates, and its block names none.",
    why="The handshake fails: `tls: client didn't provide a certificate`.",
    example="`leafnodes { remotes: [{ url: tls://hub:7422 }] }`, and the hub has `verify: true`.",
    remedy="Give the remote a `tls` block with `cert_file`, `key_file` and `ca_file`.",
    source="nats-server leaf node documentation; measured",
)
NOT_PINNED = Rule(
    id=RuleId("peer-not-pinned"),
    severity=Severity.ERROR,
    title="Pins hold the keys of all peers",
    meaning="A block pins keys, and the key of a peer among these configurations is not one.",
    why="The peer is refused at its next handshake, whatever its CA; a reload on 2.15.1 cuts it "
    "off at once.",
    example="Node 3 was renewed with a new key, and nobody added its pin.",
    remedy="Add the SHA-256 of the public key of every peer, or trust a CA instead of pins.",
    source="Measured on nats-server 2.15.1",
)


class _Dial(NamedTuple):
    """One party that dials and one that it reaches; `block` is None for a remote without one."""

    dialer: Used | None
    subject: str
    acceptor: Used
    place: str


_PORTS = {
    TlsContext.TOP: Port.CLIENT,
    TlsContext.CLUSTER: Port.CLUSTER,
    TlsContext.GATEWAY: Port.GATEWAY,
    TlsContext.LEAFNODES: Port.LEAFNODES,
    TlsContext.WEBSOCKET: Port.WEBSOCKET,
    TlsContext.MQTT: Port.MQTT,
}


class _Written(NamedTuple):
    """A URL in a configuration, for whom it is, and the block that dials it."""

    context: TlsContext
    url: Url
    block: TlsBlock | None
    gateway: str = ""


def _urls(server: Server) -> Iterator[_Written]:
    config = server.config
    own = config.block(TlsContext.CLUSTER)
    for url in config.routes:
        yield _Written(TlsContext.CLUSTER, url, own)
    for gateway in config.gateways:
        if gateway.name != config.gateway_name:
            block = gateway.tls or config.block(TlsContext.GATEWAY)
            for url in gateway.urls:
                yield _Written(TlsContext.GATEWAY, url, block, gateway.name)
    for remote in config.leaf_remotes:
        for url in () if remote.disabled else remote.urls:
            yield _Written(TlsContext.LEAFNODES, url, remote.tls)


def _listening(scene: ConfigScene, dialer: Server, written: _Written) -> list[Used]:
    """Return who may listen there: by host and port; by port alone where hosts are not told."""
    candidates = [
        (Used(server, block), listener)
        for server in scene.servers
        if server is not dialer
        and (listener := server.config.listener(_PORTS[written.context])) is not None
        and (block := server.config.block(written.context)) is not None
        and listener.port == written.url.port
        and _same_side(dialer, server, written)
    ]
    exact = [used for used, listener in candidates if _at(listener, written.url.host)]
    return exact or [used for used, listener in candidates if _anywhere(listener)]


def _same_side(dialer: Server, other: Server, written: _Written) -> bool:
    """Say whether a server can be meant: a route stays in its cluster, a gateway has a name."""
    names = (dialer.config.cluster_name, other.config.cluster_name)
    if written.context is TlsContext.CLUSTER:
        return not all(names) or names[0] == names[1]
    if written.context is TlsContext.GATEWAY and written.gateway:
        return other.config.gateway_name == written.gateway
    return True


def _at(listener: Listener, host: str) -> bool:
    advertised = listener.advertise.rpartition(":")[0] or listener.advertise
    return host in (listener.host, advertised)


def _anywhere(listener: Listener) -> bool:
    return listener.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _dials(scene: ConfigScene) -> Iterator[_Dial]:
    """Yield who reaches whom: by what is written, and by what servers tell each other."""
    for server in scene.servers:
        for written in _urls(server):
            found_here = _listening(scene, server, written)
            # A leaf node joins whoever answers: with several candidates nobody is meant for sure.
            if written.context is TlsContext.LEAFNODES and len(found_here) > 1:
                continue
            for acceptor in found_here:
                dialer = Used(server, written.block) if written.block is not None else None
                subject = dialer.subject if dialer else f"{server.name} remote"
                yield _Dial(dialer, subject, acceptor, str(written.url.place))
        yield from _gossiped(scene, server)


def _gossiped(scene: ConfigScene, server: Server) -> Iterator[_Dial]:
    """Yield the peers of which a server hears: its cluster, and the gateways of its supercluster.

    A gateway that the configuration names is dialled with the block of that remote.
    """
    config = server.config
    for other in scene.servers:
        peer = other.config
        if other is server:
            continue
        remote = next((each for each in config.gateways if each.name == peer.gateway_name), None)
        pairs = (
            (TlsContext.CLUSTER, config.cluster_name, config.cluster_name == peer.cluster_name),
            (
                TlsContext.GATEWAY,
                config.gateway_name and peer.gateway_name,
                config.gateway_name != peer.gateway_name,
            ),
        )
        for context, named, met in pairs:
            own, theirs = config.block(context), peer.block(context)
            if context is TlsContext.GATEWAY and remote is not None:
                own = remote.tls or own
            if named and met and own is not None and theirs is not None:
                dialer = Used(server, own)
                yield _Dial(dialer, dialer.subject, Used(other, theirs), dialer.place("ca_file"))


def wrong_name(scene: ConfigScene) -> Iterator[Finding]:
    """Yield addresses that the certificate of whoever listens there does not have."""
    for server in scene.servers:
        for written in _urls(server):
            block, host = written.block, written.url.host
            if block is not None and block.insecure:
                continue
            reached = _listening(scene, server, written)
            leaves = [chain[0] for used in reached if (chain := scene.chain(used.block))]
            named = [leaf for leaf in leaves if leaf.names]
            if named and not any(covers(leaf.names, host) for leaf in named):
                subject = Used(server, block).subject if block is not None else server.name
                message = f"`{host}` is not in the certificate of {reached[0].subject}"
                yield found(WRONG_NAME, subject, message, place=str(written.url.place))
    yield from _advertised(scene)


def _advertised(scene: ConfigScene) -> Iterator[Finding]:
    """Yield addresses that servers tell others and that their own certificate does not have.

    A warning only: peers fall back on the name that they dialled first where it is an address.
    """
    for used in scene.used:
        port = _PORTS.get(used.block.context)
        listener = used.server.config.listener(port) if port is not None else None
        chain = scene.chain(used.block)
        if listener is None or not listener.advertise or not chain or not chain[0].names:
            continue
        host = listener.advertise
        if ip_address(host) is None and host.rpartition(":")[2].isdigit():
            host = host.rpartition(":")[0]
        if host and not covers(chain[0].names, host):
            message = f"`{host}` is advertised, and is not in the certificate"
            place, severity = str(listener.place), Severity.WARNING
            yield found(WRONG_NAME, used.subject, message, place=place, severity=severity)


class _Half(NamedTuple):
    """One direction of a handshake."""

    verifier: Used
    presenter: Used
    usage: Usage

    @property
    def key(self) -> tuple[str, str, Usage]:
        """What makes it the same half, however it was found."""
        return self.verifier.subject, self.presenter.subject, self.usage


def _halves(scene: ConfigScene) -> Iterator[_Half]:
    """Yield every direction in which one of these servers judges another one, once."""
    seen: set[tuple[str, str, Usage]] = set()
    for dial in _dials(scene):
        if dial.dialer is None:
            continue
        halves = [_Half(dial.dialer, dial.acceptor, Usage.SERVER)]
        if dial.acceptor.block.demands_certificate:
            halves.append(_Half(dial.acceptor, dial.dialer, Usage.CLIENT))
        for half in halves:
            if half.key not in seen:
                seen.add(half.key)
                yield half


def schism(scene: ConfigScene) -> Iterator[Finding]:
    """Yield pairs of which one refuses the other."""
    for half in _halves(scene):
        if half.usage is Usage.SERVER and half.verifier.block.insecure:
            continue
        chain, bundle = scene.chain(half.presenter.block), scene.bundle(half.verifier.block)
        if not chain or not bundle:
            continue
        why = refused(scene, chain, bundle, usage=half.usage)
        if why:
            message = f"refuses {half.presenter.subject}: {why}"
            place = half.verifier.place("ca_file")
            yield found(SCHISM, half.verifier.subject, message, place=place)


def not_pinned(scene: ConfigScene) -> Iterator[Finding]:
    """Yield peers whose key is not among the pins of whoever judges them."""
    for half in _halves(scene):
        block = half.verifier.block
        chain = scene.chain(half.presenter.block)
        # A remote's own pins have no effect, as a dialer the main block's count.
        judges = block.context in FORCED or half.usage is Usage.CLIENT
        if judges and block.pinned_certs and chain and _key(chain) not in block.pinned_certs:
            message = f"the key of {half.presenter.subject} is not pinned: `{_key(chain)}`"
            place = half.verifier.place("pinned_certs")
            yield found(NOT_PINNED, half.verifier.subject, message, place=place)


def _key(chain: tuple[Certificate, ...]) -> str:
    return chain[0].key_identity.lower()


def nothing_shown(scene: ConfigScene) -> Iterator[Finding]:
    """Yield remotes without a certificate that dial servers which demand one."""
    told: set[tuple[str, str]] = set()
    for dial in _dials(scene):
        presents = dial.dialer is not None and dial.dialer.block.certificates
        key = (dial.subject, dial.acceptor.subject)
        if dial.acceptor.block.demands_certificate and not presents and key not in told:
            told.add(key)
            message = f"has no certificate to show, and {dial.acceptor.subject} demands one"
            yield found(NOTHING_SHOWN, dial.subject, message, place=dial.place)


CHECKS = (
    (WRONG_NAME, wrong_name),
    (SCHISM, schism),
    (NOT_PINNED, not_pinned),
    (NOTHING_SHOWN, nothing_shown),
)
