"""From options to what an operator supplies: `--bundle` and `--renew`, and who is to get it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rollover.bundles import files
from rollover.engine.given import MaterialRequest
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.fleet.model import Role
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import PEM_LIMIT

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
    asked = _renewal(values, group) if group is not None else _bundle(values)
    return msgspec.structs.replace(asked, margin_seconds=margin_seconds)


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
    return tuple(each.strip() for each in text.split(",") if each.strip()) if text else ()


def roles_of(text: str | None) -> tuple[Role, ...]:
    """Return the roles that `--roles` lists; `SpecError` for one that there is not."""
    known = {each.value: each for each in Role if each is not Role.SOURCE}
    for name in _listed(text):
        if name not in known:
            raise SpecError(
                f"there is no role `{name}`",
                hint=f"there are {', '.join(f'`{each}`' for each in known)}",
            )
    return tuple(known[name] for name in _listed(text))


def _certificates(path: Path) -> tuple[Certificate, ...]:
    return files.read(path).certificates


def _content(path: Path) -> bytes:
    try:
        return read_start(path, size=PEM_LIMIT + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="look at its permissions"
        ) from None
