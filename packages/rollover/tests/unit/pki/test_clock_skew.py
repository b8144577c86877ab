"""How certificates allow for clocks that differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollover.pki.issue import CLOCK_SKEW, allowing_for_skew

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_an_ordinary_certificate_begins_one_skew_earlier() -> None:
    """A clock that is five minutes behind finds it valid already."""
    assert allowing_for_skew(NOW, timedelta(days=90)) == NOW - CLOCK_SKEW


def test_a_short_lived_certificate_is_not_born_expired() -> None:
    """Of a minute's life, nine tenths are still to come."""
    lifetime = timedelta(minutes=1)
    assert allowing_for_skew(NOW, lifetime) + lifetime > NOW + timedelta(seconds=50)
