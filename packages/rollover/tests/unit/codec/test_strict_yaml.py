"""YAML as people mean it, and nothing that a hostile file could do with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.codec.strict_yaml import MOST_BYTES, dump, load
from rollover.errors import SpecError


def value(text: str) -> Any:
    """Read a document and return its value."""
    return load(text.encode(), place="f.yml").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("2e3", 2000.0),
        ("0777", "0777"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("1_000", "1_000"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_what_people_mean(text: str, expected: object) -> None:
    """Only `true`, `false`, `null` and decimal numbers are more than text."""
    found = value(f"a: {text}\n")["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml:3:1", "`a` stands here twice"),
        ("a: {b: 1, b: 2}\n", "f.yml:1:11", "`b` stands here twice"),
        ("a: [1\nb: 2\n", "f.yml:2:", "expected"),
        ("a:\n\t- b\n", "f.yml:2:1", "found character"),
        ("? [1]\n: 2\n", "f.yml:1:3", "keys must be plain words"),
        ("b: &x {c: 1}\n<<: *x\n", "f.yml:2:1", "keys must be plain words"),
        ("a: !!python/object:os.system x\n", "f.yml:1:4", "the tag"),
        ("a: !secret x\n", "f.yml:1:4", "the tag `!secret` is not known"),
        ("a: *nowhere\n", "f.yml:1:4", "anchored as `nowhere`"),
        ("a: &a [*a]\n", "f.yml:1:8", "anchored as `a`"),
        ("a: 1\n---\nb: 2\n", "f.yml:2:1", "a second document"),
        ("", "f.yml", "the file is empty"),
        ("# only a comment\n", "f.yml", "the file is empty"),
        ("a: \x01\n", "f.yml", "not YAML"),
    ],
)
def test_what_is_refused_is_refused_with_its_place(text: str, place: str, message: str) -> None:
    """Each refusal names file, line and column, says what is wrong, and what to do."""
    with pytest.raises(SpecError) as caught:
        value(text)
    assert caught.value.place.startswith(place)
    assert message in str(caught.value)
    assert caught.value.hint


def test_bytes_that_are_no_text_are_refused() -> None:
    """The first bad byte is named."""
    with pytest.raises(SpecError, match=r"f\.yml: not UTF-8 at byte 3"):
        load(b"a: \xff", place="f.yml")


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    """Editors on some systems write one."""
    assert load(b"\xef\xbb\xbfa: 1\n", place="f.yml").value == {"a": 1}


def test_a_file_that_is_far_too_large_is_not_parsed() -> None:
    """The limit stands before the parser."""
    with pytest.raises(SpecError, match="more than"):
        load(b"#" * (MOST_BYTES + 1), place="f.yml")


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000])
def test_deep_nesting_is_refused_before_it_costs_anything(text: str) -> None:
    """The parser's own composer would end the process here."""
    with pytest.raises(SpecError, match="nested more than 60 deep"):
        value(text)


def test_aliases_share_what_they_stand_for() -> None:
    """An anchored value can be used again, and is the same."""
    assert value("a: &x {k: [1, 2]}\nb: *x\n") == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}


def test_an_anchor_counts_from_where_it_was_last_set() -> None:
    """A name that is anchored twice stands for the last value, as YAML says."""
    assert value("a: &x 1\nb: &x 2\nc: *x\n")["c"] == 2


def test_aliases_that_multiply_are_refused() -> None:
    """Twelve lines which would come to 10^11 values are told where they become too many."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(SpecError, match=r"f.yml:\d+:\d+: more than 2,000,000 values"):
        value("\n".join(lines))


def test_every_value_has_its_place() -> None:
    """Lines and columns count from 1; an entry of a mapping stands where its key does."""
    document = load(b"a:\n  - b: 1\n    c: 2\n", place="f.yml")
    assert document.place(("a", 0, "c")) == "f.yml:3:5"
    assert document.place(("a", 0)) == "f.yml:2:5"
    assert document.place(("a", 0, "missing")) == "f.yml:2:5"
    assert document.place(("nothing",)) == "f.yml:1:1"


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20
) | st.sampled_from(
    ["yes", "no", "null", "~", "true", "1", "1.0", "1e5", "<<", "", " ", "- a", "a: b", "#", "*a",
     "&a", "!t", "'", '"', "a\nb", "a\n", "\n", "a\r\nb", "\t", "0777", "2026-01-01", "=", "|"]
)  # fmt: skip
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | _TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4)
)


@examples(150)
@given(_TREES)
def test_what_is_written_is_read_back_the_same(tree: object) -> None:
    """`dump` and `load` are inverse for everything that a fleet file can hold."""
    read = load(dump(tree), place="f.yml").value
    assert read == tree
    assert repr(read) == repr(tree)


@examples(150)
@given(st.text("ab:-[]{}&*!|>'\"%@#,\n\t <?~1.\x85\ufeff", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `SpecError` leaves the reader, and it always knows the file."""
    place = "f.yml"
    try:
        load(text.encode(), place="f.yml")
    except SpecError as error:
        place = error.place
    assert re.fullmatch(r"f\.yml(:\d+:\d+)?", place)
