"""Reading the monitoring port of real servers, over HTTP and HTTPS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rigs.loopback_ports import free_port
from rigs.probe_lab import ALL_PORTS, Authority, Running, server, write_material
from rollover.errors import NotFound, Rejected, SpecError, Unreachable
from rollover.probe.identity import ClientIdentity, Login
from rollover.probe.monitoring import Monitor, read_page
from rollover.probe.nats_client import NatsConnection, connect
from rollover.probe.server_views import Varz
from rollover.probe.target import Port

TRUSTED, ALIEN = Authority("trusted"), Authority("alien")
SERVER = TRUSTED.issue("server")
CLIENT = ClientIdentity.from_pem(*TRUSTED.issue("client"))
SECONDS = 300.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with every listener, whose monitoring speaks plain HTTP."""
    folder = tmp_path_factory.mktemp("monitoring")
    write_material(folder, server=SERVER, trusted=TRUSTED.pem)
    with server(folder, wanted=tuple(p for p in ALL_PORTS if p is not Port.MONITORING)) as one:
        yield one


@pytest.fixture(scope="module")
def monitor(running: Running) -> Monitor:
    """The monitoring port of that server."""
    return Monitor(f"http://127.0.0.1:{running.plain_monitoring}", timeout_seconds=SECONDS)


def enter(running: Running) -> NatsConnection:
    """Connect as an application."""
    return connect(
        running.address(Port.CLIENT),
        login=Login("app", "app"),
        identity=CLIENT,
        trust=TRUSTED.pem,
        timeout_seconds=SECONDS,
    )


def test_varz_has_the_times_of_every_block(monitor: Monitor) -> None:
    """Load time, digest and the end of each block's certificate are typed values."""
    seen = monitor.varz()
    assert seen.server_name == "probed"
    assert seen.start <= seen.config_load_time <= seen.now
    assert seen.config_digest.startswith("sha256:")
    ends = {
        seen.tls_cert_not_after,
        *(block.tls_cert_not_after for block in (seen.gateway, seen.leaf, seen.mqtt)),
        seen.websocket.tls_cert_not_after,
        seen.cluster.tls_cert_not_after,
    }
    assert len(ends) == 1
    assert None not in ends
    assert seen.cluster.tls_verify


def test_connections_are_read_over_all_pages(running: Running, monitor: Monitor) -> None:
    """A list longer than a page comes back whole, each with its certificate."""
    with ExitStack() as stack:
        opened = [stack.enter_context(enter(running)) for _ in range(7)]
        listed = monitor.connections(page=3)
        expected = {connection.info.client_id for connection in opened}
        found = {view.cid: view for view in listed}
        assert expected <= set(found)
        assert len(found) == len(listed)
        for cid in expected:
            assert found[cid].tls_peer_certs[0].cert_sha256 == CLIENT.fingerprints[0]
            assert (found[cid].ip, found[cid].account) == ("127.0.0.1", "APP")
            assert found[cid].num_subscriptions == 1


def test_the_other_views_are_read(monitor: Monitor) -> None:
    """Routes, gateways and leaf nodes of a server that stands alone are empty, not missing."""
    server_id = monitor.varz().server_id
    routes, gateways, leafs = monitor.routez(), monitor.gatewayz(), monitor.leafz()
    assert (routes.server_id, gateways.server_id, leafs.server_id) == (server_id,) * 3
    assert (routes.routes, leafs.leafs) == ((), ())
    assert (gateways.name, gateways.outbound_gateways) == ("c1", {})


def test_bad_health_is_an_answer_not_an_error(monitor: Monitor) -> None:
    """A server that waits for its cluster says so with status 503, and that is read."""
    seen = monitor.healthz()
    assert not seen.fine
    assert "JetStream" in seen.error


def test_https_with_the_right_ca(tmp_path: Path) -> None:
    """HTTPS monitoring is read when its certificate is trusted, with or without an identity."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT, Port.MONITORING)) as one:
        url = f"https://{one.address(Port.MONITORING)}"
        for identity in (None, CLIENT):
            seen = Monitor(url, timeout_seconds=SECONDS, ca=TRUSTED.pem, identity=identity)
            assert seen.healthz().fine
            assert seen.varz().server_name == "probed"
        for ca in (ALIEN.pem, None):
            with pytest.raises(Rejected, match="not trusted"):
                Monitor(url, timeout_seconds=SECONDS, ca=ca).varz()


def test_a_page_that_is_not_there(monitor: Monitor, running: Running) -> None:
    """An unknown page is not found, by name."""
    url = f"http://127.0.0.1:{running.plain_monitoring}/nowhere"
    with pytest.raises(NotFound, match="GET /nowhere: HTTP status 404"):
        read_page(url, into=Varz, timeout_seconds=SECONDS)


def test_ports_that_are_no_monitoring_ports(running: Running) -> None:
    """A NATS port, a dead port and TLS asked of plain HTTP each have a clear error."""
    with pytest.raises(Rejected, match="not the HTTP of a monitoring port"):
        Monitor(f"http://{running.address(Port.CLIENT)}", timeout_seconds=SECONDS).varz()
    with pytest.raises(Rejected, match="not TLS"):
        Monitor(f"https://127.0.0.1:{running.plain_monitoring}", timeout_seconds=SECONDS).varz()
    with pytest.raises(Unreachable, match="refused"):
        Monitor(f"http://127.0.0.1:{free_port()}", timeout_seconds=SECONDS).varz()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8222", "ftp://127.0.0.1:8222", "http://", "http://u:p@h:1", "http://h:99999"],
)
def test_what_is_no_monitoring_address(url: str) -> None:
    """A wrong address is refused before anything is dialled, and a password in it not repeated."""
    with pytest.raises(SpecError) as caught:
        Monitor(url, timeout_seconds=SECONDS)
    assert caught.value.hint
    assert "u:p" not in caught.value.message
