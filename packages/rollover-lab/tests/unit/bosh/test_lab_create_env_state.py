"""`state.json` of `create-env`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bosh_interpolate import ManifestError
from rollover_lab.bosh.create_env import (
    CreateEnvStateFile,
    StemcellRecord,
    default_path,
    manifest_sha,
)

RELEASES = (("bosh", "283.1.6"),)
STEMCELL = ("noble", "1.484")


@pytest.fixture
def state(tmp_path: Path) -> CreateEnvStateFile:
    """A state in which a manifest was deployed."""
    state = CreateEnvStateFile(tmp_path / "state.json")
    record = StemcellRecord(id="s", name="noble", version="1.484", api_version=3, cid="sc-1")
    state.change(stemcells=(record,), current_stemcell_id="s", current_vm_cid="vm-1")
    state.record("sha", RELEASES)
    return state


def test_the_file_has_the_fields_of_the_real_one_in_their_order(state: CreateEnvStateFile) -> None:
    """Another program that reads state files finds what it looks for."""
    content = json.loads(state.path.read_text())
    assert list(content) == [
        "director_id",
        "installation_id",
        "current_vm_cid",
        "current_stemcell_id",
        "current_disk_id",
        "current_release_ids",
        "current_manifest_sha",
        "disks",
        "stemcells",
        "releases",
    ]
    assert content["releases"][0]["id"] == content["current_release_ids"][0]


def test_a_new_state_has_its_ids_and_nothing_else(tmp_path: Path) -> None:
    """Ids are made once, and kept; what was never set is null, as Go writes it."""
    path = tmp_path / "state.json"
    first = CreateEnvStateFile(path).now
    assert first.director_id
    assert first.installation_id
    assert json.loads(path.read_text())["stemcells"] is None
    assert CreateEnvStateFile(path).now == first


def test_the_same_manifest_releases_and_stemcell_are_deployed(state: CreateEnvStateFile) -> None:
    """Nothing is to be done when nothing changed."""
    assert state.now.deploys("sha", releases=RELEASES, stemcell=STEMCELL)


@pytest.mark.parametrize(
    ("sha", "releases", "stemcell"),
    [
        ("other", RELEASES, STEMCELL),
        ("sha", (("bosh", "284"),), STEMCELL),
        ("sha", RELEASES, ("noble", "1.485")),
    ],
)
def test_any_change_is_to_be_deployed(
    state: CreateEnvStateFile,
    sha: str,
    releases: tuple[tuple[str, str], ...],
    stemcell: tuple[str, str],
) -> None:
    """A manifest, release or stemcell that differs is not deployed yet."""
    assert not state.now.deploys(sha, releases=releases, stemcell=stemcell)


def test_a_deploy_that_failed_is_not_deployed(state: CreateEnvStateFile) -> None:
    """What is cleared before a deploy stays so until it has worked; the VM is remembered."""
    state.clear()
    assert not state.now.deploys("sha", releases=RELEASES, stemcell=STEMCELL)
    assert state.now.current_vm_cid == "vm-1"
    assert json.loads(state.path.read_text())["releases"] == []


def test_the_sha_is_that_of_the_interpolated_text() -> None:
    """SHA-512 of what `bosh int` prints (bosh-cli, deployment_template.go)."""
    assert manifest_sha("name: bosh\n") == hashlib.sha512(b"name: bosh\n").hexdigest()


def test_the_state_lies_beside_the_manifest_by_default() -> None:
    """`bosh create-env dir/bosh.yml` without `--state` uses `dir/bosh-state.json`."""
    assert default_path(Path("dir/bosh.yml")) == Path("dir/bosh-state.json")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A state that cannot be read is refused, not replaced."""
    path = tmp_path / "state.json"
    path.write_text("{")
    with pytest.raises(ManifestError, match="Unmarshalling deployment state file"):
        CreateEnvStateFile(path)
    assert path.read_text() == "{"


def test_the_mode_of_the_file_is_kept(tmp_path: Path) -> None:
    """It begins private; an operator who opened it to others keeps it so."""
    path = tmp_path / "state.json"
    state = CreateEnvStateFile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    state.clear()
    assert path.stat().st_mode & 0o777 == 0o644
