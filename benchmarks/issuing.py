"""Leaves per second on all cores for each kind of key, beside a bare key-and-sign loop.

Run: `python benchmarks/issuing.py [--seconds S] [--rounds R]`. Three arms, in turns: `bare` makes a
key, signs a certificate with `cryptography`'s own builder and writes both as PEM; `issue` does the
same with Rollover's issuing; `stored` is what a rollout does: leaves made like those they replace,
checked, sealed, and durably in the credential store. The first two use all cores, by threads for
RSA and by processes for the others; all arms have an authority with a key of the leaf's kind.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from multiprocessing import get_context
from os import cpu_count, getloadavg
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rollover.engine.authorities import SigningAuthority
from rollover.engine.leaves import LeafIssuer, WantedLeaf
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.pki.issue import SERVER, issue_authority, issue_leaf, reissue_like
from rollover.pki.keys import RSA_BITS, PrivateKey, SigningKey, from_pem, generate, to_pem
from rollover.pki.pem import read_certificates, write_certificates
from rollover.store.credentials import SqliteCredentials, open_credentials
from rollover.store.sealing import keys_from_file

GOAL = 0.9
LIFETIME = timedelta(days=30)
CORES = cpu_count() or 1
LEAVES = {KeyKind.RSA_2048: 36, KeyKind.RSA_3072: 16, KeyKind.RSA_4096: 8}
"""Leaves of one arm in one round. How long an RSA key takes is a matter of luck: means of many."""
FAST_LEAVES = 2000
"""The same for the other kinds of key."""
WARM_UP_SECONDS = 0.5
"""Long enough for every worker to get one, and so to have started."""


class Authority(NamedTuple):
    """What processes are told: an authority as PEM."""

    certificate: bytes
    key: bytes


def make_authority(kind: KeyKind) -> Authority:
    """Make an authority with a key of a kind."""
    key = generate(kind)
    made = issue_authority(
        common_name="Benchmark CA 1",
        organization="Rollover",
        key=key,
        not_before=datetime.now(UTC),
        lifetime=LIFETIME,
    )
    return Authority(write_certificates((made,)), to_pem(key))


def bare(authority: Authority, kind: KeyKind, count: int) -> None:
    """Make keys and sign certificates with nothing but the library."""
    issuer, signer = bare_authority(authority)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    for number in range(count):
        key = generate(kind).signing_key
        made = builder(issuer, key, number=number).sign(signer, digest)
        made.public_bytes(serialization.Encoding.PEM)
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@functools.cache
def bare_authority(authority: Authority) -> tuple[x509.Certificate, SigningKey]:
    """Read an authority with the library, once in each process."""
    certificate = x509.load_pem_x509_certificate(authority.certificate)
    return certificate, from_pem(authority.key).signing_key


def builder(issuer: x509.Certificate, key: SigningKey, *, number: int) -> x509.CertificateBuilder:
    """Return a server's certificate before it is signed."""
    now, public = datetime.now(UTC), key.public_key()
    name = f"n{number}.example"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder(issuer.subject, subject, public, x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
            critical=False,
        )
    )


def key_usage() -> x509.KeyUsage:
    """Return the usages of a leaf."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue(authority: Authority, kind: KeyKind, count: int) -> None:
    """Make the same with Rollover's own issuing: each like a leaf that it replaces."""
    signing, like = signing_authority(authority), replaced(authority, kind)
    for _ in range(count):
        key = generate(kind)
        made = reissue_like(
            like,
            key=key,
            authority=signing.certificate,
            authority_key=signing.key,
            not_before=datetime.now(UTC),
            lifetime=LIFETIME,
        )
        write_certificates((made,))
        to_pem(key)


@functools.cache
def replaced(authority: Authority, kind: KeyKind) -> Certificate:
    """Make a leaf that others are like, once in each process."""
    return leaf(signing_authority(authority), generate(kind), number=0)


@functools.cache
def signing_authority(authority: Authority) -> SigningAuthority:
    """Read an authority, once in each process."""
    certificate = read_certificates(authority.certificate).certificates[0]
    return SigningAuthority(certificate, from_pem(authority.key))


