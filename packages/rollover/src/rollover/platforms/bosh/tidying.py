"""The end of a rotation: new values under the old names, what is left over removed, proven before.

Step 5 of BOSH's procedure, made safe: the manifest without an ops file has to come to exactly what
is deployed with one, byte for byte, before the vars store is replaced. A crash at any point leaves
a store that is complete, and the next call goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bosh_interpolate import arguments
from bosh_interpolate.values import Variables
from rollover.codec.manifests import manifest_errors
from rollover.errors import VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Fact
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import short
from rollover.platforms.bosh import ops_files, references, vars_update
from rollover.platforms.bosh.environment import Environment, Inputs
from rollover.platforms.bosh.properties import NatsTls, Part
from rollover.platforms.bosh.references import Names
from rollover.platforms.bosh.workplace import Workplace

BY_DISK = "disk"


class CleanUp(NamedTuple):
    """What the clean-up of a vars store comes to."""

    renames: dict[str, str]
    """Base name to the variable whose value it takes."""
    removed: tuple[str, ...]
    bundle: tuple[str, str, str] | None
    """Variable, field and text of the bundle, where the new values alone do not come to it."""

    def applied(self, stored: Variables) -> Variables:
        """Return the vars store afterwards."""
        return vars_update.cleaned(stored, self.renames, self.removed, bundle=self.bundle)


def tidy(
    environment: Environment, workplace: Workplace, *, subject: EndpointRef, at: datetime
) -> Iterator[Evidence]:
    """Clean up, and yield what was done; nothing when there was nothing to do.

    `VerificationError` when the proof fails: then everything is as it was.
    """

    def told(observed: str) -> Evidence:
        return Evidence(
            fact=Fact.REPORTED, subject=subject, holds=True, observed=observed, at=at, by=BY_DISK
        )

    present = workplace.ops_files()
    left = workplace.added() & environment.stored().keys()
    if left or present:
        inputs = environment.inputs()
        sha = environment.state().current_manifest_sha
        ops_file = _deployed_with(environment, present, inputs, sha=sha)
        wanted = _clean_up(inputs, ops_file, left)
        if wanted.renames or wanted.removed:
            kept = workplace.back_up(environment.store)
            vars_update.VarsFile(environment.store).change(
                lambda stored: _proven(wanted, inputs, stored, sha=sha)
            )
            workplace.keep_only(kept)
            yield told(_said(wanted, environment.store, kept))
        _check_again(environment, sha)
        yield told(f"the manifest without an ops file is what is deployed ({short(sha)})")
    gone = workplace.remove_ops_files()
    workplace.forget_added()
    if gone:
        names = ", ".join(f"`{each.name}`" for each in gone)
        yield told(f"removed {names}: your own line deploys the director as it is")


def _deployed_with(
    environment: Environment, present: tuple[Path, ...], inputs: Inputs, *, sha: str
) -> Path | None:
    """Return the ops file of the deployed manifest; None when it is the plain one."""
    candidates = environment.candidates(present, inputs)
    for each in candidates:
        if each.properties is not None and each.sha == sha:
            return each.ops_file
    plain = candidates[0]
    raise VerificationError(
        f"the vars store cannot be cleaned up: the deployed manifest ({short(sha) or 'unknown'}) "
        f"is none that is known" + (f": {plain.trouble}" if plain.trouble else ""),
        hint="manifest, ops files or variables were changed since the last `create-env`: take "
        "that back, or deploy it, then run it again",
    )


def _clean_up(inputs: Inputs, ops_file: Path | None, left: frozenset[str]) -> CleanUp:
    """Return what makes the plain manifest the deployed one, and what nothing needs any more."""
    if ops_file is None:
        return CleanUp({}, tuple(sorted(left)), None)
    before = inputs.evaluate().properties().tls
    with manifest_errors():
        extra = arguments.read_operations([str(ops_file)])
    now = inputs.evaluate(extra).properties().tls
    names = ops_files.plain(inputs, tls=before).names
    renames = {
        names.of[part]: _holder(now.pairs[part].chain, names.of[part], inputs.stored)
        for part in Part
        if now.pairs[part].chain != before.pairs[part].chain
    }
    removed = tuple(sorted(left | {name for name in renames.values() if name not in renames}))
    return CleanUp(renames, removed, _bundle(inputs, names, now, renames))


def _holder(chain: tuple[Certificate, ...], base: str, stored: Variables) -> str:
    found = references.holders(chain, stored)
    own = [each for each in found if references.is_of(each, base)]
    if not found:
        raise VerificationError(
            f"no variable of the vars store holds what is deployed as `{base}`",
            hint="put back a backup of the vars store",
        )
    return (own or list(found))[0]


def _bundle(
    inputs: Inputs, names: Names, now: NatsTls, renames: dict[str, str]
) -> tuple[str, str, str] | None:
    """Return what has to stand where the bundle is read, when the new value there is another.

    So a bundle of several CAs (a standby) survives under the one name that the manifest has.
    """
    variable, field = names.bundle_field
    value = inputs.stored.get(renames.get(variable, variable))
    text = value.get(field) if isinstance(value, dict) else None
    if not variable or text == now.bundle_text:
        return None
    return variable, field, now.bundle_text


def _proven(wanted: CleanUp, inputs: Inputs, stored: Variables, *, sha: str) -> Variables:
    """Return the new store; `VerificationError` unless it deploys exactly what is deployed."""
    after = wanted.applied(stored)
    found = inputs.evaluate(stored=after).sha
    if found != sha:
        raise VerificationError(
            "after the clean-up the manifest without an ops file would differ from what is "
            f"deployed ({short(found)}, not {short(sha)})",
            hint="something else in the manifest uses these variables, or they are given with "
            "`-v` or `-l` and not in the vars store: change those by hand, to the new values; "
            "nothing was changed",
        )
    return after


def _check_again(environment: Environment, sha: str) -> None:
    """Look at what is on the disk now: `create-env` would find nothing to do."""
    found = environment.inputs().evaluate().sha
    if found != sha:
        raise VerificationError(
            f"the manifest without an ops file is {short(found)}, deployed is {short(sha)}",
            hint="somebody else changes the vars store: put back the backup of it",
        )


def _said(wanted: CleanUp, store: Path, kept: Path) -> str:
    changed = ", ".join(f"`{base}` ← `{name}`" for base, name in wanted.renames.items())
    removed = ", ".join(f"`{name}`" for name in wanted.removed)
    parts = (changed, f"removed {removed}" if removed else "")
    return f"`{store}`: {'; '.join(part for part in parts if part)} (before: `{kept}`)"
