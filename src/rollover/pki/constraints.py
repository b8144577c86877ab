"""Name constraints as Go applies them to the SANs below a CA (RFC 5280 §4.2.1.10)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from cryptography import x509

from rollover.fleet.certificate import Certificate
from rollover.pki.anatomy import Anatomy
from rollover.pki.names import labels

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def violations(authority: Anatomy, below: Certificate) -> Iterator[str]:
    """Yield one sentence for every name of `below` that the constraints of `authority` forbid."""
    constraints = authority.constraints
    if constraints is None:
        return
    permitted = constraints.permitted_subtrees or []
    excluded = constraints.excluded_subtrees or []
    for form, name in _names(below):
        fitting = [subtree.value for subtree in excluded if isinstance(subtree, form)]
        if any(_within(form, name, limit, excluding=True) for limit in fitting):
            yield f"`{name}` is excluded by the name constraints of the CA"
        fitting = [subtree.value for subtree in permitted if isinstance(subtree, form)]
        if fitting and not any(_within(form, name, limit, excluding=False) for limit in fitting):
            yield f"`{name}` is not permitted by the name constraints of the CA"


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
