"""Subject alternative names: which form a text is, and whether it is well made."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum

import msgspec
from cryptography import x509

from rollover.errors import SpecError
from rollover.pki.names import ip_address

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
