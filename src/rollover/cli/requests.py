"""From options to what the library is asked for."""

from __future__ import annotations

from typing import Any

from rollover.engine.goals import Request
from rollover.engine.rules import OVERRIDABLE
from rollover.engine.service import Rollover
from rollover.errors import SpecError
from rollover.fleet.certificate import KeyKind
from rollover.fleet.names import AuthorityName, Fingerprint, RuleId

LEAST_DIGITS = 8


def request_of(library: Rollover, values: dict[str, Any]) -> Request:
    """Return the request that the options describe."""
    authority = library.authority(values.get("authority"))
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
    for value in values:
        rule, _, reason = (part.strip() for part in value.partition("="))
        if rule not in OVERRIDABLE:
            raise SpecError(
                f"`{rule}` is no refusal that can be overridden",
                hint=f"these can: {', '.join(f'`{each}`' for each in sorted(OVERRIDABLE))}",
            )
        if not reason:
            raise SpecError(
                f"`--override {value}` gives no reason",
                hint="write `--override RULE=REASON`; both go into the journal",
            )
        overrides[RuleId(rule)] = reason
    return overrides
