"""What the director's NATS shows to fresh handshakes and lists, held against what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from rollover.errors import AdapterError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Fact, Identity
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import Fingerprint, short
from rollover.pki.certificate import anatomy
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls
from rollover.probe.handshake import ClientVerdict, Handshake, probe, rfc4514
from rollover.probe.identity import ClientIdentity as Presentable
from rollover.probe.monitoring import Monitor
from rollover.probe.server_views import ConnectionView
from rollover.probe.stream import Contexts
from rollover.probe.target import Port, Target

TIMEOUT_SECONDS = 5.0
AT_ONCE = 8
BY_HANDSHAKE, BY_CONNZ = "handshake", "connz"
_CLIENTS = (NatsPart.DIRECTOR, NatsPart.HEALTH_MONITOR)
_OPPOSITE = {True: ClientVerdict.REFUSED, False: ClientVerdict.ACCEPTED}
"""The verdict that contradicts an identity's CA being trusted, or not."""


class NatsDial(NamedTuple):
    """One handshake, and as whom."""

    identity: Identity | None
    handshake: Handshake


class ObservedNats(NamedTuple):
    """What was seen from outside. `clients`: certificates and subjects of live connections."""

    dials: tuple[NatsDial, ...]
    clients: tuple[tuple[str, Fingerprint], ...] = ()

    @property
    def presented(self) -> tuple[Certificate, ...]:
        """The chain that NATS presents; empty when it does not answer."""
        chains = (tuple(dict.fromkeys(dial.handshake.presented)) for dial in self.dials)
        return next((chain for chain in chains if chain), ())

    @property
    def advertised(self) -> tuple[bytes, ...] | None:
        """The subjects of the CAs that it accepts (DER); None when it did not say."""
        return next(
            (dial.handshake.advertised_der for dial in self.dials if dial.handshake.presented), None
        )

    @property
    def silence(self) -> str:
        """Why it showed no certificate; empty when it did."""
        if self.presented or not self.dials:
            return ""
        shown = self.dials[0].handshake
        return f"{shown.address}: {shown.detail or shown.failure.value or 'it presents nothing'}"


def dial_nats(
    address: str, identities: Iterable[Identity], *, contexts: Contexts | None = None
) -> tuple[NatsDial, ...]:
    """Dial NATS afresh with each identity; with none, once without."""
    kept = contexts or Contexts()
    target = Target(address=address, port=Port.CLIENT)

    def call(identity: Identity | None) -> NatsDial:
        shown = probe(
            target,
            identity=(
                Presentable.from_pem(
                    write_certificates(identity.chain), identity.key.reveal(), place=identity.label
                )
                if identity is not None
                else None
            ),
            timeout_seconds=TIMEOUT_SECONDS,
            contexts=kept,
        )
        return NatsDial(identity, shown)

    everybody: Sequence[Identity | None] = tuple(identities) or (None,)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="nats") as pool:
        return tuple(pool.map(call, everybody))


def listed_connections(monitor: Monitor | None) -> tuple[ConnectionView, ...]:
    """Return the live connections; none when they cannot be listed."""
    try:
        return monitor.connections() if monitor is not None else ()
    except AdapterError:
        return ()


def client_certificates(views: Iterable[ConnectionView]) -> tuple[tuple[str, Fingerprint], ...]:
    """Return subject and certificate of every connection that presents one."""
    return tuple(
        (view.tls_peer_certs[0].subject, Fingerprint(view.tls_peer_certs[0].cert_sha256.lower()))
        for view in views
        if view.tls_peer_certs
    )


def contradiction(tls: NatsTls, shown: ObservedNats, *, at: datetime) -> str:
    """Say what was seen that cannot be with these properties; empty when all of it can."""
    return next(_contradictions(tls, shown, at), "")


def _contradictions(tls: NatsTls, shown: ObservedNats, at: datetime) -> Iterator[str]:
    server = tls.pairs[NatsPart.SERVER].chain
    if shown.presented and shown.presented != server:
        yield (
            f"NATS presents {short(shown.presented[0].fingerprint)}, "
            f"not {short(server[0].fingerprint)}"
        )
    if shown.advertised is not None and shown.advertised != advertised_names(tls.bundle):
        yield f"NATS names {_named(shown.advertised)}, not {_named(advertised_names(tls.bundle))}"
    for dial in shown.dials:
        if dial.identity is None or not unexpired(dial.identity, tls.bundle, at=at):
            continue
        trusted = dial.identity.issuer in {authority.fingerprint for authority in tls.bundle}
        # A verdict that is neither says nothing for or against.
        if dial.handshake.client_verdict is _OPPOSITE[trusted]:
            verb = "turns away" if trusted else "lets in"
            yield f"NATS {verb} {dial.identity.label}"
    for part in _CLIENTS:
        yield from _wrong_client(part, tls.pairs[part].chain[0], shown)


