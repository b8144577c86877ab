"""From what an operator asks for to a goal: the target version, and what is trusted in the end.

An unfinished rotation is gone on with: its goal stands in the journal. What is done of it does
not: that is observed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.engine import material
from rollover.engine.authorities import Authorities
from rollover.engine.material import MaterialRequest, MaterialResumption
from rollover.engine.ports import Journal, every_entry
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.fleet import Authority
from rollover.fleet.goal import (
    About,
    Installation,
    InstallMaterial,
    MaterialKind,
    RotateAuthority,
)
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import AuthorityName, Fingerprint, short
from rollover.fleet.plan import Plan


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for.

    `again`: begin another rotation although the last one is finished. `standby`: keep one CA
    ahead in every bundle, so that the next rotation takes one rollout for each group. `to`: the
    fingerprint of a version that was brought in and shall be the target.
    """

    authority: AuthorityName
    again: bool = False
    cross_sign: bool = False
    standby: bool = False
    compromised: bool = False
    to: Fingerprint | None = None
    key_kind: KeyKind | None = None
    margin_seconds: float = 300.0

    @property
    def about(self) -> About:
        """What the rotation is about."""
        return self.authority


AnyRequest = Request | MaterialRequest | MaterialResumption


class AuthorityIntent(msgspec.Struct, frozen=True, kw_only=True, tag="rotate-authority"):
    """The rotation of an authority as it was begun: its goal, and where it came from."""

    rotation: str
    goal: RotateAuthority
    origin: Fingerprint
    """The version that most chains came from when it began."""
    origin_trusted: tuple[Fingerprint, ...]
    started_at: datetime
    finished: bool = False
    rollback: bool = False

    @property
    def origins(self) -> frozenset[Fingerprint]:
        """The versions that were in use when it began."""
        return frozenset((self.origin, *self.origin_trusted))

    @property
    def again(self) -> str:
        """What to do for more of it, where nothing is left to be done."""
        return "`rollover rotate --new` begins another rotation"

    def reversed_goal(self) -> RotateAuthority:
        """Return the goal that takes it back: its origin is the target again; `SpecError`."""
        if self.goal.compromised:
            raise SpecError(
                f"rotation {self.rotation} left a CA whose key leaked: going back would trust "
                "it again",
                hint="`rollover rotate` goes on with it; `rollover rotate --new` makes another CA",
            )
        trusted = (
            self.origin,
            *(fingerprint for fingerprint in self.origin_trusted if fingerprint != self.origin),
        )
        named = {self.goal.target, *self.goal.trusted, *self.goal.retired}
        return msgspec.structs.replace(
            self.goal,
            target=self.origin,
            trusted=trusted,
            retired=tuple(sorted(named - set(trusted))),
            bridge=None,
        )

    def warned(self, plan: Plan) -> Plan:
        """Return a plan with what has to be known of the way back: nothing, versions are kept."""
        return plan


class MaterialIntent(msgspec.Struct, frozen=True, kw_only=True, tag="install-material"):
    """An installation as it was begun: its goal, and what there was before."""

    rotation: str
    goal: InstallMaterial
    former: tuple[Installation, ...]
    """What those had that something is installed on, as far as it can be had again."""
    started_at: datetime
    finished: bool = False
    rollback: bool = False

    @property
    def origins(self) -> frozenset[Fingerprint]:
        """The versions that were in use when it began: it is about none."""
        return frozenset()

    @property
    def again(self) -> str:
        """What to do for more of it, where nothing is left to be done: nothing."""
        return ""

    def reversed_goal(self) -> InstallMaterial:
        """Return the goal that takes it back; `SpecError` where that cannot be had."""
        return material.rollback_goal(self.goal, self.former)

    def warned(self, plan: Plan) -> Plan:
        """Return a plan that says whether a way leads back to the former certificates."""
        return material.with_rollback_caution(plan, self.goal, self.former)


Intent = AuthorityIntent | MaterialIntent


def last_intent(journal: Journal, about: About) -> Intent | None:
    """Return the rotation of that which was begun last, finished or not."""
    return next(_intents(journal, about), None)


def last_of_authority(journal: Journal, authority: AuthorityName) -> AuthorityIntent | None:
    """Return the rotation of an authority that was begun last, finished or not."""
    return next(_of_authority(journal, authority), None)


def _of_authority(journal: Journal, authority: AuthorityName) -> Iterator[AuthorityIntent]:
    for intent in _intents(journal, authority):
        if isinstance(intent, AuthorityIntent):
            yield intent


def _intents(journal: Journal, about: About) -> Iterator[Intent]:
    """Yield the rotations of that, the last begun first."""
    before = None
    while summaries := journal.rotations(before=before):
        for summary in summaries:
            found = _intent(journal, summary.rotation, about)
            if found is not None:
                yield found
        before = summaries[-1].first_sequence


def _intent(journal: Journal, rotation: str, about: About) -> Intent | None:
    entries = journal.entries(rotation=rotation, limit=1)
    if not entries or entries[0].kind is not EntryKind.STARTED:
        return None
    data = entries[0].data.get("intent")
    if not isinstance(data, dict):
        return None
    intent = read_intent(data)
    if intent.goal.about != about:
        return None
    finished = any(entry.kind is EntryKind.FINISHED for entry in every_entry(journal, rotation))
    return msgspec.structs.replace(intent, finished=finished)


def read_intent(data: Mapping[str, object]) -> Intent:
    """Return an intent as the journal has it; journals of every version of Rollover are read."""
    if "type" not in data:
        data = _with_kind(data)
    return msgspec.convert(data, Intent)  # type: ignore[no-any-return]  # a union is no type


