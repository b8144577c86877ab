"""The small NATS client against real servers: logging in, and asking the system account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.loopback_ports import free_port
from rigs.probe_lab import SYSTEM_PASSWORD, SYSTEM_USER, Authority, Running, server, write_material
from rollover.errors import Denied, NotFound, Rejected, SpecError, TimedOut, Unreachable
from rollover.probe import system_account
from rollover.probe.identity import ClientIdentity, Login
from rollover.probe.nats_client import NatsConnection, connect
from rollover.probe.stream import Trust
from rollover.probe.target import Port

TRUSTED, ALIEN = Authority("trusted"), Authority("alien")
SERVER = TRUSTED.issue("server")
CLIENT = ClientIdentity.from_pem(*TRUSTED.issue("client"))
SYSTEM = Login(SYSTEM_USER, SYSTEM_PASSWORD)
APPLICATION = Login("app", "app")
SECONDS = 300.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server of its own, since these tests change it."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT,)) as one:
        yield one


def enter(running: Running, *, login: Login = SYSTEM) -> NatsConnection:
    """Log in with a trusted certificate."""
    return connect(
        running.address(Port.CLIENT),
        login=login,
        identity=CLIENT,
        trust=TRUSTED.pem,
        timeout_seconds=SECONDS,
    )


def test_a_reload_that_succeeds_moves_the_load_time(running: Running) -> None:
    """A reload through the system account answers once it is done."""
    with enter(running) as connection:
        server_id = connection.info.server_id
        before = system_account.varz(connection, server_id, timeout_seconds=SECONDS)
        done = system_account.reload(connection, server_id, timeout_seconds=SECONDS)
        after = system_account.varz(connection, server_id, timeout_seconds=SECONDS)
    assert isinstance(done, system_account.Reloaded)
    assert (done.server.id, done.server.name) == (server_id, "probed")
    assert after.config_load_time > before.config_load_time
    assert after.config_digest == before.config_digest


def test_a_reload_that_is_refused_says_why_and_where(running: Running) -> None:
    """The server's own text comes back, and it keeps what it had."""
    (running.folder / "ca.pem").write_text("no certificate")
    with enter(running) as connection:
        server_id = connection.info.server_id
        before = system_account.varz(connection, server_id, timeout_seconds=SECONDS)
        refused = system_account.reload(connection, server_id, timeout_seconds=SECONDS)
        after = system_account.varz(connection, server_id, timeout_seconds=SECONDS)
    assert isinstance(refused, system_account.ReloadRefused)
    assert "server.conf:" in refused.description
    assert refused.description.endswith("failed to parse root ca certificate")
    assert after.config_load_time == before.config_load_time


def test_connections_show_the_certificates_of_their_peers(running: Running) -> None:
    """The connection list names each peer's certificate by its fingerprint, the drain proof."""
    with enter(running, login=APPLICATION) as peer, enter(running) as connection:
        listed = system_account.connections(
            connection, connection.info.server_id, timeout_seconds=SECONDS
        )
    by_id = {view.cid: view for view in listed}
    assert set(by_id) == {peer.info.client_id, connection.info.client_id}
    seen = by_id[peer.info.client_id]
    assert (seen.account, seen.authorized_user, seen.kind) == ("APP", "app", "Client")
    assert [tls_peer_cert.cert_sha256 for tls_peer_cert in seen.tls_peer_certs] == list(
        CLIENT.fingerprints
    )
    assert (seen.name, seen.tls_version) == ("rollover", "1.3")


def test_a_kicked_connection_is_closed(running: Running) -> None:
    """KICK ends exactly the connection that it names; a second time there is none."""
    with enter(running, login=APPLICATION) as peer, enter(running) as connection:
        server_id, cid = connection.info.server_id, peer.info.client_id
        system_account.kick(connection, server_id, cid=cid, timeout_seconds=SECONDS)
        with pytest.raises(Unreachable, match="closed the connection"):
            peer.request("any.subject", timeout_seconds=SECONDS)
        with pytest.raises(Rejected, match="no such client"):
            system_account.kick(connection, server_id, cid=cid, timeout_seconds=SECONDS)


