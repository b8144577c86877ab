"""`rollover bundle`: curated trust bundles, and what a change of one would break."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollover.cli.options import FLEET_VARIABLE
from rollover.cli.printer import Printer
from rollover.errors import ExitCode, SafetyError, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollover.bundles.build import Bundle
    from rollover.bundles.difference import Effect
    from rollover.bundles.offers import Offers
    from rollover.checks.configs.scene import ConfigScene
    from rollover.fleet.certificate import Certificate
    from rollover.inspecting.reading import Ways

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def _talk_options(command: _F) -> _F:
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


def _fleet_options(command: _F) -> _F:
    options = (
        click.option("--fleet", type=_FILE, help="Judge by this fleet, observed now."),
        click.option(
            "--config",
            "configs",
            type=_FILE,
            multiple=True,
            help="Or by these nats.conf, several as peers.",
        ),
        click.option("--client", "clients", type=_FILE, multiple=True, help="A client's chain."),
        _working_directory(),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _working_directory() -> Callable[[_F], _F]:
    return click.option(
        "--working-directory",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where relative paths in nats.conf begin; default here.",
    )


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
    "  rollover bundle build --today n1.conf --wider isrg-root-x1.pem -o ca.pem",
    short_help="Make a bundle from files, directories, ports, manifests.",
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]…")
@click.option("-o", "--out", type=_FILE, required=True, help="The file to write.")
@click.option("--today", type=_FILE, multiple=True, help="Begin with what this nats.conf trusts.")
@click.option("--wider", multiple=True, metavar="ROOT", help="A source to put behind the others.")
@click.option("--drop-expired", is_flag=True, help="Leave out what is out of date.")
@click.option("--annotate", is_flag=True, help="Comment lines with subject and dates.")
@click.option("--kubernetes", type=click.Choice(["configmap", "secret"]), help="A manifest.")
@click.option("--name", help="Name of the object.")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the object.")
@click.option("--cert-file", type=_FILE, help="For `tls.crt` of a Secret.")
@click.option("--key-file", type=_FILE, help="For `tls.key` of a Secret.")
@_working_directory()
@_talk_options
def build(**values: Any) -> int:
    """Write a bundle of the CAs that the SOURCEs hold, in their order, each once.

    A SOURCE is a PEM file, a directory, a Kubernetes manifest, a nats.conf (what it trusts), or
    the URL of a port as `inspect` takes it (the CAs that it serves).
    """
    from rollover.bundles import build as building  # noqa: PLC0415 - imports certificates
    from rollover.bundles import files, offers, sources, today  # noqa: PLC0415
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    if str(values["out"]) == "-":
        raise SpecError("a bundle is written into a file", hint="name it: `--out ca.pem`")
    if not (values["sources"] or values["today"] or values["wider"]):
        raise SpecError("no source is given", hint="name files, or `--today nats.conf`")
    ways = _ways(values)
    begun = [today.trusted_today(_scene(values["today"], values))] if values["today"] else []
    found = offers.joined((*begun, sources.read_sources(values["sources"], ways)))
    bundle = building.build(
        found,
        wider=sources.read_sources(values["wider"], ways),
        now=datetime.now(UTC),
        drop_expired=values["drop_expired"],
    )
    content = files.render(bundle.certificates, annotate=values["annotate"])
    mode = files.MODE
    if values["kubernetes"]:
        content = _manifest(content, values)
        mode = files.PRIVATE_MODE if values["key_file"] else mode
    elif values["cert_file"] or values["key_file"] or values["name"]:
        raise SpecError("this belongs into a manifest", hint="add `--kubernetes secret`")
    changed = files.write(values["out"], content, mode=mode)
    view.show_built(_printer(values), bundle, file=str(values["out"]), changed=changed)
    return ExitCode.DONE


def _manifest(bundle: bytes, values: dict[str, Any]) -> bytes:
    from rollover.bundles.cluster_objects import bundle_object  # noqa: PLC0415 - certificates
    from rollover.fleet.secret import SecretBytes  # noqa: PLC0415
    from rollover.inspecting.files import read_file  # noqa: PLC0415
    from rollover.kubernetes import manifests  # noqa: PLC0415
    from rollover.kubernetes.objects import ObjectKind, ObjectRef  # noqa: PLC0415

    if not values["name"]:
        raise SpecError("the object needs a name", hint="add `--name NAME`")
    kinds = {"configmap": ObjectKind.CONFIG_MAP, "secret": ObjectKind.SECRET}
    certificate = read_file(values["cert_file"]) if values["cert_file"] else None
    key = SecretBytes(read_file(values["key_file"])) if values["key_file"] else None
    ref = ObjectRef(kinds[values["kubernetes"]], values["namespace"], values["name"])
    return manifests.write((bundle_object(ref, bundle, certificate=certificate, key=key),))


@command.command(
    epilog="Example:\n\n  rollover bundle diff old.pem new.pem --config n1.conf --config n2.conf",
    short_help="What a change adds, takes away, and breaks.",
)
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@_fleet_options
@_talk_options
def diff(**values: Any) -> int:
    """Show what NEW adds to OLD and takes away, and which links would stop or begin to work.

    Links are judged when `--fleet` or `--config` is given. Exit code 0: nothing breaks, or
    nothing was judged; 3: a link would stop to work; 5: nobody was seen who trusts OLD.
    """
    from rollover.bundles import difference  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    old, new = _members(values["old"], values), _members(values["new"], values)
    effect = _effect(values, old, new, path=values["old"])
    view.show_difference(_printer(values), difference.compare(old, new), effect)
    return _verdict(effect)


@command.command(
    epilog="Example:\n\n  rollover bundle check bundle.pem",
    short_help="What each TLS stack makes of a bundle.",
)
@click.argument("file", type=_FILE)
@_talk_options
def check(**values: Any) -> int:
    """Say what is wrong with a bundle, and on which stacks. Exit code 3: somebody is refused."""
    from rollover.bundles import files, remarks  # noqa: PLC0415 - imports certificates
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    now, path = datetime.now(UTC), values["file"]
    text: tuple[remarks.Remark, ...] = ()
    if path.suffix.lower() in _MANIFESTS:
        members = _members(path, values)
    else:
        reading = files.read(path)
        members, text = reading.certificates, tuple(remarks.of_file(reading))
    found = (*text, *remarks.of_members(members, now=now))
    view.show_checked(_printer(values), members, found, file=str(path), now=now)
    return ExitCode.REFUSED if any(each.fails for each in found) else ExitCode.DONE


@command.command(
    epilog="Example:\n\n  rollover bundle add bundle.pem new-root.pem",
    short_help="Put CAs in.",
)
@click.argument("file", type=_FILE)
@click.argument("sources", nargs=-1, required=True, metavar="CERT…")
@click.option("--annotate", is_flag=True, help="Comment lines with subject and dates.")
@_working_directory()
@_talk_options
def add(**values: Any) -> int:
    """Put the CAs of CERT… (any source of `build`) behind those in FILE."""
    from rollover.bundles import build as building  # noqa: PLC0415 - imports certificates
    from rollover.bundles import editing, files, sources  # noqa: PLC0415

    path = _editable(values["file"])
    present = files.read(path).certificates
    more = sources.read_sources(values["sources"], _ways(values))
    offered = editing.extended(present, more, place=str(path))
    bundle = building.build(offered, now=datetime.now(UTC))
    _write(path, bundle, values)
    return ExitCode.DONE


@command.command(
    epilog="Example:\n\n  rollover bundle remove bundle.pem 3f0a9c11 --fleet fleet.yml",
    short_help="Take CAs out, unless that breaks a link.",
)
@click.argument("file", type=_FILE)
@click.argument("selectors", nargs=-1, required=True, metavar="FINGERPRINT|SUBJECT…")
@click.option("--force", metavar="REASON", help="Take it out though a link breaks; say why.")
@click.option("--annotate", is_flag=True, help="Comment lines with subject and dates.")
@_fleet_options
@_talk_options
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
        _printer(values).say(f"! forced: {force}", "warn")
    return ExitCode.DONE


_MANIFESTS = (".yml", ".yaml", ".json")
_MOST_NAMED = 5


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
        scene = _scene(values["configs"], values)
        return difference.in_configs(scene, old, new, path=path)
    if not values["fleet"]:
        return None
    from rollover.cli.wiring import open_site  # noqa: PLC0415 - imports everything
    from rollover.engine.survey import survey  # noqa: PLC0415

    with open_site(values["fleet"], scratch=True) as site:
        return difference.in_fleet(survey(site), old, new)


def _members(path: Path, values: dict[str, Any]) -> tuple[Certificate, ...]:
    """Return the members of a bundle, whatever form it is in."""
    from rollover.bundles import sources  # noqa: PLC0415 - imports certificates

    offered: Offers = sources.read_sources((str(path),), _ways(values))
    return tuple(dict.fromkeys(offered.certificates))


def _editable(path: Path) -> Path:
    if path.suffix.lower() in _MANIFESTS:
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
    view.show_built(_printer(values), bundle, file=str(path), changed=changed)


def _scene(configs: Sequence[Path], values: dict[str, Any]) -> ConfigScene:
    from rollover.platforms.nats.config_scene import config_scene  # noqa: PLC0415 - certificates

    return config_scene(
        configs,
        working_directory=values["working_directory"] or Path.cwd(),
        environment=dict(os.environ),
        now=datetime.now(UTC),
        clients=values.get("clients", ()),
    )


def _ways(values: dict[str, Any]) -> Ways:
    from rollover.inspecting.reading import Ways  # noqa: PLC0415 - imports certificates

    return Ways(
        environment=dict(os.environ),
        working_directory=values.get("working_directory") or Path.cwd(),
    )


def _printer(values: dict[str, Any]) -> Printer:
    return Printer(output=values["output"], quiet=values["quiet"], color=values["color"])
