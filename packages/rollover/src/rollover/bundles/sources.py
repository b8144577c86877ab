"""Sources of a bundle: files, directories, ports, configurations and manifests to offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rollover.bundles.offers import Offer, Offers, joined
from rollover.errors import PemError, RolloverError, SpecError, Unreachable
from rollover.inspecting.files import read_file, walk
from rollover.inspecting.found import FoundCertificate, Kind, Patience, Problem, Source, writable
from rollover.inspecting.live import is_url
from rollover.inspecting.reading import READING_LIMIT, STANDARD_INPUT, Ways, read_targets
from rollover.kubernetes import manifests
from rollover.kubernetes.objects import CERTIFICATE, KEY, Stored
from rollover.pki.blocks import split
from rollover.pki.pem import read_certificates

_MANIFESTS = (".yml", ".yaml", ".json")
_BINARY = (".der", ".cer", ".p7b", ".p7c")
_BEGIN = b"-----BEGIN "


def read_sources(targets: Iterable[str], ways: Ways) -> Offers:
    """Return what all sources offer, in their order.

    Of a configuration and a fleet file that is what its parties trust, of a port the CAs that it
    serves, of a Secret everything but `tls.crt`. Raises `SpecError`, `PemError` or `Unreachable`
    when something cannot be read: a bundle that lacks a CA would cut somebody off.
    """
    return joined(_source(target, ways) for target in targets)


def _source(target: str, ways: Ways) -> Offers:
    if target != STANDARD_INPUT and not is_url(target):
        path = Path(target)
        if path.is_dir():
            return _directory(path, ways)
        if path.suffix.lower() in _MANIFESTS:
            data = read_file(path)
            if manifests.looks_like_manifest(data):
                return _manifest(data, place=writable(str(path)))
    return _inspected(target, ways)


def _directory(directory: Path, ways: Ways) -> Offers:
    """Return what the files below a directory offer; those without certificates are passed over."""
    found = joined(_in_directory(directory, ways))
    if not found.offers:
        raise SpecError(
            "no certificate in any of its files",
            place=writable(str(directory)),
            hint="name the files that hold CAs",
        )
    return found


def _in_directory(directory: Path, ways: Ways) -> Iterator[Offers]:
    patience = Patience(READING_LIMIT)
    for path in walk(directory):
        if isinstance(path, SpecError):
            raise path
        if patience.over:
            raise SpecError(
                f"this and what follows was not read within {READING_LIMIT.total_seconds():.0f} s",
                place=writable(str(path)),
                hint="name the files that hold CAs",
            )
        yield from _among_others(path, ways)


def _among_others(path: Path, ways: Ways) -> Iterator[Offers]:
    """Yield what a file among many offers; unreadable ones matter by their names only."""
    suffix = path.suffix.lower()
    try:
        data = read_file(path)
    except SpecError as error:
        if suffix in (*_MANIFESTS, *_BINARY, ".pem", ".crt"):
            raise
        yield Offers(notes=(f"passed over: {error}",))
        return
    is_manifest = suffix in _MANIFESTS and manifests.looks_like_manifest(data)
    holds_certificates = _BEGIN in data and any("CERTIFICATE" in x.label for x in split(data))
    if is_manifest or suffix in _BINARY or holds_certificates:
        yield _source(str(path), ways)


def _manifest(data: bytes, *, place: str) -> Offers:
    objects = manifests.read(data, place=place)
    offers = tuple(offer for each in objects for offer in _object(each, place=place))
    if not offers:
        raise SpecError(
            "no Secret or ConfigMap in it holds a CA",
            place=place,
            hint=f"of `{CERTIFICATE}` a party presents its own chain; CAs are in `ca.crt` and the "
            "like",
        )
    return Offers(offers=offers)


def _object(stored: Stored, *, place: str) -> Iterator[Offer]:
    for key, value in stored.data.items():
        content = value.reveal()
        if key in (CERTIFICATE, KEY) or _BEGIN + b"CERTIFICATE" not in content:
            continue
        where = f"{place}: {stored.ref}: {key}"
        for each in read_certificates(content, place=where).certificates:
            yield Offer(each, where)


def _inspected(target: str, ways: Ways) -> Offers:
    findings = tuple(read_targets((target,), ways))
    for each in findings:
        if isinstance(each, Problem):
            raise _error(each, target)
    return joined(_of_source(each) for each in findings if isinstance(each, Source))


def _error(problem: Problem, target: str) -> RolloverError:
    """Return what was found as the error that it was made of."""
    if problem.transient:
        return Unreachable(
            problem.message, system="bundle", operation="read", hint=problem.hint or target
        )
    kind = PemError if problem.code == PemError.code else SpecError
    return kind(problem.message, hint=problem.hint)


def _of_source(found: Source) -> Offers:
    if found.kind in (Kind.NATS, Kind.FLEET):
        return _trusted(found)
    if found.kind is Kind.PORT:
        return _served(found)
    remarks = tuple(f"{found.name}: {each}" for each in found.remarks)
    return Offers(offers=tuple(map(_offer, found.certificates)), notes=remarks)


def _offer(found: FoundCertificate) -> Offer:
    return Offer(found.certificate, found.place)


def _trusted(found: Source) -> Offers:
    places = {each.certificate.fingerprint: each.place for each in found.certificates}
    offers = (Offer(each, places.get(each.fingerprint, found.name)) for each in found.trusts)
    note = () if found.trusts else (f"{found.name} trusts no CA of a file of its own",)
    return Offers(offers=tuple(offers), notes=note)


def _served(found: Source) -> Offers:
    """Return the CAs of a chain that a port serves; its leaf is nobody's trust anchor."""
    offers = tuple(map(_offer, (each for each in found.certificates if each.certificate.is_ca)))
    if offers:
        top = found.chain[-1]
        note = () if top.self_signed else (f"{found.name} does not serve the root `{top.issuer}`",)
        return Offers(offers=offers, notes=note)
    leaf = found.chain[0]
    raise SpecError(
        f"it serves no CA, only `{leaf.subject}`",
        place=found.name,
        hint=f"get the certificate of its issuer `{leaf.issuer}` from whoever runs that CA",
    )
