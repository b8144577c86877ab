"""Rules that predict a failure are right: a real nats-server, or a handshake with one, shows it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from rigs import config_scenes, nats_oracle
from rigs.config_scenes import CA, LEAF, Desk, Tls
from rigs.loopback_ports import free_port
from rigs.pki_forge import CLIENT_AUTH, SERVER_AUTH, Forged, forge, rsa_key, with_sha1
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

STANDBYS = 240
"""CAs with long names: more than a CertificateRequest can hold."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of today."""
    return Desk(tmp_path, now=datetime.now(UTC))


def refused_as_foretold(desk: Desk, rule: str, own: Tls, other: Tls) -> None:
    """The rule finds something in two nodes, and the first one refuses the second one."""
    first, number = pair(desk, own, other)
    assert desk.findings(rule)
    with running(first):
        assert not let_in(desk, "n2-cluster", number)


def test_a_pair_without_hazard_meets(desk: Desk) -> None:
    """The control for all that follows: what has no finding between peers is let in."""
    first, number = pair(desk, plain(desk), plain(desk, subject="n2"))
    assert not desk.findings("peers-refuse-each-other")
    with running(first):
        assert let_in(desk, "n2-cluster", number)


# What nats-server refuses before it starts, and so at every reload.


def _missing(desk: Desk) -> Path:
    made = desk.server(top=plain(desk))
    (desk.folder / "n1-top.key").unlink()
    return made


def _der(desk: Desk) -> Path:
    return desk.server(top=plain(desk)._replace(ca=desk.root.certificate.der))


def _joined(desk: Desk) -> Path:
    both = b"".join(config_scenes.joined((desk.root, desk.authority("Next")))) + b"\n"
    return desk.server(top=plain(desk)._replace(ca=both))


def _mismatch(desk: Desk) -> Path:
    return desk.server(top=plain(desk)._replace(key=desk.root.key_pem()))


def _suites(desk: Desk) -> Path:
    more = "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]"
    return desk.server(top=plain(desk)._replace(more=more))


def _unknown(desk: Desk) -> Path:
    return desk.server(more="tsl: 1", top=plain(desk))


def _include(desk: Desk) -> Path:
    return desk.server(more="include ./none.conf", top=plain(desk))


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        ("configuration-unreadable", _include),
        ("file-missing", _missing),
        ("file-without-certificates", _der),
        ("pem-joined", _joined),
        ("key-mismatch", _mismatch),
        ("insecure-ciphers-refused", _suites),
        ("option-unknown", _unknown),
    ],
)
def test_nats_server_does_not_take_the_file(
    desk: Desk, rule: str, make: Callable[[Desk], Path]
) -> None:
    """The rule is an error, and `nats-server -t` refuses what it finds."""
    config = make(desk)
    assert desk.findings(rule)
    assert subprocess.run(
        [nats_oracle.binary(), "-t", "-c", str(config)],
        capture_output=True,
        check=False,
        timeout=SECONDS,
    ).returncode


def test_a_relative_path_begins_in_the_directory_of_the_process(desk: Desk) -> None:
    """`relative-path`: the same file is taken in one directory and refused in another."""
    made = desk.leaf()
    desk.write("a.pem", write_certificates((made.certificate,)))
    desk.write("a.key", made.key_pem())
    config = desk.raw("n1", "port: -1\ntls { cert_file: a.pem, key_file: a.key }\n")
    assert desk.findings("relative-path")
    codes = [
        subprocess.run(
            [nats_oracle.binary(), "-t", "-c", str(config)],
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        ).returncode
        for folder in (desk.folder, desk.folder.parent)
    ]
    assert codes == [0, 1]


# What a peer is refused for.


def test_an_expired_chain_is_refused(desk: Desk) -> None:
    """`config-expired`: the server starts with it, and peers refuse it."""
    leaf = desk.leaf(HOST, shape=LEAF._replace(days=(-9, -1)))
    refused_as_foretold(desk, "config-expired", plain(desk), Tls((leaf,), (desk.root,)))
    with running(desk.folder / "n2.conf"):
        pass


