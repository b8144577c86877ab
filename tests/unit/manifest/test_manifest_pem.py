"""PEM as Go reads it, and texts that are cleared of private keys."""

from __future__ import annotations

import pytest

from rollover.manifest import ManifestError
from rollover.manifest.pem import first_block

BODY = "-----BEGIN X-----\nYWJj\n-----END X-----\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BODY, (b"X", b"abc")),
        (f"text before\n{BODY}text after", (b"X", b"abc")),
        (BODY.replace("\n", "\r\n"), (b"X", b"abc")),
        (BODY.replace("YWJj", "a: header\n\nYWJj"), (b"X", b"abc")),
        (BODY.replace("YWJj", "YW Jj"), (b"X", b"abc")),
        (BODY.replace("YWJj\n", ""), (b"X", b"")),
        (f"{BODY.replace('YWJj', 'Y?Jj')}{BODY}", (b"X", b"abc")),
        (f"{BODY.replace('END X', 'END Y')}{BODY}", (b"X", b"abc")),
        (f"no line before {BODY}", None),
        (BODY.replace("BEGIN X-----", "BEGIN X"), None),
        (BODY.replace("END X-----", "END X----- more"), None),
        (BODY.replace("YWJj", "YWJ"), None),
        ("", None),
    ],
)
def test_the_first_block_is_the_one_that_go_finds(
    text: str, found: tuple[bytes, bytes] | None
) -> None:
    """encoding/pem, `pem.Decode`: what does not fit is skipped."""
    assert first_block(text.encode()) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\nb", "a\n*\nb"),
        ("a\n-----BEGIN PRIVATE KEY-----\ncut", "a\n*"),
        ("rest\n-----END PRIVATE KEY-----\nb", "*\nb"),
        ("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "*"),
        ("-----BEGIN CERTIFICATE-----\nx", "-----BEGIN CERTIFICATE-----\nx"),
    ],
)
def test_no_error_text_holds_a_private_key(text: str, said: str) -> None:
    """Whole, cut at either end, or in base64."""
    error = ManifestError(text)
    assert str(error) == said.replace("*", "[private key left out]") == error.report()
