"""`rollover inspect`: what is in a certificate, bundle, configuration or live port."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollover.certificates.inspect_findings import InspectionProblem, LivePort, SourceKind
from rollover.cli.options import Number, printer_of, talk_options
from rollover.cli.printer import counted, plain
from rollover.errors import ExitCode, SpecError
from rollover.fleet.certificate import Stack, Usage
from rollover.fleet.names import Fingerprint, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rollover.certificates.inspect_report import (
        CertificateView,
        InspectionReport,
        KeyView,
        SourceView,
    )
    from rollover.certificates.inspect_targets import Ways
    from rollover.certificates.inspect_verdicts import Judgement
    from rollover.cli.printer import Printer
    from rollover.fleet.certificate import Certificate

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
@talk_options
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
    from rollover.certificates import inspect_report, inspect_targets  # noqa: PLC0415

    found = tuple(inspect_targets.read_targets(values["targets"], _ways(values)))
    printer = printer_of(values)
    trusted = _trusted(values["trusted"])
    result = inspect_report.report_on(found, trusted=trusted, now=datetime.now(UTC))
    _show(printer, result, pem=inspect_report.certificates_of(found) if values["pem"] else None)
    return _exit_code(result)


def _show(
    printer: Printer, result: InspectionReport, *, pem: tuple[Certificate, ...] | None
) -> None:
    if pem is not None:
        show_pem(printer, pem)
    elif printer.json:
        printer.data("inspection", result)
    else:
        show_inspection(printer, result)
    show_problems(printer, result.problems)


def _exit_code(result: InspectionReport) -> ExitCode:
    if any(not problem.transient for problem in result.problems):
        return ExitCode.USAGE
    if result.incomplete:
        return ExitCode.EVIDENCE_MISSING
    return ExitCode.REFUSED if result.refused else ExitCode.DONE


def _ways(values: dict[str, Any]) -> Ways:
    from rollover.certificates.inspect_findings import read_file  # noqa: PLC0415
    from rollover.certificates.inspect_targets import Ways  # noqa: PLC0415
    from rollover.fleet.secret import SecretBytes  # noqa: PLC0415 - imports certificates

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
    from rollover.certificates.inspect_findings import read_file  # noqa: PLC0415 - imports certificates
    from rollover.pki.pem import read_certificates  # noqa: PLC0415

    readings = (read_certificates(read_file(path), place=str(path)) for path in paths)
    return tuple(dict.fromkeys(anchor for reading in readings for anchor in reading.certificates))


# The view. Every text of a certificate or port is a stranger's: none is shown raw.

MOST_NAMES = 20
MOST_FAULTS = 5
MOST_PROBLEMS = 50
MOST_ADVERTISED = 20
DEEPEST = 12
"""Levels of a tree that are drawn; what is below is drawn at this depth."""
LONGEST = 300
SOON_DAYS = 30
_LABEL = 13

_KINDS = {
    SourceKind.PEM: "PEM",
    SourceKind.DER: "DER",
    SourceKind.PKCS7: "PKCS#7",
    SourceKind.PKCS12: "PKCS#12",
    SourceKind.YAML: "YAML",
    SourceKind.KUBERNETES: "Kubernetes",
    SourceKind.NATS: "nats.conf",
    SourceKind.FLEET: "fleet file",
    SourceKind.PORT: "live port",
}
# By the words of `certificates.inspect_verdicts.ChainVerdict`, which imports the verifiers.
_SIGNS = {
    "accepted": ("✓", "good"),
    "refused": ("✗", "bad"),
    "unknown": ("?", "warn"),
}
_STACKS = {Stack.GO: "Go", Stack.OPENSSL: "OpenSSL"}


def plain_and_short(text: str) -> str:
    """Return a text as one harmless line, and not too long."""
    return plain(text if len(text) <= LONGEST else text[:LONGEST] + "…")


def show_inspection(printer: Printer, result: InspectionReport) -> None:
    """Show every source."""
    for number, source in enumerate(result.sources):
        if number:
            printer.line()
        _source(printer, source)


def show_pem(printer: Printer, certificates: Iterable[Certificate]) -> None:
    """Write the certificates, and nothing else."""
    from rollover.pki.pem import write_certificates  # noqa: PLC0415 - imports certificates

    printer.out.write(write_certificates(certificates).decode("ascii"))
    printer.out.flush()


def show_problems(printer: Printer, problems: Sequence[InspectionProblem]) -> None:
    """Say what could not be read, and what to do; machines find it in the report."""
    for problem in problems[:MOST_PROBLEMS]:
        printer.talk.write(f"error: {plain_and_short(problem.message)}\n")
        if problem.hint:
            printer.talk.write(f"hint: {plain_and_short(problem.hint)}\n")
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        printer.talk.write(f"… and {more:,} more (`--output json` has them all)\n")
    printer.talk.flush()


def _source(printer: Printer, source: SourceView) -> None:
    counts = [counted(len(source.certificates), "certificate")]
    counts += [counted(len(source.keys), "private key")] if source.keys else []
    printer.line(
        f"{plain_and_short(source.name)} ({_KINDS[source.kind]}): {', '.join(counts)}", "bold"
    )
    if source.live:
        _live(printer, source.live)
    for certificate in source.certificates:
        _certificate(printer, certificate)
    for key in source.keys:
        printer.line(f"  {_key(key, source.certificates)}", "warn" if key.problem else "")
    for text, style in _verdicts(source):
        printer.line(f"  {text}", style)
    if source.chains_not_judged:
        printer.line(f"  … {source.chains_not_judged:,} chains were not judged: too much", "warn")
    for remark in source.remarks:
        printer.line(f"  ! {plain_and_short(remark)}", "warn")


def _live(printer: Printer, live: LivePort) -> None:
    printer.line(f"  {live.protocol or 'no handshake completed'} {live.cipher}".rstrip())
    if not live.asks_for_certificate:
        printer.line("  asks for no client certificate")
        return
    refused = f", refuses us without one ({live.refused})" if live.refused else ""
    printer.line(f"  asks for a client certificate{refused}; of these CAs:")
    for name in live.advertised[:MOST_ADVERTISED]:
        printer.line(f"    {plain_and_short(name)}")
    if len(live.advertised) > MOST_ADVERTISED:
        printer.line(f"    … and {len(live.advertised) - MOST_ADVERTISED} more")
    if not live.advertised:
        printer.line("    (none is named)")


def _certificate(printer: Printer, certificate: CertificateView) -> None:
    indent = "  " + "   " * min(certificate.depth, DEEPEST)
    mark = "└─ " if certificate.depth else ""
    subject = plain_and_short(certificate.subject) or "(no subject)"
    printer.line(f"{indent[: len(indent) - len(mark)]}{mark}{subject}", "bold")
    for label, text, style in _facts(certificate):
        printer.line(f"{indent}  {label:<{_LABEL}}{text}", style)


def _facts(certificate: CertificateView) -> Iterator[tuple[str, str, str]]:
    yield "kind", _kind(certificate), ""
    names = (
        *certificate.dns_names,
        *certificate.ip_addresses,
        *certificate.emails,
        *certificate.uris,
    )
    if names:
        yield "names", _names(names), ""
    yield "valid", *_dates(certificate)
    yield "usages", _usages(certificate), ""
    places = plain_and_short(", ".join(certificate.key_places))
    yield "key", f"{certificate.key}, private key at {places}" if places else certificate.key, ""
    yield "signature", certificate.signature or "by the key itself, without a hash (Ed25519)", ""
    yield "serial", plain_and_short(certificate.serial), ""
    yield "SHA-256", certificate.fingerprint, ""
    yield "SPKI SHA-256", certificate.spki_sha256, ""
    if certificate.subject_key_id or certificate.authority_key_id:
        own, issuers = certificate.subject_key_id or "-", certificate.authority_key_id or "-"
        yield "key ids", plain_and_short(f"{own}, of its issuer {issuers}"), ""
    yield "at", plain_and_short(", ".join(certificate.places)), "dim"
    if certificate.not_understood:
        oids = plain_and_short(", ".join(certificate.not_understood))
        yield "critical", f"{oids}: not understood, so every chain with it is refused", "bad"
    if certificate.damage:
        yield "damage", plain_and_short(certificate.damage), "bad"


def _kind(certificate: CertificateView) -> str:
    if certificate.self_signed:
        return "CA, signed by itself" if certificate.is_ca else "signed by itself"
    known = f"issued by {plain_and_short(certificate.issuer)}"
    here = "" if certificate.signed_by else " (not at hand)"
    return f"{'CA, ' if certificate.is_ca else ''}{known}{here}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(plain_and_short(name) for name in names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return shown + (f" … and {more:,} more (`--output json` has them all)" if more > 0 else "")


def _dates(certificate: CertificateView) -> tuple[str, str]:
    dates = f"{certificate.not_before:%Y-%m-%d %H:%M} to {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if certificate.days_left < 0:
        return f"{dates}, expired", "bad"
    style = "warn" if certificate.days_left < SOON_DAYS else ""
    return f"{dates}, {counted(certificate.days_left, 'day')} left", style


def _usages(certificate: CertificateView) -> str:
    keys = "any" if certificate.key_usages is None else ", ".join(certificate.key_usages)
    extended = certificate.extended_key_usages
    return (
        f"{keys}; extended: {'any' if extended is None else plain_and_short(', '.join(extended))}"
    )


def _key(key: KeyView, certificates: Sequence[CertificateView]) -> str:
    where = f"private key at {plain_and_short(key.place)}"
    if key.problem:
        return f"{where}: {plain_and_short(key.problem)}"
    subjects = {certificate.fingerprint: certificate.subject for certificate in certificates}
    owners = ", ".join(
        plain_and_short(subjects.get(owner, short(owner))) for owner in key.belongs_to
    )
    return f"{where} ({key.kind}): {f'of {owners}' if owners else 'of no certificate at hand'}"


def _verdicts(source: SourceView) -> Iterator[tuple[str, str]]:
    subjects = {certificate.fingerprint: certificate.subject for certificate in source.certificates}
    for leaf, chains in groupby(source.chains, key=lambda chain: chain.certificate):
        for usage, judged in groupby(chains, key=lambda chain: chain.usage):
            yield from _verdict(leaf, subjects, usage, list(judged))


def _verdict(
    leaf: Fingerprint,
    subjects: dict[Fingerprint, str],
    usage: Usage,
    judged: Sequence[Judgement],
) -> Iterator[tuple[str, str]]:
    """Yield one line where the stacks agree, one for each where they do not."""
    from rollover.certificates.inspect_verdicts import ChainVerdict  # noqa: PLC0415 - imports the verifiers

    name = plain_and_short(subjects.get(leaf, "") or short(leaf))
    for answer, group in groupby(judged, key=lambda judgement: judgement.answer):
        alike = list(group)
        sign, style = _SIGNS[answer]
        stacks = ", ".join(_STACKS[judgement.stack] for judgement in alike)
        host = f" of `{plain_and_short(alike[0].expected_name)}`" if alike[0].expected_name else ""
        yield f"{sign} {name} as {usage}{host}: {answer} by {stacks}", style
        if answer is not ChainVerdict.ACCEPTED:
            faults = dict.fromkeys(
                fault.detail for judgement in alike for fault in judgement.faults
            )
            for detail in list(faults)[:MOST_FAULTS]:
                yield f"    {plain_and_short(detail)}", ""
