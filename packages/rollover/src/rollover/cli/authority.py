"""`rollover authority`: the versions of the fleet's CAs, and bringing one in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options
from rollover.errors import SpecError
from rollover.files import READABLE_BY_OTHERS, TooLarge, permissions_of, read_bounded
from rollover.fleet.names import short
from rollover.fleet.secret import SecretBytes

if TYPE_CHECKING:
    from datetime import datetime

    from rollover.cli.printer import Printer
    from rollover.engine.service import PemFile, VersionView
    from rollover.fleet.certificate import CertificateVersion

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    epilog="Example:\n\n  rollover authority list", short_help="CA versions: list, import."
)
def command() -> None:
    """List the versions of the fleet's CAs, or bring one in with its key."""


@command.command(
    "list", epilog="Example:\n\n  rollover authority list", short_help="Every version of every CA."
)
@settings_options
def list_(**values: Any) -> None:
    """List CA versions: dates, whether the key is here, how many endpoints trust and present it."""
    from rollover.engine.service import list_versions  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet) as library:
        found = list_versions(library.site)
    if printer.json:
        printer.data("versions", found)
    else:
        show_versions(printer, found)


@command.command(
    "import",
    epilog="Example:\n\n  rollover authority import nats-ca --certificate ca.pem --key ca.key",
    short_help="Bring a CA in.",
)
@click.argument("name")
@click.option("--certificate", type=_FILE, required=True, help="The CA's certificate, PEM.")
@click.option("--key", type=_FILE, help="Its private key, PEM, not encrypted; it is kept sealed.")
@settings_options
def import_(**values: Any) -> None:
    """Bring a CA in that was made elsewhere, so that Rollover can issue from it or rotate to it."""
    from rollover.engine.service import import_version  # noqa: PLC0415
    from rollover.site import now, open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    certificate = read_pem(values["certificate"])
    key = read_key(values["key"], printer) if values["key"] else None
    with open_fleet(settings.fleet) as library:
        version = import_version(library.site, values["name"], certificate=certificate, key=key)
    warn_of_dates(printer, version, at=now())
    if printer.json:
        printer.data("version", version)
    else:
        here = "with its key" if version.has_key else "without its key"
        printer.line(f"`{values['name']}` has {version.fingerprint} now, {here}")


# The view.


def show_versions(printer: Printer, versions: tuple[VersionView, ...]) -> None:
    """Show every version, a line each."""
    if not versions:
        printer.line("no authority is described, and none is in the store")
        return
    printer.table(
        ("version", "fingerprint", "subject", "key", "valid", "key here", "trusted", "presented"),
        (_row(version) for version in versions),
    )


def warn_of_dates(printer: Printer, version: CertificateVersion, *, at: datetime) -> None:
    """Say so when a CA that was brought in is out of its dates: nothing can be issued from it."""
    from rollover.pki.pem import read_certificates  # noqa: PLC0415 - imports certificates

    first = read_certificates(version.chain).certificates[0]
    if first.not_after < at:
        printer.say(f"! `{first.subject}` expired on {first.not_after:%Y-%m-%d}", "warn")
    elif at < first.not_before:
        printer.say(f"! `{first.subject}` is not valid before {first.not_before:%Y-%m-%d}", "warn")


def _row(version: VersionView) -> tuple[str, ...]:
    valid = "not seen anywhere"
    if version.not_before is not None and version.not_after is not None:
        valid = f"{version.not_before:%Y-%m-%d} to {version.not_after:%Y-%m-%d}"
    return (
        version.label,
        short(version.fingerprint),
        version.subject,
        version.key,
        valid,
        "yes" if version.key_here else "no",
        f"by {version.trusted_by}",
        f"by {version.presented_by}",
    )


# PEM files that an operator names: read with a limit, and a word about loose permissions.


def read_pem(path: Path) -> PemFile:
    """Return a file's content; `SpecError` when it cannot be read or is far too large."""
    from rollover.engine.service import PemFile  # noqa: PLC0415 - imports certificates
    from rollover.pki.pem import PEM_LIMIT  # noqa: PLC0415 - likewise

    try:
        content = read_bounded(path, limit=PEM_LIMIT)
    except TooLarge as error:
        raise SpecError(error.strerror, place=str(path), hint="name a PEM file") from None
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", place=str(path), hint="check path and permissions"
        ) from None
    return PemFile(place=str(path), content=SecretBytes(content))


def read_key(path: Path, printer: Printer) -> PemFile:
    """Return a key file's content, and say so when others can read it too."""
    found = read_pem(path)
    if permissions_of(path) & READABLE_BY_OTHERS:
        printer.say(f"! {path} can be read by others: `chmod 600 {path}`", "warn")
    return found
