"""What a change of a bundle adds and takes away, and which links of a fleet that decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from nats_config.tls import ALWAYS_VERIFIED
from rollover.engine.leaves import chain_shape
from rollover.engine.topology import FleetObservation
from rollover.fleet.certificate import Certificate, Fault, Usage
from rollover.fleet.fleet import Endpoint, Fleet, Instance, Link
from rollover.fleet.names import Fingerprint
from rollover.pki.bundle import same_authority
from rollover.pki.stacks import Verifier
from rollover.platforms.nats.rules import peers
from rollover.platforms.nats.rules.context import ConfigContext, UsedBlock, why_refused
from rollover.rules.handshakes import Handshakes


class BundleChange(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two bundles. `renewed`: another certificate of the same authority."""

    added: tuple[Certificate, ...]
    removed: tuple[Certificate, ...]
    renewed: tuple[Fingerprint, ...] = ()
    reordered: bool = False

    @property
    def nothing(self) -> bool:
        """Whether both are the same in every way."""
        return not (self.added or self.removed or self.reordered)


class BrokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """One link whose fate changes: who refuses whom, and why."""

    link: str
    reason: str


class BundleEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What the change would do. `using`: who trusts the old bundle now; `unseen`: who may.

    `links`: how many of a fleet were judged; 0 for configurations, which do not tell all.
    """

    stops: tuple[BrokenPair, ...] = ()
    begins: tuple[BrokenPair, ...] = ()
    using: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    links: int = 0

    @property
    def proven(self) -> bool:
        """Whether anybody was found whom the change concerns, and everybody was seen."""
        return bool(self.using) and not self.unseen


def compare(old: Sequence[Certificate], new: Sequence[Certificate]) -> BundleChange:
    """Return what a new bundle adds and takes away."""
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    added = tuple(certificate for certificate in after if certificate not in before)
    removed = tuple(certificate for certificate in before if certificate not in after)
    authorities = same_authority((*removed, *added))
    renewed = {
        certificate.fingerprint
        for group in authorities
        for certificate in group
        if certificate in added
    }
    common = [certificate for certificate in before if certificate in after]
    return BundleChange(
        added=added,
        removed=removed,
        renewed=tuple(
            certificate.fingerprint for certificate in added if certificate.fingerprint in renewed
        ),
        reordered=common != [certificate for certificate in after if certificate in before],
    )


def in_fleet(
    observed: FleetObservation, old: Sequence[Certificate], new: Sequence[Certificate]
) -> BundleEffect:
    """Return which links would stop and begin to work if all who trust `old` trusted `new`.

    Who trusts `old` is told by what was observed: the same set of CAs. Everything is judged by
    the peers' own stacks, before and after.
    """
    fleet = observed.fleet
    replaced = frozenset(certificate.fingerprint for certificate in old)
    later = tuple(dict.fromkeys(certificate.fingerprint for certificate in new))
    known = {
        **fleet.certificates,
        **{certificate.fingerprint: certificate for certificate in (*old, *new)},
    }
    before = _handshakes(fleet, known, now=observed.at)
    after = _handshakes(_changed(fleet, replaced, later, known), known, now=observed.at)
    stops: list[BrokenPair] = []
    begins: list[BrokenPair] = []
    for link in fleet.links:
        first, second = before.on(link), after.on(link)
        if first.works and first.observed and not second.works:
            stops.append(_broken(link, second.faults))
        elif not first.works and second.works:
            begins.append(_broken(link, first.faults))
    return BundleEffect(
        stops=tuple(stops),
        begins=tuple(begins),
        using=tuple(
            f"{instance.name}/{endpoint.name}"
            for instance in fleet.instances()
            for endpoint in instance.endpoints
            if _trusts_just(endpoint, replaced)
        ),
        unseen=tuple(_unseen(fleet)),
        links=len(fleet.links),
    )


def _broken(link: Link, faults: Iterable[Fault]) -> BrokenPair:
    reasons = dict.fromkeys(fault.detail for fault in faults)
    return BrokenPair(link=str(link), reason="; ".join(reasons))


def _handshakes(
    fleet: Fleet, known: dict[Fingerprint, Certificate], *, now: datetime
) -> Handshakes:
    return Handshakes(
        fleet,
        accepts=Verifier(known),
        shape=lambda chain: chain_shape(chain, known),
        now=now,
    )


def _changed(
    fleet: Fleet,
    replaced: frozenset[Fingerprint],
    later: tuple[Fingerprint, ...],
    known: dict[Fingerprint, Certificate],
) -> Fleet:
    """Return the fleet in which whoever trusts one set of CAs trusts another one."""

    def trusting(instance: Instance) -> Instance:
        endpoints = tuple(
            msgspec.structs.replace(endpoint, trusts=later)
            if _trusts_just(endpoint, replaced)
            else endpoint
            for endpoint in instance.endpoints
        )
        return msgspec.structs.replace(instance, endpoints=endpoints)

    groups = tuple(
        msgspec.structs.replace(group, instances=tuple(map(trusting, group.instances)))
        for group in fleet.groups
    )
    return msgspec.structs.replace(fleet, groups=groups, certificates=known)


def _trusts_just(endpoint: Endpoint, authorities: frozenset[Fingerprint]) -> bool:
    return endpoint.trusts is not None and frozenset(endpoint.trusts) == authorities


def _unseen(fleet: Fleet) -> Iterator[str]:
    for instance in fleet.instances():
        if not any(
            endpoint.presents or endpoint.trusts is not None for endpoint in instance.endpoints
        ):
            yield str(instance.name)


def in_configs(
    configs: ConfigContext, old: Sequence[Certificate], new: Sequence[Certificate], *, path: Path
) -> BundleEffect:
    """Return the same for servers that dial each other, by their configurations.

    The blocks concerned are those whose `ca_file` is `path`, or holds the same CAs.
    """
    using = tuple(_blocks_using(configs, old, path))
    named = {used.block.ca_file.path for used in using if used.block.ca_file}
    first, second = (
        _refusals(_with_bundle(configs, named, tuple(dict.fromkeys(bundle))))
        for bundle in (old, new)
    )
    return BundleEffect(
        stops=tuple(refusal for link, refusal in second.items() if link not in first),
        begins=tuple(refusal for link, refusal in first.items() if link not in second),
        using=tuple(used.subject for used in using),
    )


def _blocks_using(
    configs: ConfigContext, old: Sequence[Certificate], path: Path
) -> Iterator[UsedBlock]:
    for used in configs.used:
        file = used.block.ca_file
        if file is not None and (
            _same_file(file.path, path) or set(configs.certificates(file)) == set(old)
        ):
            yield used


def _with_bundle(
    configs: ConfigContext, paths: set[str], bundle: tuple[Certificate, ...]
) -> ConfigContext:
    """Return the same configurations with this bundle in some of their files."""
    files = {
        path: msgspec.structs.replace(facts, loaded=bundle) if path in paths else facts
        for path, facts in configs.files.items()
    }
    known = [certificate for facts in files.values() for certificate in facts.loaded]
    known += [certificate for chain in configs.clients for certificate in chain]
    return ConfigContext(
        configs.servers,
        files=files,
        accepts=Verifier({certificate.fingerprint: certificate for certificate in known}),
        now=configs.now,
        clients=configs.clients,
    )


def _same_file(written: str, other: Path) -> bool:
    try:
        return Path(written).resolve() == other.resolve()
    except (OSError, RuntimeError):
        return False


def _refusals(configs: ConfigContext) -> dict[str, BrokenPair]:
    """Return who refuses whom, of all that these configurations and clients tell."""
    refusals: dict[str, BrokenPair] = {}
    for refusal in peers.peer_refusals(configs):
        link = f"{refusal.judge} refuses {refusal.peer}"
        refusals[link] = BrokenPair(link=link, reason=refusal.why)
    for link, reason in _presented(configs):
        if reason:
            refusals[link] = BrokenPair(link=link, reason=reason)
    return refusals


def _presented(configs: ConfigContext) -> Iterator[tuple[str, str]]:
    """Yield what blocks make of clients whose files are known, and of peers with their own issuer.

    Route and gateway peers that are not among the configurations have, as a rule, a certificate
    of the same CA as the server that is.
    """
    for used in configs.used:
        bundle = configs.bundle(used.block)
        if not bundle or not used.block.demands_certificate:
            continue
        own = configs.chain(used.block)
        if used.block.context in ALWAYS_VERIFIED and own:
            link = f"{used.subject} refuses peers with the issuer `{own[0].issuer_name}`"
            yield link, why_refused(configs, own, bundle, usage=Usage.CLIENT)
            continue
        for chain in configs.clients:
            link = f"{used.subject} refuses the client `{chain[0].subject}`"
            yield link, why_refused(configs, chain, bundle, usage=Usage.CLIENT)
