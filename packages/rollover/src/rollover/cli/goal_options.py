"""From options to what the library is asked for: a CA to rotate, or material to install."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from rollover.certificates import bundle_files
from rollover.engine.events import MaintenanceWindow
from rollover.engine.goals import AnyRequest, Request
from rollover.engine.material import MaterialRequest, MaterialResumption
from rollover.engine.rules import overridable
from rollover.engine.service import Rollover
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.fleet import Role
from rollover.fleet.goal import About, MaterialKind
from rollover.fleet.names import AuthorityName, Fingerprint, RuleId
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import PEM_LIMIT
from rollover.rule_catalogue import whole_catalogue

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
    found = [version for version in versions if version.startswith(digits.lower())]
    if len(digits) < LEAST_DIGITS or len(found) != 1:
        raise SpecError(
            f"`{digits}` names {len(found)} versions of `{authority}`",
            hint=f"give at least {LEAST_DIGITS} digits; `rollover authority list` shows them",
        )
    return found[0]


def overrides_of(values: tuple[str, ...]) -> dict[RuleId, str]:
    """Return rule and reason of each `RULE=REASON`; an override without a reason is refused."""
    if not values:
        return {}  # the catalogue takes a while to load
    overrides: dict[RuleId, str] = {}
    allowed = overridable(whole_catalogue())
    for override in values:
        rule, _, reason = (part.strip() for part in override.partition("="))
        if rule not in allowed:
            raise SpecError(
                f"`{rule}` is no refusal that can be overridden",
                hint=f"these can: {', '.join(f'`{rule_id}`' for rule_id in sorted(allowed))}",
            )
        if not reason:
            raise SpecError(
                f"`--override {override}` gives no reason",
                hint="write `--override RULE=REASON`; both go into the journal",
            )
        overrides[RuleId(rule)] = reason
    return overrides


def window_of(text: str | None, *, now: datetime) -> MaintenanceWindow | None:
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
    return MaintenanceWindow(begins=begins, ends=ends)


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
    numbers = (float(group or 0) for group in found.groups())
    return timedelta(**dict(zip(_UNITS, numbers, strict=True)))


def _no_window(text: str, why: str) -> SpecError:
    return SpecError(
        f"`--window {text}`: {why}",
        hint="write `2026-11-22T22:00Z/2026-11-23T02:00Z`, `2026-11-22T22:00Z/PT4H`, or `PT4H` "
        "for the next four hours",
    )


# What an operator supplies: `--bundle` and `--renew`, and who is to get it.

_OF_AUTHORITIES = {
    "authority": "--authority",
    "again": "--new",
    "cross_sign": "--cross-sign",
    "standby": "--standby",
    "compromised": "--compromised",
    "to": "--to",
    "key_kind": "--key",
    "recover": "--recover",
    "runbook": "--runbook",
}
_OF_RENEWALS = {"chain": "--with", "chain_key": "--with-key", "ca": "--ca"}
_OF_BOTH = {**_OF_RENEWALS, "bundle_file": "--as", "groups": "--groups", "roles": "--roles"}


def material_request_of(
    values: Mapping[str, Any], *, margin_seconds: float
) -> MaterialRequest | None:
    """Return what is supplied; None when nothing is. `SpecError` for options that do not fit."""
    bundle, group = values.get("bundle"), values.get("renew")
    if bundle is None and group is None:
        _refuse(
            values, _OF_BOTH, "says what to do with a bundle (`--bundle`) or a chain (`--renew`)"
        )
        return None
    if bundle is not None and group is not None:
        raise SpecError(
            "`--bundle` and `--renew` are two rollouts",
            hint="give the bundle first, so that the new chain is accepted, then renew",
        )
    _refuse(values, _OF_AUTHORITIES, "is about a CA that Rollover rotates, and this brings one")
    request = _renewal(values, group) if group is not None else _bundle(values)
    return msgspec.structs.replace(request, margin_seconds=margin_seconds)


def _bundle(values: Mapping[str, Any]) -> MaterialRequest:
    _refuse(values, _OF_RENEWALS, "belongs to `--renew`")
    return MaterialRequest(
        bundle=_certificates(values["bundle"]),
        groups=_listed(values.get("groups")),
        roles=roles_of(values.get("roles")),
        file=values.get("bundle_file"),
    )


def _renewal(values: Mapping[str, Any], group: str) -> MaterialRequest:
    _refuse(values, {"groups": "--groups", "bundle_file": "--as"}, "does not go with `--renew`")
    if values.get("chain") is None:
        raise SpecError(
            "`--renew` does not say what is to be presented",
            hint="name the file of the new chain with `--with`",
        )
    ca, key = values.get("ca"), values.get("chain_key")
    return MaterialRequest(
        chain=_certificates(values["chain"]),
        key=None if key is None else SecretBytes(_content(key)),
        bundle=None if ca is None else _certificates(ca),
        groups=(group,),
        roles=roles_of(values.get("roles")),
    )


_OF_NEW_GOALS = {
    name: option
    for name, option in _OF_AUTHORITIES.items()
    if name not in {"authority", "recover", "runbook"}
}


def refuse_for_material(values: Mapping[str, Any]) -> None:
    """Refuse what shapes the rotation of a CA where supplied material is gone on with."""
    _refuse(values, _OF_NEW_GOALS, "is about a CA that Rollover rotates, and this was supplied")


def _refuse(values: Mapping[str, Any], options: Mapping[str, str], why: str) -> None:
    for name, option in options.items():
        if values.get(name):
            raise SpecError(f"`{option}` {why}", hint="`rollover rotate --help` has examples")


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def roles_of(text: str | None) -> tuple[Role, ...]:
    """Return the roles that `--roles` lists; `SpecError` for one that there is not."""
    known = {role.value: role for role in Role if role is not Role.SOURCE}
    for name in _listed(text):
        if name not in known:
            raise SpecError(
                f"there is no role `{name}`",
                hint=f"there are {', '.join(f'`{role}`' for role in known)}",
            )
    return tuple(known[name] for name in _listed(text))


def _certificates(path: Path) -> tuple[Certificate, ...]:
    return bundle_files.read(path).certificates


def _content(path: Path) -> bytes:
    try:
        return read_start(path, size=PEM_LIMIT + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="look at its permissions"
        ) from None
