"""Makes the NATS CA of a BOSH lab expire, with every leaf it has signed, as if time had passed.

Same keys, subjects and serials; only the dates are past. Everything that holds one of the
certificates gets it: the vars store, the director VM, the agents, the fleet file. The director VM's
jobs and the agents start again, and cannot talk to each other any more.
"""

from __future__ import annotations

import hashlib
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from bosh_interpolate import emit, load_variables
from bosh_interpolate.values import Tree
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover_lab import machine
from rollover_lab.bosh import director_access
from rollover_lab.bosh.agent.directory import CertKeyPair
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.create_env import CreateEnv, CreateEnvStateFile, interpolated, manifest_sha
from rollover_lab.bosh.job_config import HealthMonitorConfig
from rollover_lab.bosh.layout import BoshLayout, CloudLayout, DirectorVmLayout
from rollover_lab.lifecycle import await_nothing_missing

ENDED_AGO = timedelta(minutes=1)
START_SECONDS = 60.0


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """What was made to expire."""

    ended_at: datetime
    certificates: int
    agents: int
    state_updated: bool
    """Whether the state file now knows the manifest; not when it was deployed with ops files."""


@manifest_errors()
def expire(layout: BoshLayout, cloud: LabCloud, *, request: CreateEnv) -> Expired:
    """Expire the CAs that NATS trusts and everything they signed; `request`: the operator's call.

    `SpecError` when the vars store does not hold the key of one.
    """
    at = datetime.now(UTC).replace(microsecond=0) - ENDED_AGO
    before = manifest_sha(interpolated(request))
    director_vm = layout.director_vm
    store = load_variables(layout.credentials.read_bytes())
    places = CloudLayout(layout.root)
    agents = {vm.agent_id: places.vm(vm.vm_cid).agent.told().credentials for vm in cloud.vms()}
    trusted = read_blocks((director_vm.nats / "ca.pem").read_text())
    swap = resign_expired(
        (*_texts(store), *(pair.certificate for pair in agents.values())),
        _signers(store, trusted),
        at=at,
    )
    # Nobody is to read a file while it changes.
    cloud.director_vm("stop")
    _rewrite(layout, store, swap)
    for agent, pair in agents.items():
        cloud.rewrite_credentials(agent, _swapped(pair, swap))
    updated = _note(request, layout, before=before)
    cloud.director_vm("start")
    _await_director(director_vm)
    return Expired(ended_at=at, certificates=len(swap), agents=len(agents), state_updated=updated)


def _await_director(vm: DirectorVmLayout) -> None:
    """Wait until the director's API answers again: it needs no NATS for that."""
    monitor = msgspec.json.decode(vm.health_monitor_config.read_bytes(), type=HealthMonitorConfig)
    ca = Path(monitor.director_ca).read_bytes()
    await_nothing_missing(
        lambda: director_access.why_director_is_silent(monitor.director, ca),
        lambda: None,
        seconds=START_SECONDS,
    )


def _signers(store: Mapping[str, Tree], trusted: tuple[str, ...]) -> tuple[LabSigner, ...]:
    """Return the CAs of the store that are trusted."""
    return tuple(
        read_signer(str(value["certificate"]), str(value["private_key"]))
        for value in store.values()
        if isinstance(value, dict)
        and set(read_blocks(str(value.get("certificate", "")))) & set(trusted)
    )


def _texts(value: Tree | Mapping[str, Tree]) -> Iterator[str]:
    """Yield every text of a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)


def _rewrite(layout: BoshLayout, store: Mapping[str, Tree], swap: ResignedCertificates) -> None:
    vm = layout.director_vm
    before = _nats_config_sha1(vm)
    new: Tree = {name: _swapped_tree(value, swap) for name, value in store.items()}
    machine.write_private(layout.credentials, emit(new).encode())
    for path in sorted(vm.ephemeral.glob("*/*.pem")):
        machine.write_private(path, swap_certificates(path.read_text(), swap).encode())
    _remember(vm, before=before)
    # The fleet file names certificates by their fingerprints, and these are others.
    fleet = layout.fleet.read_text()
    for old, new in swap.items():
        fleet = fleet.replace(_fingerprint(old), _fingerprint(new))
    machine.write_private(layout.fleet, fleet.encode())


def _swapped_tree(value: Tree, swap: ResignedCertificates) -> Tree:
    if isinstance(value, str):
        return swap_certificates(value, swap)
    if isinstance(value, dict):
        return {key: _swapped_tree(child, swap) for key, child in value.items()}
    if isinstance(value, list):
        return [_swapped_tree(child, swap) for child in value]
    return value


def _swapped(pair: CertKeyPair, swap: ResignedCertificates) -> CertKeyPair:
    return CertKeyPair(
        ca=swap_certificates(pair.ca, swap),
        certificate=swap_certificates(pair.certificate, swap),
        private_key=pair.private_key,
    )


def _nats_config_sha1(vm: DirectorVmLayout) -> str:
    """Return the director's fingerprint of what it gives to agents (reference/bosh.md §0.2)."""
    names = ("client-ca.pem", "client-ca.key", "nats-ca.pem")
    parts = b"".join((vm.director / name).read_bytes() for name in names)
    return hashlib.sha1(parts, usedforsecurity=False).hexdigest()


