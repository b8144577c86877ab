"""What the traffic counts: ledgers, latencies, tallies, payloads."""

from __future__ import annotations

import pytest

from rollover_lab.traffic.spec import ClientRole, ClientSpec
from rollover_lab.traffic.tally import (
    GREETING,
    LOST_AFTER_SECONDS,
    MAX_GAPS,
    ConnectionState,
    Latencies,
    Parcel,
    SequenceLedger,
    Tally,
    unpack_parcel,
)

STANDING = ConnectionState(connected=True, server="tls://localhost:4222", swaps=1)


def tally(role: ClientRole = ClientRole.SUBSCRIBER) -> Tally:
    """Return the empty counts of a client."""
    return Tally(ClientSpec(name="n", role=role, certificate="c", key="k", ca="a"))


def heard(counts: Tally, *numbers: int, at: float = 1.0, announced: bool = False) -> None:
    """Let numbers of sender 3 arrive."""
    for number in numbers:
        counts.arrived(Parcel(1, 3, number, int(at * 1e9)), at=at, announced=announced)


def test_a_gap_is_missing_at_once_and_lost_after_a_while() -> None:
    """Overtaken numbers may still come; later they are called lost; in the end all are."""
    counts = tally()
    heard(counts, 1, 2, 5, at=10.0)
    early = counts.report(STANDING, at=10.0, final=False)
    late = counts.report(STANDING, at=10.1 + LOST_AFTER_SECONDS, final=False)
    assert (early.missing, early.lost) == (2, 0)
    assert (late.missing, late.lost) == (2, 2)
    heard(counts, 3, 4, at=13.0)
    assert counts.report(STANDING, at=13.0, final=True).lost == 0


def test_a_lost_tail_is_counted_when_the_sender_has_finished() -> None:
    """Numbers after the last one heard are known to be lost once the sender says how many."""
    counts = tally()
    heard(counts, 1)
    assert not counts.complete({3: 4})
    counts.finish({3: 4, 5: 2}, at=2.0)
    assert counts.report(STANDING, at=2.0, final=True).lost == 3 + 2


def test_what_the_stream_still_holds_is_not_called_lost_in_a_snapshot() -> None:
    """JetStream sends again what was not acknowledged; only the final report calls it lost."""
    counts = tally(ClientRole.JS_CONSUMER)
    heard(counts, 1, 3, at=0.0)
    assert counts.report(STANDING, at=60.0, final=False).lost == 0
    assert counts.report(STANDING, at=60.0, final=True).lost == 1


def test_announced_copies_are_told_from_others() -> None:
    """A copy that the library flagged is not the same as one that nobody announced."""
    counts = tally()
    heard(counts, 1, 2)
    heard(counts, 1, 2, announced=True)
    heard(counts, 2)
    report = counts.report(STANDING, at=1.0, final=True)
    assert (report.received, report.duplicated_announced, report.duplicated_other) == (2, 2, 1)


def test_greetings_do_not_count() -> None:
    """They only show who is heard."""
    counts = tally()
    heard(counts, GREETING)
    assert counts.heard == {3}
    assert counts.report(STANDING, at=1.0, final=True).received == 0


def test_the_longest_gap_counts_also_while_it_lasts() -> None:
    """A snapshot shows a silence that lasts; the final report only those between messages."""
    counts = tally()
    heard(counts, 1, at=1.0)
    heard(counts, 2, at=1.5)
    assert counts.report(STANDING, at=4.0, final=False).longest_gap_ms == 2500
    assert counts.report(STANDING, at=4.0, final=True).longest_gap_ms == 500


def test_memory_stays_bounded_when_every_other_number_is_lost() -> None:
    """The oldest gaps are written off as lost, not forgotten."""
    ledger = SequenceLedger()
    for number in range(2, 2 * (MAX_GAPS + 100), 2):
        ledger.take(number, at=0.0)
    assert ledger.missing == MAX_GAPS + 99
    assert not ledger.complete(0)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_quantiles_are_within_five_percent(share: float) -> None:
    """A bucket's middle stands for all in it."""
    latencies = Latencies()
    for tenths in range(1, 1001):
        latencies.add(tenths / 10)
    assert latencies.quantile(share) == pytest.approx(share * 100, rel=0.051)
    assert latencies.max_ms == 100


def test_latencies_of_several_clients_make_one_quantile() -> None:
    """The whole is not the worst of the parts; nothing at all has latency 0."""
    fast, slow = Latencies(), Latencies()
    for _ in range(999):
        fast.add(1.0)
    slow.add(100.0)
    together = Latencies.together([fast, slow])
    assert together.quantile(0.99) == pytest.approx(1.0, rel=0.06)
    assert together.max_ms == 100.0
    assert Latencies().quantile(0.99) == 0.0


def test_a_parcel_survives_the_wire_and_foreign_payloads_are_told() -> None:
    """Only payloads of the right size are of the traffic."""
    parcel = Parcel(run=7, sender=3, number=2**40, sent_ns=2**60)
    assert unpack_parcel(parcel.pack()) == parcel
    assert unpack_parcel(b"hello") is None
