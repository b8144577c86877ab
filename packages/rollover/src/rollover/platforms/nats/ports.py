"""Dials the ports of one instance: what they show, whether files hold that, whom they let in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import monotonic, sleep
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Evidence, Fact, Identity, ObservedEndpoint
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName, short
from rollover.pki.certificate import anatomy
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.instance_files import SYSTEM_STORE, HeldFiles, demands, dialled
from rollover.probe.handshake import ClientVerdict, Failure, Handshake, probe, probe_all, rfc4514
from rollover.probe.identity import ClientIdentity
from rollover.probe.stream import Contexts
from rollover.probe.target import Target

# Dialling, and comparing what ports show with what files hold.

PROBE_TIMEOUT_SECONDS = 5.0
PORTS_AT_ONCE = 8
"""Ports of one instance; several instances are dialled at once above this."""


class Dial(NamedTuple):
    """One endpoint dialled with one identity, or with none."""

    endpoint: EndpointDescription
    identity: Identity | None
    handshake: Handshake


def presentable(identity: Identity) -> ClientIdentity:
    """Return the identity in the form that a probe takes. `PemError` when its key does not fit."""
    chain = write_certificates(identity.chain)
    return ClientIdentity.from_pem(chain, identity.key.reveal(), place=identity.label)


def fitting(held: HeldFiles, identities: Iterable[Identity]) -> Identity | None:
    """Return an identity that a server with these files should let in, if there is one.

    Every one that it turns away is a line in its log.
    """
    trusted = {certificate.fingerprint for certificate in held.certificates()}
    return next((identity for identity in identities if identity.issuer in trusted), None)


def observe_ports(
    instance: InstanceDescription, *, contexts: Contexts, identity: Identity | None = None
) -> dict[EndpointName, Handshake]:
    """Dial every port of an instance once, all with one identity or with none."""
    dials = tuple(dialled(instance))
    answers = probe_all(
        (target for _, target in dials),
        identity=presentable(identity) if identity is not None else None,
        timeout_seconds=PROBE_TIMEOUT_SECONDS,
        concurrency=PORTS_AT_ONCE,
        contexts=contexts,
    )
    return {
        endpoint.name: handshake for (endpoint, _), handshake in zip(dials, answers, strict=True)
    }


def dial(
    instance: InstanceDescription,
    wanted: Mapping[EndpointName, Sequence[Identity | None]],
    *,
    contexts: Contexts,
) -> tuple[Dial, ...]:
    """Dial each port once with each of the identities wanted for it."""

    def call(dialling: tuple[EndpointDescription, Target, Identity | None]) -> Dial:
        endpoint, target, identity = dialling
        presented = presentable(identity) if identity is not None else None
        handshake = probe(
            target,
            identity=presented,
            timeout_seconds=PROBE_TIMEOUT_SECONDS,
            contexts=contexts,
        )
        return Dial(endpoint, identity, handshake)

    calls = tuple(
        (endpoint, target, identity)
        for endpoint, target in dialled(instance)
        for identity in wanted.get(endpoint.name, (None,))
    )
    with ThreadPoolExecutor(PORTS_AT_ONCE, thread_name_prefix="probe") as pool:
        return tuple(pool.map(call, calls))


def served(handshake: Handshake) -> tuple[Certificate, ...]:
    """Return the chain that a port serves, without what it sends twice."""
    return tuple(dict.fromkeys(handshake.presented))


def asks(handshake: Handshake) -> bool:
    """Say whether a port asked for a certificate; one that asks and names no CA counts."""
    return bool(handshake.advertised_der) or handshake.client_verdict in {
        ClientVerdict.ACCEPTED,
        ClientVerdict.REFUSED,
    }


def names(bundle: Iterable[Certificate]) -> tuple[bytes, ...]:
    """Return what nats-server advertises for a bundle: each subject, in order (DER)."""
    distinct = dict.fromkeys(anchor for anchor in bundle if anchor is not SYSTEM_STORE)
    return tuple(anatomy(anchor).raw_subject for anchor in distinct)


def bundle_agrees(bundle: tuple[Certificate, ...] | None, handshake: Handshake) -> bool:
    """Say whether a port may trust this bundle: what it advertises does not contradict it."""
    # A server that demands no certificate shows nothing of what it trusts.
    if not asks(handshake):
        return True
    if bundle is None:
        return False
    return SYSTEM_STORE in bundle or names(bundle) == handshake.advertised_der


def agrees(held: ObservedEndpoint, handshake: Handshake) -> bool:
    """Say whether a port shows exactly this chain and this bundle."""
    return held.presents == served(handshake) and bundle_agrees(held.trusts, handshake)


def bundle_from_names(
    advertised: Sequence[bytes], candidates: Iterable[Certificate]
) -> tuple[Certificate, ...] | None:
    """Return the one bundle of candidates that is advertised so; None when none or several are.

    Names are no keys: when two candidates share a name and only one is advertised, nobody knows
    which.
    """
    by_name: dict[bytes, list[Certificate]] = {}
    for candidate in dict.fromkeys(candidates):
        if candidate is not SYSTEM_STORE:
            by_name.setdefault(anatomy(candidate).raw_subject, []).append(candidate)
    if any(len(by_name.get(name, ())) != advertised.count(name) for name in advertised):
        return None
    return tuple(by_name[name].pop(0) for name in advertised)


def silence(handshake: Handshake) -> str:
    """Say why a port showed no certificate, empty when it showed one."""
    if handshake.presented:
        return ""
    if handshake.failure is Failure.NONE:
        return f"{handshake.address}: it presents no certificate"
    return f"{handshake.address}: {handshake.detail or handshake.failure.value}"


# Whether a server really uses what was delivered: every port, the CAs it names, canaries.

POLL_SECONDS = 0.1
BY_HANDSHAKE = "handshake"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def settled(
    observe: Callable[[], tuple[Evidence, ...]], *, timeout_seconds: float
) -> tuple[Evidence, ...]:
    """Observe until everything holds or the time is up; return what was observed last."""
    deadline = monotonic() + timeout_seconds
    while True:
        evidence = observe()
        if all(fact.holds for fact in evidence) or monotonic() > deadline:
            return evidence
        sleep(POLL_SECONDS)


def evidence_of_delivery(
    instance: InstanceDescription,
    expected: HeldFiles,
    *,
    identities: Sequence[Identity],
    contexts: Contexts,
    at: datetime,
) -> tuple[Evidence, ...]:
    """Dial every port of a server and compare it with what its files hold now.

    Each identity whose CA is in an endpoint's bundle, and is valid, must be let in there.
    """
    canaries = {
        endpoint.name: canaries_for(expected.by_name.get(endpoint.name), identities, at=at)
        for endpoint, _ in dialled(instance)
        if demands(endpoint)
    }
    wanted: Mapping[EndpointName, Sequence[Identity | None]] = {
        name: found or (None,) for name, found in canaries.items()
    }
    dials = dial(instance, wanted, contexts=contexts)
    return tuple(_judged(instance.name, expected.by_name, dials, at=at))


def canaries_for(
    held: ObservedEndpoint | None, identities: Iterable[Identity], *, at: datetime
) -> tuple[Identity, ...]:
    """Return the identities that a party with this state must accept at an instant."""
    trusted: dict[Fingerprint, Certificate] = {
        anchor.fingerprint: anchor for anchor in (held.trusts or () if held else ())
    }
    return tuple(
        identity
        for identity in identities
        # One that is not valid is refused for that, which says nothing of the bundle.
        if identity.issuer in trusted
        and all(
            certificate.not_before <= at <= certificate.not_after
            for certificate in (*identity.chain, trusted[identity.issuer])
        )
    )


def _judged(
    instance: InstanceName,
    expected: Mapping[EndpointName, ObservedEndpoint],
    dials: Iterable[Dial],
    *,
    at: datetime,
) -> Iterator[Evidence]:
    compared: set[EndpointName] = set()
    for endpoint, identity, handshake in dials:
        subject = EndpointRef(instance, endpoint.name)
        held = expected.get(endpoint.name)
        if held is not None and endpoint.name not in compared:
            compared.add(endpoint.name)
            yield presents(subject, handshake, at=at, expected=held.presents)
            if demands(endpoint) and held.trusts is not None:
                yield advertises(subject, handshake, at=at, expected=held.trusts)
        elif held is None:
            yield presents(subject, handshake, at=at)
        if identity is not None:
            yield accepts(subject, handshake, identity, at=at)


def presents(
    subject: EndpointRef,
    handshake: Handshake,
    *,
    at: datetime,
    expected: tuple[Certificate, ...] | None = None,
) -> Evidence:
    """Return the evidence of what a port presents; holds when it is the chain expected, if any."""
    found = served(handshake)
    return Evidence(
        fact=Fact.PRESENTS,
        subject=subject,
        holds=found == expected if expected is not None else bool(found),
        observed=_leaf(found) or silence(handshake),
        expected="" if expected is None else _leaf(expected),
        at=at,
        by=BY_HANDSHAKE,
    )


def advertises(
    subject: EndpointRef,
    handshake: Handshake,
    *,
    at: datetime,
    expected: tuple[Certificate, ...] | None = None,
) -> Evidence:
    """Return the evidence of which CAs a port names; holds when they are those expected, if any."""
    matches = handshake.client_verdict is not ClientVerdict.NOT_REQUESTED and bool(
        handshake.presented
    )
    if matches and expected is not None:
        matches = bundle_agrees(expected, handshake)
    return Evidence(
        fact=Fact.ADVERTISES,
        subject=subject,
        holds=matches,
        observed=silence(handshake) or _listed(handshake.advertised),
        expected="" if expected is None else _expected_names(expected),
        at=at,
        by=BY_HANDSHAKE,
    )


def accepts(
    subject: EndpointRef, handshake: Handshake, identity: Identity, *, at: datetime
) -> Evidence:
    """Return the evidence of whether a port let an identity in; holds when it did."""
    return Evidence(
        fact=Fact.ACCEPTS,
        subject=subject,
        holds=handshake.client_verdict is ClientVerdict.ACCEPTED,
        observed=_verdict(handshake),
        expected=f"accepts {identity.label}",
        at=at,
        by=BY_HANDSHAKE,
    )


def refuses(
    subject: EndpointRef, handshake: Handshake, identity: Identity, *, at: datetime
) -> Evidence:
    """Return the evidence of whether a port turned an identity away; holds when it did."""
    return Evidence(
        fact=Fact.REFUSES,
        subject=subject,
        holds=handshake.client_verdict is ClientVerdict.REFUSED,
        observed=_verdict(handshake),
        expected=f"refuses {identity.label}",
        at=at,
        by=BY_HANDSHAKE,
    )


def _leaf(chain: tuple[Certificate, ...]) -> str:
    return chain[0].fingerprint if chain else ""


def _listed(advertised: Sequence[str]) -> str:
    return f"{len(advertised)} CAs: {'; '.join(advertised)}" if advertised else "no CA names"


def _expected_names(bundle: tuple[Certificate, ...]) -> str:
    if SYSTEM_STORE in bundle:
        return "whatever the system trusts"
    return _listed([rfc4514(name) for name in names(bundle)])


def _verdict(handshake: Handshake) -> str:
    if not handshake.reached:
        return f"no connection: {handshake.detail or handshake.failure.value}"
    words = [handshake.client_verdict.value, handshake.alert, handshake.detail]
    return ", ".join(word for word in words if word)


def differences(evidence: Iterable[Evidence]) -> str:
    """Say in words what does not hold."""
    return "; ".join(
        f"`{fact.subject.endpoint}` {fact.fact}: expected {_brief(fact.expected)}, "
        f"observed {_brief(fact.observed)}"
        for fact in evidence
        if not fact.holds
    )


def _brief(text: str) -> str:
    if _FINGERPRINT.fullmatch(text):
        return f"`{short(text)}`"
    return text or "something"


# Every port dialled afresh with every identity: who is let in, who is not, what is handshake.


class Candidates(NamedTuple):
    """Identities that must be let in, and those that must not."""

    accepted: Sequence[Identity]
    refused: Sequence[Identity]


def handshakes(
    instance: InstanceDescription, candidates: Candidates, *, contexts: Contexts, at: datetime
) -> tuple[Evidence, ...]:
    """Return what every port of one server answered to every identity."""
    everybody: tuple[Identity | None, ...] = (*candidates.accepted, *candidates.refused)
    wanted = {
        endpoint.name: everybody or (None,)
        for endpoint, _ in dialled(instance)
        if demands(endpoint)
    }
    dials = dial(instance, wanted, contexts=contexts)
    return tuple(_evidence(instance.name, dials, candidates, at=at))


def _evidence(
    instance: InstanceName, dials: Iterable[Dial], candidates: Candidates, *, at: datetime
) -> Iterator[Evidence]:
    described: set[EndpointRef] = set()
    # By identity: the same chain may be asked for in both roles, and each has its answer.
    to_refuse = {id(identity) for identity in candidates.refused}
    for endpoint, identity, handshake in dials:
        subject = EndpointRef(instance, endpoint.name)
        if subject not in described:
            described.add(subject)
            yield presents(subject, handshake, at=at)
            if demands(endpoint):
                yield advertises(subject, handshake, at=at)
        if identity is None:
            continue
        judge = refuses if id(identity) in to_refuse else accepts
        yield judge(subject, handshake, identity, at=at)
