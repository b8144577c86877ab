"""Leaves of a rotation, from specimens for the proof to what each instance is sent.

Real leaves are made before they are needed and kept; an order has them in the place of specimens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from os import cpu_count
from time import monotonic
from typing import NamedTuple

import msgspec

from rollover.engine.authorities import SigningAuthority
from rollover.engine.ports import Addition, CredentialStore
from rollover.fleet.certificate import Bundle, Certificate, Chain, Flags, KeyKind
from rollover.fleet.evidence import EndpointMaterial, Order, Signer
from rollover.fleet.fleet import Endpoint, Fleet, Instance, Role, SourceRef
from rollover.fleet.goal import Prospect, RotateAuthority
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Rollout
from rollover.fleet.secret import SecretBytes
from rollover.pki.certificate import Signed, anatomy, check_signature, shape
from rollover.pki.issue import allowing_for_skew, reissue_like
from rollover.pki.keys import RSA_BITS, PrivateKey, generate, to_pem
from rollover.pki.pem import read_certificates, write_certificates
from rollover.pki.stacks import Verifier
from rollover.planner.safety import Knowledge

# Leaves of a rotation: specimens for the proof, and the real ones, made before they are needed.


LEAST_LIFE_LEFT = 0.5
"""A leaf made earlier and never used is used while more than this part of its life is left."""


BATCH_SECONDS = 0.25
"""A durable write can take longer than issuing a leaf; a crash costs no more work than this."""


class Leaf(msgspec.Struct, frozen=True):
    """A leaf with its key, ready to be delivered."""

    certificate: Certificate
    key: SecretBytes


class WantedLeaf(NamedTuple):
    """A leaf that an instance will need: where it is kept, and which one it is to replace."""

    name: str
    like: Certificate


class Issuers:
    """Tells which version of an authority issued a chain. Answers are kept.

    Versions come oldest first. Of two with one key and name (a CA that was renewed) any leaf can
    come from either, and both vouch for it: the newer one is told.
    """

    def __init__(self, versions: Iterable[Certificate]) -> None:
        self._versions = tuple(versions)
        self._named = frozenset(version.fingerprint for version in self._versions)
        self._known: dict[Fingerprint, Fingerprint | None] = {}

    def of(self, chain: Sequence[Certificate]) -> Fingerprint | None:
        """Return the version whose key signed a certificate of the chain; None: not ours.

        What signs, and not what was signed, is asked of a source: a version itself is its own.
        """
        if self.is_version(chain):
            return chain[0].fingerprint
        for certificate in chain:
            issuer = self._issuer(certificate)
            if issuer is not None:
                return issuer
        return None

    def is_version(self, chain: Sequence[Certificate]) -> bool:
        """Whether a chain is a CA version itself, as a source presents it."""
        return bool(chain) and chain[0].fingerprint in self._named

    def among(self, bundle: Iterable[Fingerprint]) -> frozenset[Fingerprint]:
        """Return the versions that a bundle holds."""
        return self._named.intersection(bundle)

    def _issuer(self, certificate: Certificate) -> Fingerprint | None:
        if certificate.fingerprint not in self._known:
            self._known[certificate.fingerprint] = next(
                (
                    version.fingerprint
                    for version in reversed(self._versions)
                    if version.subject == certificate.issuer_name
                    and check_signature(anatomy(certificate), by=anatomy(version)) is Signed.GOOD
                ),
                None,
            )
        return self._known[certificate.fingerprint]


class Specimens:
    """Makes, for each shape of leaf, one that the target issued: what the proof is about."""

    def __init__(
        self,
        certificates: dict[Fingerprint, Certificate],
        *,
        goal: RotateAuthority,
        target: SigningAuthority,
        issuers: Issuers,
        now: datetime,
    ) -> None:
        self.certificates = certificates
        self._goal = goal
        self._target = target
        self._issuers = issuers
        self._now = now
        self._keys: dict[str, PrivateKey] = {}
        self._made: dict[Hashable, Certificate] = {}

    def prospect(self, chain: Chain) -> Prospect | None:
        """Return what would be presented instead of a chain; None when the chain is not ours.

        A source, which presents what it signs with, is to sign with the target. It hands out no
        intermediates, so there is no bridge for it, nor for those that it feeds.
        """
        if not chain:
            return None
        known = [self.certificates[fingerprint] for fingerprint in chain]
        issuer = self._issuers.of(known)
        if issuer is None:
            return None
        if self._issuers.is_version(known):
            return Prospect(issuer, (self._goal.target,))
        if issuer == self._goal.target:
            return Prospect(issuer, self._without_bridge(chain))
        renewed = (self._specimen(known[0]).fingerprint,)
        bridge = self._goal.bridge
        return Prospect(issuer, renewed, (*renewed, bridge) if bridge else None)

    def _without_bridge(self, chain: Chain) -> Chain:
        bridged = {fingerprint for fingerprint in chain[1:] if self.certificates[fingerprint].is_ca}
        target = self.certificates[self._goal.target].key_identity
        own = {
            fingerprint
            for fingerprint in bridged
            if self.certificates[fingerprint].key_identity == target
        }
        return tuple(fingerprint for fingerprint in chain if fingerprint not in own)

    def _specimen(self, leaf: Certificate) -> Certificate:
        key = shape(leaf)
        if key not in self._made:
            made = reissue_like(
                leaf,
                key=self._key(leaf.key),
                authority=self._target.certificate,
                authority_key=self._target.key,
                not_before=allowing_for_skew(self._now, _lifetime(leaf)),
            )
            self.certificates[made.fingerprint] = made
            self._made[key] = made
        return self._made[key]

    def _key(self, kind: str) -> PrivateKey:
        """One key of a kind serves all specimens: nobody ever presents them."""
        if kind not in self._keys:
            self._keys[kind] = generate(key_kind(kind))
        return self._keys[kind]

    def knowledge(self, verifier: Verifier) -> Knowledge:
        """Return what the planner has to be told."""
        return Knowledge(
            certificates=self.certificates,
            accepts=verifier,
            shape=lambda chain: chain_shape(chain, self.certificates),
            prospect=self.prospect,
        )


def chain_shape(chain: Chain, certificates: Mapping[Fingerprint, Certificate]) -> Hashable:
    """Return the same value for chains that are judged alike, but for names and dates.

    A CA is not like any other: what a source signs with is told apart by which one it is.
    """
    leaf = certificates[chain[0]]
    return chain if leaf.is_ca else (shape(leaf), chain[1:])


def key_kind(kind: str) -> KeyKind:
    """Return the kind of key to make for a leaf whose predecessor had that one."""
    return KeyKind(kind) if kind in set(KeyKind) else KeyKind.P256


class LeafIssuer:
    """Makes the real leaves and keeps them sealed, so that an interrupted rollout finds them."""

    def __init__(
        self,
        credentials: CredentialStore,
        *,
        authority: SigningAuthority,
        clock: Callable[[], datetime],
    ) -> None:
        self._credentials = credentials
        self._authority = authority
        self._clock = clock

    def leaves(self, wanted: Sequence[WantedLeaf]) -> Mapping[str, Leaf]:
        """Return a leaf for each name: kept from before, or new and stored before it is returned.

        RSA keys are made side by side.
        """
        wanted = list(dict.fromkeys(wanted))
        found = {pair.name: leaf for pair in wanted if (leaf := self._kept(pair)) is not None}
        missing = [pair for pair in wanted if pair.name not in found]
        for batch in _batches(self._made(missing)):
            self._credentials.add_many(
                [_addition(name, leaf, self._clock()) for name, leaf in batch]
            )
            found.update(batch)
        return found

    def _kept(self, wanted: WantedLeaf) -> Leaf | None:
        for version in self._credentials.versions(wanted.name):
            if not version.has_key:
                continue
            certificate = read_certificates(version.chain, place=version.name).certificates[0]
            if self._still_good(certificate, wanted.like):
                key = self._credentials.private_key(version.name, version.number)
                return Leaf(certificate, key)
        return None

    def _still_good(self, certificate: Certificate, like: Certificate) -> bool:
        issuer = self._authority.certificate
        life = certificate.not_after - certificate.not_before
        return (
            certificate.issuer_name == issuer.subject
            and check_signature(anatomy(certificate), by=anatomy(issuer)) is Signed.GOOD
            and (certificate.subject, certificate.names) == (like.subject, like.names)
            and certificate.key == like.key
            and certificate.not_after - self._clock() > life * LEAST_LIFE_LEFT
        )

    def _made(self, missing: Sequence[WantedLeaf]) -> Iterator[tuple[str, Leaf]]:
        for each, key in zip(missing, _keys(missing), strict=True):
            yield each.name, self._issue(each, key)

    def _issue(self, wanted: WantedLeaf, key: PrivateKey) -> Leaf:
        certificate = reissue_like(
            wanted.like,
            key=key,
            authority=self._authority.certificate,
            authority_key=self._authority.key,
            not_before=allowing_for_skew(self._clock(), _lifetime(wanted.like)),
        )
        return Leaf(certificate, SecretBytes(to_pem(key)))


def _keys(wanted: Sequence[WantedLeaf]) -> Iterator[PrivateKey]:
    """Yield a key for each leaf, in their order."""
    kinds = [key_kind(pair.like.key) for pair in wanted]
    if RSA_BITS.keys().isdisjoint(kinds):
        # Handing one over to a thread takes longer than making it.
        yield from map(generate, kinds)
        return
    with ThreadPoolExecutor(max_workers=cpu_count() or 1) as pool:
        yield from pool.map(generate, kinds)


def _batches(made: Iterable[tuple[str, Leaf]]) -> Iterator[list[tuple[str, Leaf]]]:
    """Yield together what was made within `BATCH_SECONDS`."""
    batch: list[tuple[str, Leaf]] = []
    begun = monotonic()
    for pair in made:
        batch.append(pair)
        if monotonic() - begun > BATCH_SECONDS:
            yield batch
            batch, begun = [], monotonic()
    if batch:
        yield batch


def _addition(name: str, leaf: Leaf, at: datetime) -> Addition:
    return Addition(
        name=name,
        chain=write_certificates((leaf.certificate,)),
        key=leaf.key,
        flags=Flags(generated=True),
        at=at,
    )


def _lifetime(like: Certificate) -> timedelta:
    return like.not_after - like.not_before


# From a rollout of a plan to what each instance is sent: real chains in the place of specimens.


class _Assigned(NamedTuple):
    """What a rollout leads an endpoint to, and all that the endpoint may hold until then."""

    instance: Instance
    endpoint: Endpoint
    chain: Chain
    bundle: Bundle | None
    chains: tuple[Chain, ...]
    bundles: tuple[Bundle | None, ...]
    file: str | None


class SuppliedChains(NamedTuple):
    """Chains that nobody has to make, and where their keys come from."""

    chains: frozenset[Chain]
    key: Callable[[Chain], SecretBytes]


class OrderDrafter:
    """Writes the orders of one rollout. `signer` gives the key of a CA that a source gets.

    `brought`: what the goal gives, and nothing is made; None: all is made.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        certificates: Mapping[Fingerprint, Certificate],
        issuers: Issuers,
        signer: Callable[[Fingerprint], Signer],
        brought: SuppliedChains | None = None,
    ) -> None:
        self._fleet = fleet.name
        self._certificates = certificates
        self._issuers = issuers
        self._signer = signer
        self._brought = brought
        self._instances = {instance.name: instance for instance in fleet.instances()}
        self._sources = {
            SourceRef(group.name, endpoint.name): endpoint.trusts
            for group in fleet.groups
            for instance in group.instances[:1]
            for endpoint in instance.endpoints
            if endpoint.role is Role.SOURCE
        }

    def wanted(self, rollout: Rollout) -> list[WantedLeaf]:
        """Return the leaves that have to be made before the rollout may begin.

        None for a source, which signs itself, and for what a source makes the chains of.
        """
        found: dict[WantedLeaf, None] = {}
        if self._brought is not None:
            return []
        for pair in self._assigned(rollout):
            if _is_given_leaves(pair.endpoint) and self._reissued(pair):
                like = self._certificates[pair.endpoint.presents[0]]
                found[WantedLeaf(self._leaf_name(pair), like)] = None
        return list(found)

    def orders(self, rollout: Rollout, leaves: Mapping[str, Leaf]) -> list[Order]:
        """Return one order for each instance that the rollout changes, or has to give again."""
        materials: dict[InstanceName, list[EndpointMaterial]] = {}
        for pair in self._assigned(rollout):
            material = self._material(pair, leaves)
            if material is not None:
                materials.setdefault(pair.instance.name, []).append(material)
        return [
            Order(instance=name, endpoints=tuple(endpoints))
            for name, endpoints in materials.items()
        ]

    def _material(self, each: _Assigned, leaves: Mapping[str, Leaf]) -> EndpointMaterial | None:
        if each.endpoint.source is not None:
            made = self._of_source(each)
        elif each.endpoint.role is Role.SOURCE:
            made = self._for_source(each)
        elif self._brought is not None:
            made = self._given(each, self._brought)
        else:
            made = self._own(each, leaves)
        changes = (made.chain, made.bundle, made.signer, made.issuer)
        return made if any(change is not None for change in changes) else None

    def _of_source(self, each: _Assigned) -> EndpointMaterial:
        """Return what a source has to deliver: always the whole, for it makes all of it anew."""
        name = each.endpoint.name
        if not self._reissued(each) and self._bundle(each) is None:
            return EndpointMaterial(endpoint=name)
        issuer = self._issuer(each.chain)
        bundle = each.bundle if each.bundle is None else self._handed_out(each, each.bundle)
        return EndpointMaterial(
            endpoint=name,
            issuer=None if issuer is None else self._certificates[issuer],
            bundle=None if bundle is None else self._known(bundle),
        )

    def _handed_out(self, each: _Assigned, planned: Bundle) -> Bundle:
        """Return the bundle as the source holds it: in its order, with what else it trusts."""
        source = each.endpoint.source
        held = self._sources.get(source) if source else None
        if held is None or self._issuers.among(held) != self._issuers.among(planned):
            return planned
        return held

    def _for_source(self, each: _Assigned) -> EndpointMaterial:
        signs = self._reissued(each)
        return EndpointMaterial(
            endpoint=each.endpoint.name,
            signer=self._signer(each.chain[0]) if signs else None,
            bundle=self._bundle(each),
        )

    def _given(self, each: _Assigned, brought: SuppliedChains) -> EndpointMaterial:
        """Return what was brought, as far as the endpoint has not got it."""
        name, bundle = each.endpoint.name, self._bundle(each)
        if each.file is not None and each.bundle is not None:
            bundle = self._known(each.bundle)
        # Any other chain is a specimen of those that the instances of its class keep.
        if each.chain not in brought.chains or all(one == each.chain for one in each.chains):
            return EndpointMaterial(endpoint=name, bundle=bundle, bundle_file=each.file)
        return EndpointMaterial(
            endpoint=name,
            chain=self._known(each.chain),
            key=brought.key(each.chain),
            bundle=bundle,
            bundle_file=each.file,
        )

    def _own(self, each: _Assigned, leaves: Mapping[str, Leaf]) -> EndpointMaterial:
        name, bundle = each.endpoint.name, self._bundle(each)
        if self._reissued(each):
            leaf = leaves[self._leaf_name(each)]
            chain = (leaf.certificate, *self._known(each.chain[1:]))
            return EndpointMaterial(endpoint=name, chain=chain, key=leaf.key, bundle=bundle)
        if any(chain[1:] != each.chain[1:] for chain in each.chains):
            chain = self._known((each.endpoint.presents[0], *each.chain[1:]))
            return EndpointMaterial(endpoint=name, chain=chain, bundle=bundle)
        return EndpointMaterial(endpoint=name, bundle=bundle)

    def _assigned(self, rollout: Rollout) -> Iterator[_Assigned]:
        for assignment in rollout.assignments:
            for name in assignment.instances:
                instance = self._instances[name]
                states = (instance.state, *instance.may_be)
                for at, endpoint in enumerate(instance.endpoints):
                    yield _Assigned(
                        instance,
                        endpoint,
                        assignment.presents[at],
                        assignment.trusts[at],
                        tuple(state.presents[at] for state in states),
                        tuple(state.trusts[at] for state in states),
                        _moved(endpoint, assignment.files[at] if assignment.files else None),
                    )

    def _reissued(self, each: _Assigned) -> bool:
        """Whether the chain may come from another CA now than it is to."""
        if not each.endpoint.presents or not each.chain:
            return False
        wanted = self._issuer(each.chain)
        return any(self._issuer(chain) != wanted for chain in each.chains)

    def _issuer(self, chain: Chain) -> Fingerprint | None:
        return self._issuers.of(self._known(chain))

    def _bundle(self, each: _Assigned) -> tuple[Certificate, ...] | None:
        if each.bundle is None or all(held == each.bundle for held in each.bundles):
            return None
        return self._known(each.bundle)

    def _known(self, fingerprints: tuple[Fingerprint, ...]) -> tuple[Certificate, ...]:
        return tuple(self._certificates[fingerprint] for fingerprint in fingerprints)

    def _leaf_name(self, each: _Assigned) -> str:
        slot = each.endpoint.chain_slot or f"{each.endpoint.name}:chain"
        return f"/fleets/{self._fleet}/{each.instance.name}/{slot}"


def _moved(endpoint: Endpoint, file: str | None) -> str | None:
    """Return where a bundle is to lie, None where that is where it lies."""
    return None if file == endpoint.bundle_file else file


def _is_given_leaves(endpoint: Endpoint) -> bool:
    return endpoint.source is None and endpoint.role is not Role.SOURCE
