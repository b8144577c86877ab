"""The certificates that are known at one site, who issued them, and what can be presented.

Platforms recognise bundles and peers by them, and the rotation plans with them. So this is made
before both and given to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from rollover.engine.authorities import Authorities, by_fingerprint
from rollover.engine.leaves import Issuers
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.evidence import Identity
from rollover.fleet.names import AuthorityName, Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLOCK_SKEW, LEAF_NODE, issue_leaf
from rollover.pki.keys import generate, to_pem

PROBE_NAME = "rollover-probe"
PROBE_LIFETIME = timedelta(hours=12)


class KnownCertificates:
    """Every certificate that was observed or supplied, and those of the authorities' versions.

    `by_fingerprint` grows while work goes on; nothing is ever taken out of it.
    """

    def __init__(self, authorities: Authorities, *, clock: Callable[[], datetime]) -> None:
        self.authorities = authorities
        self.by_fingerprint: dict[Fingerprint, Certificate] = {}
        self._clock = clock
        self._identities: dict[Fingerprint, Identity] = {}
        self._issuers: dict[tuple[Fingerprint, ...], Issuers] = {}

    def learn(self, certificates: Iterable[Certificate]) -> None:
        """Know certificates that were observed or supplied."""
        self.by_fingerprint.update(by_fingerprint(certificates))

    def of_authorities(self) -> tuple[Certificate, ...]:
        """Return every CA certificate in the store: bundles are recognised by them."""
        return tuple(
            certificate
            for authority in self.authorities.all()
            for certificate in self.authorities.certificates(authority.name)
        )

    def with_authorities(self) -> dict[Fingerprint, Certificate]:
        """Return all that is known, versions made since the last time included."""
        self.learn(self.of_authorities())
        return self.by_fingerprint

    def versions(self, authority: AuthorityName) -> tuple[Certificate, ...]:
        """Return the versions of an authority whose certificates are known, oldest first."""
        return tuple(
            self.by_fingerprint[version]
            for version in self.authorities.versions(authority).versions
            if version in self.by_fingerprint
        )

    def issuers_among(self, versions: Iterable[Certificate]) -> Issuers:
        """Return who can tell which of some versions issued a chain; its answers are kept."""
        versions = tuple(versions)
        named = tuple(version.fingerprint for version in versions)
        if named not in self._issuers:
            self._issuers[named] = Issuers(versions)
        return self._issuers[named]

    def issuers(self) -> Issuers:
        """Return who can tell which version of any authority issued a chain."""
        named = {version for authority in self.authorities.all() for version in authority.versions}
        known = sorted(named & self.by_fingerprint.keys())
        return self.issuers_among(self.by_fingerprint[version] for version in known)

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return which version of any authority issued a leaf that was seen; None: unknown."""
        certificate = self.by_fingerprint.get(leaf)
        return None if certificate is None else self.issuers().of([certificate])

    def key_of(self, version: Fingerprint) -> SecretBytes | None:
        """Return the key of a CA that is, or was, a version of an authority; None: not here."""
        owner = self.authorities.owner(version)
        if owner is None or not self.authorities.has_key(owner, version):
            return None
        return SecretBytes(to_pem(self.authorities.signing(owner, version).key))

    def identities(self, authority: AuthorityName) -> tuple[Identity, ...]:
        """Return a chain and key of our own from every valid version whose key is at hand.

        They live in memory only. A version that has expired proves nothing: nobody lets it in.
        """
        now = self._clock()
        known = self.with_authorities()
        return tuple(
            self._identity(authority, version)
            for version in self.authorities.versions(authority).versions
            if self.authorities.has_key(authority, version)
            and known[version].not_before <= now <= known[version].not_after
        )

    def all_identities(self) -> tuple[Identity, ...]:
        """Return the identities of every authority."""
        return tuple(
            identity
            for authority in self.authorities.all()
            for identity in self.identities(authority.name)
        )

    def _identity(self, authority: AuthorityName, version: Fingerprint) -> Identity:
        kept = self._identities.get(version)
        # A rotation may wait for people for days, and outlive what it presents itself.
        if kept is not None and kept.chain[0].not_after >= self._clock() + PROBE_LIFETIME / 2:
            return kept
        signing = self.authorities.signing(authority, version)
        key = generate(KeyKind.P256)
        leaf = issue_leaf(
            profile=LEAF_NODE,
            common_name=PROBE_NAME,
            names=(PROBE_NAME,),
            key=key,
            authority=signing.certificate,
            authority_key=signing.key,
            not_before=self._clock() - CLOCK_SKEW,
            lifetime=PROBE_LIFETIME,
        )
        made = Identity(
            label=self.authorities.versions(authority).label(version),
            issuer=version,
            chain=(leaf,),
            key=SecretBytes(to_pem(key)),
        )
        self._identities[version] = made
        return made
