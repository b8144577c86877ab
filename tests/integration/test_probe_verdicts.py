"""What every kind of port of a real nats-server says to each kind of certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from rigs.probe_lab import ALL_PORTS, Authority, Running, server, write_material
from rollover.probe import handshake
from rollover.probe.handshake import ClientVerdict, Failure, Handshake, probe
from rollover.probe.identity import ClientIdentity
from rollover.probe.stream import Contexts
from rollover.probe.target import Port, Target, Versions

TRUSTED, ALIEN = Authority("trusted"), Authority("alien")
SERVER = TRUSTED.issue("server")
IDENTITIES = {
    "none": None,
    "trusted": ClientIdentity.from_pem(*TRUSTED.issue("trusted client")),
    "alien": ClientIdentity.from_pem(*ALIEN.issue("alien client")),
    "expired": ClientIdentity.from_pem(*TRUSTED.issue("expired client", valid_days=-1)),
}
MUTUAL = tuple(port for port in ALL_PORTS if port is not Port.MONITORING)
GREETING = (Port.CLIENT, Port.ROUTE, Port.GATEWAY, Port.LEAFNODE)
VERSIONS = (Versions.TLS_1_2, Versions.TLS_1_3)
CONTEXTS = Contexts()
SECONDS = 300.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with mutual TLS on every listener."""
    folder = tmp_path_factory.mktemp("verdicts")
    write_material(folder, server=SERVER, trusted=TRUSTED.pem)
    with server(folder) as one:
        yield one


def dial(running: Running, port: Port, who: str, *, versions: Versions) -> Handshake:
    """Probe one port as one of `IDENTITIES`."""
    target = Target(address=running.address(port), port=port, versions=versions)
    return probe(target, identity=IDENTITIES[who], timeout_seconds=SECONDS, contexts=CONTEXTS)


@pytest.mark.parametrize("versions", VERSIONS)
@pytest.mark.parametrize("port", MUTUAL)
def test_a_trusted_identity_is_accepted(running: Running, port: Port, versions: Versions) -> None:
    """A certificate of a trusted CA is accepted, and everything about the handshake is told."""
    seen = dial(running, port, "trusted", versions=versions)
    assert seen.client_verdict is ClientVerdict.ACCEPTED
    assert (seen.failure, seen.alert, seen.reached) == (Failure.NONE, "", True)
    assert (seen.kind, seen.address) == (port, running.address(port))
    assert seen.protocol == versions
    assert seen.cipher
    assert [certificate.subject for certificate in seen.presented] == ["CN=server"]
    assert seen.advertised == ("CN=trusted",)
    assert 0 < seen.elapsed_seconds < SECONDS


@pytest.mark.parametrize("port", GREETING)
def test_info_tells_which_server_answered(running: Running, port: Port) -> None:
    """Ports that speak NATS name the server behind them."""
    info = dial(running, port, "trusted", versions=Versions.ANY).info
    assert info.server_id.startswith("N")
    assert (info.server_name, info.version[:2]) == ("probed", "2.")
    assert info.tls_required
    assert info.tls_verify


@pytest.mark.parametrize("versions", VERSIONS)
@pytest.mark.parametrize("port", MUTUAL)
@pytest.mark.parametrize(
    ("who", "alerts"),
    [
        ("alien", {Versions.TLS_1_2: "unknown_ca", Versions.TLS_1_3: "unknown_ca"}),
        ("expired", dict.fromkeys(VERSIONS, "certificate_expired")),
        (
            "none",
            {Versions.TLS_1_2: "handshake_failure", Versions.TLS_1_3: "certificate_required"},
        ),
    ],
)
def test_other_identities_are_refused_with_the_reason(
    running: Running, port: Port, who: str, alerts: dict[Versions, str], versions: Versions
) -> None:
    """A refused certificate is a verdict with its alert, not a failure, also after TLS 1.3."""
    seen = dial(running, port, who, versions=versions)
    assert seen.client_verdict is ClientVerdict.REFUSED
    assert seen.alert == alerts[versions]
    assert (seen.failure, seen.reached) == (Failure.NONE, True)
    assert seen.advertised == ("CN=trusted",), "the list comes before the verdict"
    assert [certificate.subject for certificate in seen.presented] == ["CN=server"]


@pytest.mark.parametrize("versions", VERSIONS)
@pytest.mark.parametrize("who", IDENTITIES)
def test_https_monitoring_never_asks(running: Running, who: str, versions: Versions) -> None:
    """The monitoring port serves its chain and asks nobody for one."""
    seen = dial(running, Port.MONITORING, who, versions=versions)
    assert seen.client_verdict is ClientVerdict.NOT_REQUESTED
    assert (seen.advertised, seen.failure, seen.protocol) == ((), Failure.NONE, versions)
    assert [certificate.subject for certificate in seen.presented] == ["CN=server"]


@pytest.mark.parametrize("versions", VERSIONS)
@pytest.mark.parametrize(
    ("who", "verdict"),
    [
        ("none", ClientVerdict.REFUSED),
        ("trusted", ClientVerdict.ACCEPTED),
        ("alien", ClientVerdict.REFUSED),
    ],
)
def test_plain_tls_needs_no_protocol_for_a_verdict(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    verdict: ClientVerdict,
    versions: Versions,
) -> None:
    """Where nothing is known of the protocol, a session ticket proves acceptance."""
    monkeypatch.setattr(handshake, "PLAIN_PATIENCE_SECONDS", SECONDS)
    target = Target(address=running.address(Port.WEBSOCKET), port=Port.PLAIN, versions=versions)
    seen = probe(target, identity=IDENTITIES[who], timeout_seconds=2 * SECONDS, contexts=CONTEXTS)
    assert seen.client_verdict is verdict
    assert seen.elapsed_seconds < SECONDS, "the proof came, nobody waited for silence"


