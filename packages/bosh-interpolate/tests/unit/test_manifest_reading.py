"""The YAML dialect of `bosh`, read; the expected texts are what the real CLI prints."""

from __future__ import annotations

import math

import pytest

from bosh_interpolate import ManifestError, emit, load, load_variables
from bosh_interpolate.values import Tree, TypedKey, equal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("y", "Y", "yes", "Yes", "YES", "true", "True", "on", "ON")),
        *((word, False) for word in ("n", "N", "no", "No", "NO", "false", "FALSE", "off", "Off")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, word) for word in ("yEs", "nil", "None", "tRUE", "=", "_1", "0x", "0b2", "1 2")),
        ("0777", 511),
        ("0o17", 15),
        ("0O7", 7),
        ("0x1f", 31),
        ("0X_1F", 31),
        ("0b11", 3),
        ("-0b11", -3),
        ("+1", 1),
        ("-0x1F", -31),
        ("1_000", 1000),
        ("1__0_", 10),
        ("0_7", 7),
        ("9223372036854775807", 9223372036854775807),
        ("18446744073709551615", 18446744073709551615),
        ("08", 8.0),
        ("1.0", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".5_0", 0.5),
        ("+.5", 0.5),
        ("1e3", 1000.0),
        ("12e03", 12000.0),
        ("1_0.5", 10.5),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ("+18446744073709551615", 1.8446744073709552e19),
        ("-9223372036854775809", -9.223372036854775809e18),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1e999", "1e999"),
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("!!binary aGVsbG8=", "hello"),
        ("!other 12", "12"),
        ("'12'", "12"),
        ('"y"', "y"),
    ],
)
def test_a_plain_scalar_has_the_type_that_bosh_gives_it(text: str, value: Tree) -> None:
    """YAML 1.1 words, Go's integers in every base, floats, and texts that other readers convert."""
    assert equal(load(f"- {text}\n".encode()), [value])


def test_not_a_number_is_read() -> None:
    """`.nan` is a float."""
    found = load(b".nan")
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a: 1\n<<: {a: 2}\n", "a: 2\n"),
        ("<<: {a: 2}\na: 1\n", "a: 1\n"),
        ("<<: [{a: 1}, {a: 2, b: 3}]\n", "a: 1\nb: 3\n"),
        ("b: &b {x: 1}\nc: {<<: *b, z: 2}\n", "b:\n  x: 1\nc:\n  x: 1\n  z: 2\n"),
        ("a: 1\na: 2\n", "a: 2\n"),
        ("1: a\ntrue: b\n~: d\nx: e\n", "true: b\n1: a\nnull: d\nx: e\n"),
        ("--- a\n--- b\n", "a\n"),
        ("", "null\n"),
        ("# only a comment\n", "null\n"),
    ],
)
def test_merges_duplicates_and_documents(text: str, written: str) -> None:
    """A merge counts where it stands, the last of equal keys wins, the first document is read."""
    assert emit(load(text.encode())) == written


def test_keys_that_python_would_mix_up_stay_apart() -> None:
    """`1`, `true` and `1.5` are three keys."""
    assert load(b"1: a\ny: b\n1.5: c\n") == {
        1: "a",
        TypedKey("bool", True): "b",
        TypedKey("float", 1.5): "c",
    }


def test_aliases_share_nothing() -> None:
    """Each alias is a copy: an operation on one place must not change another."""
    found = load(b"a: &x {b: [1]}\nc: *x\n")
    assert isinstance(found, dict)
    assert found["a"] == found["c"]
    assert found["a"] is not found["c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("\n\na: b: c", "yaml: line 3: mapping values are not allowed in this context"),
        ("a: [1", "yaml: line 1: did not find expected ',' or ']'"),
        ("a:\n\t- b", "yaml: line 2: found character that cannot start any token"),
        ("\n\n\n'a", "yaml: line 4: found unexpected end of stream"),
        ("a: *b", "yaml: unknown anchor 'b' referenced"),
        ("&a [*a]", "yaml: anchor 'a' value contains itself"),
        ("<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
        ("!!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ("!!binary '*'", "yaml: !!binary value contains invalid base64 data"),
        ("{path: /new?/a}", "yaml: did not find expected ',' or '}'"),
        ("- a\n- [b?]", "yaml: line 1: did not find expected ',' or ']'"),
        (
            "{{foo}}: bar",
            'yaml: invalid map key: map[interface {}]interface {}{"foo":interface {}(nil)}',
        ),
        ("<<: 1\nb: [", "yaml: line 2: did not find expected node content"),
        ("\x00", "yaml: control characters are not allowed"),
        ("[" * 200, "yaml: exceeded max depth of 100"),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_words_of_bosh(text: str, message: str) -> None:
    """The same text, the same line number, syntax before meaning."""
    with pytest.raises(ManifestError) as caught:
        load(text.encode())
    assert str(caught.value) == message


def test_a_document_that_grows_by_its_aliases_is_refused() -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ManifestError, match="document contains excessive aliasing"):
        load("\n".join(lines).encode())


def test_the_keys_of_a_variables_file_are_texts() -> None:
    """`y: 1` defines the variable `y`, `5: x` the variable `5`."""
    found = load_variables(b"y: 1\n5: five\n1.0: one\n~: none\nb: {y: 2}\n")
    assert dict(found) == {
        "y": 1,
        "5": "five",
        "1.0": "one",
        "": "none",
        "b": {TypedKey("bool", True): 2},
    }


@pytest.mark.parametrize("text", ["", "~", "# nothing"])
def test_a_variables_file_may_be_empty(text: str) -> None:
    """Nothing in it: no variables."""
    assert load_variables(text.encode()) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "line 1: cannot unmarshal !!seq into template.StaticVariables"),
        ("x", "line 1: cannot unmarshal !!str `x` into template.StaticVariables"),
        (
            "a long text",
            "line 1: cannot unmarshal !!str `a long ...` into template.StaticVariables",
        ),
        ("a: 1\n? [b]\n: 1", "line 2: cannot unmarshal !!seq into string"),
    ],
)
def test_a_variables_file_is_a_map(text: str, message: str) -> None:
    """Anything else is refused as `bosh` does."""
    with pytest.raises(ManifestError) as caught:
        load_variables(text.encode())
    assert str(caught.value) == f"yaml: unmarshal errors:\n  {message}"
