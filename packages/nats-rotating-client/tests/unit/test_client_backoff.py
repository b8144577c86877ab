"""Waits between attempts to take up new certificates."""

from __future__ import annotations

from nats_rotating_client.rotation import Backoff


def test_waits_double_up_to_the_bound() -> None:
    """Each failed attempt doubles the wait, and none is longer than the longest."""
    backoff = Backoff(first_seconds=1.0, most_seconds=10.0)
    assert [backoff.wait(n, share=1.0) for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 10, 10]


def test_waits_are_spread_over_half_of_the_bound() -> None:
    """Clients that failed together try again at different times, none at once."""
    backoff = Backoff(first_seconds=1.0, most_seconds=10.0)
    assert backoff.wait(3, share=0.0) == 2.0
    assert all(2.0 <= backoff.wait(3) <= 4.0 for _ in range(50))
