"""Names cover what a dialer expects exactly as Go decides it."""

from __future__ import annotations

import pytest

from rollover.pki.names import covers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nats.example.com", "nats.example.com"),
        ("NATS.example.com", "nats.EXAMPLE.com"),
        ("nats.example.com", "nats.example.com."),
        ("*.example.com", "nats.example.com"),
        ("*.com", "example.com"),
        ("nats_client", "nats_client"),
        ("127.0.0.1", "127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::1", "[::1]"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("odd name", "ODD name"),
    ],
)
def test_covered(name: str, expected: str) -> None:
    """Case, the final dot, one whole label and the form of an address make no difference."""
    assert covers(["other.example.org", name], expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("*.example.com", "a.b.example.com"),
        ("*.example.com", "example.com"),
        ("n*.example.com", "nats.example.com"),
        ("nats.*.com", "nats.example.com"),
        ("*", "localhost.localdomain"),
        ("nats.example.com.", "nats.example.com"),
        ("127.0.0.1", "127.0.0.2"),
        ("*.0.0.1", "127.0.0.1"),
        ("nats.example.com", ""),
        ("", ""),
        ("*.example.com", ".example.com"),
    ],
)
def test_not_covered(name: str, expected: str) -> None:
    """A wildcard is one whole left-most label, and never stands for an address."""
    assert not covers([name], expected)
