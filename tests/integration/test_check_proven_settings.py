"""More rules that a real nats-server proves right: stapling, flags, pins, clients, OpenSSL."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from rigs import nats_oracle
from rigs.config_scenes import CA, LEAF, Desk, Tls, named
from rigs.loopback_ports import free_port
from rigs.pki_forge import ANY_USAGE, SERVER_AUTH, Forged, forge
from rigs.proving import (
    HOST,
    SECONDS,
    client_port,
    context,
    knock,
    let_in,
    pair,
    plain,
    reach,
    running,
    wait,
    websocket,
)
from rollover.pki.pem import write_certificates

LISTEN = f"listen: '{HOST}:-1'"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of today."""
    return Desk(tmp_path, now=datetime.now(UTC))


def starts(config: Path, *flags: str) -> str:
    """Return what nats-server says when it ends at once, `ready` when it runs."""
    try:
        with running(config, flags=flags):
            return "ready"
    except AssertionError as error:
        return str(error)


def save(desk: Desk, name: str, made: Forged) -> Path:
    """Write a certificate with its key and return its path."""
    desk.write(f"{name}.key", made.key_pem())
    return desk.write(f"{name}.pem", write_certificates((made.certificate,)))


# Stapling: `-t` says valid, and the server does not start.


def _leaf_alone(desk: Desk, between: Forged) -> Tls:
    return Tls((desk.leaf(by=between),), (desk.root,))


def _issuer_last(desk: Desk, between: Forged) -> Tls:
    return Tls((desk.leaf(by=between), desk.root, between), (desk.root,))


def _issuer_second(desk: Desk, between: Forged) -> Tls:
    return Tls((desk.leaf(by=between), between), (desk.root,))


def _issuer_trusted(desk: Desk, between: Forged) -> Tls:
    return Tls((desk.leaf(by=between),), (between,))


@pytest.mark.parametrize(
    ("make", "context", "fault"),
    [
        (_leaf_alone, "top", True),
        (_issuer_last, "cluster", True),
        (_issuer_trusted, "websocket", True),
        (_issuer_trusted, "top", False),
        (_issuer_second, "websocket", False),
    ],
)
def test_stapling_needs_the_issuer_behind_the_leaf(
    desk: Desk, make: Callable[[Desk, Forged], Tls], context: str, *, fault: bool
) -> None:
    """`ocsp-issuer-not-found`: rule and server agree; once found, the responder is asked."""
    responder = f"ocsp {{ mode: always, url: 'http://{HOST}:{free_port()}/' }}"
    between = desk.authority("Inter", by=desk.root)
    inside = {} if context == "top" else {context: LISTEN}
    blocks = {context: make(desk, between)}
    config = desk.with_blocks("n1", blocks, more=f"{LISTEN}\n{responder}", inside=inside)
    assert bool(desk.findings("ocsp-issuer-not-found")) is fault
    assert nats_oracle.ask(config).digest
    told = starts(config)
    assert told != "ready"
    assert ("exhausted ocsp servers" in told) is not fault


def test_stapling_without_a_responder_keeps_the_server_down(desk: Desk) -> None:
    """`ocsp-without-responder`, and `ocsp-must`: `must` leaves it alone, `always` does not."""
    config = desk.server(more=f"{LISTEN}\nocsp {{ mode: always }}", top=plain(desk))
    assert desk.findings("ocsp-without-responder")
    assert desk.findings("ocsp-must")
    assert nats_oracle.ask(config).digest
    assert "no available ocsp servers" in starts(config)
    desk.configs.clear()
    config = desk.server(more=f"{LISTEN}\nocsp {{ mode: must }}", top=plain(desk))
    assert not desk.findings("ocsp-without-responder")
    assert not desk.findings("ocsp-must")
    assert starts(config) == "ready"


# How it is started.


def test_flags_of_tls_make_every_reload_fail(desk: Desk) -> None:
    """`started-with-tls-flags`: the same file, reloaded with nothing changed."""
    config = desk.server(more=LISTEN, top=plain(desk))
    pem, key = (f"{desk.folder}/n1-top.{literal}" for literal in ("pem", "key"))
    flags = ("--tls", "--tlscert", pem, "--tlskey", key)
    line = " ".join(("nats-server -c n1.conf", *flags))
    desk.units.append(desk.write("nats.service", f"[Service]\nExecStart=/usr/bin/{line}\n"))
    assert desk.findings("started-with-tls-flags")
    config.write_text(f"server_name: n1\n{LISTEN}\n")
    with running(config, flags=flags) as node:
        node.reload()
        assert node.said("Failed to reload")
        assert node.said("not supported for TLS")