def leaf(signing: SigningAuthority, key: PrivateKey, *, number: int) -> Certificate:
    """Issue a server's certificate."""
    name = f"n{number}.example"
    return issue_leaf(
        profile=SERVER,
        common_name=name,
        names=(name, "127.0.0.1"),
        key=key,
        authority=signing.certificate,
        authority_key=signing.key,
        not_before=datetime.now(UTC),
        lifetime=LIFETIME,
    )


Loop = Callable[[Authority, KeyKind, int], None]


def on_all_cores(
    loop: Loop, authority: Authority, kind: KeyKind, *, count: int, pool: Executor
) -> float:
    """Return leaves per second of a loop that is run on each core."""
    # One RSA key can take as long as ten others: shared out one by one, no core waits long.
    at_once = 1 if kind in RSA_BITS else count // (CORES * 4)
    start = perf_counter()
    list(pool.map(partial(loop, authority, kind), [at_once] * (count // at_once)))
    return count / (perf_counter() - start)


def stored(mint: LeafIssuer, wanted: Sequence[WantedLeaf]) -> float:
    """Return leaves per second that a rollout makes and stores."""
    start = perf_counter()
    assert len(mint.leaves(wanted)) == len(wanted)
    return len(wanted) / (perf_counter() - start)


@contextmanager
def workers(kind: KeyKind) -> Iterator[Executor]:
    """Yield a worker for each core: threads for RSA, processes for the others, already started."""
    with (
        ThreadPoolExecutor(CORES)
        if kind in RSA_BITS
        else ProcessPoolExecutor(CORES, mp_context=get_context("spawn"))
    ) as pool:
        list(pool.map(sleep, [WARM_UP_SECONDS] * CORES))
        yield pool


def measure(
    kind: KeyKind, *, count: int, rounds: int, credentials: SqliteCredentials
) -> dict[str, float]:
    """Return the rate of each arm."""
    authority = make_authority(kind)
    signing = signing_authority(authority)
    key = generate(kind)
    likes = [leaf(signing, key, number=number) for number in range(count)]
    mint = LeafIssuer(credentials, authority=signing, clock=lambda: datetime.now(UTC))
    rates: dict[str, list[float]] = {"bare": [], "issue": [], "stored": []}
    with workers(kind) as pool:
        for turn in range(rounds):
            wanted = [
                WantedLeaf(f"/{kind}/{turn}/n{number}", like) for number, like in enumerate(likes)
            ]
            arms = {
                "bare": partial(on_all_cores, bare, authority, kind, count=count, pool=pool),
                "issue": partial(on_all_cores, issue, authority, kind, count=count, pool=pool),
                "stored": partial(stored, mint, wanted),
            }
            # In turns, each first once, so that other work on the machine disturbs all alike.
            for number in range(len(arms)):
                name = list(arms)[(turn + number) % len(arms)]
                rates[name].append(arms[name]())
    average = statistics.harmonic_mean if kind in RSA_BITS else statistics.median
    return {name: average(found) for name, found in rates.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    print(f"leaves per second on {CORES} cores, {rounds} rounds; load {getloadavg()[0]:.1f}")
    print(
        f"{'key':10}{'leaves':>8}{'bare':>10}{'issue':>10}{'ratio':>7}{'goal':>7}"
        f"{'stored':>10}{'ratio':>7}"
    )
    with tempfile.TemporaryDirectory(prefix="rollover-bench-") as name:
        state = Path(name) / "state"
        keys = keys_from_file(state / "sealing.key")
        with open_credentials(state / "credentials.db", keys=keys) as credentials:
            for kind in KeyKind:
                count = LEAVES.get(kind, FAST_LEAVES)
                rate = measure(kind, count=count, rounds=rounds, credentials=credentials)
                print(
                    f"{kind:10}{count * rounds:8}{rate['bare']:10.1f}{rate['issue']:10.1f}"
                    f"{rate['issue'] / rate['bare']:7.2f}{f'≥ {GOAL:g}':>7}"
                    f"{rate['stored']:10.1f}{rate['stored'] / rate['bare']:7.2f}"
                )


if __name__ == "__main__":
    main()
