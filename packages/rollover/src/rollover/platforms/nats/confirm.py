"""Whether a server really uses what was delivered: every port, the CAs it names, canaries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic, sleep

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import InstanceDescription
from rollover.fleet.evidence import Evidence, Fact, Identity, Seen
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName, short
from rollover.platforms.nats.disk import SYSTEM_STORE, Disk
from rollover.platforms.nats.places import demands, dialled
from rollover.platforms.nats.ports import Dial, bundle_agrees, dial, names, served, silence
from rollover.probe.contexts import Contexts
from rollover.probe.names import rfc4514
from rollover.probe.result import ClientVerdict, Handshake

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
        if all(each.holds for each in evidence) or monotonic() > deadline:
            return evidence
        sleep(POLL_SECONDS)


def seen_as_delivered(
    instance: InstanceDescription,
    expected: Disk,
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
    seen: Seen | None, identities: Iterable[Identity], *, at: datetime
) -> tuple[Identity, ...]:
    """Return the identities that a party with this state must accept at an instant."""
    trusted: dict[Fingerprint, Certificate] = {
        one.fingerprint: one for one in (seen.trusts or () if seen else ())
    }
    return tuple(
        each
        for each in identities
        if each.issuer in trusted
        and all(
            one.not_before <= at <= one.not_after for one in (*each.chain, trusted[each.issuer])
        )
    )


def _judged(
    instance: InstanceName,
    expected: Mapping[EndpointName, Seen],
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
    matches = shown.client_verdict is not ClientVerdict.NOT_ASKED and bool(shown.presented)
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
        f"`{each.subject.endpoint}` {each.fact}: expected {_brief(each.expected)}, "
        f"observed {_brief(each.observed)}"
        for each in evidence
        if not each.holds
    )


def _brief(text: str) -> str:
    if _FINGERPRINT.fullmatch(text):
        return f"`{short(text)}`"
    return text or "something"
