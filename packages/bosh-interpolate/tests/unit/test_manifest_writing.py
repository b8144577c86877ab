"""The YAML dialect of `bosh`, written; the expected texts are what the real CLI prints."""

from __future__ import annotations

import pytest

from bosh_interpolate import emit, load
from bosh_interpolate.values import Tree, float_text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null\n"),
        ({}, "{}\n"),
        ([], "[]\n"),
        ("text", "text\n"),
        ({"b": 1, "a": {"c": []}}, "a:\n  c: []\nb: 1\n"),
        ({"a": [1, {"b": [2], "c": {}}]}, "a:\n- 1\n- b:\n  - 2\n  c: {}\n"),
        ([[1, [2]], [], {"a": [{"b": 1}]}], "- - 1\n  - - 2\n- []\n- a:\n  - b: 1\n"),
        ({"a\nb": {"c": [1]}}, "? |-\n  a\n  b\n: c:\n  - 1\n"),
        ({"k" * 129: [1]}, "? " + "k" * 129 + "\n: - 1\n"),
        ({"é" * 65: 1}, "? " + "é" * 65 + "\n: 1\n"),
    ],
)
def test_collections(value: Tree, written: str) -> None:
    """Two spaces for a map, none for a list under its key, long keys behind a question mark."""
    assert emit(value) == written


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        (("b", "a", "B", "A"), ("A", "B", "a", "b")),
        (("a10", "a9", "a1"), ("a1", "a9", "a10")),
        (("ab", "a-b", "a_b", "a1", "a"), ("a", "a-b", "a_b", "a1", "ab")),
        (("a01", "a1", "a001"), ("a1", "a01", "a001")),
        (("x", 10, 9, None), (9, 10, None, "x")),
        (("z.é", "z.a", "z.1", "z.-"), ("z.-", "z.1", "z.a", "z.é")),
    ],
)
def test_the_order_of_keys(keys: tuple[str, ...], order: tuple[str, ...]) -> None:
    """Numbers, then nothing, then texts: signs, digits by value, letters."""
    found = load(emit(dict.fromkeys(keys, 1)).encode())
    assert isinstance(found, dict)
    assert tuple(found) == order


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *((word, f'"{word}"') for word in ("y", "n", "no", "on", "true", "~", "null", "", "Off")),
        *(
            (word, f'"{word}"')
            for word in ("1", "0777", "0o17", "1e5", "12e3", "1_000", ".5", "-0")
        ),
        *((word, f'"{word}"') for word in ("2020-01-01", "12:30", "190:20:30.5", ".inf", "1.0")),
        *((word, word) for word in ("yEs", "1:99", "2020-13-01", "08x", "a:b", "a?", "-a", ":a")),
        *((word, f"'{word}'") for word in ("a: b", "- a", "[a", "{a", "*a", "&a", "@a", "a #b")),
        *(
            (word, f"'{word}'")
            for word in (" a", "a ", "a:", "---", "...x", "? a", "#a", '"a', "%a")
        ),
        ("it's", "it's"),
        ("'it", "'''it'"),
        ("a\tb", '"a\\tb"'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("\U0001f600", '"\\U0001F600"'),
        ("\ufeffab", '"\\uFEFF\\x61\\x62"'),
        ("é ü", "é ü"),
        ("a \nb", '"a \\nb"'),
        ("a\nb ", '"a\\nb "'),
        ("a\nb", "|-\n  a\n  b"),
        ("a\nb\n", "|\n  a\n  b"),
        ("a\n\nb\n\n", "|+\n  a\n\n  b\n"),
        ("\n", "|2+\n"),
        (" a\nb\n", "|2\n   a\n  b"),
        ("a\u2028b", "'a\u2028  b'"),
    ],
)
def test_how_a_string_is_written(text: str, written: str) -> None:
    """Plain where it stays a string, double quotes where it would change its type, blocks."""
    assert emit({"k": text}) == f"k: {written}\n"


def test_bytes_that_are_no_text_are_written_in_base64() -> None:
    """What `!!binary` brought in goes out as it."""
    assert emit(load(b"a: !!binary /w==\n")) == "a: !!binary /w==\n"
    assert emit("\udcff" * 60) == f"!!binary |\n  {'/' * 70}\n  {'/' * 10}\n"


def test_a_long_text_is_folded_after_80_characters() -> None:
    """The first space behind column 80 becomes a line break; keys are never folded."""
    words = " ".join(["x"] * 60)
    first = " ".join(["x"] * 40)
    assert emit({"k": words}) == f"k: {first}\n  {' '.join(['x'] * 20)}\n"
    assert emit([{"k": words}]) == f"- k: {' '.join(['x'] * 39)}\n    {' '.join(['x'] * 21)}\n"
    assert emit({words: 1}) == f"{words}: 1\n"


def test_double_spaces_are_never_folded() -> None:
    """A fold there would lose a space; a quoted text escapes it."""
    assert emit("word  " * 20 + "x") == "word  " * 20 + "x\n"
    quoted = "\t" + "word  " * 20 + "x"
    assert load(emit(quoted).encode()) == quoted
    assert "\n  \\ " in emit(quoted)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (1.0, "1"),
        (0.5, "0.5"),
        (-0.0, "-0"),
        (100000.0, "100000"),
        (1e6, "1e+06"),
        (1234567.8, "1.2345678e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (123456.789, "123456.789"),
        (1.2345678901234568e29, "1.2345678901234568e+29"),
    ],
)
def test_floats_are_written_as_go_does(number: float, written: str) -> None:
    """The fewest digits, an exponent from a million on."""
    assert float_text(number) == written