# Who is only heard of.


def test_a_node_that_is_heard_of_is_refused_by_its_address(desk: Desk) -> None:
    """`gossip-not-in-certificate`: two nodes that have the same seed never get a route."""
    ports = [free_port() for _ in range(3)]
    for at, number in enumerate(ports):
        names = ("localhost",) if at == 2 else (HOST, "localhost")
        made = desk.leaf(*names, subject=f"n{at}")
        routes = f"routes: ['nats-route://{HOST}:{ports[0]}']" if at else ""
        inside = f"name: c\n  listen: '{HOST}:{number}'\n  {routes}"
        block = Tls((made,), (desk.root,))
        desk.server(f"n{at}", more=LISTEN, inside={"cluster": inside}, cluster=block)
    assert [finding.subject for finding in desk.findings("gossip-not-in-certificate")] == [
        "n2 cluster.tls"
    ]
    seed, one, other = (desk.folder / f"n{at}.conf" for at in range(3))
    with running(seed), running(one) as node, running(other):
        wait(lambda: node.said("doesn't contain any IP SANs (CN=n2"))


# Pins, timeouts, curves, suites.


def test_pins_that_change_cut_off_who_is_connected(desk: Desk) -> None:
    """`pinned-certificates`: a reload with another pin ends a route that is up."""
    own, other = plain(desk), plain(desk, subject="n2")
    pin = other.chain[0].certificate.key_identity
    first, _ = pair(desk, own._replace(more=f'pinned_certs: ["{pin}"]'), other)
    assert desk.findings("pinned-certificates")
    with running(first) as node, running(desk.folder / "n2.conf") as peer:
        wait(lambda: peer.said("Route connection created"))
        first.write_text(first.read_text().replace(pin, "ab" * 32))
        node.reload()
        wait(lambda: node.said("not pinned") or node.said("pinned certificates"))
        assert desk.findings("peer-not-pinned")


def test_a_handshake_that_takes_too_long_is_ended(desk: Desk) -> None:
    """`timeout-too-low`: who is slow is cut off."""
    config, number = _cluster(desk, plain(desk)._replace(more="timeout: 0.05"))
    assert desk.findings("timeout-too-low")
    with running(config), reach(number) as stream:
        stream.settimeout(SECONDS)
        assert stream.recv(1) == b""


def _cluster(desk: Desk, block: Tls) -> tuple[Path, int]:
    number = free_port()
    inside = {"cluster": f"name: c\n  listen: '{HOST}:{number}'"}
    return desk.server(more=LISTEN, inside=inside, cluster=block), number


def test_a_suite_without_forward_secrecy_is_taken(desk: Desk) -> None:
    """`weak-ciphers`: where it is allowed, a peer can choose RSA key exchange."""
    from rigs.pki_forge import rsa_key  # noqa: PLC0415 - slow to make, and only here

    key = rsa_key(2048, "proven suites")
    shape = LEAF._replace(names=named(HOST), usages=frozenset({"key_encipherment"}))
    made = forge("n1", shape, by=desk.root, key=key, now=desk.now)
    more = "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]\nallow_insecure_cipher_suites: true"
    config, number = websocket(desk, Tls((made,), (), more))
    assert desk.findings("weak-ciphers")
    client = context()
    client.set_ciphers("AES128-GCM-SHA256:@SECLEVEL=0")
    with running(config):
        assert not knock(number, client)


def test_a_port_without_a_block_speaks_in_clear(desk: Desk) -> None:
    """`port-in-clear`: the routes' port greets whoever comes, in clear."""
    number = free_port()
    config = desk.server(
        more=f"{LISTEN}\ncluster {{ name: c, listen: '0.0.0.0:{number}' }}", top=plain(desk)
    )
    assert desk.findings("port-in-clear")
    with running(config), reach(number) as stream:
        stream.settimeout(SECONDS)
        assert stream.recv(4096).startswith(b"INFO ")