def _wrong_client(part: NatsPart, leaf: Certificate, shown: ObservedNats) -> Iterator[str]:
    """Yield that a job of the director VM is connected, and never with the certificate it has."""
    name = common_name(leaf)
    own = {found for subject, found in shown.clients if f"CN={name}" in subject.split(",")}
    if name and own and leaf.fingerprint not in own:
        seen = ", ".join(sorted(map(short, own)))
        yield f"`{part}` is connected with {seen}, not {short(leaf.fingerprint)}"


def common_name(certificate: Certificate) -> str:
    """Return the CN of a subject; empty when it has none."""
    parts = (part for part in certificate.subject.split(",") if part.startswith("CN="))
    return next(parts, "CN=").removeprefix("CN=")


def unexpired(identity: Identity, bundle: Iterable[Certificate], *, at: datetime) -> bool:
    """Say whether nothing has expired of an identity, and of its CA as far as that is known."""
    issuers = [authority for authority in bundle if authority.fingerprint == identity.issuer]
    return all(
        certificate.not_before <= at <= certificate.not_after
        for certificate in (*identity.chain, *issuers)
    )


def advertised_names(bundle: Iterable[Certificate]) -> tuple[bytes, ...]:
    """Return what nats-server advertises for a bundle: each subject, in order (DER)."""
    return tuple(anatomy(authority).raw_subject for authority in dict.fromkeys(bundle))


def _named(advertised: Sequence[bytes]) -> str:
    return " and ".join(f"`{rfc4514(data)}`" for data in advertised) or "no CA"


# Evidence.


def dial_evidence(
    subject: EndpointRef,
    dials: Sequence[NatsDial],
    *,
    refused: Sequence[Identity],
    at: datetime,
) -> Iterator[Evidence]:
    """Yield what NATS presents and advertises, and whether each identity fared as it should."""
    if not dials:
        return
    shown = ObservedNats(tuple(dials))
    presented = shown.presented
    yield Evidence(
        fact=Fact.PRESENTS,
        subject=subject,
        holds=bool(presented),
        observed=presented[0].fingerprint if presented else shown.silence,
        at=at,
        by=BY_HANDSHAKE,
    )
    yield Evidence(
        fact=Fact.ADVERTISES,
        subject=subject,
        holds=bool(shown.advertised),
        observed=_named(shown.advertised or ()),
        at=at,
        by=BY_HANDSHAKE,
    )
    turned_away = {id(identity) for identity in refused}
    for identity, handshake in dials:
        if identity is not None:
            must_go = id(identity) in turned_away
            yield _verdict_evidence(subject, handshake, identity, must_go=must_go, at=at)


def _verdict_evidence(
    subject: EndpointRef, shown: Handshake, identity: Identity, *, must_go: bool, at: datetime
) -> Evidence:
    """Return how an identity fared. Unknown to `verify_and_map`, it is let in by TLS all the same.

    nats-server then ends the connection with `Authorization Violation`, inside TLS.
    """
    fact = Fact.REFUSES if must_go else Fact.ACCEPTS
    wanted = ClientVerdict.REFUSED if must_go else ClientVerdict.ACCEPTED
    words = (shown.client_verdict.value, shown.alert, shown.answer, shown.detail)
    return Evidence(
        fact=fact,
        subject=subject,
        holds=shown.client_verdict is wanted,
        observed=", ".join(word for word in words if word),
        expected=f"{fact} {identity.label}",
        at=at,
        by=BY_HANDSHAKE,
    )


def presents_evidence(
    subject: EndpointRef, expected: tuple[Certificate, ...], shown: ObservedNats, *, at: datetime
) -> Evidence:
    """Return the evidence that NATS presents a chain."""
    found = shown.presented
    return Evidence(
        fact=Fact.PRESENTS,
        subject=subject,
        holds=found == expected,
        observed=found[0].fingerprint if found else shown.silence,
        expected=expected[0].fingerprint,
        at=at,
        by=BY_HANDSHAKE,
    )


def advertises_evidence(
    subject: EndpointRef, expected: tuple[Certificate, ...], shown: ObservedNats, *, at: datetime
) -> Evidence:
    """Return the evidence that NATS trusts a bundle, by the names of its CAs."""
    return Evidence(
        fact=Fact.ADVERTISES,
        subject=subject,
        holds=shown.advertised == advertised_names(expected),
        observed=_named(shown.advertised or ()),
        expected=_named(advertised_names(expected)),
        at=at,
        by=BY_HANDSHAKE,
    )