def test_a_leaf_below_an_expired_authority_is_refused(desk: Desk) -> None:
    """`config-expired`: the earliest end of the chain counts."""
    between = desk.authority(
        "Inter", config_scenes.INTERMEDIATE._replace(days=(-9, -1)), by=desk.root
    )
    chain = (desk.leaf(HOST, by=between), between)
    refused_as_foretold(desk, "config-expired", plain(desk), Tls(chain, (desk.root,)))


def test_a_chain_of_tomorrow_is_refused(desk: Desk) -> None:
    """`config-not-yet-valid`: peers refuse it until then."""
    leaf = desk.leaf(HOST, shape=LEAF._replace(days=(1, 9)))
    refused_as_foretold(desk, "config-not-yet-valid", plain(desk), Tls((leaf,), (desk.root,)))


def test_a_route_without_client_authentication_is_refused(desk: Desk) -> None:
    """`usage-not-both-ways`: as a dialer it gets nowhere."""
    leaf = desk.leaf(HOST, shape=LEAF._replace(extended=(SERVER_AUTH,)))
    refused_as_foretold(desk, "usage-not-both-ways", plain(desk), Tls((leaf,), (desk.root,)))


def test_a_usage_that_an_authority_lacks_is_refused(desk: Desk) -> None:
    """`usage-not-both-ways`: the usages of the CA above count as well."""
    narrow = desk.authority("Narrow", CA._replace(extended=(SERVER_AUTH,)))
    own = plain(desk)._replace(trust=(desk.root, narrow))
    other = Tls((desk.leaf(HOST, by=narrow),), (desk.root, narrow))
    refused_as_foretold(desk, "usage-not-both-ways", own, other)


def test_a_chain_without_its_intermediate_is_refused(desk: Desk) -> None:
    """`chain-incomplete`: whoever trusts the root alone cannot go on."""
    between = desk.authority("Inter", by=desk.root)
    other = Tls((desk.leaf(HOST, by=between),), (desk.root,))
    spare = desk.write("inter.pem", write_certificates((between.certificate,)))
    desk.server("n3", mqtt=Tls((desk.leaf(),), (), f"ca_file: '{spare}'"))
    desk.configs.clear()
    first, number = pair(desk, plain(desk), other)
    # Somebody else's configuration shows that the issuer is an intermediate.
    desk.configs.append(desk.folder / "n3.conf")
    assert [finding.subject for finding in desk.findings("chain-incomplete")] == ["n2 cluster.tls"]
    with running(first):
        assert not let_in(desk, "n2-cluster", number)


def test_a_signature_with_sha1_is_refused(desk: Desk) -> None:
    """`weak-signature`: Go refuses SHA-1."""
    key = rsa_key(2048, "proven root")
    root = forge("RSA Root", CA, key=key, now=desk.now)
    leaf = forge("n2", LEAF, by=root, key=rsa_key(2048, "proven leaf"), now=desk.now)
    weak = with_sha1(leaf, signer=key)
    own = plain(desk)._replace(trust=(desk.root, root))
    refused_as_foretold(desk, "weak-signature", own, Tls((weak,), (root,)))


@pytest.mark.parametrize(
    "shape",
    [
        CA._replace(basic=None, usages=None),
        CA._replace(usages=frozenset({"crl_sign"})),
    ],
    ids=["constraints", "usage"],
)
def test_what_a_malformed_authority_issued_is_refused(desk: Desk, shape: object) -> None:
    """`authority-malformed`: Go refuses everything below it."""
    assert isinstance(shape, type(CA))
    bad = desk.authority("Bad Root", shape)
    own = plain(desk)._replace(trust=(desk.root, bad))
    refused_as_foretold(desk, "authority-malformed", own, plain(desk, by=bad, subject="n2"))


def test_a_leaf_in_a_bundle_vouches_for_nobody(desk: Desk) -> None:
    """`bundle-leaf`: a sibling of the leaf that is trusted is refused."""
    own = plain(desk)
    own = own._replace(trust=own.chain)
    refused_as_foretold(desk, "bundle-leaf", own, plain(desk, subject="n2"))


