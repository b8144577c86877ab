"""Distinguished names from a CertificateRequest, as the text that people compare."""

from __future__ import annotations

from cryptography import x509


def rfc4514(der: bytes) -> str:
    """Return the RFC 4514 text of a DER name, the same as `Certificate.subject` of that CA.

    A name that cannot be read becomes `#` and its hexadecimal DER: peers send what they like, and
    an odd entry must not hide the others.
    """
    try:
        return x509.Name.from_bytes(der).rfc4514_string()
    except ValueError:
        return f"#{der.hex()}"
