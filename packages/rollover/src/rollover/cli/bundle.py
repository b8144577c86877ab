"""`rollover bundle`: curated trust bundles, and what a change of one would break."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollover.cli.options import FLEET_VARIABLE
from rollover.cli.printer import Printer, counted
from rollover.errors import ExitCode, SafetyError, SpecError
from rollover.fleet.names import short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollover.certificates.bundle_build import BuiltBundle, BundleMember, BundleRemark
    from rollover.certificates.bundle_difference import BrokenPair, BundleChange, BundleEffect
    from rollover.certificates.bundle_sources import BundleCandidates
    from rollover.certificates.inspect_targets import Ways
    from rollover.fleet.certificate import Certificate
    from rollover.platforms.nats.rules.context import ConfigContext


# Options of `rollover bundle`, and what they come to.


_F = TypeVar("_F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
ANNOTATE = click.option("--annotate", is_flag=True, help="Comment lines with subject and dates.")
WORKING_DIRECTORY = click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where relative paths in nats.conf begin; default here.",
)
MANIFESTS = (".yml", ".yaml", ".json")
"""What Kubernetes manifests end with."""


def talk_options(command: _F) -> _F:
    """Add the options of what is printed."""
    options = (
        click.option(
            "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
        ),
        click.option("--quiet", is_flag=True, help="Say nothing but results and errors."),
        click.option("--color/--no-color", default=None, help="Colour; by default on a terminal."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def fleet_options(command: _F) -> _F:
    """Add the options that say whom a change of a bundle is judged by."""
    options = (
        click.option("--fleet", type=FILE, help="Judge by this fleet, observed now."),
        click.option(
            "--config",
            "configs",
            type=FILE,
            multiple=True,
            help="Or by these nats.conf, several as peers.",
        ),
        click.option("--client", "clients", type=FILE, multiple=True, help="A client's chain."),
        WORKING_DIRECTORY,
    )
    for option in reversed(options):
        command = option(command)
    return command


def members_of(path: Path, values: dict[str, Any]) -> tuple[Certificate, ...]:
    """Return the members of a bundle, whatever form it is in."""
    from rollover.certificates import bundle_sources  # noqa: PLC0415 - imports certificates

    offered: BundleCandidates = bundle_sources.read_sources((str(path),), ways_of(values))
    return tuple(dict.fromkeys(offered.certificates))


def context_of(configs: Sequence[Path], values: dict[str, Any]) -> ConfigContext:
    """Return some configurations, read as nats-server reads them."""
    from rollover.platforms.nats.rules.reading import read_context  # noqa: PLC0415 - certificates

    return read_context(
        configs,
        working_directory=values["working_directory"] or Path.cwd(),
        environment=dict(os.environ),
        now=datetime.now(UTC),
        clients=values.get("clients", ()),
    )


def ways_of(values: dict[str, Any]) -> Ways:
    """Return how sources are read."""
    from rollover.certificates.inspect_targets import Ways  # noqa: PLC0415 - imports certificates

    return Ways(
        environment=dict(os.environ),
        working_directory=values.get("working_directory") or Path.cwd(),
    )


def printer_of(values: dict[str, Any]) -> Printer:
    """Return the printer that the options ask for."""
    return Printer(output=values["output"], quiet=values["quiet"], color=values["color"])


# How bundles look: members, remarks with their stacks, differences and what they would break.


_MOST_LINKS = 20
_MOST_PLACES = 5
_MOST_NOTES = 20


def facts(certificate: Certificate) -> dict[str, Any]:
    """Return what machines get to know of a member."""
    return {
        "subject": certificate.subject,
        "fingerprint": certificate.fingerprint,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
    }


def show_built(printer: Printer, bundle: BuiltBundle, *, file: str, changed: bool) -> None:
    """Show what was written, and what a person should know about it."""
    if printer.json:
        fields = {"file": file, "changed": changed, "remarks": bundle.remarks}
        members = [_member(member) for member in bundle.members]
        dropped = [_member(bundle_member) for bundle_member in bundle.dropped]
        whole = {**fields, "members": members, "dropped": dropped, "notes": bundle.notes}
        printer.data("bundle", whole)
        return
    for member in bundle.members:
        sign = "+" if member.wider else "·"
        printer.say(f"{sign} {_line(member.certificate)}  from {member.place}")
        for place in member.again[:_MOST_PLACES]:
            printer.say(f"    again in {place}, taken once", "dim")
        if len(member.again) > _MOST_PLACES:
            printer.say(f"    and in {len(member.again) - _MOST_PLACES} more places", "dim")
    for bundle_member in bundle.dropped:
        printer.say(f"- {_line(bundle_member.certificate)}  left out: out of date", "warn")
    show_remarks(printer, bundle.remarks, talk=True)
    for note in bundle.notes[:_MOST_NOTES]:
        printer.say(f"! {note}", "warn")
    if len(bundle.notes) > _MOST_NOTES:
        more = len(bundle.notes) - _MOST_NOTES
        printer.say(f"! and {more} more remarks (`--output json` has them all)", "warn")
    what = "written" if changed else "no change"
    printer.say(f"{file}: {counted(len(bundle.members), 'CA')}, {what}", "good")


def show_checked(
    printer: Printer,
    members: Sequence[Certificate],
    remarks: Sequence[BundleRemark],
    *,
    file: str,
    now: datetime,
) -> None:
    """Show a bundle and what is wrong with it."""
    if printer.json:
        fields = {
            "file": file,
            "members": [facts(member) for member in members],
            "remarks": remarks,
        }
        printer.data("bundle", fields)
        return
    for member in members:
        days = (member.not_after - now).days
        printer.line(f"· {_line(member)}  {days} days left")
    show_remarks(printer, remarks)
    if not remarks:
        printer.line("✓ every stack takes every member", "good")


def show_remarks(printer: Printer, remarks: Sequence[BundleRemark], *, talk: bool = False) -> None:
    """Show remarks, each with the stacks that it matters to."""
    write = printer.say if talk else printer.line
    for remark in remarks:
        where = f" [fails on {', '.join(remark.stacks)}]" if remark.stacks else ""
        sign, style = ("✗", "bad") if remark.fails else ("!", "warn")
        write(f"{sign} {remark.kind}: {remark.detail}{where}", style)


def show_difference(printer: Printer, change: BundleChange, effect: BundleEffect | None) -> None:
    """Show what a change adds and takes away, and which links that decides."""
    if printer.json:
        fields = {
            "added": [facts(certificate) for certificate in change.added],
            "removed": [facts(certificate) for certificate in change.removed],
            "renewed": change.renewed,
            "reordered": change.reordered,
        }
        printer.data("difference", {**fields, "effect": effect})
        return
    for certificate in change.added:
        note = "  (renews an authority of the old bundle)" if _renews(certificate, change) else ""
        printer.line(f"+ {_line(certificate)}{note}", "good")
    for certificate in change.removed:
        printer.line(f"- {_line(certificate)}", "bad")
    if change.reordered:
        printer.line("~ the order of those in both differs", "warn")
    if change.nothing:
        printer.line("the same CAs in the same order")
    if effect is not None:
        show_effect(printer, effect)


def show_effect(printer: Printer, effect: BundleEffect) -> None:
    """Show which links stop and which begin to work."""
    if not effect.using:
        printer.line(
            "? nobody has exactly the old bundle loaded, so nothing is proven of the new one: "
            "give the `ca_file` of today as OLD",
            "warn",
        )
    for instance in effect.unseen:
        printer.line(f"? {instance} was not seen: nothing is proven of it", "warn")
    _show_links(printer, effect.stops, title="would stop to work", style="bad", sign="✗")
    _show_links(printer, effect.begins, title="would begin to work", style="good", sign="✓")
    if effect.using and not effect.stops:
        printer.line(f"✓ nothing breaks ({len(effect.using)} parties trust the old one)", "good")


def _show_links(
    printer: Printer, links: Sequence[BrokenPair], *, title: str, style: str, sign: str
) -> None:
    if not links:
        return
    printer.line(f"{counted(len(links), 'link')} {title}:", "bold")
    for link in links[:_MOST_LINKS]:
        printer.line(f"  {sign} {link.link}: {link.reason}", style)
    if len(links) > _MOST_LINKS:
        printer.line(f"  and {len(links) - _MOST_LINKS} more")


def _renews(certificate: Certificate, change: BundleChange) -> bool:
    return certificate.fingerprint in change.renewed


def _member(member: BundleMember) -> dict[str, Any]:
    found = {"place": member.place, "again": member.again, "wider": member.wider}
    return {**facts(member.certificate), **found}


def _line(certificate: Certificate) -> str:
    dates = f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
    return f"{short(certificate.fingerprint)}  {certificate.subject}  {dates}"


# `rollover bundle diff`, `add` and `remove`: changes of a bundle, and what they would break.


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
    from rollover.certificates import bundle_difference  # noqa: PLC0415 - imports certificates

    old, new = members_of(values["old"], values), members_of(values["new"], values)
    effect = _effect(values, old, new, path=values["old"])
    show_difference(printer_of(values), bundle_difference.compare(old, new), effect)
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
    from rollover.certificates import (  # noqa: PLC0415
        bundle_build,
        bundle_files,
        bundle_sources,
    )

    path = _editable(values["file"])
    present = bundle_files.read(path).certificates
    more = bundle_sources.read_sources(values["sources"], ways_of(values))
    offered = bundle_build.extended(present, more, place=str(path))
    bundle = bundle_build.build(offered, now=datetime.now(UTC))
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
    from rollover.certificates import bundle_build, bundle_files  # noqa: PLC0415
    from rollover.certificates.bundle_sources import BundleCandidates  # noqa: PLC0415

    path, force = _editable(values["file"]), values["force"]
    if force is not None and not force.strip():
        raise SpecError("`--force` gives no reason", hint="write `--force REASON`")
    present = bundle_files.read(path).certificates
    left = bundle_build.without(present, values["selectors"], place=str(path))
    effect = _effect(values, present, left, path=path)
    if force is None:
        _refuse(effect)
    offered = bundle_build.extended(left, BundleCandidates(), place=str(path))
    _write(path, bundle_build.build(offered, now=datetime.now(UTC)), values)
    if force is not None:
        printer_of(values).say(f"! forced: {force}", "warn")
    return ExitCode.DONE


def _refuse(effect: BundleEffect | None) -> None:
    """Raise when a change breaks something, or cannot be judged though it was asked for."""
    if effect is None:
        return
    if effect.stops:
        named = "; ".join(f"{stop.link}: {stop.reason}" for stop in effect.stops[:_MOST_NAMED])
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


def _verdict(effect: BundleEffect | None) -> ExitCode:
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
) -> BundleEffect | None:
    from rollover.certificates import bundle_difference  # noqa: PLC0415 - imports certificates

    if values["fleet"] and values["configs"]:
        raise SpecError(
            "a fleet and configurations are given", hint=f"give one; ${FLEET_VARIABLE} is not read"
        )
    if values["configs"]:
        configs = context_of(values["configs"], values)
        return bundle_difference.in_configs(configs, old, new, path=path)
    if not values["fleet"]:
        return None
    from rollover.engine.topology import observe_without_goal  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415 - imports everything

    with open_fleet(values["fleet"], scratch=True) as library:
        return bundle_difference.in_fleet(observe_without_goal(library.site), old, new)


def _editable(path: Path) -> Path:
    if path.suffix.lower() in MANIFESTS:
        raise SpecError(
            "a manifest is made anew, not changed",
            place=str(path),
            hint="`rollover bundle build MANIFEST MORE… --kubernetes … -o MANIFEST`",
        )
    return path


def _write(path: Path, bundle: BuiltBundle, values: dict[str, Any]) -> None:
    from rollover.certificates import bundle_files  # noqa: PLC0415 - imports certificates

    content = bundle_files.render(bundle.certificates, annotate=values["annotate"])
    changed = bundle_files.write(path, content)
    show_built(printer_of(values), bundle, file=str(path), changed=changed)


# `rollover bundle`: curated trust bundles, and what a change of one would break.


@click.group(
    short_help="Build, check and change curated trust bundles.",
    epilog="Examples:\n\n  rollover bundle build --today nats.conf -o bundle.pem\n\n"
    "  rollover bundle diff bundle.pem new.pem --fleet fleet.yml\n\n"
    "  rollover bundle remove bundle.pem 3f0a9c11 --fleet fleet.yml",
)
def command() -> None:
    """Build, compare, check and change curated trust bundles.

    Exit codes: 0 done, nothing breaks; 1 input that cannot be used; 3 a link would break, or a
    stack refuses the bundle; 5 nothing can be proven: nobody was seen who trusts the bundle.
    """


@command.command(
    epilog="Examples:\n\n  rollover bundle build r3.pem certs/ nats-gateway://b1:7222 -o ca.pem\n\n"
    "  rollover bundle build --today n1.conf --wider isrg-root-x1.pem -o ca.pem\n\n"
    "  rollover bundle build --today n1.conf --roles gateway,gateway-remote -o gateways.pem",
    short_help="Make a bundle from files, directories, ports, manifests.",
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]…")
@click.option("-o", "--out", type=FILE, required=True, help="The file to write.")
@click.option("--today", type=FILE, multiple=True, help="Begin with what this nats.conf trusts.")
@click.option("--roles", metavar="ROLE,…", help="Of it, what such endpoints trust: `gateway`, …")
@click.option("--wider", multiple=True, metavar="ROOT", help="A source to put behind the others.")
@click.option("--drop-expired", is_flag=True, help="Leave out what is out of date.")
@ANNOTATE
@click.option("--kubernetes", type=click.Choice(["configmap", "secret"]), help="A manifest.")
@click.option("--name", help="Name of the object.")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the object.")
@click.option("--cert-file", type=FILE, help="For `tls.crt` of a Secret.")
@click.option("--key-file", type=FILE, help="For `tls.key` of a Secret.")
@WORKING_DIRECTORY
@talk_options
def build(**values: Any) -> int:
    """Write a bundle of the CAs that the SOURCEs hold, in their order, each once.

    A SOURCE is a PEM file, a directory, a Kubernetes manifest, a nats.conf (what it trusts), or
    the URL of a port as `inspect` takes it (the CAs that it serves).
    """
    from rollover.certificates import (  # noqa: PLC0415
        bundle_build,
        bundle_files,
        bundle_sources,
    )

    _check_options(values)
    ways = ways_of(values)
    bundle = bundle_build.build(
        bundle_sources.joined_candidates(
            (_today(values), bundle_sources.read_sources(values["sources"], ways))
        ),
        wider=bundle_sources.read_sources(values["wider"], ways),
        now=datetime.now(UTC),
        drop_expired=values["drop_expired"],
    )
    content = bundle_files.render(bundle.certificates, annotate=values["annotate"])
    if values["kubernetes"]:
        content = _manifest(content, values)
    mode = bundle_files.PRIVATE_MODE if values["key_file"] else bundle_files.MODE
    changed = bundle_files.write(values["out"], content, mode=mode)
    show_built(printer_of(values), bundle, file=str(values["out"]), changed=changed)
    return ExitCode.DONE


def _check_options(values: dict[str, Any]) -> None:
    if str(values["out"]) == "-":
        raise SpecError("a bundle is written into a file", hint="name it: `--out ca.pem`")
    if not (values["sources"] or values["today"] or values["wider"]):
        raise SpecError("no source is given", hint="name files, or `--today nats.conf`")
    if values["roles"] and not values["today"]:
        raise SpecError("`--roles` chooses blocks of a nats.conf", hint="name it with `--today`")
    of_objects = values["cert_file"] or values["key_file"] or values["name"]
    if of_objects and not values["kubernetes"]:
        raise SpecError("this belongs into a manifest", hint="add `--kubernetes secret`")


def _today(values: dict[str, Any]) -> BundleCandidates:
    from rollover.certificates.bundle_sources import BundleCandidates, trusted_today  # noqa: PLC0415
    from rollover.cli.goal_options import roles_of  # noqa: PLC0415

    roles = roles_of(values["roles"])
    if not values["today"]:
        return BundleCandidates()
    return trusted_today(context_of(values["today"], values), roles=roles)


def _manifest(bundle: bytes, values: dict[str, Any]) -> bytes:
    from rollover.certificates.bundle_files import bundle_object  # noqa: PLC0415 - certificates
    from rollover.certificates.inspect_findings import read_file  # noqa: PLC0415
    from rollover.codec import kubernetes  # noqa: PLC0415
    from rollover.codec.kubernetes import ObjectKind, ObjectRef  # noqa: PLC0415
    from rollover.fleet.secret import SecretBytes  # noqa: PLC0415

    if not values["name"]:
        raise SpecError("the object needs a name", hint="add `--name NAME`")
    kinds = {"configmap": ObjectKind.CONFIG_MAP, "secret": ObjectKind.SECRET}
    certificate = read_file(values["cert_file"]) if values["cert_file"] else None
    key = SecretBytes(read_file(values["key_file"])) if values["key_file"] else None
    ref = ObjectRef(kinds[values["kubernetes"]], values["namespace"], values["name"])
    return kubernetes.write_manifests(
        (bundle_object(ref, bundle, certificate=certificate, key=key),)
    )


@command.command(
    epilog="Example:\n\n  rollover bundle check bundle.pem",
    short_help="What each TLS stack makes of a bundle.",
)
@click.argument("file", type=FILE)
@talk_options
def check(**values: Any) -> int:
    """Say what is wrong with a bundle, and on which stacks. Exit code 3: somebody is refused."""
    from rollover.certificates import bundle_build, bundle_files  # noqa: PLC0415

    now, path = datetime.now(UTC), values["file"]
    text: tuple[bundle_build.BundleRemark, ...] = ()
    if path.suffix.lower() in MANIFESTS:
        members = members_of(path, values)
    else:
        reading = bundle_files.read(path)
        members, text = reading.certificates, tuple(bundle_build.remarks_on_file(reading))
    found = (*text, *bundle_build.remarks_on_members(members, now=now))
    show_checked(printer_of(values), members, found, file=str(path), now=now)
    return (
        ExitCode.REFUSED if any(bundle_remark.fails for bundle_remark in found) else ExitCode.DONE
    )


for _change in (diff, add, remove):
    command.add_command(_change)
