"""`rollover inspect` on live ports of every kind of a real nats-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs import commands
from rigs.loopback_ports import free_port
from rigs.probe_lab import Authority, Running, server, write_material
from rollover.errors import ExitCode
from rollover.probe.target import Port

SCHEMES = {
    Port.CLIENT: "nats",
    Port.ROUTE: "nats-route",
    Port.GATEWAY: "nats-gateway",
    Port.LEAFNODE: "nats-leaf",
    Port.WEBSOCKET: "wss",
    Port.MQTT: "mqtts",
    Port.MONITORING: "https",
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA of the server."""
    return Authority("Inspected CA")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Running]:
    """One server with TLS on every port, which demands certificates."""
    folder = tmp_path_factory.mktemp("inspected")
    write_material(folder, server=authority.issue("n1"), trusted=authority.pem)
    with server(folder) as found:
        yield found


@pytest.mark.parametrize("port", SCHEMES)
def test_a_port_of_every_kind_shows_its_chain_and_whom_it_asks_for(
    running: Running, port: Port
) -> None:
    """Its scheme is enough: chain, TLS version, cipher, and the CAs whose certificates it takes."""
    url = f"{SCHEMES[port]}://127.0.0.1:{running.ports[port]}"
    ran = commands.run("inspect", url, "--ca", running.folder / "ca.pem", "--output", "json")
    assert ran.code == ExitCode.DONE, ran.talk
    (source,) = ran.json["inspection"]["sources"]
    assert [certificate["subject"] for certificate in source["certificates"]] == ["CN=n1"]
    assert {chain["answer"] for chain in source["chains"]} == {"accepted"}
    live = source["live"]
    # A port that refuses us in TLS 1.2 would have completed no handshake; these speak TLS 1.3.
    assert live["protocol"] == "TLSv1.3"
    assert live["cipher"].startswith("TLS_")
    demands = port is not Port.MONITORING
    assert live["asks_for_certificate"] is demands
    assert live["advertised"] == (["CN=Inspected CA"] if demands else [])
    assert live["refused"] == ("certificate_required" if demands else "")


def test_a_chain_of_an_unknown_issuer_is_not_known_or_refused(running: Running) -> None:
    """Without anchors nothing is claimed; with another CA as the only anchor it is refused."""
    url = f"nats://127.0.0.1:{running.ports[Port.CLIENT]}"
    ran = commands.run("inspect", url)
    assert ran.code == ExitCode.DONE
    assert "? CN=n1 as server of `127.0.0.1`: unknown by Go, OpenSSL" in ran.out
    assert "asks for a client certificate, refuses us without one" in ran.out
    other = running.folder / "other.pem"
    other.write_bytes(Authority("Other CA").pem)
    ran = commands.run("inspect", url, "--ca", other)
    assert ran.code == ExitCode.REFUSED
    assert "✗ CN=n1 as server" in ran.out


def test_a_name_that_the_certificate_lacks_is_a_refusal(running: Running) -> None:
    """The name in the URL, or `--server-name`, is what the chain is judged by."""
    url = f"nats://127.0.0.1:{running.ports[Port.CLIENT]}"
    ran = commands.run(
        "inspect", url, "--ca", running.folder / "ca.pem", "--server-name", "other.example"
    )
    assert ran.code == ExitCode.REFUSED
    assert "`other.example` is expected" in ran.out


def test_tls_finds_a_port_that_greets_before_tls(running: Running) -> None:
    """`tls://` is what clients of NATS write for their port: it is dialled as one."""
    ran = commands.run("inspect", f"tls://127.0.0.1:{running.ports[Port.CLIENT]}")
    assert ran.code == ExitCode.DONE, ran.talk
    assert "CN=n1" in ran.out


def test_a_port_with_the_handshake_first_is_found(tmp_path: Path, authority: Authority) -> None:
    """A client port that sends no greeting before TLS is dialled once more, with TLS at once."""
    write_material(tmp_path, server=authority.issue("n1"), trusted=authority.pem)
    with server(tmp_path, wanted=(Port.CLIENT,), client_extra="handshake_first: true") as found:
        url = f"nats://127.0.0.1:{found.ports[Port.CLIENT]}"
        ran = commands.run("inspect", url, "--timeout", "3")
    assert ran.code == ExitCode.DONE, ran.talk
    assert "CN=n1" in ran.out


def test_a_port_that_does_not_answer_is_missing_evidence(running: Running) -> None:
    """Exit code 5, the other targets are shown, and no password of the URL appears."""
    url = f"nats://user:s3cret@127.0.0.1:{free_port()}"
    ran = commands.run("inspect", url, running.folder / "ca.pem")
    assert ran.code == ExitCode.EVIDENCE_MISSING
    assert "CN=Inspected CA" in ran.out
    assert "hint: " in ran.talk
    assert "s3cret" not in ran.out + ran.talk


def test_a_configuration_is_shown_block_by_block(running: Running) -> None:
    """Every `tls` block with its files, judged by Go for what its context does."""
    ran = commands.run("inspect", running.folder / "server.conf", "--output", "json")
    assert ran.code == ExitCode.DONE, ran.talk
    sources = {
        source["name"].rpartition(": ")[2]: source for source in ran.json["inspection"]["sources"]
    }
    assert {"tls", "cluster.tls", "gateway.tls", "leafnodes.tls", "mqtt.tls"} <= sources.keys()
    judged = {(source["usage"], source["stack"]) for source in sources["cluster.tls"]["chains"]}
    assert judged == {("server", "go"), ("client", "go")}
    subjects = {source["subject"]: source for source in sources["tls"]["certificates"]}
    assert subjects["CN=n1"]["signed_by"] == subjects["CN=Inspected CA"]["fingerprint"]
    assert subjects["CN=n1"]["key_places"]
    assert "PRIVATE KEY" not in ran.out
