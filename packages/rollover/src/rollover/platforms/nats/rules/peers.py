"""Rules over peers: would servers and clients let each other in, by trust, names, pins and curves?

Peers that are judged alike are judged once, so that what many configurations cost grows with their
number and not with the number of their pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from nats_config.server import PortKind
from nats_config.tls import ALWAYS_VERIFIED, TlsContext
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.names import RuleId
from rollover.pki.names import covers, ip_address
from rollover.platforms.nats.rules.context import (
    CLIENT_FACING,
    ConfigContext,
    Server,
    UsedBlock,
    faults_of,
    lasting_refusal,
)
from rollover.platforms.nats.rules.peer_pairs import (
    MOST_NAMED,
    PORTS,
    Crowd,
    DialledAddress,
    Directory,
    PeerPairs,
    blocks_by_name,
    dialled_addresses,
    peer_pairs,
)
from rollover.rules.rule import Finding, Rule, Severity, found

# Servers: would these let each other in, by trust, by pins, by curves?

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


NOTHING_PRESENTED = Rule(
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
NOTHING_SHARED = Rule(
    id=RuleId("nothing-shared"),
    severity=Severity.ERROR,
    title="Peers have a curve in common",
    meaning="Two servers that talk over routes or gateways share no curve. Cipher suites cannot "
    "keep them apart: they meet in TLS 1.3, whose suites are not configured.",
    why="Every handshake between them fails.",
    example="One has `curve_preferences: [X25519]`, the other one `[CurveP384]`.",
    remedy="Use the same settings on all servers, best none.",
    source="RFC 8446 §4.1.1",
)

_DEFAULT_CURVES = frozenset(
    (
        "X25519MLKEM768",
        "P384MLKEM1024",
        "P256MLKEM768",
        "X25519",
        "CURVEP256",
        "CURVEP384",
        "CURVEP521",
    )
)


KindT = TypeVar("KindT", bound=Hashable)


class _Half(NamedTuple):
    """One direction of the handshakes between peers: who judges whom."""

    pairs: PeerPairs
    judges: tuple[UsedBlock, ...]
    shown: tuple[UsedBlock, ...]
    usage: Usage


def _halves(configs: ConfigContext) -> Iterator[_Half]:
    """Yield every direction in which some of these servers judge others."""
    for pairs in peer_pairs(configs):
        dialers = tuple(
            UsedBlock(dialer.server, dialer.block) for dialer in pairs.dialers if dialer.block
        )
        verifying = tuple(dialer for dialer in dialers if not dialer.block.insecure)
        yield _Half(pairs, verifying, pairs.acceptors, Usage.SERVER)
        demanding = tuple(
            acceptor for acceptor in pairs.acceptors if acceptor.block.demands_certificate
        )
        yield _Half(pairs, demanding, dialers, Usage.CLIENT)


def _alike(
    blocks: Iterable[UsedBlock], kind: Callable[[UsedBlock], KindT]
) -> dict[KindT, list[UsedBlock]]:
    """Return blocks by what they are judged by; without those that have nothing of the kind."""
    gathered: dict[KindT, list[UsedBlock]] = {}
    for block in blocks:
        gathered.setdefault(kind(block), []).append(block)
    return {known: members for known, members in gathered.items() if known}


class PeerRefusal(NamedTuple):
    """One pair of blocks of which the first one refuses the second one."""

    judge: str
    peer: str
    why: str


def peer_refusals(configs: ConfigContext) -> Iterator[PeerRefusal]:
    """Yield every pair in which one refuses the other; of many that is a lot."""
    for half in _halves(configs):
        for bundle, judges in _alike(half.judges, lambda used: configs.bundle(used.block)).items():
            causes = _causes(configs, half, bundle)
            for judge in judges:
                side = half.pairs.side(judge.server)
                for why, crowd in causes:
                    for peer in crowd.but(side):
                        yield PeerRefusal(judge.subject, peer.subject, why)


def schism(configs: ConfigContext) -> Iterator[Finding]:
    """Yield who refuses others, once for each reason."""
    reported: set[tuple[str, str]] = set()
    for half in _halves(configs):
        for bundle, judges in _alike(half.judges, lambda used: configs.bundle(used.block)).items():
            causes = _causes(configs, half, bundle)
            for judge in judges:
                for why, crowd in causes:
                    peers = crowd.describe_others(half.pairs.side(judge.server))
                    message = f"refuses {peers}: {why}"
                    if peers and (judge.subject, message) not in reported:
                        reported.add((judge.subject, message))
                        yield found(SCHISM, judge.subject, message, place=judge.place("ca_file"))


def _causes(
    configs: ConfigContext, half: _Half, bundle: tuple[Certificate, ...]
) -> list[tuple[str, Crowd]]:
    """Return why a bundle refuses peers, and whom for each reason."""
    reasons: dict[Hashable, str] = {}
    peers: dict[Hashable, list[UsedBlock]] = {}
    for chain, shown in _alike(half.shown, lambda used: configs.chain(used.block)).items():
        faults = lasting_refusal(configs, chain, bundle, usage=half.usage)
        if faults:
            # One reason for all chains of an issuer: the details differ in names and dates only.
            cause = (chain[-1].issuer_name, tuple(fault.kind for fault in faults))
            reasons.setdefault(cause, "; ".join(fault.detail for fault in faults))
            peers.setdefault(cause, []).extend(shown)
    return [(why, Crowd(half.pairs, peers[cause])) for cause, why in reasons.items()]


def not_pinned(configs: ConfigContext) -> Iterator[Finding]:
    """Yield peers whose key is not among the pins of whoever judges them."""
    reported: set[tuple[str, str]] = set()
    for half in _halves(configs):
        # A remote's own pins have no effect, as a dialer the main block's count.
        judging = [used for used in half.judges if used.block.context in ALWAYS_VERIFIED]
        judging = list(half.judges) if half.usage is Usage.CLIENT else judging
        for pins, judges in _alike(judging, lambda used: used.block.pinned_certs).items():
            keyed = _alike(half.shown, lambda used: _key_of(configs, used))
            strange = [peer for key, peers in keyed.items() if key not in pins for peer in peers]
            crowd = Crowd(
                half.pairs,
                strange,
                named=lambda used: f"{used.subject} (`{_key_of(configs, used)}`)",
            )
            for judge in judges:
                peers = crowd.describe_others(half.pairs.side(judge.server))
                message = f"pins no key of {peers}"
                if peers and (judge.subject, message) not in reported:
                    reported.add((judge.subject, message))
                    place = judge.place("pinned_certs")
                    yield found(NOT_PINNED, judge.subject, message, place=place)


def _key_of(configs: ConfigContext, used: UsedBlock) -> str:
    chain = configs.chain(used.block)
    return chain[0].key_identity.lower() if chain else ""


def nothing_presented(configs: ConfigContext) -> Iterator[Finding]:
    """Yield remotes without a certificate that dial servers which demand one."""
    reported: set[tuple[str, str]] = set()
    for pairs in peer_pairs(configs):
        demanding = (acceptor for acceptor in pairs.acceptors if acceptor.block.demands_certificate)
        crowd = Crowd(pairs, demanding)
        for dialer in pairs.dialers:
            if dialer.block is not None and dialer.block.certificates:
                continue
            peers = crowd.describe_others(pairs.side(dialer.server))
            if peers and (dialer.subject, peers) not in reported:
                reported.add((dialer.subject, peers))
                message = f"has no certificate to show; asked for one by {peers}"
                yield found(NOTHING_PRESENTED, dialer.subject, message, place=dialer.place)


def nothing_shared(configs: ConfigContext) -> Iterator[Finding]:
    """Yield servers whose cluster or gateway blocks have no curve in common.

    Suites are no reason: servers of today meet in TLS 1.3, for which Go takes no list.
    """
    for pairs in peer_pairs(configs):
        blocks = (
            acceptor for acceptor in pairs.acceptors if acceptor.block.context in ALWAYS_VERIFIED
        )
        kinds = _alike(blocks, _curves)
        for curves, members in kinds.items():
            others = [
                peer for theirs, peers in kinds.items() if not curves & theirs for peer in peers
            ]
            crowd = Crowd(pairs, others)
            for used in members:
                peers = crowd.describe_others(pairs.side(used.server))
                if peers:
                    place = used.place("curve_preferences")
                    message = f"shares no curve with {peers}"
                    yield found(NOTHING_SHARED, used.subject, message, place=place)


def _curves(used: UsedBlock) -> frozenset[str]:
    named = frozenset(curve.upper() for curve in used.block.curve_preferences)
    return named or _DEFAULT_CURVES


CHECKS = (
    (SCHISM, schism),
    (NOT_PINNED, not_pinned),
    (NOTHING_PRESENTED, nothing_presented),
    (NOTHING_SHARED, nothing_shared),
)


# Addresses: do those that are dialled and advertised stand in the certificates?

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


def _names_dialled(configs: ConfigContext) -> Iterator[Finding]:
    """Yield addresses that the certificate of whoever listens there does not have."""
    directory = Directory(configs)
    for server in configs.servers:
        for address in dialled_addresses(server):
            if address.block is None or not address.block.insecure:
                yield from _not_covered(directory, server, address)


def _not_covered(
    directory: Directory, server: Server, address: DialledAddress
) -> Iterator[Finding]:
    reached, host = directory.reached(server, address), address.url.host
    if reached.with_names and not reached.covers(host):
        subject = UsedBlock(server, address.block).subject if address.block else server.name
        message = f"`{host}` is not in the certificate of {reached.blocks[0].subject}"
        yield found(WRONG_NAME, subject, message, place=str(address.url.place))


def _names_advertised(configs: ConfigContext) -> Iterator[Finding]:
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


def names_not_covered(configs: ConfigContext) -> Iterator[Finding]:
    """Yield addresses, dialled or advertised, that no certificate has."""
    yield from _names_dialled(configs)
    yield from _names_advertised(configs)


def gossip(configs: ConfigContext) -> Iterator[Finding]:
    """Yield nodes that peers learn of from others, and could not verify."""
    directory = Directory(configs)
    for members in blocks_by_name(configs, TlsContext.CLUSTER).values():
        if len(members) >= _LEAST_TO_HEAR_OF:
            met = _met(directory, members)
            seeds = {url.host for member in members for url in member.server.config.routes}
            for used in members:
                if len(met[used.server.config.path]) < len(members) - 1:
                    yield from _unheard(configs, used, seeds)


def _met(directory: Directory, members: list[UsedBlock]) -> dict[str, set[str]]:
    """Return for each node the others with which it has a written route, in either direction."""
    met: dict[str, set[str]] = {member.server.config.path: set() for member in members}
    for used in members:
        for address in dialled_addresses(used.server):
            blocks = directory.reached(used.server, address).blocks
            if address.context is TlsContext.CLUSTER and len(blocks) == 1:
                ends = (used.server.config.path, blocks[0].server.config.path)
                for node, other in (ends, ends[::-1]):
                    if node != other and node in met:
                        met[node].add(other)
    return met


def _unheard(configs: ConfigContext, used: UsedBlock, seeds: set[str]) -> Iterator[Finding]:
    listener = used.server.config.listener(PortKind.CLUSTER)
    chain = configs.chain(used.block)
    if listener is None or listener.advertise or not chain or not chain[0].names:
        return
    address = ip_address(listener.host)
    known = address is not None and not address.is_unspecified
    by_address = covers(chain[0].names, listener.host) if known else bool(chain[0].ip_addresses)
    missing = sorted(seed for seed in seeds if not covers(chain[0].names, seed))
    if not by_address and (missing or not seeds):
        name = f"the name of the seed, `{missing[0]}`" if missing else "a name of a seed"
        message = (
            f"peers that hear of it dial its address; its certificate has neither that nor {name}"
        )
        yield found(GOSSIP, used.subject, message, place=str(listener.place))


ADDRESS_CHECKS = ((WRONG_NAME, names_not_covered), (GOSSIP, gossip))


# Clients: does a port let those in whose certificates are given, and as whom?

REFUSED_CLIENT = Rule(
    id=RuleId("client-refused"),
    severity=Severity.ERROR,
    title="Ports let the clients in whose certificates are given",
    meaning="The chain of a client (`--client`) does not validate against the `ca_file` of a port "
    "that demands certificates.",
    why="The client's next handshake with it fails, however long its connection has been open.",
    example="The client's certificate comes from the new CA, and one server trusts the old one "
    "only.",
    remedy="Add the CA of the client to that `ca_file`, or give the client a certificate of a CA "
    "that stands in it.",
    source="RFC 5280 §6; measured",
)
MAPPED_NOBODY = Rule(
    id=RuleId("mapped-user-without-certificate"),
    severity=Severity.WARNING,
    title="Every user of `verify_and_map` can be what a certificate says",
    meaning="With `verify_and_map` a user's name has to be an e-mail address, DNS name, URI or "
    "subject of a certificate; this one is none of them, or none of the clients that were given, "
    "and has no password.",
    why="Nobody can be that user.",
    example="`users: [ { user: '/CN=app/O=Acme' } ]`: the server compares `CN=app,O=Acme`.",
    remedy="Name the user as the certificate does: `CN=app,O=Acme` or `app@acme.example`.",
    source="nats-server: e-mail, then DNS name, then URI, then subject (checkClientTLSCertSubject)",
)
NOBODY = Rule(
    id=RuleId("mapped-certificate-without-user"),
    severity=Severity.ERROR,
    title="Every client of `verify_and_map` is a user",
    meaning="No name in the certificate of a client (`--client`) is that of a user: none of its "
    "e-mail addresses, DNS names, URIs, nor its subject.",
    why="The handshake succeeds and the server then refuses the client: `Authorization Violation`.",
    example="The new CA's profile writes another organization into the subject.",
    remedy="Issue it with the name that the user has, or add a user of the new name first.",
    source="nats-server, checkClientTLSCertSubject; measured on 2.15.1",
)
_MAPPING = CLIENT_FACING | {TlsContext.LEAFNODES}
_NKEY_LENGTH = 56
"""Of a public user key: `U`, then base32 (github.com/nats-io/nkeys)."""


def refused_clients(configs: ConfigContext) -> Iterator[Finding]:
    """Yield clients whom a port refuses; an error when every port does."""
    ports = [
        used
        for used in configs.used
        if used.block.context in CLIENT_FACING
        and used.block.demands_certificate
        and configs.bundle(used.block)
    ]
    for chain in configs.clients:
        refusing: dict[str, list[UsedBlock]] = {}
        for used in ports:
            # Clients of other languages than Go send what they have, whatever is advertised.
            faults = faults_of(
                configs,
                chain,
                configs.bundle(used.block),
                usage=Usage.CLIENT,
                presenter=Stack.OPENSSL,
            )
            why = "; ".join(fault.detail for fault in faults)
            if why:
                refusing.setdefault(why, []).append(used)
        everywhere = sum(map(len, refusing.values())) == len(ports)
        severity = None if everywhere else Severity.WARNING
        for why, blocks in refusing.items():
            place = blocks[0].place("ca_file")
            message = f"refused by {_some_blocks(blocks)}: {why}"
            yield found(REFUSED_CLIENT, chain[0].subject, message, place=place, severity=severity)


def _some_blocks(blocks: list[UsedBlock]) -> str:
    more = len(blocks) - MOST_NAMED
    names = ", ".join(block.subject for block in blocks[:MOST_NAMED])
    return names + (f" and {more} more" if more > 0 else "")


def _maps(server: Server) -> bool:
    return any(block.verify_and_map and block.context in _MAPPING for block in server.config.tls)


def mapped_nobody(configs: ConfigContext) -> Iterator[Finding]:
    """Yield users whom no certificate can name, or none of the clients that were given."""
    for server in filter(_maps, configs.servers):
        for user in server.config.accounts.users:
            # These log in with something else than a certificate.
            if user.has_password or _is_nkey(user.name):
                continue
            if not _nameable(user.name):
                message = f"user `{user.name}` is no address, name, URI or subject"
            elif configs.clients and not any(
                _is_user(chain[0], user.name) for chain in configs.clients
            ):
                message = f"no client that was given is user `{user.name}`"
            else:
                continue
            yield found(MAPPED_NOBODY, server.name, message, place=str(user.place))


def nobody(configs: ConfigContext) -> Iterator[Finding]:
    """Yield clients who are no user of any server that maps certificates to users."""
    mapping = [
        server for server in configs.servers if _maps(server) and server.config.accounts.users
    ]
    names = {user.name for server in mapping for user in server.config.accounts.users}
    for chain in configs.clients if mapping else ():
        if not any(_is_user(chain[0], name) for name in names):
            used = next(
                UsedBlock(mapping[0], block)
                for block in mapping[0].config.tls
                if block.verify_and_map
            )
            leaf = chain[0]
            held = (*leaf.emails, *leaf.dns_names, *leaf.uris, leaf.subject)
            some = ", ".join(f"`{name}`" for name in held[: MOST_NAMED + 1])
            message = f"no user is named as this certificate is: {some}"
            place = used.place("verify_and_map")
            yield found(NOBODY, chain[0].subject, message, place=place)


def _is_nkey(name: str) -> bool:
    return len(name) == _NKEY_LENGTH and name.startswith("U") and name.isupper()


def _nameable(name: str) -> bool:
    """Say whether a certificate can hold the text: nats-server wants subjects with commas."""
    if name.startswith("/") or name != name.strip():
        return False
    return "=" in name or not any(letter.isspace() for letter in name)


def _is_user(certificate: Certificate, name: str) -> bool:
    names = (*certificate.emails, *certificate.dns_names, *certificate.uris)
    # nats-server compares subjects as sets of attributes, in whatever order they are written.
    parts = sorted(part.strip() for part in name.split(","))
    return name in names or parts == sorted(certificate.subject.split(","))


CLIENT_CHECKS = (
    (REFUSED_CLIENT, refused_clients),
    (MAPPED_NOBODY, mapped_nobody),
    (NOBODY, nobody),
)