def _remember(vm: DirectorVmLayout, *, before: str) -> None:
    """Let the director find that agents have what they should: nothing was rotated."""
    with closing(sqlite3.connect(vm.database)) as database, database:
        database.execute(
            "UPDATE vms SET nats_config_sha1 = ? WHERE nats_config_sha1 = ?",
            (_nats_config_sha1(vm), before),
        )


def _fingerprint(block: str) -> str:
    return x509.load_pem_x509_certificate(block.encode()).fingerprint(hashes.SHA256()).hex()


def _note(request: CreateEnv, layout: BoshLayout, *, before: str) -> bool:
    """Have the state file know the manifest, as it did before."""
    state = CreateEnvStateFile(Path(request.state) if request.state else layout.state)
    if state.now.current_manifest_sha != before:
        return False
    state.change(current_manifest_sha=manifest_sha(interpolated(request)))
    return True


_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

ResignedCertificates = Mapping[str, str]
"""PEM blocks, without a final newline, and what stands in their place."""


class LabSigner(NamedTuple):
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def read_signer(certificate: str, private_key: str) -> LabSigner:
    """Return the signer of two PEM texts; `SpecError` when they are none."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        key = load_pem_private_key(private_key.encode(), password=None)
    except ValueError:
        # The cause is left out: it may quote what it was given.
        raise SpecError("a CA of NATS cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != found.public_key():
        raise SpecError("a CA of NATS and its private key do not belong together")
    return LabSigner(found, key)


def read_blocks(text: str) -> tuple[str, ...]:
    """Return the certificates of a PEM text, each as it stands there."""
    found = []
    for part in text.split(_BEGIN)[1:]:
        content, end, _ = part.partition(_END)
        if end:
            found.append(f"{_BEGIN}{content}{_END}")
    return tuple(found)


def resign_expired(
    texts: Iterable[str], signers: Iterable[LabSigner], *, at: datetime
) -> ResignedCertificates:
    """Return what takes the place of every certificate that one of the signers has signed.

    Same key, subject, serial and extensions; it ended at `at`, and lived as long as it would have.
    """
    known = tuple(signers)
    swap = {}
    for block in {block for text in texts for block in read_blocks(text)}:
        certificate = x509.load_pem_x509_certificate(block.encode())
        for signer in known:
            if _signed(certificate, signer):
                again = _sign_again(certificate, signer, at=at)
                swap[block] = again.public_bytes(Encoding.PEM).decode().rstrip("\n")
                break
    return swap


def swap_certificates(text: str, swap: ResignedCertificates) -> str:
    """Return the text with the certificates in their place."""
    for block in read_blocks(text):
        if block in swap:
            text = text.replace(block, swap[block])
    return text


def _signed(certificate: x509.Certificate, by: LabSigner) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if certificate.issuer != by.certificate.subject or algorithm is None:
        return False
    try:
        by.key.public_key().verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            padding.PKCS1v15(),
            algorithm,
        )
    except InvalidSignature:
        return False
    return True


def _sign_again(certificate: x509.Certificate, by: LabSigner, *, at: datetime) -> x509.Certificate:
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    with warnings.catch_warnings():
        # Of names longer than they may be: those of the real director's certificates are.
        warnings.simplefilter("ignore", UserWarning)
        builder = (
            x509.CertificateBuilder()
            .subject_name(certificate.subject)
            .issuer_name(certificate.issuer)
            .public_key(certificate.public_key())
            .serial_number(certificate.serial_number)
            .not_valid_before(at - lifetime)
            .not_valid_after(at)
        )
        for extension in certificate.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        return builder.sign(by.key, certificate.signature_hash_algorithm)  # type: ignore[arg-type] # one of RSA's, see `_signed`