def test_an_option_in_the_wrong_place_has_no_effect(desk: Desk) -> None:
    """`option-without-effect`: a pin in a leaf node's remote keeps nobody out."""
    number = free_port()
    hub = desk.server(
        "hub",
        more=LISTEN,
        inside={"leafnodes": f"listen: '{HOST}:{number}'"},
        leafnodes=plain(desk)._replace(more="verify: true"),
    )
    own = plain(desk, subject="leaf")._replace(more=f'pinned_certs: ["{"ab" * 32}"]')
    block = desk.tls("leaf", own)
    remote = f"{{ url: 'tls://{HOST}:{number}', {block} }}"
    leaf = desk.raw("leaf", f"server_name: leaf\n{LISTEN}\nleafnodes {{ remotes: [{remote}] }}\n")
    assert desk.findings("option-without-effect")
    with running(hub), running(leaf) as node:
        wait(lambda: node.said("Leafnode connection created"))


def test_a_leaf_node_without_a_certificate_joins(desk: Desk) -> None:
    """`leafnodes-not-verified`: the hub lets in whoever comes."""
    number = free_port()
    hub = desk.server(
        "hub",
        more=LISTEN,
        inside={"leafnodes": f"listen: '{HOST}:{number}'"},
        leafnodes=plain(desk)._replace(trust=()),
    )
    ca = desk.write("ca.pem", write_certificates((desk.root.certificate,)))
    remote = f"{{ url: 'tls://{HOST}:{number}', tls {{ ca_file: '{ca}' }} }}"
    leaf = desk.raw("leaf", f"server_name: leaf\n{LISTEN}\nleafnodes {{ remotes: [{remote}] }}\n")
    assert desk.findings("leafnodes-not-verified")
    with running(hub) as node, running(leaf):
        wait(lambda: node.said("Leafnode connection created"))


def test_a_value_that_is_not_as_meant_is_dropped(desk: Desk) -> None:
    """`value-not-as-meant`: the size is not there, and nothing says so."""
    config = desk.server(more="max_payload: 1kbb", top=plain(desk))
    assert desk.findings("value-not-as-meant")
    odd = nats_oracle.ask(config).digest
    config.write_text(config.read_text().replace("max_payload: 1kbb", ""))
    assert odd
    assert nats_oracle.ask(config).digest == odd


# Trust that keeps nobody in, or lets too many in.


def test_an_expired_authority_lets_nobody_in(desk: Desk) -> None:
    """`bundle-dates`: its own valid leaf is refused."""
    old = desk.authority("Old", CA._replace(days=(-9, -1)))
    own = plain(desk)._replace(trust=(old, desk.root))
    first, number = pair(desk, own, plain(desk, by=old, subject="n2"))
    assert desk.findings("bundle-dates")
    with running(first):
        assert not let_in(desk, "n2-cluster", number)


def test_any_authority_of_a_bundle_can_make_any_user(desk: Desk) -> None:
    """`trust-wider-than-needed`: a CA from which nobody comes makes a certificate for a user."""
    number = free_port()
    others = tuple(desk.authority(name, CA._replace(days=(-5, 99))) for name in ("A", "B"))
    config = desk.server(
        more=f"listen: '{HOST}:{number}'\nauthorization {{ users: [ {{ user: app.example }} ] }}",
        top=plain(desk)._replace(trust=(desk.root, *others), more="verify_and_map: true"),
    )
    desk.client("app", desk.leaf("app.example", subject="app"))
    assert desk.findings("trust-wider-than-needed")
    save(desk, "thief", desk.leaf("app.example", by=others[1], subject="thief"))
    with running(config):
        assert "PONG" in client_port(desk, number, cert="thief")


# Clients.


@pytest.mark.parametrize(("by_other", "days"), [(True, LEAF.days), (False, (-9, -1))])
def test_a_client_that_is_given_is_refused(
    desk: Desk, *, by_other: bool, days: tuple[float, float]
) -> None:
    """`client-refused`: another CA, or a certificate that has ended."""
    config, number = websocket(desk, plain(desk)._replace(more="verify: true"))
    authority = desk.authority("Other") if by_other else desk.root
    shape = LEAF._replace(days=days)
    made = desk.leaf("app.example", by=authority, subject="app", shape=shape)
    desk.clients.append(save(desk, "app", made))
    assert desk.findings("client-refused")
    with running(config):
        assert not let_in(desk, "app", number)