def test_a_certificate_behind_a_byte_order_mark_is_not_loaded(desk: Desk) -> None:
    """`pem-skipped`: peers of the first CA are refused, though the file seems to trust it."""
    following = desk.authority("Next")
    both = b"\xef\xbb\xbf" + write_certificates((desk.root.certificate, following.certificate))
    own = plain(desk)._replace(ca=both)
    refused_as_foretold(desk, "pem-skipped", own, plain(desk, subject="n2"))


def test_names_that_are_too_long_break_every_handshake(desk: Desk) -> None:
    """`bundle-too-long`: also peers of the first CA are refused."""
    names = (f"{at:04}{'x' * 60}" for at in range(900))
    many = tuple(forge(name, CA, key=desk.root.key, now=desk.now) for name in names)
    own = plain(desk)._replace(trust=(desk.root, *many))
    refused_as_foretold(desk, "bundle-too-long", own, plain(desk, subject="n2"))


def test_peers_that_refuse_each_other_do(desk: Desk) -> None:
    """`peers-refuse-each-other`: the blog's story, another intermediate and nobody else's trust."""
    mine, theirs = (desk.authority(name, by=desk.root) for name in ("R3", "E1"))
    own = Tls((desk.leaf(HOST, by=mine), mine), (mine,))
    other = Tls((desk.leaf(HOST, by=theirs), theirs), (theirs,))
    refused_as_foretold(desk, "peers-refuse-each-other", own, other)
    assert desk.findings("trust-from-own-issuer")


def test_a_bundle_of_both_intermediates_is_enough(desk: Desk) -> None:
    """The remedy of `trust-from-own-issuer`: the same leaf is let in, and the rules are silent."""
    mine, theirs = (desk.authority(name, by=desk.root) for name in ("R3", "E1"))
    own = Tls((desk.leaf(HOST, by=mine), mine), (mine, theirs))
    other = Tls((desk.leaf(HOST, by=theirs), theirs), (mine, theirs))
    first, number = pair(desk, own, other)
    assert not desk.findings("trust-from-own-issuer")
    assert not desk.findings("peers-refuse-each-other")
    with running(first):
        assert let_in(desk, "n2-cluster", number)


def test_a_key_that_is_not_pinned_is_refused(desk: Desk) -> None:
    """`peer-not-pinned`: whatever its CA."""
    own = plain(desk)._replace(more=f'pinned_certs: ["{"ab" * 32}"]')
    first, number = pair(desk, own, plain(desk, subject="n2"))
    assert desk.findings("peer-not-pinned")
    with running(first) as node:
        knock(number, context(cert=desk.folder / "n2-cluster.pem"))
        wait(lambda: node.said("pinned"))


def test_a_remote_without_a_certificate_is_refused(desk: Desk) -> None:
    """`dialer-without-certificate`: a hub that verifies says so."""
    number = free_port()
    hub = desk.server(
        "hub",
        more=f"listen: '{HOST}:-1'",
        inside={"leafnodes": f"listen: '{HOST}:{number}'"},
        leafnodes=plain(desk)._replace(more="verify: true"),
    )
    ca = desk.write("ca.pem", write_certificates((desk.root.certificate,)))
    leaf = desk.raw(
        "leaf",
        f"server_name: leaf\nlisten: '{HOST}:-1'\nleafnodes {{ remotes: [{{ url: "
        f"'tls://{HOST}:{number}', tls {{ ca_file: '{ca}' }} }}] }}\n",
    )
    assert desk.findings("dialer-without-certificate")
    with running(hub) as node, running(leaf):
        wait(lambda: node.said("client didn't provide a certificate"))


def test_a_remote_with_the_certificate_of_a_server_is_refused(desk: Desk) -> None:
    """`usage-wrong-way`: whoever dials needs client authentication."""
    first, number = pair(desk, plain(desk), plain(desk, subject="n2"))
    leaf = desk.leaf(HOST, shape=LEAF._replace(extended=(SERVER_AUTH,)), subject="leaf")
    block = desk.tls("leaf", Tls((leaf,), (desk.root,)))
    desk.raw("leaf", f"leafnodes {{ remotes: [{{ url: 'tls://{HOST}:{number}', {block} }}] }}\n")
    assert desk.findings("usage-wrong-way")
    with running(first):
        assert not let_in(desk, "leaf", number)