def test_a_client_in_lame_duck_mode_stays_connected(running: Running) -> None:
    """LDM tells one client to move and cuts nothing."""
    with enter(running, login=APPLICATION) as peer, enter(running) as connection:
        system_account.lame_duck(
            connection,
            connection.info.server_id,
            cid=peer.info.client_id,
            timeout_seconds=SECONDS,
        )
        with pytest.raises(NotFound, match="nobody listens"):
            peer.request("any.subject", timeout_seconds=SECONDS)
        assert peer.info.ldm


def test_servers_are_found_by_ping(running: Running) -> None:
    """Every server that the system account reaches names itself."""
    with enter(running) as connection:
        found = system_account.servers(connection, timeout_seconds=SECONDS)
        assert [answering_server.id for answering_server in found] == [connection.info.server_id]
    assert found[0].version.startswith("2.")


def test_only_the_system_account_may_ask(running: Running) -> None:
    """From another account nobody listens, and the hint says so."""
    with (
        enter(running, login=APPLICATION) as connection,
        pytest.raises(NotFound, match="nobody listens") as caught,
    ):
        system_account.reload(connection, connection.info.server_id, timeout_seconds=SECONDS)
    assert "system account" in caught.value.hint


def test_a_server_that_is_not_there(running: Running) -> None:
    """A server id that nobody has is not found."""
    with enter(running) as connection, pytest.raises(NotFound):
        system_account.reload(connection, "NOSUCH", timeout_seconds=SECONDS)


def test_a_wrong_password_is_denied(running: Running) -> None:
    """The server's refusal comes back, and the password in no message."""
    with pytest.raises(Denied, match="Authorization Violation") as caught:
        enter(running, login=Login(SYSTEM_USER, "hush-hush"))
    assert "hush-hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("identity", "alert"),
    [
        (None, "certificate_required"),
        (ClientIdentity.from_pem(*ALIEN.issue("alien")), "unknown_ca"),
    ],
    ids=["none", "alien"],
)
def test_a_certificate_that_the_server_refuses(
    running: Running, identity: ClientIdentity | None, alert: str
) -> None:
    """The alert is told, also in TLS 1.3, where it comes late."""
    with pytest.raises(Denied, match=alert):
        connect(
            running.address(Port.CLIENT),
            login=SYSTEM,
            identity=identity,
            trust=TRUSTED.pem,
            timeout_seconds=SECONDS,
        )


@pytest.mark.parametrize(
    ("trust", "name", "reason"),
    [
        (ALIEN.pem, "", "issuer is not in the trust bundle"),
        (Trust.SYSTEM, "", "issuer is not in the trust bundle"),
        (TRUSTED.pem, "other.example", "it names localhost, 127.0.0.1, not `other.example`"),
    ],
    ids=["bundle", "system", "name"],
)
def test_no_password_goes_to_a_server_that_is_not_trusted(
    running: Running, trust: bytes | Trust, name: str, reason: str
) -> None:
    """The server must prove itself before anything is sent inside TLS."""
    with pytest.raises(Rejected, match=reason):
        connect(
            running.address(Port.CLIENT),
            login=SYSTEM,
            identity=CLIENT,
            trust=trust,
            server_name=name,
            timeout_seconds=SECONDS,
        )


def test_an_expired_server_certificate_is_named_as_such(tmp_path: Path) -> None:
    """The reason says expired, not merely untrusted."""
    write_material(tmp_path, server=TRUSTED.issue("s", valid_days=-1), trusted=TRUSTED.pem)
    with (
        server(tmp_path, wanted=(Port.CLIENT,)) as one,
        pytest.raises(Rejected, match="it has expired"),
    ):
        enter(one)


