"""What a continuous ping of agents counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from rollover_lab.bosh.pinging import PingReport, PingTally, TimeSpan, write_report

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return an instant of the test."""
    return START + timedelta(seconds=seconds)


@pytest.fixture
def book() -> PingTally:
    """A book with one agent that answered its first ping after a tenth of a second."""
    book = PingTally(now=START, timeout=timedelta(seconds=2))
    book.connected(START)
    book.present(["a"], START)
    book.sent("a", START)
    book.heard("a", at(0.1))
    return book


def test_answers_are_counted_and_no_silence_is_seen(book: PingTally) -> None:
    """An agent that always answers is silent for no longer than the pings are apart."""
    for number in range(1, 6):
        book.sent("a", at(number))
        book.heard("a", at(number + 0.1))
    agent = book.report(at(5.5)).of("a")
    assert (agent.answered, agent.lost, agent.silences) == (6, 0, ())
    assert agent.longest_silence_seconds == pytest.approx(1.0)


def test_a_ping_without_an_answer_in_time_is_lost(book: PingTally) -> None:
    """It counts when its time is over, not before; the silence ends with the next answer."""
    book.sent("a", at(1))
    book.expire(at(2.9))
    assert book.report(at(2.9)).lost == 0
    book.expire(at(3))
    book.sent("a", at(4))
    book.heard("a", at(4.1))
    agent = book.report(at(4.2)).of("a")
    assert (agent.answered, agent.lost) == (2, 1)
    assert agent.silences == (TimeSpan(began=at(0.1), ended=at(4.1)),)


def test_an_answer_that_comes_late_ends_the_silence(book: PingTally) -> None:
    """The ping stays lost: whoever asked has gone on."""
    book.sent("a", at(1))
    book.expire(at(3.5))
    book.heard("a", at(3.6))
    agent = book.report(at(3.7)).of("a")
    assert (agent.answered, agent.lost) == (1, 1)
    assert agent.longest_silence_seconds == pytest.approx(3.5)


def test_a_silence_that_lasts_is_in_the_report(book: PingTally) -> None:
    """An agent that never answers again is silent up to the end."""
    agent = book.report(at(60.1)).of("a")
    assert agent.longest_silence_seconds == pytest.approx(60.0)
    assert agent.silences == (TimeSpan(began=at(0.1), ended=at(60.1)),)


def test_an_agent_that_is_being_made_loses_nothing(book: PingTally) -> None:
    """Pings before its first answer are counted apart, and its silence begins with that answer."""
    book.present(["a", "b"], at(10))
    book.sent("b", at(10))
    book.expire(at(13))
    book.sent("b", at(20))
    book.heard("b", at(20.1))
    agent = book.report(at(20.2)).of("b")
    assert (agent.answered, agent.lost, agent.before_first) == (1, 0, 1)
    assert agent.longest_silence_seconds == pytest.approx(0.1)


def test_an_agent_whose_vm_is_deleted_is_not_missed(book: PingTally) -> None:
    """What is pinged no more is neither lost nor silent."""
    book.sent("a", at(1))
    book.present([], at(1.5))
    book.expire(at(5))
    agent = book.report(at(60)).of("a")
    assert agent.gone
    assert (agent.lost, agent.silences) == (0, ())
    assert book.targets() == ()


def test_a_time_without_nats_is_an_outage_and_loses_nothing(book: PingTally) -> None:
    """What was under way is neither answered nor lost; agents are silent meanwhile all the same."""
    book.sent("a", at(1))
    book.disconnected(at(1.5))
    book.disconnected(at(2.5))
    book.connected(at(6))
    book.expire(at(9))
    book.sent("a", at(9))
    book.heard("a", at(9.1))
    report = book.report(at(9.2))
    assert report.outages == (TimeSpan(began=at(1.5), ended=at(6)),)
    assert report.lost == 0
    (silence,) = report.of("a").silences
    assert silence.began <= at(1.5) < at(6) <= silence.ended


def test_an_outage_that_lasts_is_in_the_report(book: PingTally) -> None:
    """NATS that is away at the end was away until the end."""
    book.disconnected(at(5))
    assert book.report(at(8)).outages == (TimeSpan(began=at(5), ended=at(8)),)


def test_a_report_survives_its_file(book: PingTally, tmp_path: Path) -> None:
    """Whoever reads the file finds what was counted."""
    report = book.report(at(30))
    path = tmp_path / "pings.json"
    write_report(path, report)
    assert msgspec.json.decode(path.read_bytes(), type=PingReport) == report


def test_nats_that_is_not_there_at_first_is_an_outage() -> None:
    """A moment until the first connection is none."""
    for seconds, outages in ((0.1, 0), (5, 1)):
        book = PingTally(now=START, timeout=timedelta(seconds=2))
        book.disconnected(at(0.05))
        book.connected(at(seconds))
        assert len(book.report(at(9)).outages) == outages


def test_all_is_well_only_when_somebody_is_there_and_everybody_answered(book: PingTally) -> None:
    """A report about nobody proves nothing, and an agent that never spoke is not well."""
    assert not PingTally(now=START, timeout=timedelta(seconds=2)).report(at(1)).fine
    assert book.report(at(0.5)).fine
    book.present(["a", "b"], at(0.5))
    assert book.report(at(0.6)).mute == ("b",)
    assert not book.report(at(0.6)).fine
    book.present(["a"], at(1))
    assert book.report(at(1)).fine
    book.sent("a", at(1))
    book.expire(at(4))
    assert not book.report(at(4)).fine
