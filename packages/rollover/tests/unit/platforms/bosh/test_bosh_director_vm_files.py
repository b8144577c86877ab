"""The director VM's platform where nothing runs: what it refuses, and how failures are told."""

from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from rigs import bosh_director_files as files
from rigs.bosh_director_files import MANIFEST, VM, Director, Generation
from rollover.engine.ports import Cleanup, Pacing, Platform, ReportsFindings
from rollover.errors import EvidenceMissing, SpecError, Unreachable
from rollover.fleet.certificate import KeyKind
from rollover.fleet.description import DirectorDescription, FleetDescription
from rollover.fleet.evidence import EndpointMaterial, Failed, Order
from rollover.fleet.fleet import Availability
from rollover.fleet.names import EndpointName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import generate, to_pem
from rollover.platforms.bosh.cost import round_cost
from rollover.platforms.bosh.director_fleet import with_agents
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    CertificateExpiry,
    Deployment,
    DirectorInfo,
)
from rollover.platforms.bosh.director_vm import DirectorVm
from rollover.platforms.bosh.director_vm_observer import DirectorVmObserver
from rollover.platforms.bosh.login import nats_address
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.provenance import ProvenanceFile
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.probe.monitoring import Monitor

SETTINGS = DirectorDescription(environment="https://127.0.0.1:1", nats="127.0.0.1:1")
FAILS = """\
import json, pathlib, sys
state = json.loads(pathlib.Path('state.json').read_text())
print('Deploying: the cloud said no')
{more}
sys.exit(1)
"""
CLEARS = "pathlib.Path('state.json').write_text(json.dumps({**state, 'current_manifest_sha': ''}))"


class Silent:
    """A director that does not answer."""

    def info(self) -> DirectorInfo:
        """Fail."""
        raise Unreachable("nobody", system="director", operation="GET /info")

    def certificate_expiry(self) -> tuple[CertificateExpiry, ...]:
        """Fail."""
        raise Unreachable("nobody", system="director", operation="GET /director")

    def deployments(self) -> tuple[Deployment, ...]:
        """There are none."""
        return ()

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """There are none."""
        raise AssertionError(deployment)

    def last_task(self) -> int | None:
        """Fail."""
        raise Unreachable("nobody", system="director", operation="GET /tasks")

    def creation_task(self, vm_cid: str) -> int | None:
        """There are none."""
        raise AssertionError(vm_cid)


def platform(director: Director, *, settings: DirectorDescription = SETTINGS) -> DirectorVm:
    """The platform of these files; NATS and the director are not there."""
    described = FleetDescription(version=1, name="lab", groups=(), director=settings)
    group = with_agents(described, (), cost=round_cost(())).groups[0]
    observer = DirectorVmObserver(
        director.environment(),
        RotationFiles(director.folder / ".rollover" / "bosh"),
        director=Silent(),
        nats_address=nats_address(settings),
        monitor=Monitor(settings.monitor, timeout_seconds=1.0) if settings.monitor else None,
        identities=tuple,
        clock=lambda: datetime.now(UTC),
    )
    return DirectorVm(
        msgspec.structs.replace(group, confirm_seconds=0.1),
        observer,
        ledger=ProvenanceFile(director.folder / "agents.json"),
        known=tuple,
        create_env_seconds=settings.create_env_minutes * 60,
        poll_seconds=0.01,
    )


def ordered(vm: DirectorVm, order: Order) -> Failed:
    """Roll out what has to fail."""
    [result] = vm.roll_out([order], pacing=Pacing(), stopping=lambda: False)
    assert isinstance(result, Failed)
    return result


def with_program(director: Director, body: str, *, flags: str = "") -> Director:
    """Let the command line run a small program."""
    program = director.folder / "bosh.py"
    program.write_text(body)
    director.line.write_text(
        f"{sys.executable} bosh.py create-env bosh.yml --state ./state.json "
        f"--vars-store ./creds.yml -l vars.yml {flags}\n"
    )
    return director


@pytest.fixture
def old() -> Generation:
    """What is there."""
    return files.generation()


@pytest.fixture
def new() -> Generation:
    """What comes."""
    return files.generation(2)


def test_it_is_a_platform_that_attends_and_tidies(tmp_path: Path) -> None:
    """As the engine asks for it."""
    vm: Platform = platform(files.director(tmp_path))
    assert isinstance(vm, ReportsFindings)
    assert isinstance(vm, Cleanup)


