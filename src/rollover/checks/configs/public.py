"""Which of the certificates come from public CAs: by what they say, and by who they name."""

from __future__ import annotations

import re

from rollover.checks.configs.scene import ConfigScene
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.public import is_public

_ROOTS = (
    "Let's Encrypt",
    "Internet Security Research Group",
    "ISRG",
    "Google Trust Services",
    "Sectigo",
    "DigiCert",
    "ZeroSSL",
    "GoDaddy",
    "Amazon",
    "GlobalSign",
    "Entrust",
    "SSL Corp",
    "Buypass",
    "Actalis",
)
"""Public issuers by name: a root says nothing else of itself, nor do older intermediates."""

_ORGANIZATION = re.compile(r"(?:^|,)O=((?:[^,\\]|\\.)+)")


def public_issuer(certificate: Certificate) -> str:
    """Return the name of the public issuer of a certificate; empty when it has none."""
    organization = _organization(certificate.issuer)
    named = _listed(organization)
    return named or (organization or certificate.issuer if is_public(certificate) else "")


def public_cas(configs: ConfigScene) -> frozenset[Fingerprint]:
    """Return the CAs that are public: by name, by what they say, or by what they issued."""
    seen = {
        each.fingerprint
        for each in configs.known.values()
        if (each.is_ca and _listed(_organization(each.subject))) or is_public(each)
    }
    open_ends = list(seen)
    while open_ends:
        for issuer in configs.issuers(configs.known[open_ends.pop()]):
            if issuer.fingerprint not in seen:
                seen.add(issuer.fingerprint)
                open_ends.append(issuer.fingerprint)
    return frozenset(each for each in seen if configs.known[each].is_ca)


def _organization(name: str) -> str:
    found = _ORGANIZATION.search(name)
    return found.group(1).replace("\\", "") if found else ""


def _listed(organization: str) -> str:
    return next((name for name in _ROOTS if organization.startswith(name)), "")
