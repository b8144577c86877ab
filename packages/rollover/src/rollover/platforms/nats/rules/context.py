"""What the rules look at: configurations, the facts of the files they name, who accepts whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import msgspec

from nats_config.server import ServerConfig
from nats_config.systemd_unit import CommandLine
from nats_config.tls import TlsBlock, TlsContext, TlsFile
from nats_config.tree import Tree
from rollover.fleet.certificate import (
    Accepts,
    Certificate,
    Fault,
    FaultKind,
    Question,
    Stack,
    Usage,
)
from rollover.fleet.names import Fingerprint
from rollover.pki.certificate import Signed, anatomy, check_signature
from rollover.pki.pem import PemReading
from rollover.rules.context import DEFAULT_EXPIRY_DAYS

MOST_CANDIDATES = 32
"""Certificates of one subject that are tried as the issuer of another one, likely ones first."""

_HOLDS = frozenset((Signed.GOOD, Signed.WEAK))


CLIENT_FACING = frozenset((TlsContext.TOP, TlsContext.WEBSOCKET, TlsContext.MQTT))
"""Blocks whose peers are clients, of any TLS stack; all others are dialled by nats-servers."""


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One file that a configuration names: what was found on the disk. It holds no key."""

    path: str
    problem: str = ""
    """Why it cannot be read: `No such file or directory`; empty when it could be."""
    denied: bool = False
    """It is there, and may not be read by whoever looks."""
    mode: int = 0
    """Permission bits, as of `chmod`."""
    reading: PemReading | None = None
    """Its certificates as a person sees them, with remarks; None when it holds none."""
    loaded: tuple[Certificate, ...] = ()
    """Those of them that nats-server loads."""
    damage: str = ""
    """Why it is no PEM file of certificates, where it should be one."""
    key_identity: str = ""
    """SHA-256 of the SPKI of the private key in it; empty when there is none that can be read."""
    ends_with_newline: bool = True


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration: typed, and as a tree. `running`: the tree that a live server has."""

    config: ServerConfig
    tree: Tree
    running: Tree | None = None

    @property
    def name(self) -> str:
        """What people call it: its server name, or its file."""
        return self.config.server_name or self.config.path


class RefusedConfig(NamedTuple):
    """A configuration that nats-server would not read: which one, where, why, and the remedy."""

    path: str
    place: str
    message: str
    hint: str


class UsedBlock(NamedTuple):
    """One `tls` block of one server."""

    server: Server
    block: TlsBlock

    @property
    def subject(self) -> str:
        """The name that findings carry: `n1 cluster.tls`."""
        return f"{self.server.name} {self.block.name}"

    def place(self, option: str = "") -> str:
        """Return where an option stands; the block itself where it is not written."""
        return str(self.block.places.get(option, self.block.place))


class ConfigContext:
    """Some configurations at one instant. Two or more are looked at as peers, too."""

    def __init__(
        self,
        servers: tuple[Server, ...],
        *,
        files: Mapping[str, FileFacts],
        accepts: Accepts,
        now: datetime,
        expires_within: timedelta = timedelta(days=DEFAULT_EXPIRY_DAYS),
        clients: tuple[tuple[Certificate, ...], ...] = (),
        refused: tuple[RefusedConfig, ...] = (),
        started: tuple[CommandLine, ...] = (),
    ) -> None:
        """`clients`: chains that clients are known to present, where somebody gave their files.

        `started`: how units start servers, likewise.
        """
        self.servers = servers
        self.refused = refused
        self.clients = clients
        self.started = started
        self.files = files
        self.accepts = accepts
        self.now = now
        self.expires_within = expires_within
        self._issuers: dict[Fingerprint, tuple[Certificate, ...]] = {}

    @cached_property
    def used(self) -> tuple[UsedBlock, ...]:
        """Every `tls` block of every server."""
        return tuple(
            UsedBlock(server, block) for server in self.servers for block in server.config.tls
        )

    def facts(self, file: TlsFile | None) -> FileFacts | None:
        """Return what is known of a file; None when the block names none."""
        return None if file is None else self.files.get(file.path)

    def certificates(self, file: TlsFile | None) -> tuple[Certificate, ...]:
        """Return the certificates that nats-server would load from a file, in their order."""
        facts = self.facts(file)
        return facts.loaded if facts is not None else ()

    def chain(self, block: TlsBlock) -> tuple[Certificate, ...]:
        """Return what a block presents: the first of its certificates, leaf first."""
        return self.certificates(block.certificates[0].cert_file) if block.certificates else ()

    def bundle(self, block: TlsBlock) -> tuple[Certificate, ...]:
        """Return what a block trusts; empty without a `ca_file`, which means the system's roots."""
        return self.certificates(block.ca_file)

    def all_certificates(self) -> Iterator[tuple[FileFacts, Certificate]]:
        """Yield every certificate of every file, each file once."""
        for facts in self.files.values():
            for certificate in facts.loaded:
                yield facts, certificate

    @cached_property
    def known(self) -> Mapping[Fingerprint, Certificate]:
        """Every certificate by its fingerprint."""
        return {certificate.fingerprint: certificate for _, certificate in self.all_certificates()}

    @cached_property
    def anchors(self) -> frozenset[Fingerprint]:
        """Every certificate that some block trusts as it stands."""
        return frozenset(
            certificate.fingerprint for used in self.used for certificate in self.bundle(used.block)
        )

    @cached_property
    def _by_subject(self) -> Mapping[bytes, list[Certificate]]:
        index: dict[bytes, list[Certificate]] = {}
        for certificate in self.known.values():
            index.setdefault(anatomy(certificate).raw_subject, []).append(certificate)
        return index

    def issuers(self, certificate: Certificate) -> tuple[Certificate, ...]:
        """Return the certificates of any file whose key signed this one; not itself."""
        cached = self._issuers.get(certificate.fingerprint)
        if cached is None:
            named = self._by_subject.get(anatomy(certificate).raw_issuer_name, [])
            wanted = certificate.authority_key_id
            # Key identifiers only order the candidates: the signature decides.
            likely = sorted(named, key=lambda candidate: candidate.subject_key_id != wanted)
            cached = tuple(
                candidate
                for candidate in likely[:MOST_CANDIDATES]
                if candidate.fingerprint != certificate.fingerprint
                and issued(certificate, candidate)
            )
            self._issuers[certificate.fingerprint] = cached
        return cached

    def path(self, chain: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """Return the leaf of a chain and the CAs above it, by the way that stays valid longest.

        It ends at a CA that some block trusts, at a root, or where no file holds the issuer. An
        expired cross-certificate that is served beside a good path is not on it, as for Go.
        """
        open_ends = [(chain[:1], _end_of_validity(chain[0]))]
        seen: set[Fingerprint] = set()
        while open_ends:
            best = max(open_ends, key=lambda open_end: open_end[1])
            open_ends.remove(best)
            path, valid = best
            last = path[-1]
            above = [issuer for issuer in self.issuers(last) if issuer.fingerprint not in seen]
            ended = len(path) > 1 and last.fingerprint in self.anchors
            if ended or last.self_signed or not self.issuers(last):
                return path
            seen.add(last.fingerprint)
            open_ends += [
                ((*path, certificate), min(valid, _end_of_validity(certificate)))
                for certificate in above
            ]
        return chain[:1]


def trusting(configs: ConfigContext) -> Iterator[tuple[UsedBlock, tuple[Certificate, ...]]]:
    """Yield every block that trusts a bundle, with it."""
    for used in configs.used:
        bundle = configs.bundle(used.block)
        if bundle:
            yield used, bundle


def issued(child: Certificate, parent: Certificate) -> bool:
    """Say whether the subject and the key of `parent` are those that issued `child`."""
    same_name = anatomy(child).raw_issuer_name == anatomy(parent).raw_subject
    return same_name and check_signature(anatomy(child), by=anatomy(parent)) in _HOLDS


def _end_of_validity(certificate: Certificate) -> float:
    return certificate.not_after.timestamp()


# What a party makes of a chain, asked of the verifier of its stack.

_FAULTS_OF_DATES = frozenset((FaultKind.EXPIRED, FaultKind.NOT_YET_VALID))


def faults_of(
    configs: ConfigContext,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
    stack: Stack = Stack.GO,
    presenter: Stack = Stack.GO,
) -> tuple[Fault, ...]:
    """Return why a party with this bundle refuses a chain."""
    question = Question(
        chain=tuple(certificate.fingerprint for certificate in chain),
        bundle=tuple(certificate.fingerprint for certificate in bundle),
        instant=configs.now,
        usage=usage,
        stack=stack,
        presenter=presenter,
    )
    return configs.accepts(question).faults


def lasting_refusal(
    configs: ConfigContext,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
) -> tuple[Fault, ...]:
    """Return why one nats-server refuses another one, but for dates, which other rules tell.

    Whom nobody would accept anyway need not be told that he would not even offer himself.
    """
    faults = faults_of(configs, chain, bundle, usage=usage)
    lasting = tuple(fault for fault in faults if fault.kind not in _FAULTS_OF_DATES)
    return tuple(fault for fault in lasting if fault.kind is not FaultKind.NOT_OFFERED) or lasting


def why_refused(
    configs: ConfigContext,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
) -> str:
    """Return in words why a nats-server refuses a chain; empty when it does not, or by age only."""
    faults = faults_of(configs, chain, bundle, usage=usage)
    return "; ".join(fault.detail for fault in faults if fault.kind is not FaultKind.EXPIRED)
