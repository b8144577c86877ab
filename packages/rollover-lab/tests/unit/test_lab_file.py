"""Lab files: what they may say, and how they are refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rigs.workspace import EXAMPLES
from rollover.errors import SpecError
from rollover.fleet.certificate import KeyKind
from rollover_lab.nats.spec import (
    PRESETS,
    ClusterSpec,
    LabSpec,
    load_lab_file,
    preset_named,
    read_lab_file,
)

EXAMPLE = EXAMPLES / "nats-cluster" / "lab.yml"


def test_a_name_is_enough() -> None:
    """Everything but the name has a default: the demo fleet."""
    spec = read_lab_file(b"name: mine\n", place="lab.yml")
    assert spec == LabSpec(name="mine", clusters=(ClusterSpec(servers=3),), clients=20)


def test_the_example_shows_the_preset_cluster() -> None:
    """The example file says what the preset `cluster` is."""
    assert load_lab_file(EXAMPLE) == preset_named("cluster")


def test_the_example_shows_every_field() -> None:
    """No field of a lab is missing in the example, comments included."""
    text = EXAMPLE.read_text()
    fields = msgspec.structs.fields(LabSpec)
    assert [field.name for field in fields if f"{field.name}:" not in text] == []


def test_json_is_read_too() -> None:
    """A lab file may be JSON."""
    data = b'{"name": "mine", "certificates": {"leaf_key": "rsa-3072"}}'
    assert read_lab_file(data, place="lab.json").certificates.leaf_key is KeyKind.RSA_3072


@pytest.mark.parametrize(
    ("content", "place", "field"),
    [
        ("name: mine\nclient: 4\n", "lab.yml:2:", "client"),
        ("name: mine\nclusters:\n  - servers: 99\n", "lab.yml:3:", "clusters[0].servers"),
        ("name: mine\nclusters: []\n", "lab.yml:2:", "clusters"),
        ("name: ../escape\n", "lab.yml:1:", "name"),
        ("name: mine\nclients: -1\n", "lab.yml:2:", "clients"),
        ("name: mine\nrates:\n  publish_per_second: 0\n", "lab.yml:3:", "rates"),
        ("name: mine\nclusters: [{name: a}, {name: a}]\n", "lab.yml", "clusters"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(content: str, place: str, field: str) -> None:
    """A refusal names file, line and field, and says what to do."""
    with pytest.raises(SpecError) as refused:
        read_lab_file(content.encode(), place="lab.yml")
    assert refused.value.message.startswith(place)
    assert refused.value.field.startswith(field)
    assert refused.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A lab file that is not there is an error with its path."""
    with pytest.raises(SpecError, match=r"absent\.yml: cannot be read"):
        load_lab_file(tmp_path / "absent.yml")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_keep_to_the_limits_of_a_file(name: str) -> None:
    """A preset written to a file reads back the same."""
    assert read_lab_file(msgspec.json.encode(PRESETS[name]), place=name) == PRESETS[name]


def test_an_unknown_preset_lists_the_known_ones() -> None:
    """The error for an unknown preset names those that exist."""
    with pytest.raises(SpecError, match="no lab preset `clutser`") as refused:
        preset_named("clutser")
    assert "`cluster`" in refused.value.hint


def test_servers_are_numbered() -> None:
    """Servers are called n1, n2 and so on."""
    assert LabSpec(name="mine").servers == ("n1", "n2", "n3")
