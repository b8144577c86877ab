"""Reading all pages of a connection list while connections come and go."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.probe.server_views import ConnectionView, Connz, all_connections

NOW = datetime(2031, 1, 1, tzinfo=UTC)


class Server:
    """A connection list from which some end, and to which some come, after each page."""

    def __init__(self, cids: list[int], ending: list[list[int]]) -> None:
        self.cids = sorted(cids)
        self.ending = list(ending)
        self.pages = 0

    def fetch(self, offset: int, limit: int) -> Connz:
        """Return a page, then let the next lot of connections end."""
        page = self.cids[offset : offset + limit]
        answer = Connz(
            server_id="N",
            now=NOW,
            total=len(self.cids),
            connections=tuple(ConnectionView(cid=cid) for cid in page),
        )
        gone = set(self.ending.pop(0)) if self.ending else set()
        self.cids = [cid for cid in self.cids if cid not in gone]
        self.pages += 1
        assert self.pages < 1000, "paging does not end"
        return answer


CIDS = st.lists(st.integers(1, 60), unique=True, max_size=40)


@given(cids=CIDS, ending=st.lists(st.lists(st.integers(1, 60)), max_size=8), page=st.integers(2, 9))
@example(cids=list(range(1, 21)), ending=[[1, 2, 3, 4]], page=5)
@example(cids=list(range(1, 21)), ending=[[], list(range(1, 10))], page=5)
@examples(200)
def test_no_connection_that_stays_is_missed(
    cids: list[int], ending: list[list[int]], page: int
) -> None:
    """Connections that end between two pages never hide one that stays, and none comes twice."""
    server = Server(cids, ending)
    found = [connection.cid for connection in all_connections(server.fetch, page=page)]
    assert set(server.cids) <= set(found) <= set(cids)
    assert found == sorted(set(found))


def test_a_quiet_server_is_read_in_few_pages() -> None:
    """Each page but the first repeats one entry only."""
    server = Server(list(range(1, 101)), [])
    assert len(all_connections(server.fetch, page=12)) == 100
    assert server.pages == 9


def test_an_mqtt_client_goes_by_its_identifier() -> None:
    """The server tells it in a field of its own, and leaves the name out."""
    data = b'[{"cid":1,"type":"mqtt","mqtt_client":"meter-7"},{"cid":2,"name":"orders"}]'
    views = msgspec.json.decode(data, type=tuple[ConnectionView, ...])
    page = Connz(server_id="s", now=NOW, total=2, connections=views)
    assert [connection.name for connection in all_connections(lambda _offset, _limit: page)] == [
        "meter-7",
        "orders",
    ]