def _with_kind(data: Mapping[str, object]) -> Mapping[str, object]:
    """Return an intent that was written before goals were a tagged union.

    Every goal was that of an authority then; what was supplied stood in its field `given`.
    """
    goal = data.get("goal")
    if not isinstance(goal, dict):
        return data
    if not goal.get("given"):
        return {**data, "type": "rotate-authority", "goal": {**goal, "type": "rotate-authority"}}
    parts = {"parts": goal["given"], "step_margin": goal["step_margin"]}
    return {
        **data,
        "type": "install-material",
        "goal": {"type": "install-material", **parts},
        "former": data.get("before", ()),
    }


def choose_about(authorities: Iterable[Authority], wanted: str | None) -> About:
    """Return what a rotation is about: an authority, or a kind of material by its name."""
    kinds = {kind.value: kind for kind in MaterialKind}
    names = [authority.name for authority in authorities]
    if wanted is not None and wanted in kinds and wanted not in names:
        return kinds[wanted]
    return choose_authority(names, wanted)


def choose_authority(names: Sequence[AuthorityName], wanted: str | None) -> AuthorityName:
    """Return the authority that is meant; `SpecError` when that is not clear."""
    if wanted is not None:
        if wanted not in names:
            raise SpecError(
                f"the fleet has no authority `{wanted}`",
                hint=f"it has {', '.join(f'`{name}`' for name in names) or 'none'}",
            )
        return AuthorityName(wanted)
    if not names:
        raise SpecError(
            "the fleet file describes no authority",
            field="authorities",
            hint="`rollover discover` writes down the CAs that are in use; "
            "`rollover authority import` brings one in",
        )
    if len(names) != 1:
        raise SpecError(
            f"the fleet has {len(names)} authorities",
            hint=f"name one with `--authority`: {', '.join(names)}",
        )
    return names[0]


def rotation_goal(
    request: Request,
    *,
    authorities: Authorities,
    origin: Fingerprint,
    certificates: Iterable[Certificate],
    abandoned: Iterable[Fingerprint],
    now: datetime,
) -> RotateAuthority:
    """Return a new goal, making the CA versions that it needs. Changes the store, not the fleet.

    A version that was made ahead (a standby, or by a run that was killed before it began) is
    taken before another is made; one that was rotated to before, and left again, or that has
    expired, is not.
    """
    if request.compromised and request.cross_sign:
        raise SpecError(
            "a CA whose key leaked can vouch for nothing: `--compromised` excludes `--cross-sign`",
            hint="leave `--cross-sign` out",
        )
    known = {certificate.fingerprint: certificate for certificate in certificates}
    ahead = [
        fingerprint
        for fingerprint in _newer(authorities, request.authority, origin)
        if fingerprint not in {*abandoned, request.to} and known[fingerprint].not_after > now
    ]

    def take(like: Certificate) -> Fingerprint:
        if ahead:
            return ahead.pop(0)
        made = authorities.make_next(request.authority, like, at=now, key_kind=request.key_kind)
        return made.fingerprint

    target = request.to or take(known[origin])
    trusted: tuple[Fingerprint, ...] = (target,)
    if request.standby:
        kept = () if request.compromised else (origin,)
        trusted = (target, take(known[origin]), *kept)
    bridge = None
    if request.cross_sign:
        bridge = authorities.bridge(request.authority, target, origin, at=now).fingerprint
    versions = {*authorities.versions(request.authority).versions, origin}
    return RotateAuthority(
        authority=request.authority,
        target=target,
        trusted=trusted,
        retired=tuple(sorted(versions - set(trusted))),
        bridge=bridge,
        compromised=request.compromised,
        step_margin=timedelta(seconds=request.margin_seconds),
    )


def _newer(authorities: Authorities, name: AuthorityName, origin: Fingerprint) -> list[Fingerprint]:
    """Return the versions behind the one in use that leaves can be issued from, oldest first."""
    versions = authorities.versions(name).versions
    behind = versions[versions.index(origin) + 1 :] if origin in versions else ()
    return [fingerprint for fingerprint in behind if authorities.has_key(name, fingerprint)]


def earlier_targets(journal: Journal, authority: AuthorityName) -> set[Fingerprint]:
    """Return every version that a rotation of an authority was ever begun towards."""
    return {intent.goal.target for intent in _of_authority(journal, authority)}


def fits(request: Request, goal: RotateAuthority) -> bool:
    """Say whether a goal is what is asked for; what is not asked for may be either way."""
    return (
        request.to in {None, goal.target}
        and request.compromised <= goal.compromised
        and request.standby <= (len(goal.trusted) > 1)
        and request.cross_sign <= (goal.bridge is not None)
    )


def check_target(certificate: Certificate, *, now: datetime) -> None:
    """Refuse a CA that nobody would accept now; `SpecError`."""
    named = f"the CA `{certificate.subject}` ({short(certificate.fingerprint)})"
    if now > certificate.not_after:
        raise SpecError(
            f"{named} expired at {certificate.not_after:%Y-%m-%d %H:%M:%SZ}",
            hint="`rollover rotate --new` makes a new one",
        )
    if now < certificate.not_before:
        raise SpecError(
            f"{named} is not valid before {certificate.not_before:%Y-%m-%d %H:%M:%SZ}",
            hint="wait until then, and look at the clocks of both machines",
        )
    if not certificate.is_ca:
        raise SpecError(
            f"{named} is no CA certificate", hint="bring in the CA, not a leaf that it issued"
        )
