"""The verdicts of both verifiers are those of the real stacks: nats-server (Go) and OpenSSL."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rigs.pki_chain_cases import YES, Case, chain_cases
from rigs.pki_forge import CA, LEAF, Forged, forge
from rigs.pki_stack_lab import (
    NatsServer,
    advertised_by,
    answer_all,
    bundle_text,
    dialler_accepts,
    dialler_offers,
    listeners,
    nats_accepts_client,
    openssl_accepts,
    openssl_loads,
    presenting,
    write_chain,
)
from rollover.errors import PemError
from rollover.fleet.certificate import KeyKind, Question, Stack, Usage
from rollover.pki import keys
from rollover.pki.issue import CLOCK_SKEW, ROUTE, cross_sign, issue_authority, issue_leaf
from rollover.pki.pem import RemarkKind, loaded_by_go, read_certificates, write_certificates
from rollover.pki.stacks import Verifier

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


def _issued_by_us() -> list[Case]:
    """Chains of our own making: direct, and cross-signed for peers that trust either CA."""
    cases = []
    for kind in (KeyKind.P256, KeyKind.RSA_2048, KeyKind.ED25519, KeyKind.P384):
        old, new, key = (keys.generate(kind) for _ in range(3))
        start = NOW - CLOCK_SKEW
        roots = [
            issue_authority(common_name=name, key=own, not_before=start, lifetime=YEAR)
            for name, own in (("our old CA", old), ("our new CA", new))
        ]
        cross = cross_sign(roots[1], by=roots[0], by_key=old, not_before=start)
        leaf = issue_leaf(
            profile=ROUTE,
            common_name="node",
            names=["localhost", "127.0.0.1"],
            key=key,
            authority=roots[1],
            authority_key=new,
            not_before=start,
            lifetime=YEAR,
        )
        served = (Forged(leaf, key.signing_key), Forged(cross, new.signing_key))
        for title, bundle in (("old", roots[:1]), ("new", roots[1:]), ("both", roots)):
            name = f"issued by us, {kind}, cross-signed, peer trusts {title}"
            cases.append(Case(name, served, tuple(bundle), YES, YES))
    return cases


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    """Every chain, valid around the real time: real stacks have no other."""
    return (*chain_cases(NOW), *_issued_by_us())


def _verdicts(cases: tuple[Case, ...], stack: Stack, usage: Usage) -> dict[str, bool]:
    verdicts = {}
    for case in cases:
        verifier = Verifier({one.fingerprint: one for one in case.certificates()})
        question = case.question(stack=stack, usage=usage, instant=NOW)
        verdicts[case.name] = verifier(question).accepted
    return verdicts


def test_go_acceptor(cases: tuple[Case, ...], tmp_path: Path) -> None:
    """A nats-server which verifies clients takes exactly the chains that we say it takes."""
    own = write_chain([forge("nats", now=NOW)], folder=tmp_path / "own")
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(write_certificates(cases[0].bundle))
    tls = (
        f'tls {{ cert_file: "{own.certificate_file}", key_file: "{own.key_file}", '
        f'ca_file: "{bundle}", verify: true, timeout: 20 }}'
    )
    observed = {}
    with NatsServer(tmp_path, tls) as server:
        for number, case in enumerate(cases):
            bundle.write_bytes(write_certificates(case.bundle))
            server.reload()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            chain = write_chain(case.chain, folder=tmp_path / str(number))
            observed[case.name] = nats_accepts_client(server, presenting(context, chain))
    assert observed == _verdicts(cases, Stack.GO, Usage.CLIENT)


def test_go_dialer(cases: tuple[Case, ...], tmp_path: Path) -> None:
    """A nats-server which dials takes exactly the servers that we say it takes."""
    with listeners(len(cases)) as sockets:
        jobs, remotes = [], []
        for number, (case, listener) in enumerate(zip(cases, sockets, strict=True)):
            chain = write_chain(case.chain, folder=tmp_path / str(number))
            context = presenting(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain)
            jobs.append(lambda one=listener, own=context: dialler_accepts(one, own))
            bundle = chain.key_file.with_name("ca.pem")
            bundle.write_bytes(write_certificates(case.bundle))
            port = listener.getsockname()[1]
            tls = f'ca_file: "{bundle}", handshake_first: true, timeout: 20'
            remotes.append(f'{{ url: "tls://{case.host}:{port}", tls {{ {tls} }} }}')
        with NatsServer(tmp_path, _leaf_remotes(remotes)):
            observed = dict(zip((case.name for case in cases), answer_all(jobs), strict=True))
    assert observed == _verdicts(cases, Stack.GO, Usage.SERVER)


def test_go_dialer_offers(tmp_path: Path) -> None:
    """A nats-server sends its certificate only where an issuer of its chain is advertised."""
    root, other = forge("root", CA, now=NOW), forge("other", CA, now=NOW)
    inter = forge("inter", CA._replace(authority_key_id=True), by=root, now=NOW)
    leaf = forge("leaf", LEAF, by=inter, now=NOW)
    offers: dict[str, tuple[list[Forged], list[Forged]]] = {
        "issuer advertised": ([leaf], [inter]),
        "issuer of the intermediate advertised": ([leaf, inter], [root]),
        "intermediate missing, root advertised": ([leaf], [root]),
        "another root advertised": ([leaf, inter], [other]),
        "one of two advertised": ([leaf, inter], [other, root]),
    }
    own = write_chain([forge("acceptor", now=NOW)], folder=tmp_path / "acceptor")
    trusted = own.certificate_file
    with listeners(len(offers)) as sockets:
        jobs, remotes = [], []
        for (title, (chain, bundle)), listener in zip(offers.items(), sockets, strict=True):
            mine = write_chain(chain, folder=tmp_path / title.replace(" ", "-"))
            names = [one.certificate for one in bundle]
            jobs.append(lambda one=listener, known=names: dialler_offers(one, own, known))
            tls = (
                f'cert_file: "{mine.certificate_file}", key_file: "{mine.key_file}", '
                f'ca_file: "{trusted}", handshake_first: true, timeout: 20'
            )
            port = listener.getsockname()[1]
            remotes.append(f'{{ url: "tls://localhost:{port}", tls {{ {tls} }} }}')
        with NatsServer(tmp_path, _leaf_remotes(remotes)):
            observed = dict(zip(offers, answer_all(jobs), strict=True))
    known = {one.certificate.fingerprint: one.certificate for one in (root, other, inter, leaf)}
    assert observed == {
        title: not _withheld(Verifier(known), chain, bundle)
        for title, (chain, bundle) in offers.items()
    }


@pytest.mark.parametrize("usage", Usage)
def test_openssl(cases: tuple[Case, ...], usage: Usage, tmp_path: Path) -> None:
    """OpenSSL, as Python uses it, takes exactly the chains that we say it takes."""
    own = write_chain([forge("own", now=NOW)], folder=tmp_path / "own")
    observed = {}
    for number, case in enumerate(cases):
        chain = write_chain(case.chain, folder=tmp_path / str(number))
        if usage is Usage.SERVER:
            verifying = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            presenter = presenting(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain)
        else:
            verifying = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            verifying.verify_mode = ssl.CERT_REQUIRED
            verifying.load_cert_chain(own.certificate_file, own.key_file)
            presenter = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            presenter.check_hostname = False
            presenter.verify_mode = ssl.CERT_NONE
            presenter = presenting(presenter, chain)
        verifying.load_verify_locations(cadata=bundle_text(case.bundle))
        host = case.host if usage is Usage.SERVER else None
        observed[case.name] = openssl_accepts(verifying, presenter, host=host)
    assert observed == _verdicts(cases, Stack.OPENSSL, usage)


def _mangled(first: bytes, second: bytes, key: bytes) -> dict[str, bytes]:
    """Files that hold two CAs, one way or another."""
    body = b"".join(first.splitlines()[1:-1])
    return {
        "plain": first + second,
        "CRLF": (first + second).replace(b"\n", b"\r\n"),
        "byte order mark": b"\xef\xbb\xbf" + first + second,
        "joined": first.rstrip(b"\n") + second,
        "text around": b"subject=first\n" + first + b"text\n" + second + b"end\n",
        "headers": first.replace(b"-----\n", b"-----\nOwner: ops\n\n", 1) + second,
        "trusted": first.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE") + second,
        "garbage": first
        + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        + second,
        "damaged base64": first + second.replace(b"\nMII", b"\nM!I"),
        "duplicate": first + second + first,
        "key between": first + key + second,
        "one long line": b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % body
        + second,
        "blanks after the markers": first.replace(b"-----\n", b"----- \t\n") + second,
        "blanks before the first marker": b"  " + first + second,
        "text after the end": first.replace(
            b"-----END CERTIFICATE-----", b"-----END CERTIFICATE-----x"
        )
        + second,
        "begin twice": b"-----BEGIN CERTIFICATE-----\n" + first + second,
        "blank lines inside": first.replace(b"\n", b"\n\n") + second,
    }


def test_go_bundles(tmp_path: Path) -> None:
    """A nats-server loads of an odd file exactly the CAs that we say Go loads."""
    own = write_chain([forge("nats", now=NOW)], folder=tmp_path / "own")
    first, second, last = (forge(name, CA, now=NOW) for name in ("first", "second", "last"))
    texts = [write_certificates([one.certificate]) for one in (first, second, last)]
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(texts[2])
    tls = (
        f'tls {{ cert_file: "{own.certificate_file}", key_file: "{own.key_file}", '
        f'ca_file: "{bundle}", verify: true, timeout: 20 }}'
    )
    observed, expected = {}, {}
    with NatsServer(tmp_path, tls) as server:
        for title, text in _mangled(texts[0], texts[1], first.key_pem()).items():
            # The last CA keeps the reload alive where Go loads none of the others.
            bundle.write_bytes(text + b"\n" + texts[2])
            server.reload()
            observed[title] = advertised_by(server)
            loaded = loaded_by_go(bundle.read_bytes())
            expected[title] = [one.subject.removeprefix("CN=") for one in loaded]
    assert observed == expected


def test_openssl_bundles(tmp_path: Path) -> None:
    """OpenSSL refuses the files of which our remarks say so; the others it loads."""
    first, second = (forge(name, CA, now=NOW) for name in ("first", "second"))
    texts = [write_certificates([one.certificate]) for one in (first, second)]
    observed, expected = {}, {}
    for title, text in _mangled(texts[0], texts[1], first.key_pem()).items():
        file = tmp_path / "ca.pem"
        file.write_bytes(text)
        observed[title] = openssl_loads(file)
        expected[title] = openssl_would_load(text)
    assert observed == expected


def openssl_would_load(text: bytes) -> bool:
    """Return what the reading of a file says about OpenSSL."""
    try:
        reading = read_certificates(text)
    except PemError:
        return False
    refused = [one for one in reading.remarks if one.kind is not RemarkKind.INDENTED]
    return not any(Stack.OPENSSL in remark.stacks for remark in refused)


def _leaf_remotes(remotes: list[str]) -> str:
    return f'leafnodes {{ reconnect: "1s", remotes: [\n{chr(10).join(remotes)}\n] }}'


def _withheld(verifier: Verifier, chain: list[Forged], bundle: list[Forged]) -> bool:
    question = Question(
        chain=tuple(one.certificate.fingerprint for one in chain),
        bundle=tuple(one.certificate.fingerprint for one in bundle),
        instant=NOW,
        usage=Usage.CLIENT,
        stack=Stack.OPENSSL,
        presenter=Stack.GO,
    )
    return any(fault.kind.value == "not-offered" for fault in verifier(question).faults)