def test_a_block_without_a_certificate_serves_nobody(desk: Desk) -> None:
    """`block-without-certificate`: `-t` and the start succeed, no handshake does."""
    first, number = pair(desk, Tls((), (desk.root,)), plain(desk, subject="n2"))
    assert desk.findings("block-without-certificate")
    with running(first):
        assert not let_in(desk, "n2-cluster", number)


def test_blocks_without_a_common_curve_do_not_meet(desk: Desk) -> None:
    """`nothing-shared`: two real servers never get a route."""
    own = plain(desk)._replace(more="curve_preferences: [X25519]")
    other = plain(desk, subject="n2")._replace(more="curve_preferences: [CurveP384]")
    first, _ = pair(desk, own, other)
    assert desk.findings("nothing-shared")
    with running(first) as node, running(desk.folder / "n2.conf"):
        wait(lambda: node.said("TLS route handshake error"))


# What a dialer refuses: nats-server dials a port of this test.


def dialled(desk: Desk, served: Forged, *, host: str = HOST, more: str = "") -> str:
    """Return why nats-server refuses a port that serves a certificate; empty when it does not."""
    cert = desk.write("served.pem", write_certificates((served.certificate,)))
    desk.write("served.key", served.key_pem())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, cert.with_suffix(".key"))
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(SECONDS)
        number = listening.getsockname()[1]
        config = desk.server(
            "dialer",
            more=f"listen: '{HOST}:-1'",
            inside={
                "cluster": f"name: c\n  listen: '{HOST}:-1'\n  "
                f"routes: ['nats-route://{host}:{number}']"
            },
            cluster=plain(desk)._replace(more=more),
        )
        # The other end as a configuration, for the rules.
        desk.server(
            "served",
            inside={"cluster": f"name: c\n  listen: '{host}:{number}'"},
            cluster=Tls((served,), (desk.root,)),
        )
        with running(config):
            taken, _ = listening.accept()
            taken.settimeout(SECONDS)
            with taken:
                try:
                    server.wrap_socket(taken, server_side=True).close()
                except (ssl.SSLError, OSError) as error:
                    return str(error)
    return ""


def test_a_server_that_is_as_it_should_be_is_dialled(desk: Desk) -> None:
    """The control for the dialers."""
    assert not dialled(desk, desk.leaf(HOST))
    assert not desk.findings("name-not-in-certificate")


def test_a_server_with_a_common_name_only_is_refused(desk: Desk) -> None:
    """`names-missing`: Go looks at alternative names alone."""
    served = forge(HOST, LEAF._replace(names=()), by=desk.root, now=desk.now)
    assert dialled(desk, served)
    assert desk.findings("names-missing")


def test_a_server_that_is_dialled_by_another_name_is_refused(desk: Desk) -> None:
    """`name-not-in-certificate`: dialled by address, certified by name."""
    assert dialled(desk, desk.leaf("other.example"))
    assert desk.findings("name-not-in-certificate")


def test_a_server_without_server_authentication_is_refused(desk: Desk) -> None:
    """`usage-not-both-ways`, the other direction."""
    assert dialled(desk, desk.leaf(HOST, shape=LEAF._replace(extended=(CLIENT_AUTH,))))
    assert desk.findings("usage-not-both-ways")


def test_an_insecure_dialer_takes_anybody(desk: Desk) -> None:
    """`insecure`: a certificate of an unknown CA is good enough."""
    stranger = desk.authority("Stranger")
    assert dialled(desk, desk.leaf(HOST, by=stranger))
    desk.configs.clear()
    assert not dialled(desk, desk.leaf(HOST, by=stranger), more="insecure: true")
    assert desk.findings("insecure")


# What is let in though it should not.


def test_a_bundle_without_verify_keeps_nobody_out(desk: Desk) -> None:
    """`peers-not-verified`: who has no certificate is let in, until `verify` is on."""
    config, number = websocket(desk, plain(desk))
    assert desk.findings("peers-not-verified")
    with running(config):
        assert not knock(number, context())
    desk.configs.clear()
    config, number = websocket(desk, plain(desk)._replace(more="verify: true"))
    with running(config):
        assert knock(number, context())