def test_the_right_name_is_accepted_and_told(running: Running) -> None:
    """A server name that the certificate bears is as good as the address."""
    with connect(
        running.address(Port.CLIENT),
        login=SYSTEM,
        identity=CLIENT,
        trust=TRUSTED.pem,
        server_name="localhost",
        timeout_seconds=SECONDS,
    ) as connection:
        assert connection.info.tls_verify


def test_handshake_first(tmp_path: Path) -> None:
    """A port that starts TLS before INFO is logged in to likewise."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with (
        server(tmp_path, wanted=(Port.CLIENT,), client_extra="handshake_first: true") as one,
        connect(
            one.address(Port.CLIENT),
            login=SYSTEM,
            identity=CLIENT,
            trust=TRUSTED.pem,
            handshake_first=True,
            timeout_seconds=SECONDS,
        ) as connection,
    ):
        assert system_account.servers(connection, timeout_seconds=SECONDS)


PLAIN = """
listen: "127.0.0.1:{port}"
accounts {{ SYS {{ users: [ {{ user: system, password: throw-away }} ] }} }}
system_account: SYS
"""


def test_a_server_without_tls_is_served_in_the_clear_unless_tls_is_demanded(
    tmp_path: Path,
) -> None:
    """Without TLS everything works, but a caller who gave a CA is never taken down to it."""
    port = free_port()
    with server(tmp_path, wanted=(), text=PLAIN.format(port=port)):
        address = f"127.0.0.1:{port}"
        with connect(address, login=SYSTEM, timeout_seconds=SECONDS) as connection:
            done = system_account.reload(
                connection, connection.info.server_id, timeout_seconds=SECONDS
            )
            assert isinstance(done, system_account.Reloaded)
        with pytest.raises(Rejected, match="offers no TLS"):
            connect(address, login=SYSTEM, trust=TRUSTED.pem, timeout_seconds=SECONDS)


def test_a_request_without_an_answer_times_out(running: Running) -> None:
    """A subscriber that never answers costs the timeout; the connection can be used again."""
    with enter(running) as connection, enter(running) as quiet:
        # A reply to oneself never comes: the subject is somebody's inbox, where nobody answers.
        inbox = f"{quiet._inbox}.never"
        with pytest.raises(TimedOut):
            connection.request(inbox, timeout_seconds=0.2)
        assert system_account.servers(connection, timeout_seconds=SECONDS)


def test_nobody_at_the_address() -> None:
    """A dead port is unreachable, with the address and a hint."""
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"{address}: connect: Connection refused") as caught:
        connect(address, timeout_seconds=SECONDS)
    assert caught.value.hint


@pytest.mark.parametrize("subject", ["", "two words", "a\r\nPUB b 0"])
def test_a_subject_cannot_smuggle_protocol(running: Running, subject: str) -> None:
    """White space and line ends in a subject are refused before anything is sent."""
    with enter(running) as connection, pytest.raises(SpecError, match="is no subject"):
        connection.request(subject, timeout_seconds=SECONDS)


def test_a_request_above_the_servers_limit_is_not_sent(running: Running) -> None:
    """The server would close the connection; so it is refused here."""
    with enter(running) as connection, pytest.raises(SpecError, match="the server takes"):
        connection.request("a", b"x" * (2 * 1024 * 1024), timeout_seconds=SECONDS)


def test_varz_tells_when_the_loaded_certificate_ends(running: Running) -> None:
    """The end of validity is that of the first certificate that the server has loaded."""
    with enter(running) as connection:
        seen = system_account.varz(connection, connection.info.server_id, timeout_seconds=SECONDS)
    assert seen.tls_cert_not_after is not None
    assert seen.tls_cert_not_after.tzinfo is not None
    assert abs(seen.tls_cert_not_after - dt.datetime.now(dt.UTC)) < dt.timedelta(days=6)
    assert seen.system_account == "SYS"
