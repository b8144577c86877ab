"""The count of lost and doubled numbers, compared with plain sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollover_lab.traffic.tally import SequenceLedger


@given(st.lists(st.integers(1, 25), max_size=60), st.integers(0, 30))
def test_the_ledger_agrees_with_a_set(numbers: list[int], last: int) -> None:
    """In any order and with any repeats: received, missing and complete are those of a set."""
    ledger, seen = SequenceLedger(), set[int]()
    for at, number in enumerate(numbers):
        assert ledger.take(number, at=float(at)) == (number not in seen)
        seen.add(number)
        assert ledger.missing == max(seen) - len(seen)
    assert ledger.received == len(seen)
    expected = set(range(1, max([last, *seen]) + 1)) - seen
    assert ledger.complete(last) == (not expected)
    ledger.finish(last, at=100.0)
    assert ledger.missing == ledger.lost(before=100.0) == len(expected)