def test_a_second_block_replaces_the_first(desk: Desk) -> None:
    """`option-twice`: the `verify` of the first block is gone."""
    strict = desk.tls("first", plain(desk)._replace(more="verify: true"))
    config, number = websocket(desk, plain(desk), strict)
    assert desk.findings("option-twice")
    with running(config):
        assert not knock(number, context())


def test_verification_without_a_bundle_takes_the_roots_of_the_system(desk: Desk) -> None:
    """`trust-in-every-public-authority`: whoever comes from a root of the system is let in."""
    roots = desk.authority("Public Root")
    system = desk.write("system.pem", write_certificates((roots.certificate,)))
    own = plain(desk)._replace(trust=())
    first, number = pair(desk, own, plain(desk, by=roots, subject="n2"))
    assert desk.findings("trust-in-every-public-authority")
    with running(first, {"SSL_CERT_FILE": str(system)}):
        assert let_in(desk, "n2-cluster", number)


def test_a_client_can_be_a_route_where_both_share_a_bundle(desk: Desk) -> None:
    """`trust-shared-between-purposes`: the certificate of a client opens the cluster's port."""
    number = free_port()
    desk.write("ca.pem", write_certificates((desk.root.certificate,)))
    block = plain(desk)._replace(trust=(), more=f"verify: true\nca_file: '{desk.folder}/ca.pem'")
    config = desk.server(
        more=f"listen: '{HOST}:-1'",
        inside={"cluster": f"name: c\n  listen: '{HOST}:{number}'"},
        top=block,
        cluster=block,
    )
    client = desk.leaf("app.example", subject="app", shape=LEAF._replace(extended=(CLIENT_AUTH,)))
    desk.write("app.pem", write_certificates((client.certificate,)))
    desk.write("app.key", client.key_pem())
    assert desk.findings("trust-shared-between-purposes")
    with running(config):
        assert let_in(desk, "app", number)


def test_an_old_authority_still_lets_its_own_in(desk: Desk) -> None:
    """`old-authority-still-trusted`: a leaf of the CA that was rotated away opens the port."""
    old = desk.authority("Old", CA._replace(days=(-400, 300)))
    own = plain(desk)._replace(trust=(desk.root, old))
    first, number = pair(desk, own, plain(desk, subject="n2"))
    assert desk.findings("old-authority-still-trusted")
    leaf = desk.leaf(HOST, by=old, subject="thief")
    desk.write("thief.pem", write_certificates((leaf.certificate,)))
    desk.write("thief.key", leaf.key_pem())
    with running(first):
        assert let_in(desk, "thief", number)


def test_the_second_certificate_is_not_presented(desk: Desk) -> None:
    """`second-certificate-unseen`: the handshake shows the first one."""
    pairs = []
    for name in ("old", "new"):
        made = desk.leaf("localhost", subject=name)
        cert = desk.write(f"{name}.pem", write_certificates((made.certificate,)))
        key = desk.write(f"{name}.key", made.key_pem())
        pairs.append((made.certificate, f"{{cert_file: '{cert}', key_file: '{key}'}}"))
    listed = ", ".join(text for _, text in pairs)
    config, number = websocket(desk, Tls(more=f"certs: [{listed}]"))
    assert desk.findings("second-certificate-unseen")
    with running(config), context().wrap_socket(reach(number)) as stream:
        assert stream.getpeercert(binary_form=True) == pairs[0][0].der


def test_the_monitoring_port_tells_everybody(desk: Desk) -> None:
    """`monitoring-in-clear`: no certificate and no password is asked for."""
    number = free_port()
    config = desk.server(more=f"listen: '{HOST}:-1'\nhttp: '0.0.0.0:{number}'", top=plain(desk))
    assert desk.findings("monitoring-in-clear")
    with running(config), urlopen(f"http://{HOST}:{number}/connz", timeout=SECONDS) as answer:
        assert "connections" in json.load(answer)


def test_clients_may_speak_in_clear_where_it_is_allowed(desk: Desk) -> None:
    """`clients-in-clear-allowed`: a client without TLS is served on the same port."""
    number = free_port()
    config = desk.server(more=f"listen: '{HOST}:{number}'\nallow_non_tls: true", top=plain(desk))
    assert desk.findings("clients-in-clear-allowed")
    with running(config):
        assert "PONG" in client_port(desk, number)


