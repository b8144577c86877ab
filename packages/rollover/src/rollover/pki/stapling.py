"""What a certificate says of OCSP: must it be stapled, and who answers for it?"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from rollover.fleet.certificate import Certificate
from rollover.pki.anatomy import anatomy

_FEATURES = "1.3.6.1.5.5.7.1.24"
_STATUS_REQUEST = b"\x02\x01\x05"


def must_staple(certificate: Certificate) -> bool:
    """Say whether a certificate asks its server for a stapled answer (RFC 7633)."""
    return any(
        each.oid == _FEATURES and _STATUS_REQUEST in each.value
        for each in anatomy(certificate).extensions
    )


def names_responder(certificate: Certificate) -> bool:
    """Say whether a certificate names an OCSP responder (RFC 5280 §4.2.2.1)."""
    try:
        access = anatomy(certificate).parsed.extensions.get_extension_for_class(
            x509.AuthorityInformationAccess
        )
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(each.access_method == AuthorityInformationAccessOID.OCSP for each in access.value)
