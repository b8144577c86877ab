"""`rollover bundle`: curated trust bundles, and what a change of one would break."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.commands import bundle_changes
from rollover.cli.commands.bundle_options import (
    ANNOTATE,
    FILE,
    MANIFESTS,
    WORKING_DIRECTORY,
    members_of,
    printer_of,
    scene_of,
    talk_options,
    ways_of,
)
from rollover.errors import ExitCode, SpecError

if TYPE_CHECKING:
    from rollover.bundles.offers import Offers


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
    from rollover.bundles import build as building  # noqa: PLC0415 - imports certificates
    from rollover.bundles import files, offers, sources  # noqa: PLC0415
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    _check_options(values)
    ways = ways_of(values)
    bundle = building.build(
        offers.joined((_today(values), sources.read_sources(values["sources"], ways))),
        wider=sources.read_sources(values["wider"], ways),
        now=datetime.now(UTC),
        drop_expired=values["drop_expired"],
    )
    content = files.render(bundle.certificates, annotate=values["annotate"])
    if values["kubernetes"]:
        content = _manifest(content, values)
    mode = files.PRIVATE_MODE if values["key_file"] else files.MODE
    changed = files.write(values["out"], content, mode=mode)
    view.show_built(printer_of(values), bundle, file=str(values["out"]), changed=changed)
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


def _today(values: dict[str, Any]) -> Offers:
    from rollover.bundles.offers import Offers  # noqa: PLC0415 - imports certificates
    from rollover.bundles.today import trusted_today  # noqa: PLC0415
    from rollover.cli.material import roles_of  # noqa: PLC0415

    roles = roles_of(values["roles"])
    if not values["today"]:
        return Offers()
    return trusted_today(scene_of(values["today"], values), roles=roles)


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
    epilog="Example:\n\n  rollover bundle check bundle.pem",
    short_help="What each TLS stack makes of a bundle.",
)
@click.argument("file", type=FILE)
@talk_options
def check(**values: Any) -> int:
    """Say what is wrong with a bundle, and on which stacks. Exit code 3: somebody is refused."""
    from rollover.bundles import files, remarks  # noqa: PLC0415
    from rollover.cli.views import bundle as view  # noqa: PLC0415

    now, path = datetime.now(UTC), values["file"]
    text: tuple[remarks.Remark, ...] = ()
    if path.suffix.lower() in MANIFESTS:
        members = members_of(path, values)
    else:
        reading = files.read(path)
        members, text = reading.certificates, tuple(remarks.of_file(reading))
    found = (*text, *remarks.of_members(members, now=now))
    view.show_checked(printer_of(values), members, found, file=str(path), now=now)
    return ExitCode.REFUSED if any(each.fails for each in found) else ExitCode.DONE


for _change in (bundle_changes.diff, bundle_changes.add, bundle_changes.remove):
    command.add_command(_change)
