"""From options to what the library is asked for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from rollover.cli.material import material_request_of, refuse_for_material
from rollover.engine.given import MaterialResumption
from rollover.engine.goals import AnyRequest, Request
from rollover.engine.maintenance import Window
from rollover.engine.rules import overridable
from rollover.engine.service import Rollover
from rollover.errors import SpecError
from rollover.fleet.certificate import KeyKind
from rollover.fleet.goal import About, MaterialKind
from rollover.fleet.names import AuthorityName, Fingerprint, RuleId
from rollover.rule_catalogue import CATALOGUE

LEAST_DIGITS = 8
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(
    rf"P(?!$)(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?\Z"
)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def request_of(library: Rollover, values: dict[str, Any]) -> AnyRequest:
    """Return the request that the options describe."""
    margin = library.site.described.margin_seconds
    supplied = material_request_of(values, margin_seconds=margin)
    if supplied is not None:
        return supplied
    about = library.about(values.get("authority"))
    if isinstance(about, MaterialKind):
        refuse_for_material(values)
        return MaterialResumption(about)
    return _rotation_of(library, about, values)


def going_on(about: About) -> AnyRequest:
    """Return the request to go on with what was begun last."""
    if isinstance(about, MaterialKind):
        return MaterialResumption(about)
    return Request(authority=about)


def _rotation_of(library: Rollover, authority: AuthorityName, values: dict[str, Any]) -> Request:
    kind = values.get("key_kind")
    return Request(
        authority=authority,
        again=values["again"],
        cross_sign=values["cross_sign"],
        standby=values["standby"],
        compromised=values["compromised"],
        to=_version(library, authority, values.get("to")),
        key_kind=KeyKind(kind) if kind else None,
        margin_seconds=library.site.described.margin_seconds,
    )


def _version(library: Rollover, authority: AuthorityName, digits: str | None) -> Fingerprint | None:
    if digits is None:
        return None
    versions = library.site.authorities.versions(authority).versions
    found = [each for each in versions if each.startswith(digits.lower())]
    if len(digits) < LEAST_DIGITS or len(found) != 1:
        raise SpecError(
            f"`{digits}` names {len(found)} versions of `{authority}`",
            hint=f"give at least {LEAST_DIGITS} digits; `rollover authority list` shows them",
        )
    return found[0]


def overrides_of(values: tuple[str, ...]) -> dict[RuleId, str]:
    """Return rule and reason of each `RULE=REASON`; an override without a reason is refused."""
    overrides: dict[RuleId, str] = {}
    allowed = overridable(CATALOGUE)
    for value in values:
        rule, _, reason = (part.strip() for part in value.partition("="))
        if rule not in allowed:
            raise SpecError(
                f"`{rule}` is no refusal that can be overridden",
                hint=f"these can: {', '.join(f'`{each}`' for each in sorted(allowed))}",
            )
        if not reason:
            raise SpecError(
                f"`--override {value}` gives no reason",
                hint="write `--override RULE=REASON`; both go into the journal",
            )
        overrides[RuleId(rule)] = reason
    return overrides


def window_of(text: str | None, *, now: datetime) -> Window | None:
    """Return the maintenance window that an option names: an ISO 8601 interval, or a duration.

    `START/END`, `START/DURATION`, `DURATION/END`, or a duration that begins now. Times need a
    zone. Raises `SpecError`.
    """
    if text is None:
        return None
    first, slash, second = text.strip().partition("/")
    if not slash:
        begins, ends = now, now + _duration(first, whole=text)
    elif first.startswith("P"):
        ends = _instant(second, whole=text)
        begins = ends - _duration(first, whole=text)
    else:
        begins = _instant(first, whole=text)
        until = second.startswith("P")
        ends = begins + _duration(second, whole=text) if until else _instant(second, whole=text)
    if ends <= begins:
        raise _no_window(text, "it ends before it begins")
    if ends <= now:
        raise _no_window(text, "it is over")
    return Window(begins=begins, ends=ends)


def _instant(text: str, *, whole: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _no_window(whole, f"`{text}` is no time") from None
    if found.tzinfo is None:
        raise _no_window(whole, f"`{text}` has no zone")
    return found


def _duration(text: str, *, whole: str) -> timedelta:
    found = _DURATION.match(text)
    if found is None:
        raise _no_window(whole, f"`{text}` is no duration")
    numbers = (float(each or 0) for each in found.groups())
    return timedelta(**dict(zip(_UNITS, numbers, strict=True)))


def _no_window(text: str, why: str) -> SpecError:
    return SpecError(
        f"`--window {text}`: {why}",
        hint="write `2026-11-22T22:00Z/2026-11-23T02:00Z`, `2026-11-22T22:00Z/PT4H`, or `PT4H` "
        "for the next four hours",
    )
