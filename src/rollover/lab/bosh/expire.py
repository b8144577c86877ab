"""Makes the NATS CA of a lab expire, with every leaf it has signed, as if time had passed.

Same keys, subjects and serials; only the dates are past. Everything that holds one of the
certificates gets it: the vars store, the director VM, the agents, the fleet file. The director
VM's jobs and the agents start again, and cannot talk to each other any more.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rollover.codec.manifests import manifest_errors
from rollover.lab import private_files
from rollover.lab.bosh import api, resigning
from rollover.lab.bosh.agent.settings import CertKeyPair
from rollover.lab.bosh.cloud.client import Cloud
from rollover.lab.bosh.cloud.places import Places
from rollover.lab.bosh.create_env import CreateEnv, interpolated
from rollover.lab.bosh.layout import BoshLayout, DirectorVmLayout
from rollover.lab.bosh.rendered import HealthMonitorConfig
from rollover.lab.bosh.resigning import Signer, Swap
from rollover.lab.bosh.state_file import StateFile, manifest_sha
from rollover.lab.readiness import await_nothing_missing
from rollover.manifest import emit, load_variables
from rollover.manifest.values import Tree

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
def expire(layout: BoshLayout, cloud: Cloud, *, request: CreateEnv) -> Expired:
    """Expire the CAs that NATS trusts and everything they signed; `request`: the operator's call.

    `SpecError` when the vars store does not hold the key of one.
    """
    at = datetime.now(UTC).replace(microsecond=0) - ENDED_AGO
    before = manifest_sha(interpolated(request))
    vm = layout.director_vm
    store = load_variables(layout.credentials.read_bytes())
    agents = {each.agent_id: _credentials(layout, each.vm_cid) for each in cloud.vms()}
    trusted = resigning.blocks((vm.nats / "ca.pem").read_text())
    swap = resigning.expired(
        (*_texts(store), *(pair.certificate for pair in agents.values())),
        _signers(store, trusted),
        at=at,
    )
    cloud.director_vm("stop")
    _rewrite(layout, store, swap)
    for agent, pair in agents.items():
        cloud.rewrite_credentials(agent, _swapped(pair, swap))
    updated = _note(request, layout, before=before)
    cloud.director_vm("start")
    _await_director(vm)
    return Expired(ended_at=at, certificates=len(swap), agents=len(agents), state_updated=updated)


def _await_director(vm: DirectorVmLayout) -> None:
    """Wait until the director's API answers again: it needs no NATS for that."""
    monitor = msgspec.json.decode(vm.health_monitor_config.read_bytes(), type=HealthMonitorConfig)
    ca = Path(monitor.director_ca).read_bytes()
    await_nothing_missing(
        lambda: api.silence(monitor.director, ca), lambda: None, seconds=START_SECONDS
    )


def _credentials(layout: BoshLayout, vm_cid: str) -> CertKeyPair:
    return Places(layout.root).vm(vm_cid).agent.told().credentials


def _signers(store: Mapping[str, Tree], trusted: tuple[str, ...]) -> tuple[Signer, ...]:
    """Return the CAs of the store that are trusted."""
    return tuple(
        resigning.signer(str(value["certificate"]), str(value["private_key"]))
        for value in store.values()
        if isinstance(value, dict)
        and set(resigning.blocks(str(value.get("certificate", "")))) & set(trusted)
    )


def _texts(value: Tree | Mapping[str, Tree]) -> Iterator[str]:
    """Yield every text of a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _rewrite(layout: BoshLayout, store: Mapping[str, Tree], swap: Swap) -> None:
    vm = layout.director_vm
    before = _nats_config_sha1(vm)
    private_files.write(layout.credentials, emit(_swapped_store(store, swap)).encode())
    for path in sorted(vm.ephemeral.glob("*/*.pem")):
        private_files.write(path, resigning.swapped(path.read_text(), swap).encode())
    _remember(vm, before=before)
    _name_anew(layout.fleet, swap)


def _swapped_store(store: Mapping[str, Tree], swap: Swap) -> Tree:
    return {name: _swapped_tree(value, swap) for name, value in store.items()}


def _swapped_tree(value: Tree, swap: Swap) -> Tree:
    if isinstance(value, str):
        return resigning.swapped(value, swap)
    if isinstance(value, dict):
        return {key: _swapped_tree(each, swap) for key, each in value.items()}
    if isinstance(value, list):
        return [_swapped_tree(each, swap) for each in value]
    return value


def _swapped(pair: CertKeyPair, swap: Swap) -> CertKeyPair:
    return CertKeyPair(
        ca=resigning.swapped(pair.ca, swap),
        certificate=resigning.swapped(pair.certificate, swap),
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


def _name_anew(fleet: Path, swap: Swap) -> None:
    """Have the fleet file name the certificates that take the place of others."""
    text = fleet.read_text()
    for old, new in swap.items():
        text = text.replace(_fingerprint(old), _fingerprint(new))
    private_files.write(fleet, text.encode())


def _fingerprint(block: str) -> str:
    return x509.load_pem_x509_certificate(block.encode()).fingerprint(hashes.SHA256()).hex()


def _note(request: CreateEnv, layout: BoshLayout, *, before: str) -> bool:
    """Have the state file know the manifest, as it did before."""
    state = StateFile(Path(request.state) if request.state else layout.state)
    if state.now.current_manifest_sha != before:
        return False
    state.change(current_manifest_sha=manifest_sha(interpolated(request)))
    return True
