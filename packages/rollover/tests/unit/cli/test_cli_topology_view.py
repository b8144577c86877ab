"""How a large topology is shown: what looks alike is counted."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import msgspec
import pytest

from rollover.cli.printer import Printer
from rollover.cli.topology import MOST_SHOWN, show_topology
from rollover.engine.topology import EndpointView, GroupView, InstanceView, LinksView, Topology

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _instance(name: str, *, issuer: str = "nats-ca@1", days: float = 300.0) -> InstanceView:
    endpoint = EndpointView(
        name="client", role="client", stack="go", issuer=issuer, expires=NOON, days_left=days,
        trusts=("nats-ca@1",),
    )  # fmt: skip
    return InstanceView(
        name=name, availability="ready", why="", unconfirmed=False, endpoints=(endpoint,)
    )


def _shown(*instances: InstanceView, links: tuple[LinksView, ...] = ()) -> str:
    out = io.StringIO()
    group = GroupView(name="clients", platform="nats-client", touch="watch", instances=instances)
    show_topology(Printer(out=out), Topology(fleet="prod", at=NOON, groups=(group,), links=links))
    return out.getvalue()


@pytest.mark.parametrize(("count", "lines"), [(MOST_SHOWN, MOST_SHOWN), (5000, 1)])
def test_a_few_are_listed_and_many_that_look_alike_are_counted(count: int, lines: int) -> None:
    """Five thousand clients of one kind take one line."""
    shown = _shown(*(_instance(f"c{number}") for number in range(count)))
    assert shown.count("[client]") == lines
    assert (f"and {count - 1:,} more like it" in shown) is (lines == 1)


def test_one_that_differs_among_many_is_shown() -> None:
    """The odd one out is what people look for."""
    many = [_instance(f"c{number}") for number in range(100)]
    shown = _shown(*many, _instance("odd", issuer="nats-ca@2"))
    assert "├─ c0: ready, and 99 more like it" in shown
    assert "└─ odd: ready\n" in shown


def test_what_expired_is_said_in_days() -> None:
    """Not as a negative number of days left."""
    assert "(expired 3.5 days ago)" in _shown(_instance("c", days=-3.5))


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-1 / 1440, "(expired 60 s ago)"),
        (-0.0001, "(expired 9 s ago)"),
        (-0.4, "(expired 9.6 h ago)"),
        (0.0, "(0 s left)"),
        (0.02, "(29 min left)"),
        (1.2, "(1 days left)"),
    ],
)
def test_what_ends_or_ended_today_is_said_exactly(days: float, said: str) -> None:
    """Never as `-0 days left`."""
    assert said in _shown(_instance("c", days=days))


def test_what_is_not_certain_of_an_instance_is_said() -> None:
    """In the words of who knows why: files, or what was concluded."""
    doubtful = msgspec.structs.replace(_instance("c"), unconfirmed=True, doubt="it may be either")
    assert "└─ c: ready, it may be either\n" in _shown(doubtful)
    assert "may be" not in _shown(_instance("c"))


def test_links_that_do_not_work_come_with_the_reason() -> None:
    """How many of how many, and why the first of them does not."""
    links = LinksView(
        dialers="clients/client", acceptors="servers/client", links=12, working=10, broken=1,
        unseen=1, reason="no path",
    )  # fmt: skip
    row = _shown(links=(links,)).splitlines()[-1]
    assert row.split() == ["clients/client", "servers/client", "12", "10", "(1", "not", "seen)",
                           "no", "path"]  # fmt: skip