def test_a_client_who_is_no_user_is_refused(desk: Desk) -> None:
    """`mapped-certificate-without-user`: the handshake succeeds, and CONNECT is answered no."""
    number = free_port()
    config = desk.server(
        more=f"listen: '{HOST}:{number}'\nauthorization {{ users: [ {{ user: app.example }} ] }}",
        top=plain(desk)._replace(more="verify_and_map: true"),
    )
    desk.clients.append(save(desk, "app", desk.leaf("renamed.example", subject="app")))
    assert desk.findings("mapped-certificate-without-user")
    assert not desk.findings("client-refused")
    with running(config):
        assert "Authorization Violation" in client_port(desk, number, cert="app")


# Where a route hides what a gateway shows, and where OpenSSL differs.


def test_a_gateway_that_cannot_dial_is_one_way(desk: Desk) -> None:
    """`usage-not-both-ways`, and what `public-issuer-drops-client-auth` warns of."""
    ports = {"a": free_port(), "b": free_port()}
    for name, other in (("a", "b"), ("b", "a")):
        shape = LEAF._replace(extended=(SERVER_AUTH,)) if name == "b" else LEAF
        made = desk.leaf(HOST, subject=name, shape=shape)
        remote = f"{{name: {other}, url: 'nats://{HOST}:{ports[other]}'}}"
        inside = f"name: {name}\n  listen: '{HOST}:{ports[name]}'\n  gateways: [{remote}]"
        desk.server(
            name, more=LISTEN, inside={"gateway": inside}, gateway=Tls((made,), (desk.root,))
        )
    assert [finding.subject for finding in desk.findings("usage-not-both-ways")] == [
        "b gateway.tls"
    ]
    with running(desk.folder / "a.conf") as a, running(desk.folder / "b.conf") as b:
        wait(lambda: a.said('Outbound gateway connection to "b"'))
        wait(lambda: a.said("incompatible key usage"))
        assert not b.said('Outbound gateway connection to "a"')


def strict(desk: Desk, ca: str) -> ssl.SSLContext:
    """Return a client as Python makes it, which trusts a file."""
    return ssl.create_default_context(cafile=str(desk.folder / ca))


@pytest.mark.parametrize(
    "changes",
    [
        {"authority_key_id": x509.AuthorityKeyIdentifier(b"\1" * 20, None, None)},
        {"extended": (ANY_USAGE,)},
    ],
    ids=["identifier", "any usage"],
)
def test_openssl_refuses_a_chain_that_go_accepts(desk: Desk, changes: dict[str, object]) -> None:
    """`chain-refused-by-openssl`: a Python client turns away, another nats-server does not."""
    shape = LEAF._replace(**changes)  # type: ignore[arg-type]  # its own fields
    made = desk.leaf("localhost", HOST, shape=shape)
    config, number = websocket(desk, Tls((made,), (desk.root,), "verify: false"))
    assert desk.findings("chain-refused-by-openssl")
    with running(config):
        assert "certificate verify failed" in knock(number, strict(desk, "n1-websocket-ca.pem"))
    first, number = pair(desk, plain(desk), Tls((made,), (desk.root,)))
    with running(first):
        assert let_in(desk, "n2-cluster", number)


def test_a_name_that_the_authority_may_not_give_is_refused(desk: Desk) -> None:
    """`chain-against-constraints`: also by who trusts that very CA."""
    permitted = x509.NameConstraints([x509.DNSName("internal.example")], None)
    narrow = desk.authority("Narrow", CA._replace(extra=((permitted, True),)))
    own = plain(desk)._replace(trust=(desk.root, narrow))
    other = Tls((desk.leaf("n2.example", by=narrow, subject="n2"),), (desk.root, narrow))
    first, number = pair(desk, own, other)
    assert desk.findings("chain-against-constraints")
    with running(first):
        assert not let_in(desk, "n2-cluster", number)


def test_openssl_takes_the_first_of_two_authorities_of_one_name(desk: Desk) -> None:
    """`bundle-same-subject`: a Python client refuses the leaf of the second one."""
    plain_ca = CA._replace(subject_key_id=False)
    first, second = (forge("Twin", plain_ca, now=desk.now) for _ in range(2))
    shape = LEAF._replace(authority_key_id=False)
    made = desk.leaf("localhost", by=second, shape=shape)
    config, number = websocket(desk, Tls((made,), (first, second), "verify: true"))
    assert desk.findings("bundle-same-subject")
    loose = desk.server(
        "n2",
        websocket=Tls((made,)),
        inside={"websocket": f"listen: '{HOST}:{number}'"},
        more=LISTEN,
    )
    assert config
    with running(loose):
        assert "certificate verify failed" in knock(number, strict(desk, "n1-websocket-ca.pem"))
