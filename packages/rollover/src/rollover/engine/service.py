"""What a user of the library calls: observe, check, plan, rotate, roll back, verify, import."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from rollover.engine import gates, goals, platform_findings
from rollover.engine.events import Conduct, Outcome
from rollover.engine.fleet_context import FleetContext
from rollover.engine.goals import AnyRequest, choose_about, last_intent
from rollover.engine.intents import Intents
from rollover.engine.leasing import HeldLease
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.ports import Moment
from rollover.engine.recovery import LOSSES, Recovery, recovery
from rollover.engine.rotation import Rotation
from rollover.engine.rules import RECOVERY
from rollover.engine.supply import supply_for
from rollover.engine.topology import FleetObservation, observe_without_goal
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import CertificateVersion
from rollover.fleet.fleet import Authority, Role
from rollover.fleet.goal import About, Goal, name_of
from rollover.fleet.names import AuthorityName, Fingerprint, short
from rollover.fleet.plan import Caution, Plan, Violation
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import read_certificates
from rollover.planner import planner
from rollover.rules.context import DEFAULT_EXPIRY_DAYS, RuleKnowledge
from rollover.rules.report import Report, check
from rollover.rules.rule import Finding

# Checks.


def check_fleet(
    site: FleetContext, authority: str | None = None, *, expiry_days: float = DEFAULT_EXPIRY_DAYS
) -> Report:
    """Observe a fleet and return the report of all rules; changes nothing.

    `authority`: look at the versions of this one only; None: at those of all. Raises `SpecError`
    when there is no such authority. An instance that does not answer is a finding.
    """
    if authority is not None:
        choose_about(site.authorities.all(), authority)
    observed = observe_without_goal(site)
    fleet = observed.fleet
    if authority is not None:
        chosen = tuple(known for known in fleet.authorities if known.name == authority)
        fleet = msgspec.structs.replace(fleet, authorities=chosen)
    versions = {version for known in fleet.authorities for version in known.versions}
    return check(
        fleet,
        site.described,
        accepts=observed.accepts,
        shape=observed.shape,
        knowledge=RuleKnowledge(
            issuers={leaf: by for leaf, by in observed.issuers.items() if by in versions},
            keys=observed.keys,
            expires_within=timedelta(days=expiry_days),
        ),
        now=observed.at,
        catalogue=site.catalogue(),
        known=dict(platform_findings.by_group(site, Moment.CHECK)),
    )


# Versions of authorities.


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an authority, and how many endpoints use it.

    `subject` and the dates are empty when its certificate was seen nowhere.
    """

    authority: str
    label: str
    fingerprint: str
    subject: str = ""
    key: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_here: bool = False
    trusted_by: int = 0
    presented_by: int = 0


class PemFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read, and the name that messages call it by."""

    place: str
    content: SecretBytes


def list_versions(site: FleetContext) -> tuple[VersionView, ...]:
    """Observe a fleet and return every version of its authorities, oldest first."""
    observed = observe_without_goal(site)
    return tuple(
        view
        for authority in observed.fleet.authorities
        for view in _version_views(authority, observed)
    )


def _version_views(authority: Authority, observed: FleetObservation) -> Iterator[VersionView]:
    for version in dict.fromkeys(authority.versions):
        view = VersionView(
            authority=authority.name,
            label=authority.label(version),
            fingerprint=version,
            key_here=version in observed.keys,
            trusted_by=_trusted_by(version, observed),
            presented_by=_presented_by(version, observed),
        )
        known = observed.fleet.certificates.get(version)
        if known is None:
            yield view
            continue
        yield msgspec.structs.replace(
            view,
            subject=known.subject,
            key=known.key,
            not_before=known.not_before,
            not_after=known.not_after,
        )


def _trusted_by(version: Fingerprint, observed: FleetObservation) -> int:
    return sum(
        version in (endpoint.trusts or ())
        for instance in observed.fleet.instances()
        for endpoint in instance.endpoints
    )


def _presented_by(version: Fingerprint, observed: FleetObservation) -> int:
    return sum(
        endpoint.role is not Role.SOURCE
        and any(observed.issuers.get(present) == version for present in endpoint.presents)
        for instance in observed.fleet.instances()
        for endpoint in instance.endpoints
    )


def import_version(
    site: FleetContext, name: str, *, certificate: PemFile, key: PemFile | None
) -> CertificateVersion:
    """Keep a CA that was made elsewhere as a version of an authority; idempotent.

    Raises `PemError` when a file is damaged or swapped, or the key belongs to another certificate,
    and `SpecError` when the certificate is no CA.
    """
    first = read_certificates(certificate.content.reveal(), place=certificate.place).certificates[0]
    if not first.is_ca:
        raise SpecError(
            f"`{first.subject}` ({short(first.fingerprint)}) is no CA certificate",
            place=certificate.place,
            hint="bring in the certificate of the CA, not of a server or client",
        )
    owner = site.authorities.owner(first.fingerprint)
    if owner is not None and owner != name:
        raise SpecError(
            f"`{first.subject}` ({short(first.fingerprint)}) is a version of `{owner}` already",
            place=certificate.place,
            hint=f"`rollover authority import {owner} …` adds its key; each CA has one name",
        )
    if key is not None:
        private = from_pem(key.content.reveal(), place=key.place)
        if private.key_identity != first.key_identity:
            raise PemError(
                f"the key (`{private.kind}`) is not that of `{first.subject}` (`{first.key}`)",
                place=key.place,
                hint="give the key that this CA certificate was made for",
            )
    return site.authorities.bring_in(
        AuthorityName(name),
        certificate.content.reveal(),
        key.content if key is not None else None,
        at=site.clock(),
    )


# Plans and rotations.


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What fresh handshakes and the servers' own lists say of a fleet."""

    gates: tuple[gates.GateResult, ...]

    @property
    def holds(self) -> bool:
        """Whether every fact is as it should be."""
        return all(gate.holds for gate in self.gates)


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, what platforms know besides, and who is cut off because certificates have expired."""

    plan: Plan
    findings: tuple[Finding, ...] = ()
    recovery: Recovery = Recovery()

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that stand in the way, the gravest first."""
        return platform_findings.blocking(self.findings)

    def whole(self) -> Plan:
        """Return the plan with everything else among its cautions."""
        more = platform_findings.cautions(self.findings)
        if self.recovery.needed:
            said = "; ".join(self.recovery.expired)
            message = f"NOT SAFE: {said}: {LOSSES}" if said else f"NOT SAFE: {LOSSES}"
            more = (Caution(rule=RECOVERY, message=message), *more)
        return msgspec.structs.replace(self.plan, cautions=(*self.plan.cautions, *more))


