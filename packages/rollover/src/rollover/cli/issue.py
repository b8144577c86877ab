"""`rollover issue`: a certificate for a role of NATS, from a CA of this machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.printer import Printer
from rollover.errors import ExitCode, SpecError

if TYPE_CHECKING:
    from rollover.certificates.issue_for_role import AuthorityFacts, IssuedLeaf, LocalAuthority
    from rollover.certificates.issue_system_trust import StoreResult
    from rollover.fleet.certificate import Certificate

ROLES = ("server", "client", "route", "gateway", "leaf", "monitoring")
KEY_KINDS = ("p-256", "p-384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")
_FILE = click.Path(path_type=Path, dir_okay=False)
_MOST_DAYS = 36_500


def default_directory() -> Path:
    """Return where the CA of this user is (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    # The specification: relative paths there are invalid and to be ignored.
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local/share"
    return base / "rollover/ca"


@click.command(
    epilog="Examples:\n\n  rollover issue --for server n1.example.com 127.0.0.1\n\n"
    "  rollover issue --for client --user app@example.com\n\n"
    "  sudo rollover issue --install --ca-dir ~/.local/share/rollover/ca",
    short_help="Issue a certificate for a role.",
)
@click.option("--for", "role", type=click.Choice(ROLES), help="What the certificate is for.")
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--user", default="", help="The user that `verify_and_map` makes of this client.")
@click.option("--cert-file", type=_FILE, help="Where the chain goes; default NAME.pem, here.")
@click.option("--key-file", type=_FILE, help="Where the key goes (0600); default NAME-key.pem.")
@click.option("--days", type=click.IntRange(1, _MOST_DAYS), default=365, show_default=True)
@click.option("--key-type", type=click.Choice(KEY_KINDS), default="p-256", show_default=True)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option(
    "--ca-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_directory,
    show_default="$XDG_DATA_HOME/rollover/ca, or ~/.local/share/rollover/ca",
    help="Where the CA is, or is made (ca.pem, ca-key.pem).",
)
@click.option("--install", is_flag=True, help="Put the CA into the trust stores of this machine.")
@click.option("--uninstall", is_flag=True, help="Take the CA out of them again.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
def command(**values: Any) -> int:
    """Issue a certificate for a role of NATS. Needs no configuration.

    NAMEs are the hosts in the URLs of those who dial: DNS names, `*.example.com`, IP addresses;
    for a client also email addresses and URIs. All become subject alternative names.

    \b
    server      client, WebSocket and MQTT ports: server authentication
    client      whoever dials a client port: client authentication
    route       cluster ports, which dial and accept: both
    gateway     gateway ports, which dial and accept: both
    leaf        the leaf node listener (server) and whoever dials it (client): both
    monitoring  the HTTPS monitoring port: server authentication

    A CA is made when there is none. Whoever has its key can impersonate any name to everybody who
    trusts it. Nothing is written over without --force. Exit code 4: a trust store failed.
    """  # noqa: D301 - click's own mark for lines that it must not fold
    printer = Printer(output=values["output"], quiet=values["quiet"])
    if values["install"] and values["uninstall"]:
        raise SpecError("`--install` and `--uninstall` together", hint="give one of them")
    if not (values["install"] or values["uninstall"]):
        return _issue(values, printer)
    if values["role"] or values["names"]:
        raise SpecError(
            "`--install` and `--uninstall` issue nothing", hint="leave `--for` and the names away"
        )
    return _trust(values, printer)


def _issue(values: dict[str, Any], printer: Printer) -> int:
    from rollover.certificates.issue_for_role import (  # noqa: PLC0415
        LeafOrder,
        LeafRole,
        issue,
    )
    from rollover.fleet.certificate import KeyKind  # noqa: PLC0415

    if values["role"] is None:
        raise SpecError("no role is given", hint=f"say `--for` {', '.join(ROLES)}")
    order = LeafOrder(
        role=LeafRole(values["role"]),
        names=values["names"],
        user=values["user"],
        authority=values["ca_dir"],
        directory=Path(),
        certificate_file=values["cert_file"],
        key_file=values["key_file"],
        lifetime=timedelta(days=values["days"]),
        key_kind=KeyKind(values["key_type"]),
        over=values["force"],
    )
    show_issued(printer, issue(order, now=datetime.now(UTC)))
    return ExitCode.DONE


def _trust(values: dict[str, Any], printer: Printer) -> int:
    from rollover.certificates import issue_for_role, issue_system_trust  # noqa: PLC0415

    directory: Path = values["ca_dir"]
    if values["install"]:
        show_authority(printer, issue_for_role.open_authority(directory, now=datetime.now(UTC)))
    certificate = issue_for_role.trusted_authority(directory)
    machine = issue_system_trust.TrustingMachine(Path("/"), Path.home(), dict(os.environ))
    change = issue_system_trust.install if values["install"] else issue_system_trust.uninstall
    results = change(certificate, machine)
    show_stores(printer, certificate, results)
    failed = any(result.outcome is issue_system_trust.TrustOutcome.FAILED for result in results)
    return ExitCode.STOPPED if failed else ExitCode.DONE


# The view.

# By the words of `certificates.issue_system_trust.TrustOutcome`, which imports certificates.
_SIGNS = {
    "installed": ("✓", "good"),
    "removed": ("✓", "good"),
    "absent": ("·", "dim"),
    "failed": ("✗", "bad"),
}
_MOST_NAMES = 8


def show_issued(printer: Printer, issued: IssuedLeaf) -> None:
    """Show where the certificate is and what to write into nats.conf."""
    if printer.json:
        printer.data("issued", issued)
        return
    _say_made(printer, issued.authority)
    printer.line(f"certificate  {issued.certificate_file}")
    printer.line(f"key          {issued.key_file}")
    printer.line(f"CA           {issued.authority.file}")
    printer.line(f"for          {issued.role} ({', '.join(issued.extended_key_usages)})")
    printer.line(f"names        {_names(issued.names)}")
    end = ", the end of its CA" if issued.clipped else ""
    printer.line(f"valid        until {issued.not_after:%Y-%m-%d %H:%M}Z{end}")
    printer.line(f"fingerprint  {issued.fingerprint}")
    printer.line()
    printer.line("nats.conf:", "bold")
    for line in issued.nats_conf.splitlines():
        printer.line(f"  {line}")
    if issued.command:
        printer.line()
        printer.line("client:", "bold")
        printer.line(f"  {issued.command}")


def show_authority(printer: Printer, authority: LocalAuthority) -> None:
    """Say that a CA was made, where it was."""
    from rollover.certificates.issue_for_role import facts_of  # noqa: PLC0415 - imports certificates

    _say_made(printer, facts_of(authority))


def show_stores(
    printer: Printer, certificate: Certificate, results: tuple[StoreResult, ...]
) -> None:
    """Show what became of each trust store."""
    if printer.json:
        fields = {"subject": certificate.subject, "fingerprint": certificate.fingerprint}
        printer.data("trust_stores", {**fields, "stores": results})
        return
    for result in results:
        sign, style = _SIGNS[result.outcome]
        detail = f": {result.detail}" if result.detail else ""
        printer.line(f"{sign} {result.store}: {result.outcome}{detail}", style)


def _say_made(printer: Printer, authority: AuthorityFacts) -> None:
    from rollover.certificates.issue_for_role import AUTHORITY_RISK  # noqa: PLC0415 - imports certificates

    if authority.made:
        printer.say(f"made the CA `{authority.subject}`: {authority.file}")
        printer.say(f"! {AUTHORITY_RISK}: keep ca-key.pem to yourself", "warn")


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
