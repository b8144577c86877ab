"""The ops files of a plan against those of BOSH's procedure, by what they do to a manifest."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bosh_interpolate import interpolate, load, read_ops_file
from bosh_interpolate.values import Tree
from rigs import bosh_director_files as files
from rigs import bosh_lab
from rigs.bosh_director_files import MANIFEST, Director, Generation
from rollover.platforms.bosh import nats_properties, ops_files
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls
from rollover.platforms.bosh.ops_files import OpsFile, WantedTls

OTHER_NAMES = MANIFEST.replace("nats_server_tls", "bus_server").replace("nats_ca", "bus_ca")
OTHER_GROUP = MANIFEST.replace("- name: bosh\n  instances", "- name: director\n  instances")
WHOLE_PAIRS = MANIFEST.replace(
    """        server:
          certificate: ((nats_server_tls.certificate))
          private_key: ((nats_server_tls.private_key))
""",
    "        server: ((nats_server_tls))\n",
)


def wanted(old: Generation, new: Generation, *, both: bool) -> WantedTls:
    """What the first or the second rollout of the director VM leads to."""
    chains = {part: (new.of[part].certificate,) for part in NatsPart}
    if both:
        chains[NatsPart.SERVER] = (old.of[NatsPart.SERVER].certificate,)
    return WantedTls(bundle=(old.ca, new.ca) if both else (new.ca,), chains=chains)


def stored_with(
    director: Director, new: Generation, *, only: tuple[NatsPart, ...] = tuple(NatsPart)
) -> dict[str, Tree]:
    """The vars store with the successors of some properties."""
    successors = {f"{files.NAMES[part]}_2": new.value(part) for part in only}
    return {**director.stored(), **successors}


def written(director: Director, what: WantedTls, stored: dict[str, Tree]) -> OpsFile:
    """The ops file for it."""
    director.write_store(stored)
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    found = ops_files.write_ops_file(plain, what, stored)
    assert found is not None
    return found


def tls(text: str) -> NatsTls:
    """What a manifest comes to."""
    return nats_properties.read_properties(load(text.encode())).tls


def documented(operations_: list[dict[str, object]]) -> bytes:
    """An ops file of the documentation."""
    return json.dumps(operations_).encode()


def test_both_files_do_what_those_of_the_documentation_do(tmp_path: Path) -> None:
    """Byte for byte the same manifest, with the same vars store."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path)
    stored = stored_with(director, new)
    first = written(director, wanted(old, new, both=True), stored)
    second = written(director, wanted(old, new, both=False), stored)
    assert (first.name, second.name) == ("add-new-ca.yml", "remove-old-ca.yml")
    for ours, theirs in (
        (first, bosh_lab.add_new_ca()),
        (second, bosh_lab.remove_old_ca()),
    ):
        assert files.interpolated(director, ours.content, stored=stored) == files.interpolated(
            director, documented(theirs), stored=stored
        )


def test_the_definitions_are_those_of_the_documentation(tmp_path: Path) -> None:
    """With the options of the present ones; the second file defines nothing (H7)."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path)
    stored = stored_with(director, new)
    first = written(director, wanted(old, new, both=True), stored)
    defined = {
        record["value"]["name"]: record["value"]["options"]
        for record in parsed(first)
        if str(record["path"]).startswith("/variables/")
    }
    theirs = {
        record["value"]["name"]: record["value"]["options"]  # type: ignore[index]  # known shape
        for record in bosh_lab.add_new_ca()
        if str(record["path"]).startswith("/variables/")
    }
    assert defined == {
        name: {
            **options,
            "key_length": 2048,
            **({"common_name": "default.nats-ca.bosh-internal 2"} if name == "nats_ca_2" else {}),
        }
        for name, options in theirs.items()
    }
    second = written(director, wanted(old, new, both=False), stored)
    assert not [record for record in parsed(second) if "variables" in str(record["path"])]


def parsed(found: OpsFile) -> list[dict[str, dict[str, Tree]]]:
    """The operations as they stand in the file."""
    document = load(found.content)
    assert isinstance(document, list)
    return document  # type: ignore[return-value]  # a list of operations


@pytest.mark.parametrize("manifest", [MANIFEST, OTHER_GROUP, WHOLE_PAIRS])
@pytest.mark.parametrize("both", [True, False])
def test_a_manifest_comes_to_what_is_wanted(tmp_path: Path, manifest: str, *, both: bool) -> None:
    """Whatever the group is called, and however it refers to its variables."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path, manifest=manifest)
    stored = stored_with(director, new)
    what = wanted(old, new, both=both)
    found = written(director, what, stored)
    text = files.interpolated(director, found.content, stored=stored)
    assert tls(text).state == what.state


