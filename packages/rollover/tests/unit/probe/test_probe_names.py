"""Names and alerts: what the wire says, as people read it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from rigs.probe_lab import Authority
from rollover.pki.certificate import parse_der
from rollover.probe.handshake import rfc4514
from rollover.probe.stream import ABOUT_OUR_CERTIFICATE, ALERTS, alert_name


def test_a_name_reads_as_the_subject_of_its_certificate() -> None:
    """An advertised name can be compared with `Certificate.subject` as text."""
    certificate = Authority("Nats CA, 2031").certificate
    der = certificate.public_bytes(Encoding.DER)
    assert rfc4514(certificate.subject.public_bytes()) == parse_der(der).subject


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_text_in_a_name_can_be_read(text: str) -> None:
    """Names in any script keep their text."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])
    assert rfc4514(name.public_bytes()) == name.rfc4514_string()


@given(junk=st.binary(max_size=40))
def test_an_unreadable_name_is_shown_as_hexadecimal(junk: bytes) -> None:
    """One odd entry never hides the others: every input has a text."""
    assert rfc4514(b"\xff" + junk) == f"#ff{junk.hex()}"


def test_alerts_have_their_names() -> None:
    """Known alerts read as in RFC 8446; unknown ones keep their number."""
    assert alert_name(48) == "unknown_ca"
    assert alert_name(116) == "certificate_required"
    assert alert_name(7) == "alert_7"
    assert set(ALERTS.values()) >= ABOUT_OUR_CERTIFICATE
