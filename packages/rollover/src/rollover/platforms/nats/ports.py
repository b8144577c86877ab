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
from rollover.probe.identity import ClientIdentity as Presentable
from rollover.probe.stream import Contexts
from rollover.probe.target import Target

# Dials the ports of one instance, and compares what they show with what files hold.


PROBE_TIMEOUT_SECONDS = 5.0
PORTS_AT_ONCE = 8
"""Ports of one instance; several instances are dialled at once above this."""


class Dial(NamedTuple):
    """One endpoint dialled with one identity, or with none."""

    endpoint: EndpointDescription
    identity: Identity | None
    handshake: Handshake


def presentable(identity: Identity) -> Presentable:
    """Return the identity in the form that a probe takes. `PemError` when its key does not fit."""
    chain = write_certificates(identity.chain)
    return Presentable.from_pem(chain, identity.key.reveal(), place=identity.label)


def fitting(held: HeldFiles, identities: Iterable[Identity]) -> Identity | None:
    """Return an identity that a server with these files should let in, if there is one.

    Every one that it turns away is a line in its log.
    """
    trusted = {one.fingerprint for one in held.certificates()}
    return next((identity for identity in identities if identity.issuer in trusted), None)


def observe_ports(
    instance: InstanceDescription, *, contexts: Contexts, identity: Identity | None = None
) -> dict[EndpointName, Handshake]:
    """Dial every port of an instance once, all with one identity or with none."""
    dials = tuple(dialled(instance))
    shown = probe_all(
        (target for _, target in dials),
        identity=presentable(identity) if identity is not None else None,
        timeout_seconds=PROBE_TIMEOUT_SECONDS,
        concurrency=PORTS_AT_ONCE,
        contexts=contexts,
    )
    return {endpoint.name: handshake for (endpoint, _), handshake in zip(dials, shown, strict=True)}


def dial(
    instance: InstanceDescription,
    wanted: Mapping[EndpointName, Sequence[Identity | None]],
    *,
    contexts: Contexts,
) -> tuple[Dial, ...]:
    """Dial each port once with each of the identities wanted for it."""

    def call(endpoint: EndpointDescription, target: Target, identity: Identity | None) -> Dial:
        presented = presentable(identity) if identity is not None else None
        shown = probe(
            target,
            identity=presented,
            timeout_seconds=PROBE_TIMEOUT_SECONDS,
            contexts=contexts,
        )
        return Dial(endpoint, identity, shown)

    calls = tuple(
        (endpoint, target, identity)
        for endpoint, target in dialled(instance)
        for identity in wanted.get(endpoint.name, (None,))
    )
    with ThreadPoolExecutor(PORTS_AT_ONCE, thread_name_prefix="probe") as pool:
        return tuple(pool.map(lambda each: call(*each), calls))


def served(shown: Handshake) -> tuple[Certificate, ...]:
    """Return the chain that a port serves, without what it sends twice."""
    return tuple(dict.fromkeys(shown.presented))


def asks(shown: Handshake) -> bool:
    """Say whether a port asked for a certificate; one that asks and names no CA counts."""
    return bool(shown.advertised_der) or shown.client_verdict in {
        ClientVerdict.ACCEPTED,
        ClientVerdict.REFUSED,
    }


def names(bundle: Iterable[Certificate]) -> tuple[bytes, ...]:
    """Return what nats-server advertises for a bundle: each subject, in order (DER)."""
    distinct = dict.fromkeys(one for one in bundle if one is not SYSTEM_STORE)
    return tuple(anatomy(one).raw_subject for one in distinct)


def bundle_agrees(bundle: tuple[Certificate, ...] | None, shown: Handshake) -> bool:
    """Say whether a port may trust this bundle: what it advertises does not contradict it."""
    if not asks(shown):
        return True
    if bundle is None:
        return False
    return SYSTEM_STORE in bundle or names(bundle) == shown.advertised_der


def agrees(seen: ObservedEndpoint, shown: Handshake) -> bool:
    """Say whether a port shows exactly this chain and this bundle."""
    return seen.presents == served(shown) and bundle_agrees(seen.trusts, shown)


def bundle_from_names(
    advertised: Sequence[bytes], candidates: Iterable[Certificate]
) -> tuple[Certificate, ...] | None:
    """Return the one bundle of candidates that is advertised so; None when none or several are.

    Names are no keys: when two candidates share a name and only one is advertised, nobody knows
    which.
    """
    by_name: dict[bytes, list[Certificate]] = {}
    for one in dict.fromkeys(candidates):
        if one is not SYSTEM_STORE:
            by_name.setdefault(anatomy(one).raw_subject, []).append(one)
    if any(len(by_name.get(name, ())) != advertised.count(name) for name in advertised):
        return None
    return tuple(by_name[name].pop(0) for name in advertised)


def silence(shown: Handshake) -> str:
    """Say why a port showed no certificate, empty when it showed one."""
    if shown.presented:
        return ""
    if shown.failure is Failure.NONE:
        return f"{shown.address}: it presents no certificate"
    return f"{shown.address}: {shown.detail or shown.failure.value}"


# Whether a server really uses what was delivered: every port, the CAs it names, canaries.


