"""`rollover bundle diff`, `add` and `remove`: changes of a bundle, and what they would break."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.commands.bundle_options import (
    ANNOTATE,
    FILE,
    MANIFESTS,
    WORKING_DIRECTORY,
    fleet_options,
    members_of,
    printer_of,
    scene_of,
    talk_options,
    ways_of,
)
from rollover.cli.options import FLEET_VARIABLE
from rollover.errors import ExitCode, SafetyError, SpecError

if TYPE_CHECKING:
    from rollover.bundles.build import Bundle
    from rollover.bundles.difference import Effect
    from rollover.fleet.certificate import Certificate

_MOST_NAMED = 5


@click.command(
    epilog="Example:\n\n  rollover bundle diff old.pem new.pem --config n1.conf --config n2.conf",
    short_help="What a change adds, takes away, and breaks.",
)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@fleet_options
@talk_options
def diff(**values: Any) -> int:
    """Show what NEW adds to OLD and takes away, and which links would stop or begin to work.

    Links are judged when `--fleet` or `--config` is given. Exit code 0: nothing breaks, or
    nothing was judged; 3: a link would stop to work; 5: nobody was seen who trusts OLD.
    """
    from rollover.bundles import difference  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    old, new = members_of(values["old"], values), members_of(values["new"], values)
    effect = _effect(values, old, new, path=values["old"])
    view.show_difference(printer_of(values), difference.compare(old, new), effect)
    return _verdict(effect)


@click.command(
    epilog="Example:\n\n  rollover bundle add bundle.pem new-root.pem",
    short_help="Put CAs in.",
)
@click.argument("file", type=FILE)
@click.argument("sources", nargs=-1, required=True, metavar="CERT…")
@ANNOTATE
@WORKING_DIRECTORY
@talk_options
def add(**values: Any) -> int:
    """Put the CAs of CERT… (any source of `build`) behind those in FILE."""
    from rollover.bundles import build as building  # noqa: PLC0415 - imports certificates
    from rollover.bundles import editing, files, sources  # noqa: PLC0415

    path = _editable(values["file"])
    present = files.read(path).certificates
    more = sources.read_sources(values["sources"], ways_of(values))
    offered = editing.extended(present, more, place=str(path))
    bundle = building.build(offered, now=datetime.now(UTC))
    _write(path, bundle, values)
    return ExitCode.DONE


@click.command(
    epilog="Example:\n\n  rollover bundle remove bundle.pem 3f0a9c11 --fleet fleet.yml",
    short_help="Take CAs out, unless that breaks a link.",
)
@click.argument("file", type=FILE)
@click.argument("selectors", nargs=-1, required=True, metavar="FINGERPRINT|SUBJECT…")
@click.option("--force", metavar="REASON", help="Take it out though a link breaks; say why.")
@ANNOTATE
@fleet_options
@talk_options
def remove(**values: Any) -> int:
    """Take CAs out of FILE. With `--fleet` or `--config` refused when a link would break."""
    from rollover.bundles import build as building  # noqa: PLC0415 - imports certificates
    from rollover.bundles import editing, files  # noqa: PLC0415
    from rollover.bundles.offers import Offers  # noqa: PLC0415

    path, force = _editable(values["file"]), values["force"]
    if force is not None and not force.strip():
        raise SpecError("`--force` gives no reason", hint="write `--force REASON`")
    present = files.read(path).certificates
    left = editing.without(present, values["selectors"], place=str(path))
    effect = _effect(values, present, left, path=path)
    if force is None:
        _refuse(effect)
    offered = editing.extended(left, Offers(), place=str(path))
    _write(path, building.build(offered, now=datetime.now(UTC)), values)
    if force is not None:
        printer_of(values).say(f"! forced: {force}", "warn")
    return ExitCode.DONE


def _refuse(effect: Effect | None) -> None:
    """Raise when a change breaks something, or cannot be judged though it was asked for."""
    if effect is None:
        return
    if effect.stops:
        named = "; ".join(f"{each.link}: {each.reason}" for each in effect.stops[:_MOST_NAMED])
        more = len(effect.stops) - _MOST_NAMED
        raise SafetyError(
            f"{len(effect.stops)} links would stop to work: {named}"
            f"{f' and {more} more' if more > 0 else ''}",
            hint="renew the certificates of the peers first, or answer for it: `--force REASON`",
        )
    if not effect.proven:
        from rollover.errors import EvidenceMissing  # noqa: PLC0415 - rarely needed

        unseen = ", ".join(effect.unseen[:_MOST_NAMED]) or "nobody has exactly these CAs loaded"
        raise EvidenceMissing(
            f"it cannot be proven that nothing breaks: {unseen}",
            hint="name the fleet or the configurations that use it, let servers reload first, or "
            "answer for it: `--force REASON`",
        )


def _verdict(effect: Effect | None) -> ExitCode:
    if effect is None:
        return ExitCode.DONE
    if effect.stops:
        return ExitCode.REFUSED
    return ExitCode.DONE if effect.proven else ExitCode.EVIDENCE_MISSING


def _effect(
    values: dict[str, Any],
    old: Sequence[Certificate],
    new: Sequence[Certificate],
    *,
    path: Path,
) -> Effect | None:
    from rollover.bundles import difference  # noqa: PLC0415 - imports certificates

    if values["fleet"] and values["configs"]:
        raise SpecError(
            "a fleet and configurations are given", hint=f"give one; ${FLEET_VARIABLE} is not read"
        )
    if values["configs"]:
        configs = scene_of(values["configs"], values)
        return difference.in_configs(configs, old, new, path=path)
    if not values["fleet"]:
        return None
    from rollover.engine.survey import survey  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415 - imports everything

    with open_fleet(values["fleet"], scratch=True) as library:
        return difference.in_fleet(survey(library.site), old, new)


def _editable(path: Path) -> Path:
    if path.suffix.lower() in MANIFESTS:
        raise SpecError(
            "a manifest is made anew, not changed",
            place=str(path),
            hint="`rollover bundle build MANIFEST MORE… --kubernetes … -o MANIFEST`",
        )
    return path


def _write(path: Path, bundle: Bundle, values: dict[str, Any]) -> None:
    from rollover.bundles import files  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    content = files.render(bundle.certificates, annotate=values["annotate"])
    changed = files.write(path, content)
    view.show_built(printer_of(values), bundle, file=str(path), changed=changed)