def test_a_refused_password_is_no_refused_certificate(running: Running) -> None:
    """`-ERR` of the server's own authorization comes after TLS has accepted the certificate."""
    seen = dial(running, Port.CLIENT, "trusted", versions=Versions.ANY)
    assert seen.answer == "-ERR 'Authorization Violation'"
    assert seen.client_verdict is ClientVerdict.ACCEPTED


@pytest.mark.parametrize("port", [Port.CLIENT, Port.LEAFNODE])
@pytest.mark.parametrize("versions", VERSIONS)
def test_handshake_first(tmp_path: Path, port: Port, versions: Versions) -> None:
    """A port that starts TLS before its INFO gives the same verdicts, and its INFO inside."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT, port), client_extra="handshake_first: true") as one:
        target = Target(
            address=one.address(port), port=port, handshake_first=True, versions=versions
        )
        seen = {
            who: probe(target, identity=identity, timeout_seconds=SECONDS, contexts=CONTEXTS)
            for who, identity in IDENTITIES.items()
        }
    assert seen["trusted"].client_verdict is ClientVerdict.ACCEPTED
    assert seen["trusted"].info.server_name == "probed"
    for who in ("none", "alien", "expired"):
        assert seen[who].client_verdict is ClientVerdict.REFUSED, who
        assert seen[who].alert, who


def test_a_client_port_without_verify_asks_nobody(tmp_path: Path) -> None:
    """Without `verify` there is no CertificateRequest, whatever `ca_file` says."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT,), verify=False) as one:
        seen = dial(one, Port.CLIENT, "trusted", versions=Versions.ANY)
    assert seen.client_verdict is ClientVerdict.NOT_REQUESTED
    assert (seen.advertised, seen.failure, seen.info.tls_verify) == ((), Failure.NONE, False)


def test_a_version_that_the_server_refuses(tmp_path: Path) -> None:
    """A handshake that fails before any request for a certificate proves nothing about ours."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT,), tls_extra='min_version: "1.3"') as one:
        old = dial(one, Port.CLIENT, "trusted", versions=Versions.TLS_1_2)
        new = dial(one, Port.CLIENT, "trusted", versions=Versions.ANY)
    assert (old.client_verdict, old.failure) == (ClientVerdict.UNKNOWN, Failure.PROTOCOL)
    assert (old.alert, old.protocol) == ("protocol_version", "")
    assert (new.client_verdict, new.protocol) == (ClientVerdict.ACCEPTED, "TLSv1.3")


def test_a_pinned_listener_hangs_up_and_proves_nothing(tmp_path: Path) -> None:
    """A certificate that TLS accepts and a pin does not is told as a hang-up, not as accepted."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    pin = f'pinned_certs: ["{"0" * 64}"]'
    with server(tmp_path, wanted=(Port.CLIENT,), tls_extra=pin) as one:
        seen = dial(one, Port.CLIENT, "trusted", versions=Versions.ANY)
    assert (seen.client_verdict, seen.failure) == (ClientVerdict.UNKNOWN, Failure.CLOSED)


def test_advertised_names_keep_their_order_and_their_duplicates(tmp_path: Path) -> None:
    """Two CAs of one subject appear twice: the count is all that shows a same-name rollover."""
    authorities = [Authority("twin"), Authority("other"), Authority("twin")]
    bundle = b"".join(authority.pem for authority in authorities)
    write_material(tmp_path, server=SERVER, trusted=bundle)
    with server(tmp_path, wanted=(Port.CLIENT,)) as one:
        for versions in VERSIONS:
            seen = dial(one, Port.CLIENT, "none", versions=versions)
            assert seen.advertised == ("CN=twin", "CN=other", "CN=twin")
            assert seen.advertised_der == tuple(
                authority.subject.public_bytes() for authority in authorities
            )


def test_the_served_chain_is_whole_and_in_order(tmp_path: Path) -> None:
    """Every certificate that the server sends is told, leaf first."""
    pair = TRUSTED.issue("server", with_root=True)
    write_material(tmp_path, server=pair, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT,)) as one:
        seen = dial(one, Port.CLIENT, "trusted", versions=Versions.ANY)
    served = [x509.load_der_x509_certificate(certificate.der) for certificate in seen.presented]
    assert served == x509.load_pem_x509_certificates(pair.chain)


def test_a_reload_shows_in_the_next_handshake(tmp_path: Path) -> None:
    """The advertised CAs are those that the server has loaded, not those of its files."""
    write_material(tmp_path, server=SERVER, trusted=TRUSTED.pem)
    with server(tmp_path, wanted=(Port.CLIENT,)) as one:
        (tmp_path / "ca.pem").write_bytes(TRUSTED.pem + ALIEN.pem)
        before = dial(one, Port.CLIENT, "alien", versions=Versions.ANY)
        one.reload()
        after = dial(one, Port.CLIENT, "alien", versions=Versions.ANY)
    assert (before.client_verdict, before.advertised) == (ClientVerdict.REFUSED, ("CN=trusted",))
    assert after.client_verdict is ClientVerdict.ACCEPTED
    assert after.advertised == ("CN=trusted", "CN=alien")
