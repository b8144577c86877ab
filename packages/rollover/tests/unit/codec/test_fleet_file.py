"""`fleet.yml`: errors with file, line and field; written and read back the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.codec.fleet_file import read_fleet, schema, write_fleet
from rollover.errors import SpecError
from rollover.fleet.description import FleetDescription

GOOD = """\
version: 1
name: prod
groups:
  - name: servers
    platform: nats
    instances:
      - name: n1
        endpoints:
          - {name: client, role: client-port, certificate: a.crt}
      - name: n2
        endpoints:
          - {name: client, role: client-port}
"""


def test_a_fleet_file_becomes_a_description() -> None:
    """What is not said has its default."""
    read = read_fleet(GOOD.encode(), place="fleet.yml")
    assert [instance.name for instance in read.groups[0].instances] == ["n1", "n2"]
    assert read.groups[0].max_in_flight == 1
    assert read.state == ".rollover"


@pytest.mark.parametrize(
    ("wrong", "right", "place", "field", "message"),
    [
        ("plattform", "platform", "fleet.yml:5:5", "groups[0].plattform", "unknown field"),
        ("role: clientport", "role: client-port", "fleet.yml:9:28",
         "groups[0].instances[0].endpoints[0].role", "invalid enum value"),
        ("version: 2", "version: 1", "fleet.yml:1:1", "version", "expected 1, found 2"),
        ("version: '1'", "version: 1", "fleet.yml:1:1", "version", "expected 1, found '1'"),
        ("name: 5", "name: prod", "fleet.yml:2:1", "name", "expected `str`, got `int`"),
        ("name: n2\n        foo: x", "name: n2", "fleet.yml:11:9",
         "groups[0].instances[1].foo", "unknown field `foo`"),
        ("name: n1\n        restart: x", "name: n1", "fleet.yml:8:9",
         "groups[0].instances[0].restart", "expected `array`, got `str`"),
        ("name: n1", "name: n2", "fleet.yml:10:9",
         "groups[0].instances[1].name", "instance `n1` is there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_field(
    wrong: str, right: str, place: str, field: str, message: str
) -> None:
    """One line of a good file is spoilt; the error says which, and what to do."""
    with pytest.raises(SpecError) as caught:
        read_fleet(GOOD.replace(right, wrong, 1).encode(), place="fleet.yml")
    assert (caught.value.place, caught.value.field) == (place, field)
    assert message in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected `object`, got `array`"),
        ("just words\n", "expected `object`, got `str`"),
        ("version: 1\nname: x\n", "missing required field `groups`"),
    ],
)
def test_a_file_of_another_kind_is_refused(text: str, message: str) -> None:
    """Whatever a file holds, the answer is a sentence."""
    with pytest.raises(SpecError, match=message):
        read_fleet(text.encode(), place="fleet.yml")


def test_two_endpoints_of_one_name_are_refused_with_their_place() -> None:
    """Links could not tell them apart."""
    twice = GOOD.replace(
        "certificate: a.crt}", "certificate: a.crt}\n          - {name: client, role: tls}"
    )
    with pytest.raises(SpecError, match=r"fleet.yml:10:14: .*`n1` the endpoint `client` is there"):
        read_fleet(twice.encode(), place="fleet.yml")


def test_one_endpoint_name_on_two_instances_is_fine() -> None:
    """Names of endpoints count within their instance."""
    assert len(read_fleet(GOOD.encode(), place="f").groups[0].instances) == 2


def test_the_schema_knows_the_fields_and_refuses_others() -> None:
    """Editors learn from it what a fleet file may say."""
    found = schema()
    fleet = found["$defs"]["FleetDescription"]
    assert {"version", "name", "groups", "links", "silenced"} <= set(fleet["properties"])
    assert fleet["additionalProperties"] is False


_WORDS = st.text("abc:#-'\"{}[]&*! \n019.~", min_size=1, max_size=8)
_NAMES = st.text("abcdefgh123-", min_size=1, max_size=6)


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_ENDPOINT = st.fixed_dictionaries(
    {"name": _NAMES, "role": st.sampled_from(["client-port", "route", "client", "tls"])},
    optional={
        "stack": st.sampled_from(["go", "openssl"]),
        "address": _WORDS,
        "certificate": _WORDS,
        "key": _WORDS,
        "ca": _WORDS,
        "verify": st.booleans(),
    },
)
_INSTANCE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": _NAMES,
        "endpoints": st.lists(_ENDPOINT, max_size=2, unique_by=lambda each: each["name"]),
    },
    optional={"ignored": _WORDS, "restart": st.lists(_WORDS, max_size=2), "monitor": _WORDS},
)
_DELIVERY: st.SearchStrategy[dict[str, Any]] = st.just({"by": "files"}) | st.fixed_dictionaries(
    {"by": st.just("command"), "command": st.lists(_WORDS, max_size=2)},
    optional={"timeout_seconds": st.floats(0, 1e6)},
)
_GROUP: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"platform": _NAMES, "instances": st.lists(_INSTANCE, max_size=2)},
    optional={"delivery": _DELIVERY, "max_in_flight": st.integers(0, 10**6)},
)
_FLEET = st.fixed_dictionaries(
    {"version": st.just(1), "name": _WORDS, "groups": st.lists(_GROUP, max_size=2)},
    optional={
        "silenced": st.lists(st.fixed_dictionaries({"rule": _NAMES, "reason": _WORDS}), max_size=2),
        "system": _optional(st.fixed_dictionaries({}, optional={"user": _WORDS})),
        "margin_seconds": st.floats(0, 1e9),
    },
)


def _distinct(tree: dict[str, Any]) -> dict[str, Any]:
    """Give groups and instances names that are there once."""
    for number, group in enumerate(tree["groups"]):
        group["name"] = f"group {number}"
        for index, instance in enumerate(group["instances"]):
            instance["name"] += f" {number}.{index}"
    return tree


@examples(100)
@given(_FLEET.map(_distinct))
def test_a_written_fleet_is_read_back_the_same(tree: dict[str, Any]) -> None:
    """Whatever a description holds, empty parts included, the file says it."""
    described = msgspec.convert(tree, FleetDescription)
    assert read_fleet(write_fleet(described), place="fleet.yml") == described


def test_the_file_leaves_out_what_says_nothing() -> None:
    """Empty optional fields are not written; a comment says where the file comes from."""
    written = write_fleet(read_fleet(GOOD.encode(), place="f")).decode()
    assert written.startswith("# ")
    assert "null" not in written
    assert "monitor" not in written
