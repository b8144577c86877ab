"""Can this fleet be rotated, and what stands in the way? Observes, asks, then runs the rules."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from rollover.checks.run import Report, check
from rollover.checks.scene import DEFAULT_EXPIRY_DAYS, Knowledge
from rollover.engine import attending
from rollover.engine.goals import choose_about
from rollover.engine.platform_extras import Moment
from rollover.engine.site import Site
from rollover.engine.survey import survey


def check_site(
    site: Site, authority: str | None = None, *, expiry_days: float = DEFAULT_EXPIRY_DAYS
) -> Report:
    """Observe a fleet and return the report of all rules; changes nothing.

    `authority`: look at the versions of this one only; None: at those of all. Raises `SpecError`
    when there is no such authority. An instance that does not answer is a finding.
    """
    if authority is not None:
        choose_about(site.authorities.all(), authority)
    seen = survey(site)
    fleet = seen.fleet
    if authority is not None:
        chosen = tuple(each for each in fleet.authorities if each.name == authority)
        fleet = msgspec.structs.replace(fleet, authorities=chosen)
    versions = {each for one in fleet.authorities for each in one.versions}
    return check(
        fleet,
        site.described,
        accepts=seen.accepts,
        shape=seen.shape,
        knowledge=Knowledge(
            issuers={leaf: by for leaf, by in seen.issuers.items() if by in versions},
            keys=seen.keys,
            expires_within=timedelta(days=expiry_days),
        ),
        now=seen.at,
        catalogue=site.catalogue,
        known=dict(attending.by_group(site, Moment.CHECK)),
    )
