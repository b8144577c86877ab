"""From what an operator asks for to a goal: the target version, and what is trusted in the end.

An unfinished rotation is gone on with: its goal stands in the journal. What is done of it does
not: that is observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from rollover.engine.authorities import Authorities
from rollover.engine.journal_port import Journal
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.model import Authority
from rollover.fleet.names import AuthorityName, Fingerprint

_OPENING = {EntryKind.STARTED}
_CLOSING = {EntryKind.FINISHED}


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


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation as it was begun: its goal, and the goal that would take it back."""

    rotation: str
    goal: Goal
    origin: Fingerprint
    """The version that most chains came from when it began."""
    origin_trusted: tuple[Fingerprint, ...]
    started_at: datetime
    finished: bool = False
    rollback: bool = False


def last_intent(journal: Journal, authority: AuthorityName) -> Intent | None:
    """Return the rotation of an authority that was begun last, finished or not."""
    for summary in journal.rotations():
        found = _intent(journal, summary.rotation, authority)
        if found is not None:
            return found
    return None


def _intent(journal: Journal, rotation: str, authority: AuthorityName) -> Intent | None:
    entries = journal.entries(rotation=rotation, limit=1)
    if not entries or entries[0].kind not in _OPENING:
        return None
    data = entries[0].data.get("intent")
    if not isinstance(data, dict):
        return None
    intent = msgspec.convert(data, Intent)
    if intent.goal.authority != authority:
        return None
    return msgspec.structs.replace(intent, finished=_is_finished(journal, rotation))


def _is_finished(journal: Journal, rotation: str) -> bool:
    after = 0
    while entries := journal.entries(rotation=rotation, after=after):
        if any(entry.kind in _CLOSING for entry in entries):
            return True
        after = entries[-1].sequence
    return False


def choose_authority(authorities: Iterable[Authority], wanted: str | None) -> AuthorityName:
    """Return the authority that is meant; `SpecError` when that is not clear."""
    names = [each.name for each in authorities]
    if wanted is not None:
        if wanted not in names:
            raise SpecError(
                f"the fleet has no authority `{wanted}`",
                hint=f"it has {', '.join(f'`{name}`' for name in names) or 'none'}",
            )
        return AuthorityName(wanted)
    if len(names) != 1:
        raise SpecError(
            f"the fleet has {len(names)} authorities",
            hint=f"name one with `--authority`: {', '.join(names) or 'none is described'}",
        )
    return names[0]


def goal_for(
    request: Request,
    *,
    authorities: Authorities,
    origin: Fingerprint,
    certificates: Iterable[Certificate],
    abandoned: Iterable[Fingerprint],
    now: datetime,
) -> Goal:
    """Return a new goal, making the CA versions that it needs. Changes the store, not the fleet.

    A version that was made ahead (a standby, or by a run that was killed before it began) is
    taken before another is made; one that was rotated to before, and left again, is not.
    """
    known = {each.fingerprint: each for each in certificates}
    ahead = [
        each
        for each in _newer(authorities, request.authority, origin)
        if each not in set(abandoned)
    ]

    def take(like: Certificate) -> Fingerprint:
        if ahead:
            return ahead.pop(0)
        made = authorities.make_next(request.authority, like, at=now, key_kind=request.key_kind)
        return made.fingerprint

    target = request.to or take(known[origin])
    trusted: tuple[Fingerprint, ...] = (target,)
    if request.standby:
        trusted = (target, take(known[origin]), origin)
    bridge = None
    if request.cross_sign:
        bridge = authorities.bridge(request.authority, target, origin, at=now).fingerprint
    versions = {*authorities.versions(request.authority).versions, origin}
    return Goal(
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
    return [each for each in behind if authorities.has_key(name, each)]


def earlier_targets(journal: Journal, authority: AuthorityName) -> set[Fingerprint]:
    """Return every version that a rotation of an authority was ever begun towards."""
    found = set()
    before = None
    while summaries := journal.rotations(before=before):
        for summary in summaries:
            intent = _intent(journal, summary.rotation, authority)
            if intent is not None:
                found.add(intent.goal.target)
        before = summaries[-1].first_sequence
    return found


def reversed_goal(intent: Intent) -> Goal:
    """Return the goal that takes a rotation back: its origin is the target again."""
    going = (intent.goal.target, *intent.goal.trusted)
    return msgspec.structs.replace(
        intent.goal,
        target=intent.origin,
        trusted=intent.origin_trusted,
        retired=tuple(
            sorted(
                {each for each in going if each not in intent.origin_trusted}
                | {each for each in intent.goal.retired if each not in intent.origin_trusted}
            )
        ),
        bridge=None,
        compromised=False,
    )
