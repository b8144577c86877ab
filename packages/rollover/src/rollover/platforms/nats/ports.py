"""Dials the ports of one instance, and compares what they show with what files hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Identity, Seen
from rollover.fleet.names import EndpointName
from rollover.pki.anatomy import anatomy
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.disk import SYSTEM_STORE, Disk
from rollover.platforms.nats.places import dialled
from rollover.probe.contexts import Contexts
from rollover.probe.handshake import probe, probe_all
from rollover.probe.identity import Identity as Presentable
from rollover.probe.result import ClientVerdict, Failure, Handshake
from rollover.probe.target import Target

PROBE_TIMEOUT_SECONDS = 5.0
PORTS_AT_ONCE = 8
"""Ports of one instance; several instances are dialled at once above this."""


class Dial(NamedTuple):
    """One endpoint dialled with one identity, or with none."""

    endpoint: EndpointDescription
    identity: Identity | None
    shown: Handshake


def presentable(identity: Identity) -> Presentable:
    """Return the identity in the form that a probe takes. `PemError` when its key does not fit."""
    chain = write_certificates(identity.chain)
    return Presentable.from_pem(chain, identity.key.reveal(), place=identity.label)


def fitting(held: Disk, identities: Iterable[Identity]) -> Identity | None:
    """Return an identity that a server with these files should let in, if there is one.

    Every one that it turns away is a line in its log.
    """
    trusted = {one.fingerprint for one in held.certificates()}
    return next((each for each in identities if each.issuer in trusted), None)


def look(
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


def agrees(seen: Seen, shown: Handshake) -> bool:
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