POLL_SECONDS = 0.1
BY_HANDSHAKE = "handshake"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def settled(
    look: Callable[[], tuple[Evidence, ...]], *, timeout_seconds: float
) -> tuple[Evidence, ...]:
    """Look until everything holds or the time is up; return what was seen last."""
    deadline = monotonic() + timeout_seconds
    while True:
        evidence = look()
        if all(item.holds for item in evidence) or monotonic() > deadline:
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
    seen: ObservedEndpoint | None, identities: Iterable[Identity], *, at: datetime
) -> tuple[Identity, ...]:
    """Return the identities that a party with this state must accept at an instant."""
    trusted: dict[Fingerprint, Certificate] = {
        one.fingerprint: one for one in (seen.trusts or () if seen else ())
    }
    return tuple(
        identity
        for identity in identities
        if identity.issuer in trusted
        and all(
            one.not_before <= at <= one.not_after
            for one in (*identity.chain, trusted[identity.issuer])
        )
    )


def _judged(
    instance: InstanceName,
    expected: Mapping[EndpointName, ObservedEndpoint],
    dials: Iterable[Dial],
    *,
    at: datetime,
) -> Iterator[Evidence]:
    looked_at: set[EndpointName] = set()
    for endpoint, identity, shown in dials:
        subject = EndpointRef(instance, endpoint.name)
        seen = expected.get(endpoint.name)
        if seen is not None and endpoint.name not in looked_at:
            looked_at.add(endpoint.name)
            yield presents(subject, shown, at=at, expected=seen.presents)
            if demands(endpoint) and seen.trusts is not None:
                yield advertises(subject, shown, at=at, expected=seen.trusts)
        elif seen is None:
            yield presents(subject, shown, at=at)
        if identity is not None:
            yield accepts(subject, shown, identity, at=at)


def presents(
    subject: EndpointRef,
    shown: Handshake,
    *,
    at: datetime,
    expected: tuple[Certificate, ...] | None = None,
) -> Evidence:
    """Return the evidence of what a port presents; holds when it is the chain expected, if any."""
    found = served(shown)
    return Evidence(
        fact=Fact.PRESENTS,
        subject=subject,
        holds=found == expected if expected is not None else bool(found),
        observed=_leaf(found) or silence(shown),
        expected="" if expected is None else _leaf(expected),
        at=at,
        by=BY_HANDSHAKE,
    )


def advertises(
    subject: EndpointRef,
    shown: Handshake,
    *,
    at: datetime,
    expected: tuple[Certificate, ...] | None = None,
) -> Evidence:
    """Return the evidence of which CAs a port names; holds when they are those expected, if any."""
    matches = shown.client_verdict is not ClientVerdict.NOT_REQUESTED and bool(shown.presented)
    if matches and expected is not None:
        matches = bundle_agrees(expected, shown)
    return Evidence(
        fact=Fact.ADVERTISES,
        subject=subject,
        holds=matches,
        observed=silence(shown) or _listed(shown.advertised),
        expected="" if expected is None else _expected_names(expected),
        at=at,
        by=BY_HANDSHAKE,
    )


def accepts(
    subject: EndpointRef, shown: Handshake, identity: Identity, *, at: datetime
) -> Evidence:
    """Return the evidence of whether a port let an identity in; holds when it did."""
    return Evidence(
        fact=Fact.ACCEPTS,
        subject=subject,
        holds=shown.client_verdict is ClientVerdict.ACCEPTED,
        observed=_verdict(shown),
        expected=f"accepts {identity.label}",
        at=at,
        by=BY_HANDSHAKE,
    )


def refuses(
    subject: EndpointRef, shown: Handshake, identity: Identity, *, at: datetime
) -> Evidence:
    """Return the evidence of whether a port turned an identity away; holds when it did."""
    return Evidence(
        fact=Fact.REFUSES,
        subject=subject,
        holds=shown.client_verdict is ClientVerdict.REFUSED,
        observed=_verdict(shown),
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


def _verdict(shown: Handshake) -> str:
    if not shown.reached:
        return f"no connection: {shown.detail or shown.failure.value}"
    words = [shown.client_verdict.value, shown.alert, shown.detail]
    return ", ".join(word for word in words if word)


def differences(evidence: Iterable[Evidence]) -> str:
    """Say in words what does not hold."""
    return "; ".join(
        f"`{item.subject.endpoint}` {item.fact}: expected {_brief(item.expected)}, "
        f"observed {_brief(item.observed)}"
        for item in evidence
        if not item.holds
    )


def _brief(text: str) -> str:
    if _FINGERPRINT.fullmatch(text):
        return f"`{short(text)}`"
    return text or "something"


# Dials every port afresh with every identity: who is let in, who is not, what is shown.


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
    must_go = {id(item) for item in candidates.refused}
    for endpoint, identity, shown in dials:
        subject = EndpointRef(instance, endpoint.name)
        if subject not in described:
            described.add(subject)
            yield presents(subject, shown, at=at)
            if demands(endpoint):
                yield advertises(subject, shown, at=at)
        if identity is None:
            continue
        judge = refuses if id(identity) in must_go else accepts
        yield judge(subject, shown, identity, at=at)
