"""A look at a whole fleet that asks for no goal: for `check`, `topology` and lists of versions.

Unlike the look before a rollout it goes on when an instance was never seen: that is a finding.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime

from rollover.engine.authorities import by_fingerprint
from rollover.engine.issuing import Issuers, chain_shape
from rollover.engine.observing import observe
from rollover.engine.site import Site
from rollover.fleet.assemble import assemble
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.model import Fleet
from rollover.fleet.names import Fingerprint
from rollover.pki.stacks import Verifier


class Survey:
    """A fleet as it was observed, and what can be asked about its certificates."""

    def __init__(self, fleet: Fleet, *, keys: frozenset[Fingerprint], at: datetime) -> None:
        self.fleet = fleet
        self.keys = keys
        """The CA versions whose private key is in the store."""
        self.at = at
        self.accepts = Verifier(fleet.certificates)
        self.issuers = _issuers(fleet)

    def shape(self, chain: Chain) -> Hashable:
        """Return the same value for chains that are judged alike, but for names and dates."""
        return chain_shape(chain, self.fleet.certificates)


def survey(site: Site) -> Survey:
    """Observe a fleet; changes nothing. Instances that were never seen have empty endpoints."""
    known: dict[Fingerprint, Certificate] = {}
    keys: set[Fingerprint] = set()
    authorities = site.authorities.all()
    for authority in authorities:
        known.update(by_fingerprint(site.authorities.certificates(authority.name)))
        keys.update(
            each.fingerprint for each in site.authorities.stored(authority.name) if each.has_key
        )
    described = site.refreshed()
    observations = observe(described, site.platforms)
    fleet = assemble(described, observations, authorities=authorities, known=known)
    return Survey(fleet, keys=frozenset(keys), at=site.clock())


def _issuers(fleet: Fleet) -> dict[Fingerprint, Fingerprint]:
    """Return which version of an authority issued each leaf or intermediate that is presented."""
    versions = [each for authority in fleet.authorities for each in authority.versions]
    issuers = Issuers(fleet.certificates[each] for each in versions if each in fleet.certificates)
    found: dict[Fingerprint, Fingerprint] = {}
    presented = {
        fingerprint
        for instance in fleet.instances()
        for endpoint in instance.endpoints
        for fingerprint in endpoint.presents
    }
    for fingerprint in presented:
        issuer = issuers.of([fleet.certificates[fingerprint]])
        if issuer is not None:
            found[fingerprint] = issuer
    return found