def test_a_director_that_is_silent_is_told_with_what_its_record_says(
    tmp_path: Path, old: Generation
) -> None:
    """Unreachable, and all four parties with what the deployed manifest has."""
    [found] = platform(files.director(tmp_path)).observe([VM])
    assert found.availability is Availability.UNREACHABLE
    assert "127.0.0.1:1" in found.why
    assert {endpoint.endpoint: endpoint.presents for endpoint in found.endpoints} == {
        "nats": (old.of[NatsPart.SERVER].certificate,),
        "director": (old.of[NatsPart.DIRECTOR].certificate,),
        "health-monitor": (old.of[NatsPart.HEALTH_MONITOR].certificate,),
        "agents": (old.ca,),
    }
    assert {endpoint.trusts for endpoint in found.endpoints} == {(old.ca,)}


def test_the_handout_is_what_the_deployed_manifest_has(tmp_path: Path, old: Generation) -> None:
    """And its key is found by what it is, wherever it stands."""
    vm = platform(files.director(tmp_path))
    assert (vm.issued_credentials().signer, vm.issued_credentials().bundle) == (old.ca, (old.ca,))
    key = vm.signer_key(old.ca.fingerprint)
    assert key is not None
    assert key.reveal().startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    assert vm.signer_key(files.generation(2).ca.fingerprint) is None


def test_what_is_not_known_is_not_handed_out(tmp_path: Path) -> None:
    """A manifest that lacks a variable."""
    director = files.director(tmp_path)
    director.write_store({"nats_password": "x"})
    vm = platform(director)
    [found] = vm.observe([VM])
    assert found.availability is Availability.UNREACHABLE
    assert "nats_ca" in found.why
    with pytest.raises(EvidenceMissing, match="nats_ca"):
        vm.issued_credentials()


def test_another_instance_is_refused(tmp_path: Path) -> None:
    """There is one VM in the group."""
    vm = platform(files.director(tmp_path))
    with pytest.raises(SpecError, match="`other`"):
        list(vm.observe([InstanceName("other")]))


