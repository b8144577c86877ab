"""`rollover inspect`: what is in a certificate, bundle, configuration or live port."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import Number
from rollover.cli.printer import Printer
from rollover.errors import ExitCode, SpecError

if TYPE_CHECKING:
    from rollover.fleet.certificate import Certificate
    from rollover.inspecting.reading import Ways
    from rollover.inspecting.report import Report

_FILE = click.Path(path_type=Path, dir_okay=False)
_MOST_SECONDS = 60.0


@click.command(
    epilog="Examples:\n\n  rollover inspect server.pem server-key.pem\n\n"
    "  rollover inspect /etc/nats/nats.conf nats-route://10.0.0.1:6222\n\n"
    "  kubectl get secret nats-tls -o yaml | rollover inspect -",
    short_help="What is in certificates, configurations and ports.",
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option("--ca", "trusted", type=_FILE, multiple=True, help="Trust these anchors alone.")
@click.option("--server-name", default="", help="The name that ports are asked for.")
@click.option(
    "--timeout",
    type=Number(0.1, _MOST_SECONDS),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a port may take.",
)
@click.option(
    "--working-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where relative paths in nats.conf begin; default here.",
)
@click.option("--password-file", type=_FILE, help="Holds the password of PKCS#12 files.")
@click.option("--password-env", metavar="NAME", help="Or the variable that holds it.")
@click.option("--pem", is_flag=True, help="Print the certificates as PEM, never keys.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.option("--color/--no-color", default=None, help="Colour; by default on a terminal.")
def command(**values: Any) -> int:
    r"""Show what TARGETs hold: certificates as a tree of who signs whom, keys, and verdicts.

    A TARGET is a file, a directory, `-` or the URL of a live port. Read are PEM, DER, PKCS#7,
    PKCS#12, nats.conf, Kubernetes objects, vars stores, other YAML and JSON, and fleet files.

    \b
    https:// tls:// nats:// ws:// wss:// mqtt:// mqtts://
    nats-route:// nats-gateway:// nats-leaf://

    Private keys are never printed. Exit code 0: read, and no chain is refused; 1: something
    cannot be read; 5: a port does not answer, or there is too much to judge; 3: Go or OpenSSL
    refuses a chain for a use that it is meant for. A chain whose issuer is not at hand is refused
    with --ca only.
    """
    from rollover.inspecting import reading, report  # noqa: PLC0415

    found = tuple(reading.read_targets(values["targets"], _ways(values)))
    printer = Printer(output=values["output"], quiet=values["quiet"], color=values["color"])
    trusted = _trusted(values["trusted"])
    result = report.report(found, trusted=trusted, now=datetime.now(UTC))
    _show(printer, result, pem=report.certificates(found) if values["pem"] else None)
    return _exit_code(result)


def _show(printer: Printer, result: Report, *, pem: tuple[Certificate, ...] | None) -> None:
    from rollover.cli.views import inspect as view  # noqa: PLC0415 - imports certificates

    if pem is not None:
        view.show_pem(printer, pem)
    elif printer.json:
        printer.data("inspection", result)
    else:
        view.show(printer, result)
    view.show_problems(printer, result.problems)


def _exit_code(result: Report) -> ExitCode:
    if any(not each.transient for each in result.problems):
        return ExitCode.USAGE
    if result.incomplete:
        return ExitCode.EVIDENCE_MISSING
    return ExitCode.REFUSED if result.refused else ExitCode.DONE


def _ways(values: dict[str, Any]) -> Ways:
    from rollover.fleet.secret import SecretBytes  # noqa: PLC0415 - imports certificates
    from rollover.inspecting.files import read_file  # noqa: PLC0415
    from rollover.inspecting.reading import Ways  # noqa: PLC0415

    file, variable = values["password_file"], values["password_env"]
    if file and variable:
        raise SpecError("two passwords are given", hint="give a file or a variable")
    if variable and variable not in os.environ:
        raise SpecError(f"there is no variable `{variable}`", hint="export it first")
    password = (
        read_file(file).rstrip(b"\r\n")
        if file
        else os.environb.get(os.fsencode(variable or ""), b"")
    )
    return Ways(
        environment=dict(os.environ),
        working_directory=values["working_directory"] or Path.cwd(),
        password=SecretBytes(password),
        server_name=values["server_name"],
        timeout_seconds=values["timeout"],
    )


def _trusted(paths: tuple[Path, ...]) -> tuple[Certificate, ...]:
    from rollover.inspecting.files import read_file  # noqa: PLC0415 - imports certificates
    from rollover.pki.pem import read_certificates  # noqa: PLC0415

    readings = (read_certificates(read_file(path), place=str(path)) for path in paths)
    return tuple(dict.fromkeys(one for reading in readings for one in reading.certificates))
