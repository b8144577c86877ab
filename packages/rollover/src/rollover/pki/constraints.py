"""Name constraints as Go applies them to the SANs below a CA (RFC 5280 §4.2.1.10)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from cryptography import x509

from rollover.fleet.certificate import Certificate
from rollover.pki.anatomy import Anatomy
from rollover.pki.names import labels

COMPARISON_LIMIT = 250_000
"""verify.go, maxConstraintComparisons: Go refuses a CA whose constraints take more."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def violations(authority: Anatomy, below: Iterable[Certificate]) -> Iterator[str]:
    """Yield one sentence for every name of `below` that the constraints of `authority` forbid.

    Like Go it compares no more than `COMPARISON_LIMIT` times: the last sentence then says so.
    """
    if authority.constraints is None:
        return
    excluded = _by_form(authority.constraints.excluded_subtrees)
    permitted = _by_form(authority.constraints.permitted_subtrees)
    compared = 0
    for form, name in (found for each in below for found in _names(each)):
        without, within = excluded.get(form, ()), permitted.get(form, ())
        compared += len(without) + len(within)
        if compared > COMPARISON_LIMIT:
            yield f"its name constraints take more than {COMPARISON_LIMIT:,} comparisons"
            return
        if any(_within(form, name, limit, excluding=True) for limit in without):
            yield f"`{name}` is excluded by the name constraints of the CA"
        if within and not any(_within(form, name, limit, excluding=False) for limit in within):
            yield f"`{name}` is not permitted by the name constraints of the CA"


def _by_form(
    subtrees: Iterable[x509.GeneralName] | None,
) -> dict[type[x509.GeneralName], Sequence[object]]:
    found: dict[type[x509.GeneralName], list[object]] = {}
    for subtree in subtrees or ():
        found.setdefault(type(subtree), []).append(subtree.value)
    return {form: tuple(values) for form, values in found.items()}


def _names(certificate: Certificate) -> Iterator[tuple[type[x509.GeneralName], str]]:
    for form, names in (
        (x509.DNSName, certificate.dns_names),
        (x509.RFC822Name, certificate.emails),
        (x509.UniformResourceIdentifier, certificate.uris),
        (x509.IPAddress, certificate.ip_addresses),
    ):
        for name in names:
            yield form, name


def _within(form: type[x509.GeneralName], name: str, limit: object, *, excluding: bool) -> bool:
    if form is x509.IPAddress:
        return _address_within(name, limit)
    if form is x509.DNSName:
        return domain_within(name, str(limit), excluding=excluding)
    if form is x509.RFC822Name:
        return _mailbox_within(name, str(limit))
    # Go fails a URI without a domain name whatever the subtree says: outside every permitted
    # one, inside every excluded one.
    host = _uri_host(name)
    return domain_within(host, str(limit)) if host else excluding


def _address_within(name: str, limit: object) -> bool:
    if not isinstance(limit, Network):
        return False
    address = ipaddress.ip_address(name)
    return address.version == limit.version and address in limit


def _mailbox_within(name: str, limit: str) -> bool:
    local, _, domain = name.rpartition("@")
    if "@" in limit:
        wanted_local, _, wanted_domain = limit.rpartition("@")
        return local == wanted_local and domain.lower() == wanted_domain.lower()
    return domain_within(domain, limit)


def _uri_host(name: str) -> str:
    try:
        host = urlsplit(name).hostname or ""
        ipaddress.ip_address(host)
    except ValueError:
        return "" if "[" in name else urlsplit(name).hostname or ""
    return ""


def domain_within(name: str, limit: str, *, excluding: bool = False) -> bool:
    """Return whether a domain name lies within the subtree `limit`, as crypto/x509 decides it.

    A subtree that begins with a dot asks for at least one more label. An excluded subtree also
    catches a wildcard that could stand for it (`*.example.com` and `a.example.com`).
    """
    if not limit:
        return True
    given, wanted = list(labels(name)), list(labels(limit.removeprefix(".")))
    if excluding and given[0] == "*" and len(given) > 1:
        given, wanted = given[1:], wanted[1:] if len(wanted) == len(given) else wanted
    if len(given) < len(wanted) or (limit.startswith(".") and len(given) == len(wanted)):
        return False
    return given[len(given) - len(wanted) :] == wanted