@pytest.mark.parametrize(
    ("user", "served"), [("/CN=app", False), ("CN=app", True), ("app.example", True)]
)
def test_users_have_to_be_named_as_a_certificate_names_them(
    desk: Desk, user: str, *, served: bool
) -> None:
    """`mapped-user-without-certificate`: rule and server agree on who can be a user."""
    number = free_port()
    config = desk.server(
        more=f"listen: '{HOST}:{number}'\nauthorization {{ users: [ {{ user: '{user}' }} ] }}",
        top=plain(desk)._replace(more="verify_and_map: true"),
    )
    client = desk.leaf("app.example", subject="app")
    desk.write("app.pem", write_certificates((client.certificate,)))
    desk.write("app.key", client.key_pem())
    desk.clients.append(desk.folder / "app.pem")
    assert bool(desk.findings("mapped-user-without-certificate")) is not served
    with running(config):
        assert ("PONG" in client_port(desk, number, cert="app")) is served


# Reloads.


def test_a_reload_is_refused_as_a_whole(desk: Desk) -> None:
    """`reload-refused`: the server says so, and keeps the certificate that it had."""
    config, number = websocket(desk, plain(desk))
    before = config.read_text()
    with running(config) as node:
        fresh = desk.leaf("localhost", subject="fresh")
        desk.write("fresh.pem", write_certificates((fresh.certificate,)))
        desk.write("fresh.key", fresh.key_pem())
        after = before.replace("n1-websocket.pem", "fresh.pem")
        after = after.replace("n1-websocket.key", "fresh.key").replace("server_name: n1", "")
        config.write_text(f"{after}\nserver_name: other\n")
        desk.loaded(config, before)
        assert desk.findings("reload-refused")
        node.reload()
        assert node.said("Failed to reload")
        with context().wrap_socket(reach(number)) as stream:
            assert stream.getpeercert(binary_form=True) != fresh.certificate.der


def test_a_reload_takes_tls_away_without_a_word(desk: Desk) -> None:
    """`reload-to-plaintext`: after the reload a client in clear is served."""
    number = free_port()
    config = desk.server(more=f"listen: '{HOST}:{number}'", top=plain(desk))
    before = config.read_text()
    with running(config) as node:
        assert "PONG" not in client_port(desk, number)
        config.write_text(f"server_name: n1\nlisten: '{HOST}:{number}'\n")
        desk.loaded(config, before)
        assert desk.findings("reload-to-plaintext")
        node.reload()
        assert "PONG" in client_port(desk, number)


# Where OpenSSL differs.


def test_openssl_refuses_what_go_reads(desk: Desk) -> None:
    """`pem-refused-by-openssl`: the file is good for nats-server, and not for Python."""
    lines = write_certificates((desk.root.certificate,)).splitlines(keepends=True)
    pem = b"".join((*lines[:3], b"\n", *lines[3:]))
    config = desk.server(top=plain(desk)._replace(ca=pem, more="verify: true"))
    assert desk.findings("pem-refused-by-openssl")
    assert not desk.findings("file-without-certificates")
    assert nats_oracle.ask(config).digest
    with pytest.raises(ssl.SSLError):
        context().load_verify_locations(desk.folder / "n1-top-ca.pem")


@pytest.mark.parametrize(
    ("rule", "weak"), [("weak-key", True), ("authority-without-key-usage", False)]
)
def test_openssl_refuses_a_server_that_go_accepts(desk: Desk, rule: str, *, weak: bool) -> None:
    """`weak-key`, `authority-without-key-usage`: a strict Python client turns away."""
    root = desk.authority("Root 2", CA if weak else CA._replace(usages=None))
    key = rsa_key(1024, "proven weak") if weak else None
    shape = LEAF._replace(names=config_scenes.named("localhost"))
    made = forge("n1", shape, by=root, key=key, now=desk.now)
    config, number = websocket(desk, Tls((made,), (root,), "verify: false"))
    assert desk.findings(rule)
    client = ssl.create_default_context(cafile=str(desk.folder / "n1-websocket-ca.pem"))
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with running(config):
        assert knock(number, client)
