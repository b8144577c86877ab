"""Properties of the YAML dialect: what is written is read as the same, whatever it was."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bosh_interpolate import emit, interpolate, load, read_ops_file
from bosh_interpolate.values import Key, Tree, TypedKey, equal, read_plain
from rigs.examples_budget import examples

TRICKY = st.text(alphabet="yYnNoOfe01_.-+: #'\"?[]{}&*!|>%@`,~x\n \t\u2028\x85é", max_size=12)
TEXTS = st.one_of(
    TRICKY,
    st.text(alphabet=st.characters(codec="utf-8"), max_size=8),
    st.lists(TRICKY, min_size=8, max_size=40).map(" ".join),
)
# The sign of `-0.0` is lost on the way (a test of its own below): `or` makes it `0.0`.
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False).map(lambda number: number or 0.0)
)
# `<<` as a key is a merge to whoever reads it, `bosh` included, which writes it plain too.
KEYS: st.SearchStrategy[Key] = st.one_of(
    TEXTS.filter(lambda text: text != "<<"),
    st.integers(-5, 5),
    st.none(),
    st.booleans().map(lambda value: TypedKey("bool", value)),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def as_written(value: Tree) -> Tree:
    """Return the value with floats as their text reads: `1.0` is written `1`."""
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    return read_plain(emit(value).strip()) if isinstance(value, float) else value


@given(TREES)
@examples(150)
def test_what_is_written_is_read_as_the_same(value: Tree) -> None:
    """Every tree comes back with its types; written again, it has the same bytes."""
    text = emit(value)
    found = load(text.encode("utf-8"))
    assert equal(found, as_written(value))
    assert emit(found) == text


def test_a_negative_zero_loses_its_sign() -> None:
    """Go writes the float as `-0`, which reads as the integer 0."""
    assert emit(-0.0) == "-0\n"
    assert equal(load(b"-0\n"), 0)


@given(TEXTS)
@examples(150)
@example("1e5")
@example("0o17")
@example("y")
@example("12:30")
@example("2020-01-01")
def test_a_string_stays_a_string(text: str) -> None:
    """As a value, an item and a key, for us and for PyYAML."""
    for found in (load(emit({"k": [text]}).encode()), yaml.safe_load(emit({"k": [text]}))):
        assert found == {"k": [text]}


@given(TREES)
@examples(60)
def test_without_references_a_manifest_only_changes_its_form(value: Tree) -> None:
    """Interpolating the result again changes nothing."""
    once = interpolate(emit(value).encode())
    assert interpolate(once.encode()) == once


@given(TREES.filter(lambda value: value is not None))
@examples(60)
def test_a_value_put_by_an_operation_is_found_there(value: Tree) -> None:
    """What an ops file brings is what the path then shows."""
    operation: Tree = [{"type": "replace", "path": "/a?/name=x/b", "value": value}]
    found = read_ops_file(emit(operation).encode(), name="o.yml")
    document = load(interpolate(b"{}", operations=found).encode())
    assert isinstance(document, dict)
    expected: Tree = [{"name": "x", "b": as_written(value)}]
    assert equal(document["a"], expected)


@given(st.dictionaries(TEXTS.filter(lambda text: text != "<<"), st.just(1), max_size=8))
@examples(100)
def test_the_order_of_keys_does_not_depend_on_where_they_come_from(found: dict[str, int]) -> None:
    """Turned around, a map without digits in its keys is written the same."""
    keys: dict[Key, Tree] = {key: 1 for key in found if not any(char.isdecimal() for char in key)}
    turned = dict(reversed(list(keys.items())))
    assert emit(keys) == emit(turned)