def test_nothing_is_begun_once_a_stop_was_asked_for(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """And no file changes."""
    director = files.director(tmp_path)
    before = director.store.read_bytes()
    vm = platform(director)
    orders = [files.both_trusted(old, new)]
    assert list(vm.roll_out(orders, pacing=Pacing(), stopping=lambda: True)) == []
    assert director.store.read_bytes() == before


def test_a_create_env_that_changed_nothing_leaves_what_was_there(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """Its last lines are told; the next attempt finds the variables that it added."""
    director = with_program(files.director(tmp_path), FAILS.format(more=""))
    vm = platform(director)
    first = ordered(vm, files.both_trusted(old, new))
    assert first.restored
    assert "exit code 1" in first.message
    assert "the cloud said no" in first.message
    names = sorted(director.stored())
    assert [name for name in names if name.endswith("_2")] == [
        "nats_ca_2",
        "nats_clients_director_tls_2",
        "nats_clients_health_monitor_tls_2",
    ]
    assert stat.S_IMODE(director.store.stat().st_mode) == 0o600
    [ops_file] = vm.workplace.ops_files()
    assert ops_file.name == "add-new-ca.yml"
    assert ordered(vm, files.both_trusted(old, new)).restored
    assert sorted(director.stored()) == names
    assert vm.workplace.ops_files() == (ops_file,)


def test_a_create_env_that_died_half_way_is_told_with_what_brings_it_up(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """The record is empty then; the line with our ops file is named."""
    director = with_program(
        files.director(tmp_path), FAILS.format(more=CLEARS), flags="-v director_name=hush"
    )
    director.deployed()
    vm = platform(director)
    failed = ordered(vm, files.both_trusted(old, new))
    assert not failed.restored
    [ops_file] = vm.workplace.ops_files()
    assert f"-o {ops_file}" in failed.hint
    assert "hush" not in failed.hint
    [found] = vm.observe([VM])
    assert found.availability is Availability.UNREACHABLE
    assert len(found.may_use) == 1


def test_one_that_takes_too_long_is_left_alone(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """Until it has ended, the director VM counts as unreachable."""
    body = "import os, time\nwhile not os.path.exists('end'): time.sleep(0.02)\n"
    settings = msgspec.structs.replace(SETTINGS, create_env_minutes=0.2 / 60)
    director = with_program(files.director(tmp_path), body)
    vm = platform(director, settings=settings)
    failed = ordered(vm, files.both_trusted(old, new))
    try:
        assert (failed.code, failed.restored) == ("timed-out", False)
        assert "was left alone" in failed.message
        [found] = vm.observe([VM])
        assert "still running" in found.why
    finally:
        (tmp_path / "end").touch()


def test_a_create_env_that_claims_success_is_not_believed(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """NATS shows nothing: the result is a failure that restored nothing."""
    vm = platform(with_program(files.director(tmp_path), ""))
    failed = ordered(vm, files.both_trusted(old, new))
    assert (failed.code, failed.restored) == ("verification", False)
    assert any(not evidence.holds for evidence in failed.evidence)


def test_a_leftover_ops_file_is_refused_before_anything_changes(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """By its name (H7)."""
    (tmp_path / "add-new-ca.yml").write_text(
        "- type: remove\n  path: /instance_groups/name=bosh/properties/nats/tls/nothing?\n"
    )
    director = with_program(files.director(tmp_path), "", flags="-o add-new-ca.yml")
    director.deployed()
    before = director.store.read_bytes()
    failed = ordered(platform(director), files.both_trusted(old, new))
    assert failed.restored
    assert "add-new-ca.yml" in failed.message
    assert director.store.read_bytes() == before


def test_a_line_without_a_vars_store_is_refused(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """There is no place for new certificates."""
    director = files.director(tmp_path)
    director.line.write_text(
        "bosh create-env bosh.yml --state state.json -l vars.yml -l creds.yml\n"
    )
    director.deployed()
    failed = ordered(platform(director), files.both_trusted(old, new))
    assert failed.restored
    assert "--vars-store" in failed.message


def test_a_key_that_a_director_cannot_use_is_refused(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """Nothing is added then."""
    director = with_program(files.director(tmp_path), "")
    before = director.store.read_bytes()
    order = files.both_trusted(old, new)
    wrong = SecretBytes(to_pem(generate(KeyKind.P256)))
    endpoints = tuple(
        endpoint if endpoint.key is None else msgspec.structs.replace(endpoint, key=wrong)
        for endpoint in order.endpoints
    )
    failed = ordered(platform(director), msgspec.structs.replace(order, endpoints=endpoints))
    assert failed.restored
    assert "RSA only" in failed.message
    assert director.store.read_bytes() == before


@pytest.mark.parametrize("bridge", [True, False])
def test_orders_that_one_manifest_cannot_hold_are_refused(
    tmp_path: Path, old: Generation, new: Generation, *, bridge: bool
) -> None:
    """Two bundles for one property; a chain that the director's clients would not send."""
    director = with_program(files.director(tmp_path), "")
    made = new.of[NatsPart.DIRECTOR]
    materials: Sequence[EndpointMaterial] = (
        EndpointMaterial(
            endpoint=EndpointName("director"),
            chain=(made.certificate, *((new.ca,) if bridge else ())),
            key=made.secret,
            bundle=(new.ca,),
        ),
        EndpointMaterial(endpoint=EndpointName("nats"), bundle=(new.ca,) if bridge else (old.ca,)),
    )
    failed = ordered(platform(director), Order(instance=VM, endpoints=tuple(materials)))
    assert failed.restored
    assert ("chain of 2" if bridge else "different bundles") in failed.message


def test_what_the_line_gives_itself_stands_in_the_way(
    tmp_path: Path, old: Generation, new: Generation
) -> None:
    """An ops file that comes to something else than was wanted is not deployed."""
    director = files.director(
        tmp_path, manifest=MANIFEST.replace("- name: bosh\n  instances", "- name: b\n  instances")
    )
    with_program(director, "", flags="-o twice.yml")
    (tmp_path / "twice.yml").write_text(
        "- type: replace\n  path: /instance_groups/-\n  value: {name: b, properties: {}}\n"
    )
    director.deployed()
    failed = ordered(platform(director), files.both_trusted(old, new))
    assert failed.restored
    assert "create-env` would fail" in failed.message
    assert "found 2" in failed.message


def test_nobody_can_be_proven_gone_without_a_list_of_connections(tmp_path: Path) -> None:
    """The monitoring port of NATS is what it takes."""
    vm = platform(files.director(tmp_path))
    with pytest.raises(EvidenceMissing, match="cannot be listed") as caught:
        list(vm.holdouts([VM], retired=[files.generation().ca]))
    assert "enable_metrics_endpoint" in caught.value.hint