def test_other_names_of_variables_are_followed(tmp_path: Path) -> None:
    """Successors of what the manifest refers to, not of what others call it."""
    old, new = files.generation(), files.generation(2)
    names = {**files.NAMES, NatsPart.SERVER: "bus_server", NatsPart.CLIENT_CA: "bus_ca"}
    values = {names[part]: old.value(part) for part in NatsPart}
    director = files.director(
        tmp_path, manifest=OTHER_NAMES, values={"nats_password": "x", **values}
    )
    stored = {**director.stored(), **{f"{names[part]}_2": new.value(part) for part in NatsPart}}
    what = wanted(old, new, both=True)
    found = written(director, what, stored)
    assert tls(files.interpolated(director, found.content, stored=stored)).state == what.state
    assert "((bus_server.ca))((bus_server_2.ca))" in found.text


def test_values_without_a_final_newline_are_joined_by_one(tmp_path: Path) -> None:
    """Else nats-server does not start and agents restart for ever (H9)."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path)
    stored = stored_with(director, new)
    for name in ("nats_server_tls", "nats_server_tls_2"):
        value = stored[name]
        assert isinstance(value, dict)
        stored[name] = {**value, "ca": str(value["ca"]).rstrip("\n")}
    what = wanted(old, new, both=True)
    found = written(director, what, stored)
    text = files.interpolated(director, found.content, stored=stored)
    assert tls(text).state == what.state
    assert "-----END CERTIFICATE----------BEGIN" not in text


def test_a_ca_that_no_variable_holds_is_written_out(tmp_path: Path) -> None:
    """A third party's in the bundle stays there; certificates are no secret."""
    old, new, other = files.generation(), files.generation(2), files.generation(7)
    director = files.director(tmp_path)
    stored = stored_with(director, new)
    what = WantedTls(bundle=(old.ca, other.ca, new.ca), chains=wanted(old, new, both=True).chains)
    found = written(director, what, stored)
    assert tls(files.interpolated(director, found.content, stored=stored)).state == what.state
    assert "PRIVATE KEY-----" not in found.text


def test_what_is_as_the_manifest_says_needs_no_ops_file(tmp_path: Path) -> None:
    """So a rollback ends with the operator's own line."""
    old = files.generation()
    director = files.director(tmp_path)
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    same = WantedTls(
        bundle=(old.ca,), chains={part: (old.of[part].certificate,) for part in NatsPart}
    )
    assert ops_files.write_ops_file(plain, same, director.stored()) is None


def test_what_a_certificate_has_is_carried_over(tmp_path: Path) -> None:
    """Names, lifetime and organisation that its definition does not ask for (H10)."""
    present = files.generation(
        11, names=("127.0.0.1", "nats.example.com", "10.0.0.9"), lifetime=timedelta(days=800)
    )
    director = files.director(tmp_path, values={"nats_password": "x", **present.values()})
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    assert ops_files.definition_options(plain, NatsPart.SERVER, ca="nats_ca_2") == {
        "ca": "nats_ca_2",
        "common_name": "default.nats.bosh-internal",
        "alternative_names": ["((internal_ip))", "nats.example.com", "10.0.0.9"],
        "extended_key_usage": ["server_auth"],
        "key_length": 2048,
        "duration": 800,
    }
    assert ops_files.definition_options(plain, NatsPart.CLIENT_CA, ca="") == {
        "is_ca": True,
        "common_name": "default.nats-ca.bosh-internal",
        "key_length": 2048,
        "duration": 800,
    }


def test_a_definition_that_is_not_there_is_read_off_the_certificate(tmp_path: Path) -> None:
    """Old vars stores are filled by hand."""
    manifest = MANIFEST[: MANIFEST.index("- name: nats_ca\n")]
    director = files.director(tmp_path, manifest=manifest)
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    assert ops_files.definition_options(plain, NatsPart.SERVER, ca="nats_ca_2") == {
        "ca": "nats_ca_2",
        "common_name": "default.nats.bosh-internal",
        "alternative_names": ["127.0.0.1"],
        "extended_key_usage": ["server_auth"],
        "key_length": 2048,
    }


def test_the_clean_up_is_that_of_the_documentation(tmp_path: Path) -> None:
    """Applied to a vars store both leave the same."""
    new = files.generation(2)
    director = files.director(tmp_path)
    stored = stored_with(director, new)
    director.write_store(stored)
    renames = {name: f"{name}_2" for name in files.NAMES.values()}
    ours = ops_files.clean_up_ops_file(renames, renames.values())
    assert ours.name == "update_nats_var_values.yml"

    def applied(content: bytes) -> Tree:
        found = read_ops_file(content, name="clean-up.yml")
        text = interpolate(
            director.store.read_bytes(), operations=found, variables=director.stored()
        )
        return load(text.encode())

    theirs = applied(documented(bosh_lab.clean_up()))
    assert applied(ours.content) == theirs
    assert isinstance(theirs, dict)
    assert sorted(str(key) for key in theirs) == sorted(director.stored().keys() - renames.values())