class Rollover:
    """The library's front door for one site."""

    def __init__(self, site: FleetContext) -> None:
        self.site = site
        self._intents = Intents(site)

    def authority(self, name: str | None = None) -> AuthorityName:
        """Return the authority of that name, or the only one; `SpecError` when unclear."""
        return goals.choose_authority(
            [authority.name for authority in self.site.authorities.all()], name
        )

    def about(self, name: str | None = None) -> About:
        """Return what goes by that name: an authority, or material that was installed."""
        return goals.choose_about(self.site.authorities.all(), name)

    def observe(self, about: About) -> ObservedFleet:
        """Observe the fleet; changes nothing."""
        return self.site.observe(about)

    def plan(self, request: AnyRequest) -> Plan:
        """Return the plan for a request, or for what an unfinished rotation still has to do.

        Changes no instance. A new CA is made in the site's store, so give the site a scratch
        store to leave no trace.
        """
        return self._planned(*self._aimed(request))

    def outlook(self, request: AnyRequest) -> Outlook:
        """Return the plan with all else that is known beforehand; changes as much as `plan`."""
        observed, goal = self._aimed(request)
        return Outlook(
            plan=self._planned(observed, goal),
            findings=platform_findings.findings(self.site, Moment.CHECK),
            recovery=recovery(observed, self.site.knowledge(goal), now=self.site.clock()),
        )

    def _planned(self, observed: ObservedFleet, goal: Goal) -> Plan:
        knowledge = self.site.knowledge(goal)
        plan = planner.plan(observed.fleet, goal, knowledge=knowledge, now=self.site.clock())
        return supply_for(self.site, goal).foreseen(plan, observed)

    def naive_swap(self, request: AnyRequest) -> tuple[Violation, ...]:
        """Return what swapping everything at once would break: nothing is changed."""
        observed, goal = self._aimed(request)
        knowledge = self.site.knowledge(goal)
        return planner.naive(observed.fleet, goal, knowledge=knowledge, now=self.site.clock())

    def _aimed(self, request: AnyRequest) -> tuple[ObservedFleet, Goal]:
        """Return the fleet as observed, and a goal, whose CA may have been made just now."""
        observed = self.site.observe(request.about)
        goal = self._intents.goal(request, observed)
        observed = self.site.renamed(observed, request.about)
        supply_for(self.site, goal).check_target(observed)
        return observed, goal

    def rotate(self, request: AnyRequest, conduct: Conduct) -> Outcome:
        """Begin a rotation, or go on with the one that is unfinished, until it ends or stops.

        A finished rotation is looked at again and mended where it no longer holds; another is
        begun only when the request says so. Raises `StaleError` when another process works on
        this fleet, `SpecError` when the request does not fit the unfinished rotation.
        """
        with self._lease() as lease:
            return Rotation(self.site, self._intents.intent(request), conduct, lease).run()

    def rollback(self, about: About, conduct: Conduct) -> Outcome:
        """Take the last rotation back: a rotation like any other, towards the version before.

        Raises `SpecError` when there is nothing to take back or the old CA can serve no more,
        `StoreError` when its key is not in the store; nothing is begun then.
        """
        with self._lease() as lease:
            intent = last_intent(self.site.journal, about)
            if intent is None:
                raise SpecError(
                    f"`{name_of(about)}` was never rotated here",
                    hint="there is nothing to take back",
                )
            if not intent.rollback:
                intent = self._intents.rollback(intent)
            return Rotation(self.site, intent, conduct, lease).run()

    def verify(self, about: About) -> Verification:
        """Dial every endpoint afresh with the chains of every CA version that can be had."""
        observed = self.site.observe(about)
        groups = [group.name for group in observed.fleet.groups]
        dialled = gates.handshake_gate(
            observed.fleet, self.site.platforms, self.site.identities(about), groups=groups
        )
        trusted = set(observed.trusted_versions())
        withdrawn = [version for version in observed.versions if version.fingerprint not in trusted]
        drained = gates.drain_gate(observed.fleet, self.site.platforms, withdrawn)
        return Verification(gates=(dialled, drained))

    def _lease(self) -> HeldLease:
        """Return the right to change this fleet: one at a time, whatever the authority.

        Two rotations of different authorities would deliver the same bundles, each without what
        the other had just added.
        """
        return HeldLease(
            self.site.leases,
            self.site.described.name,
            holder=self.site.holder,
            clock=self.site.clock,
        )
