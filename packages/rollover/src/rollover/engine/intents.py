"""From a request to the rotation that is gone on with, mended, or begun."""

from __future__ import annotations

import uuid
from functools import partial
from typing import assert_never

import msgspec

from rollover.engine import goals, material, run_log
from rollover.engine.fleet_context import FleetContext
from rollover.engine.goals import (
    AnyRequest,
    AuthorityIntent,
    Intent,
    MaterialIntent,
    Request,
    last_intent,
)
from rollover.engine.material import MaterialRequest, MaterialResumption
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.supply import MaterialSupply, keep_supplied, renamed_by_hand, supply_for
from rollover.errors import Interrupted, SpecError
from rollover.fleet.goal import Goal, InstallMaterial, RotateAuthority, name_of
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import Fingerprint


class Intents:
    """What requests come to at one site. What is begun stands in the journal before it returns."""

    def __init__(self, site: FleetContext) -> None:
        self._site = site

    def goal(self, request: AnyRequest, observed: ObservedFleet) -> Goal:
        """Return the goal to plan for: that of the last rotation where it is what is asked for."""
        match request:
            case Request():
                return self._authority_goal(request, observed)
            case MaterialRequest():
                return self._material_goal(request, observed)
            case MaterialResumption():
                return self._resumed(request).goal
            case never:
                assert_never(never)

    def intent(self, request: AnyRequest) -> Intent:
        """Return the rotation that is asked for: the one to go on with, or a new one, begun."""
        match request:
            case Request():
                return self._authority_intent(request)
            case MaterialRequest():
                return self._material_intent(request)
            case MaterialResumption():
                return self._resumed(request)
            case never:
                assert_never(never)

    # The rotation of an authority.

    def _authority_goal(self, request: Request, observed: ObservedFleet) -> RotateAuthority:
        intent = self._last(request, observed)
        if intent is not None and goals.fits(request, intent.goal):
            return intent.goal
        return self._new_goal(request, observed)

    def _authority_intent(self, request: Request) -> AuthorityIntent:
        intent = self._last(request)
        if intent is None:
            return self._begin(request)
        if goals.fits(request, intent.goal):
            return intent
        if request.compromised and not intent.finished:
            # The key that leaked is the one being left: the way is the same, its order is not.
            return self._begin(msgspec.structs.replace(request, to=intent.goal.target))
        if intent.finished and (request.compromised or request.to is not None):
            return self._begin(request)
        raise SpecError(
            f"rotation {intent.rotation} of `{request.authority}` is "
            f"{'finished' if intent.finished else 'not finished'}, and another goal is asked for",
            hint="`rollover rotate --new …` begins another one"
            if intent.finished
            else "`rollover rotate` goes on with it, `rollover rollback` takes it back",
        )

    def _last(
        self, request: Request, observed: ObservedFleet | None = None
    ) -> AuthorityIntent | None:
        """Return the rotation to go on with, or to look at again; None: another is to be begun.

        Raises `SpecError` when its goal is none any more, unless another is asked for, or a
        recovery.
        """
        intent = goals.last_of_authority(self._site.journal, request.authority)
        if intent is None or (intent.finished and request.again):
            return None
        over = self._over(intent, observed)
        if not over:
            return intent
        if request.again or self._site.recover:
            return None
        raise SpecError(
            f"rotation {intent.rotation} of `{request.authority}` {over}",
            hint="`rollover rotate --new` begins another one; where what is in use has expired and "
            "agents are cut off, `rollover plan --recover --new` shows the way",
        )

    def _over(self, intent: AuthorityIntent, observed: ObservedFleet | None) -> str:
        """Say why a goal is none any more; empty when it still is one."""
        authorities, name = self._site.authorities, intent.goal.authority
        target = next(
            (
                certificate
                for certificate in authorities.certificates(name)
                if certificate.fingerprint == intent.goal.target
            ),
            None,
        )
        if target is not None and target.not_after < self._site.clock():
            return f"led to a CA that expired at {target.not_after:%Y-%m-%d %H:%M:%SZ}"
        if not intent.finished:
            return ""
        observed = observed or self._site.observe(name)
        origin = observed.origin(self._site.issuers(observed))
        used = dict.fromkeys((*([origin] if origin else ()), *observed.trusted_versions()))
        named = {intent.goal.target, *intent.goal.trusted, *intent.goal.retired}
        for version in used:
            if version not in named:
                label = authorities.versions(name).label(version)
                return f"is finished, and knew nothing of `{label}`, which is in use now"
        return ""

    def _new_goal(self, request: Request, observed: ObservedFleet) -> RotateAuthority:
        self._check_sources(request, observed)
        return goals.rotation_goal(
            request,
            authorities=self._site.authorities,
            origin=self._origin(request, observed),
            certificates=observed.certificates.values(),
            abandoned=goals.earlier_targets(self._site.journal, request.authority),
            now=self._site.clock(),
        )

    def _check_sources(self, request: Request, observed: ObservedFleet) -> None:
        """Refuse what cannot be done where a source makes the chains of others."""
        feeding = ", ".join(f"`{name}`" for name in sorted(observed.feeding()))
        if feeding and request.cross_sign:
            raise SpecError(
                f"{feeding} hands out no chains with a bridge in them, and those that it feeds "
                "have to be visited twice with a bridge too: `--cross-sign` saves nothing here",
                hint="leave `--cross-sign` out",
            )
        if feeding and request.compromised and not self._site.recover:
            raise SpecError(
                f"taking the trust first cuts off all that {feeding} feeds: they can only be made "
                "anew, without a word to what runs on them",
                hint="`rollover rotate --compromised --recover --window START/END` does that; "
                "without `--compromised` nobody is cut off, and the old CA is trusted meanwhile",
            )

    def _origin(self, request: Request, observed: ObservedFleet) -> Fingerprint:
        origin = observed.origin(self._site.issuers(observed))
        if origin is None:
            raise SpecError(
                f"nothing in the fleet presents a certificate of `{request.authority}`",
                hint="`rollover topology` shows who presents what",
            )
        return origin

    # Beginnings.

    def _stop_if_paused(self) -> None:
        if self._site.pause_requested():
            raise Interrupted("paused: nothing is begun", hint="`rollover resume` takes it back")

    def _begin(self, request: Request) -> AuthorityIntent:
        self._stop_if_paused()
        observed = self._site.observe(request.authority)
        goal = self._new_goal(request, observed)
        self._check(observed, goal)
        intent = AuthorityIntent(
            rotation=_new_id(),
            goal=goal,
            origin=self._origin(request, observed),
            origin_trusted=observed.trusted_versions(),
            started_at=self._site.clock(),
        )
        self._record_start(intent)
        return intent

    # The installation of material.

    def _material_goal(self, request: MaterialRequest, observed: ObservedFleet) -> InstallMaterial:
        """Return the goal; `SpecError` when what is supplied, or for whom, cannot be meant."""
        self._site.learn(request.certificates)
        by_hand = partial(renamed_by_hand, self._site)
        return material.material_goal(
            request, observed.fleet, self._site.described, by_hand=by_hand
        )

    def _material_intent(self, request: MaterialRequest) -> Intent:
        """Return the rotation that installs just that, or begin it: another is superseded."""
        observed = self._site.observe(request.about)
        goal = self._material_goal(request, observed)
        intent = last_intent(self._site.journal, request.about)
        if intent is not None and intent.goal == goal:
            return intent
        self._stop_if_paused()
        # Keys are stored before the journal says that it began: a crash in between leaves material
        # that nobody misses, never a rotation without its way back.
        keep_supplied(self._site, request)
        begun = MaterialIntent(
            rotation=_new_id(),
            goal=goal,
            former=MaterialSupply(self._site, goal).keep_former(observed),
            started_at=self._site.clock(),
        )
        self._record_start(begun)
        return begun

    def _resumed(self, request: MaterialResumption) -> Intent:
        intent = last_intent(self._site.journal, request.about)
        if intent is None:
            raise SpecError(
                f"`{name_of(request.about)}` was never begun here",
                hint="`rollover rotate --bundle` and `--renew` say what is to be installed",
            )
        return intent

    # The way back, and the journal.

    def rollback(self, intent: Intent) -> Intent:
        """Begin the rotation that takes another one back; `SpecError` when nothing can."""
        goal = intent.reversed_goal()
        observed = self._site.observe(goal.about)
        self._check(observed, goal)
        back = self._back(intent, observed)
        self._record_start(back)
        return back

    def _back(self, intent: Intent, observed: ObservedFleet) -> Intent:
        rotation, now = _new_id(), self._site.clock()
        match intent:
            case AuthorityIntent():
                return AuthorityIntent(
                    rotation=rotation,
                    goal=intent.reversed_goal(),
                    origin=intent.goal.target,
                    origin_trusted=intent.goal.trusted,
                    started_at=now,
                    rollback=True,
                )
            case MaterialIntent():
                goal = intent.reversed_goal()
                return MaterialIntent(
                    rotation=rotation,
                    goal=goal,
                    former=MaterialSupply(self._site, goal).keep_former(observed),
                    started_at=now,
                    rollback=True,
                )
            case never:
                assert_never(never)

    def _check(self, observed: ObservedFleet, goal: Goal) -> None:
        """Refuse a goal that cannot be gone to before it is written down as the one to go to."""
        self._site.knowledge(goal)
        supply_for(self._site, goal).check_target(observed)

    def _record_start(self, intent: Intent) -> None:
        self._site.journal.append(
            intent.rotation,
            EntryKind.STARTED,
            at=self._site.clock(),
            data=run_log.started_data(intent, fleet=self._site.described.name),
        )


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
