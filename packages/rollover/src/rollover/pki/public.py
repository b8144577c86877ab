"""Whether a certificate says of itself that it comes from a public CA."""

from __future__ import annotations

from rollover.fleet.certificate import Certificate
from rollover.pki.anatomy import anatomy

_POLICIES = "2.5.29.32"
_TIMESTAMPS = "1.3.6.1.4.1.11129.2.4.2"
_SERVER_POLICIES = (b"\x67\x81\x0c\x01\x01", b"\x67\x81\x0c\x01\x02")
"""The encoded arcs 2.23.140.1.1 (extended validation) and 2.23.140.1.2 (domain, organization)."""


def is_public(certificate: Certificate) -> bool:
    """Say whether a certificate has what every public one has and a private CA does not write.

    That is a policy of the CA/Browser Forum (Baseline Requirements §7.1.6.1: in every leaf and
    every intermediate), or timestamps of public logs (RFC 6962 §3.3). Roots have neither.
    """
    for each in anatomy(certificate).extensions:
        if each.oid == _TIMESTAMPS:
            return True
        if each.oid == _POLICIES and any(policy in each.value for policy in _SERVER_POLICIES):
            return True
    return False
