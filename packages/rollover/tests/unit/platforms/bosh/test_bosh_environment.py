"""What `create-env` would deploy, read without changing anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bosh_interpolate.values import Tree
from rigs import bosh_director_files as files
from rigs.bosh_director_files import MANIFEST
from rollover.errors import PemError, SpecError
from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh.create_env import stored_chains
from rollover.platforms.bosh.nats_properties import NatsPart


def test_the_sha_is_that_of_what_the_cli_interpolates(tmp_path: Path) -> None:
    """SHA-512 of the text, as `create-env` writes it into its state file."""
    director = files.director(tmp_path)
    environment = director.environment()
    text = files.interpolated(director, stored=director.stored())
    assert environment.inputs().evaluate().text == text
    assert environment.state().current_manifest_sha == hashlib.sha512(text.encode()).hexdigest()


def test_properties_are_read_as_certificates(tmp_path: Path) -> None:
    """All five of `nats.tls`, and where things listen."""
    old = files.generation()
    found = files.director(tmp_path).environment().inputs().evaluate().properties()
    assert found.tls.bundle == (old.ca,)
    assert found.tls.signer == old.ca
    for part in NatsPart:
        assert found.tls.pairs[part].chain == (old.of[part].certificate,)
    assert (found.group, found.nats, found.director) == (
        "bosh",
        "127.0.0.1:4222",
        "127.0.0.1:25555",
    )
    assert found.mbus == "nats://127.0.0.1:4222"
    assert found.metrics


def test_nothing_is_generated_and_nothing_written(tmp_path: Path) -> None:
    """A variable that is missing is trouble, not a reason to make one."""
    director = files.director(tmp_path)
    values = {name: value for name, value in director.stored().items() if name != "nats_ca"}
    director.write_store(values)
    before = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    environment = director.environment()
    with pytest.raises(SpecError, match="nats_ca"):
        environment.inputs().evaluate()
    [candidate] = environment.candidates((), environment.inputs())
    assert candidate.properties is None
    assert "Expected to find variables" in candidate.trouble
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before


def test_variables_that_are_given_come_before_those_that_are_stored(tmp_path: Path) -> None:
    """As with the CLI: `-v` before `-l` before the vars store."""
    director = files.director(tmp_path, flags="-v director_name=given -v nats_password=other")
    found = director.environment().inputs().evaluate().text
    assert "name: given" in found
    assert "password: other" in found
    assert "secret-of-nats" not in found


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    """Neither of the text nor of what is read from it."""
    environment = files.director(tmp_path).environment()
    evaluated = environment.inputs().evaluate()
    shown = repr((evaluated, evaluated.properties(), environment.inputs(), environment))
    assert "secret-of-nats" not in shown
    assert "PRIVATE KEY" not in shown


def test_a_candidate_with_an_ops_file_has_a_sha_of_its_own(tmp_path: Path) -> None:
    """By it the deployed one is found again."""
    director = files.director(tmp_path)
    ops = tmp_path / "ops.yml"
    ops.write_text("- {type: replace, path: /name, value: other}\n")
    sha = director.deployed(ops)
    plain, with_ops = director.environment().candidates((ops,), director.environment().inputs())
    assert with_ops.sha == sha != plain.sha
    assert (plain.ops_file, with_ops.ops_file) == (None, ops)


def test_a_state_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """One that is not there yet says nothing."""
    director = files.director(tmp_path)
    director.state.unlink()
    assert director.environment().state().current_manifest_sha == ""
    director.state.write_text("{")
    with pytest.raises(SpecError, match="state file cannot be read"):
        director.environment().state()


def test_a_line_without_a_vars_store_is_told(tmp_path: Path) -> None:
    """Where it is missing, and what to add."""
    director = files.director(tmp_path)
    director.line.write_text("bosh create-env bosh.yml -l vars.yml -l creds.yml\n")
    environment = director.environment()
    assert environment.inputs().evaluate().properties().tls.bundle
    with pytest.raises(SpecError, match="no `--vars-store`") as caught:
        assert environment.store
    assert "--vars-store" in caught.value.hint


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (MANIFEST.replace("      tls:", "      other:"), "no instance groups"),
        (MANIFEST.replace("((nats_server_tls.certificate))", "nothing"), "nats.tls.server"),
        (MANIFEST.replace("private_key: ((nats_ca.private_key))", "x: y"), "nats.tls.client_ca"),
    ],
)
def test_properties_that_are_missing_are_named(tmp_path: Path, manifest: str, problem: str) -> None:
    """By their path in the manifest."""
    director = files.director(tmp_path)
    director.manifest.write_text(manifest)
    with pytest.raises((SpecError, PemError)) as caught:
        director.environment().inputs().evaluate().properties()
    assert problem in caught.value.message


def test_chains_are_found_in_variables_by_name() -> None:
    """What is no certificate is passed over."""
    old = files.generation()
    others: dict[str, Tree] = {"password": "x", "broken": {"certificate": "-----BEGIN"}}
    held = stored_chains({**old.values(), **others})
    found = {name: chain[0].fingerprint for name, chain in held.items()}
    assert found == {
        files.NAMES[part]: Fingerprint(old.of[part].certificate.fingerprint) for part in NatsPart
    }
