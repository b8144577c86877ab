"""`rollover issue`: a certificate for a role of NATS, from a CA of this machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from rollover.cli.printer import Printer
from rollover.errors import ExitCode, SpecError

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
    from rollover.cli.views import issue as view  # noqa: PLC0415 - imports certificates
    from rollover.fleet.certificate import KeyKind  # noqa: PLC0415
    from rollover.issuing.issue import Order, issue  # noqa: PLC0415
    from rollover.issuing.roles import Role  # noqa: PLC0415

    if values["role"] is None:
        raise SpecError("no role is given", hint=f"say `--for` {', '.join(ROLES)}")
    order = Order(
        role=Role(values["role"]),
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
    view.show(printer, issue(order, now=datetime.now(UTC)))
    return ExitCode.DONE


def _trust(values: dict[str, Any], printer: Printer) -> int:
    from rollover.cli.views import issue as view  # noqa: PLC0415 - imports certificates
    from rollover.issuing import authority, system_trust  # noqa: PLC0415

    directory: Path = values["ca_dir"]
    if values["install"]:
        view.show_authority(printer, authority.open_authority(directory, now=datetime.now(UTC)))
    certificate = authority.trusted(directory)
    machine = system_trust.Machine(Path("/"), Path.home(), dict(os.environ))
    change = system_trust.install if values["install"] else system_trust.uninstall
    results = change(certificate, machine)
    view.show_stores(printer, certificate, results)
    failed = any(each.outcome is system_trust.Outcome.FAILED for each in results)
    return ExitCode.STOPPED if failed else ExitCode.DONE
