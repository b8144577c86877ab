"""The names of TLS alerts, and which of them are a verdict on the certificate presented."""

from __future__ import annotations

from types import MappingProxyType

ALERTS = MappingProxyType(
    {
        10: "unexpected_message",
        20: "bad_record_mac",
        22: "record_overflow",
        40: "handshake_failure",
        42: "bad_certificate",
        43: "unsupported_certificate",
        44: "certificate_revoked",
        45: "certificate_expired",
        46: "certificate_unknown",
        47: "illegal_parameter",
        48: "unknown_ca",
        49: "access_denied",
        50: "decode_error",
        51: "decrypt_error",
        70: "protocol_version",
        71: "insufficient_security",
        80: "internal_error",
        86: "inappropriate_fallback",
        90: "user_canceled",
        100: "no_renegotiation",
        109: "missing_extension",
        110: "unsupported_extension",
        112: "unrecognized_name",
        113: "bad_certificate_status_response",
        115: "unknown_psk_identity",
        116: "certificate_required",
        120: "no_application_protocol",
    }
)
"""RFC 8446 §6, with no_renegotiation of RFC 5246 §7.2."""

ABOUT_OUR_CERTIFICATE = frozenset(
    {
        # TLS 1.2 has no certificate_required: a peer that gets none sends handshake_failure.
        "handshake_failure",
        "bad_certificate",
        "unsupported_certificate",
        "certificate_revoked",
        "certificate_expired",
        "certificate_unknown",
        "unknown_ca",
        "access_denied",
        "certificate_required",
    }
)
"""After a CertificateRequest these refuse our chain; any other alert says nothing of it."""

CLOSE_NOTIFY = 0


def alert_name(code: int) -> str:
    """Return the name of an alert, or `alert_N` for one that has none."""
    return ALERTS.get(code, f"alert_{code}")
