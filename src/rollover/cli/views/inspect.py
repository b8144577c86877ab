"""How the report of `rollover inspect` looks: trees, facts and verdicts, no stranger's text raw."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rollover.cli.printer import Printer
from rollover.cli.printer import plain as harmless
from rollover.cli.views.counting import counted
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.names import Fingerprint, short
from rollover.inspecting.found import Kind, Live, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rollover.inspecting.report import CertificateView, KeyView, Report, SourceView
    from rollover.inspecting.verdicts import Judgement

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
    Kind.PEM: "PEM",
    Kind.DER: "DER",
    Kind.PKCS7: "PKCS#7",
    Kind.PKCS12: "PKCS#12",
    Kind.YAML: "YAML",
    Kind.KUBERNETES: "Kubernetes",
    Kind.NATS: "nats.conf",
    Kind.FLEET: "fleet file",
    Kind.PORT: "live port",
}
# By the words of `inspecting.verdicts.Answer`, which imports the verifiers.
_SIGNS = {
    "accepted": ("✓", "good"),
    "refused": ("✗", "bad"),
    "unknown": ("?", "warn"),
}
_STACKS = {Stack.GO: "Go", Stack.OPENSSL: "OpenSSL"}


def plain(text: str) -> str:
    """Return a text as one harmless line, and not too long."""
    return harmless(text if len(text) <= LONGEST else text[:LONGEST] + "…")


def show(printer: Printer, result: Report) -> None:
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


def show_problems(printer: Printer, problems: Sequence[Problem]) -> None:
    """Say what could not be read, and what to do; machines find it in the report."""
    for each in problems[:MOST_PROBLEMS]:
        printer.talk.write(f"error: {plain(each.message)}\n")
        if each.hint:
            printer.talk.write(f"hint: {plain(each.hint)}\n")
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        printer.talk.write(f"… and {more:,} more (`--output json` has them all)\n")
    printer.talk.flush()


def _source(printer: Printer, source: SourceView) -> None:
    counts = [counted(len(source.certificates), "certificate")]
    counts += [counted(len(source.keys), "private key")] if source.keys else []
    printer.line(f"{plain(source.name)} ({_KINDS[source.kind]}): {', '.join(counts)}", "bold")
    if source.live:
        _live(printer, source.live)
    for each in source.certificates:
        _certificate(printer, each)
    for key in source.keys:
        printer.line(f"  {_key(key, source.certificates)}", "warn" if key.problem else "")
    for text, style in _verdicts(source):
        printer.line(f"  {text}", style)
    if source.chains_not_judged:
        printer.line(f"  … {source.chains_not_judged:,} chains were not judged: too much", "warn")
    for remark in source.remarks:
        printer.line(f"  ! {plain(remark)}", "warn")


def _live(printer: Printer, live: Live) -> None:
    printer.line(f"  {live.protocol or 'no handshake completed'} {live.cipher}".rstrip())
    if not live.asks_for_certificate:
        printer.line("  asks for no client certificate")
        return
    refused = f", refuses us without one ({live.refused})" if live.refused else ""
    printer.line(f"  asks for a client certificate{refused}; of these CAs:")
    for name in live.advertised[:MOST_ADVERTISED]:
        printer.line(f"    {plain(name)}")
    if len(live.advertised) > MOST_ADVERTISED:
        printer.line(f"    … and {len(live.advertised) - MOST_ADVERTISED} more")
    if not live.advertised:
        printer.line("    (none is named)")


def _certificate(printer: Printer, one: CertificateView) -> None:
    indent = "  " + "   " * min(one.depth, DEEPEST)
    mark = "└─ " if one.depth else ""
    printer.line(f"{indent[: len(indent) - len(mark)]}{mark}{plain(one.subject) or '(no subject)'}",
                 "bold")  # fmt: skip
    for label, text, style in _facts(one):
        printer.line(f"{indent}  {label:<{_LABEL}}{text}", style)


def _facts(one: CertificateView) -> Iterator[tuple[str, str, str]]:
    yield "kind", _kind(one), ""
    names = (*one.dns_names, *one.ip_addresses, *one.emails, *one.uris)
    if names:
        yield "names", _names(names), ""
    yield "valid", *_dates(one)
    yield "usages", _usages(one), ""
    yield "key", f"{one.key}{_key_places(one)}", ""
    yield "signature", one.signature or "by the key itself, without a hash (Ed25519)", ""
    yield "serial", plain(one.serial), ""
    yield "SHA-256", one.fingerprint, ""
    yield "SPKI SHA-256", one.spki_sha256, ""
    if one.subject_key_id or one.authority_key_id:
        ids = f"{one.subject_key_id or '-'}, of its issuer {one.authority_key_id or '-'}"
        yield "key ids", plain(ids), ""
    yield "at", plain(", ".join(one.places)), "dim"
    if one.not_understood:
        oids = plain(", ".join(one.not_understood))
        yield "critical", f"{oids}: not understood, so every chain with it is refused", "bad"
    if one.damage:
        yield "damage", plain(one.damage), "bad"


def _kind(one: CertificateView) -> str:
    if one.self_signed:
        return "CA, signed by itself" if one.is_ca else "signed by itself"
    known = f"issued by {plain(one.issuer)}"
    here = "" if one.signed_by else " (not at hand)"
    return f"{'CA, ' if one.is_ca else ''}{known}{here}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(plain(name) for name in names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return shown + (f" … and {more:,} more (`--output json` has them all)" if more > 0 else "")


def _dates(one: CertificateView) -> tuple[str, str]:
    dates = f"{one.not_before:%Y-%m-%d %H:%M} to {one.not_after:%Y-%m-%d %H:%M} UTC"
    if one.days_left < 0:
        return f"{dates}, expired", "bad"
    style = "warn" if one.days_left < SOON_DAYS else ""
    return f"{dates}, {counted(one.days_left, 'day')} left", style


def _usages(one: CertificateView) -> str:
    keys = "any" if one.key_usages is None else ", ".join(one.key_usages)
    extended = one.extended_key_usages
    return f"{keys}; extended: {'any' if extended is None else plain(', '.join(extended))}"


def _key_places(one: CertificateView) -> str:
    if not one.key_places:
        return ""
    return f", private key at {plain(', '.join(one.key_places))}"


def _key(key: KeyView, certificates: Sequence[CertificateView]) -> str:
    where = f"private key at {plain(key.place)}"
    if key.problem:
        return f"{where}: {plain(key.problem)}"
    subjects = {each.fingerprint: each.subject for each in certificates}
    owners = ", ".join(plain(subjects.get(each, short(each))) for each in key.belongs_to)
    return f"{where} ({key.kind}): {f'of {owners}' if owners else 'of no certificate at hand'}"


def _verdicts(source: SourceView) -> Iterator[tuple[str, str]]:
    subjects = {each.fingerprint: each.subject for each in source.certificates}
    for leaf, chains in groupby(source.chains, key=lambda each: each.certificate):
        for usage, judged in groupby(chains, key=lambda each: each.usage):
            yield from _verdict(leaf, subjects, usage, list(judged))


def _verdict(
    leaf: Fingerprint,
    subjects: dict[Fingerprint, str],
    usage: Usage,
    judged: Sequence[Judgement],
) -> Iterator[tuple[str, str]]:
    """Yield one line where the stacks agree, one for each where they do not."""
    from rollover.inspecting.verdicts import Answer  # noqa: PLC0415 - imports the verifiers

    name = plain(subjects.get(leaf, "") or short(leaf))
    for answer, group in groupby(judged, key=lambda each: each.answer):
        alike = list(group)
        sign, style = _SIGNS[answer]
        stacks = ", ".join(_STACKS[each.stack] for each in alike)
        host = f" of `{plain(alike[0].expected_name)}`" if alike[0].expected_name else ""
        yield f"{sign} {name} as {usage}{host}: {answer} by {stacks}", style
        if answer is not Answer.ACCEPTED:
            faults = dict.fromkeys(fault.detail for each in alike for fault in each.faults)
            for detail in list(faults)[:MOST_FAULTS]:
                yield f"    {plain(detail)}", ""
