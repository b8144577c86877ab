"""Names in certificates: whether they cover the one that a dialer expects, and what a text is.

Covering is RFC 6125 §6.4, as Go does it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec
from cryptography import x509

from rollover.errors import SpecError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def covers(names: Iterable[str], expected: str) -> bool:
    """Return whether any of `names` covers the DNS name or IP address `expected`.

    DNS names compare without case and without the dot that ends an absolute name; `*` stands for
    exactly one whole left-most label. IP addresses compare by value, to IP entries only.
    """
    address = ip_address(expected)
    if address is not None:
        return any(ip_address(name) == address for name in names)
    return any(_dns_covers(name, expected) for name in names if ip_address(name) is None)


def ip_address(text: str) -> IpAddress | None:
    """Return the address that `text` is (brackets allowed), an IPv4-mapped one as IPv4, or None."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" not in text and not text[-1:].isdecimal():
        return None  # most names end here: parsing one to find that it is none is slow
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def labels(host: str) -> tuple[str, ...]:
    """Return the lower-case labels of a host name, the absolute form's last dot removed."""
    return tuple(host.lower().removesuffix(".").split("."))


def _dns_covers(pattern: str, host: str) -> bool:
    if not _valid_labels(pattern.removeprefix("*.")) or not _valid_labels(host.removesuffix(".")):
        # Go falls back to plain equality for names that are none, such as `nats/client`.
        return bool(pattern) and pattern.lower() == host.lower()
    wanted, given = labels(host), tuple(pattern.lower().split("."))
    if len(wanted) != len(given):
        return False
    return given[1:] == wanted[1:] and given[0] in ("*", wanted[0])


def _valid_labels(name: str) -> bool:
    return bool(name) and all(_valid_label(label) for label in name.split("."))


def _valid_label(label: str) -> bool:
    if not label or label.startswith("-"):
        return False
    return label.isascii() and all(letter.isalnum() or letter in "-_" for letter in label)


# Making: which form a text is, and whether it is well made.

LONGEST_DNS_NAME = 253
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//|urn:|[A-Za-z0-9])\S*")


class NameForm(StrEnum):
    """The forms of subject alternative names that Rollover writes."""

    DNS = "dns"
    IP = "ip"
    EMAIL = "email"
    URI = "uri"


class SubjectName(msgspec.Struct, frozen=True):
    """A subject alternative name whose form is said, not guessed."""

    value: str
    form: NameForm


def general_name(name: str | SubjectName) -> x509.GeneralName:
    """Return the name as it stands in a certificate; `SpecError` when it is not well made."""
    found = name if isinstance(name, SubjectName) else SubjectName(name, recognise(name))
    try:
        return _general_name(found)
    except ValueError as error:
        raise SpecError(
            f"`{found.value}` is no {found.form.value} name: {error}",
            hint="give the name alone, without port, path or a dot at its end, and international "
            "ones in their `xn--` form",
        ) from error


def recognise(text: str) -> NameForm:
    """Return the form that a text has: an address, `scheme://…` or `urn:…`, `a@b`, else DNS."""
    if ip_address(text) is not None:
        return NameForm.IP
    if "://" in text or text.lower().startswith("urn:"):
        return NameForm.URI
    return NameForm.EMAIL if "@" in text else NameForm.DNS


def _general_name(name: SubjectName) -> x509.GeneralName:
    match name.form:
        case NameForm.IP:
            return x509.IPAddress(ipaddress.ip_address(name.value.strip("[]")))
        case NameForm.EMAIL:
            local, _, domain = name.value.rpartition("@")
            if not local:
                raise ValueError("it has no part before an `@`")
            _check_dns(domain)
            return x509.RFC822Name(name.value)
        case NameForm.URI:
            if not _URI.fullmatch(name.value):
                raise ValueError("it has no scheme, or holds blanks")
            return x509.UniformResourceIdentifier(name.value)
        case NameForm.DNS:
            _check_dns(name.value.removeprefix("*."))
            return x509.DNSName(name.value)


def _check_dns(name: str) -> None:
    if not name or len(name) > LONGEST_DNS_NAME:
        raise ValueError(f"it must have 1 to {LONGEST_DNS_NAME} characters")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise ValueError(f"its label `{label}` is not allowed")
