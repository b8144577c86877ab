"""Variables: where they may stand, what they may be, which source wins, what is missing."""

from __future__ import annotations

import pytest

from bosh_interpolate import ManifestError, MemoryStore, interpolate, paths
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.variables import (
    Definition,
    expand_dotted_names,
    merge_variables,
    split_file_assignment,
    variable_from_assignment,
    variables_from_environment,
)


def text_of(template: str, **variables: Tree) -> str:
    """Interpolate with variables by keyword."""
    return interpolate(template.encode(), variables=variables)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("text", "k: text\n"),
        (5, "k: 5\n"),
        (True, "k: true\n"),
        (1.5, "k: 1.5\n"),
        (None, "k: null\n"),
        ([1], "k:\n- 1\n"),
        ({"a": 1}, "k:\n  a: 1\n"),
        ("((other))", "k: ((other))\n"),
    ],
)
@pytest.mark.parametrize("reference", ["((v))", "(( v ))", "((!v))", "(( v))"])
def test_a_whole_value_keeps_its_type(reference: str, value: Tree, written: str) -> None:
    """Where nothing else stands, any value may come in; it is not looked into again."""
    assert text_of(f"k: {reference}\n", v=value, other="never") == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("x((v))y((w))", "x1yt"),
        ("((v))((w))", "1t"),
        ("((v)) ((v))", "1 1"),
        ("((!v))-((!w))", "1-t"),
        ("x(( v ))", "x(( v ))"),
        ("((gone))", "((gone))"),
        ("x((gone))((v))", "x((gone))1"),
        ("((a b))", "((a b))"),
        ("((a:b))", "((a:b))"),
        ("((/a/b))", "absolute"),
        ("((é))((日本))", "EJ"),
        ("((v)", "((v)"),
    ],
)
def test_inside_a_text(text: str, written: str) -> None:
    """Texts and integers come in; spaces inside stop it there; unknown names stay."""
    variables: Variables = {"v": 1, "w": "t", "/a/b": "absolute", "é": "E", "日本": "J"}
    template = f"k: '{text}'\n".encode()
    assert (
        interpolate(template, variables=variables, path=paths.parse_pointer("/k")) == written + "\n"
    )


def test_as_a_key_and_as_the_document() -> None:
    """References stand in keys too, and may be everything."""
    assert text_of("((v)): 1\n", v="name") == "name: 1\n"
    assert text_of("((v)): 1\n", v=True) == "true: 1\n"
    assert text_of("((v))", v=[1]) == "- 1\n"
    with pytest.raises(ManifestError, match="to be a scalar"):
        text_of("((v)): 1\n", v=[1])


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [
        (True, "bool", "true"),
        (1.5, "float64", "1.5"),
        (None, "<nil>", "<nil>"),
        ([1, "a"], "[]interface {}", "[1 a]"),
        ({"b": [1], "a": None}, "map[interface {}]interface {}", "map[a:<nil> b:[1]]"),
    ],
)
def test_other_types_inside_a_text_are_refused(value: Tree, name: str, shown: str) -> None:
    """Only texts and integers can be part of a text."""
    with pytest.raises(ManifestError) as caught:
        text_of("k: x((v))\n", v=value)
    assert str(caught.value) == (
        f"Invalid type '{name}' for value '{shown}' and variable 'v'. "
        "Supported types for interpolation within a string are integers and strings."
    )


def test_a_private_key_is_never_part_of_an_error() -> None:
    """Where `bosh` would print a certificate variable in full, the key is left out."""
    marker = "PRIVATE KEY-----"
    value: Tree = {"private_key": f"-----BEGIN RSA {marker}\nsecret\n-----END RSA {marker}\n"}
    with pytest.raises(ManifestError) as caught:
        text_of("k: x((v))\n", v=value)
    assert "Invalid type" in str(caught.value)
    assert "secret" not in caught.value.report()


@pytest.mark.parametrize(
    ("reference", "written"),
    [
        ("m.x", "1"),
        ("m.l.0", "a"),
        ("m.l.-1", "b"),
        ("m.5", "five"),
        ("gone.x", "((gone.x))"),
    ],
)
def test_a_path_into_a_variable(reference: str, written: str) -> None:
    """Keys and indexes; a number is tried as a key too; an unknown variable stays."""
    value: Tree = {"x": 1, "l": ["a", "b"], "5": "five"}
    assert text_of(f"k: (({reference}))\n", m=value) == f"k: {written}\n"


def test_a_path_that_leads_nowhere_is_an_error_always() -> None:
    """The variable is there, what is wanted in it is not."""
    with pytest.raises(ManifestError) as caught:
        text_of("k: ((m.y))\n", m={"x": 1})
    assert caught.value.report() == (
        "Finding variable 'm.y':\n"
        "  Expected to find a map key 'y' for path '/y' (found map keys: 'x')"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=007", 7),
        ("a=~", None),
        ("a=y", True),
        ("a={b: [1]}", {"b": [1]}),
        ("a='q'", "q"),
        ("a='\"q\"'", '"q"'),
        ('a=""', ""),
        ("a=one\ntwo\nthree", "one\ntwo\nthree"),
        ("a= x ", " x "),
        ("a=b=c", "b=c"),
        ("a=2020-01-01", "2020-01-01"),
        ("a=ssh-rsa A+B==", "ssh-rsa A+B=="),
    ],
)
def test_an_assignment(text: str, value: Tree) -> None:
    """YAML, but a text stays as it was typed, less one pair of quotes."""
    assert variable_from_assignment(text) == {"a": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "Expected var 'a' to be in format 'name=value'"),
        ("=b", "Expected var '=b' to specify non-empty name"),
        ("a=", "Expected var 'a=' to specify non-empty value"),
        (
            "a=@b",
            "Deserializing variables 'a=@b': yaml: found character that cannot start any token",
        ),
    ],
)
def test_an_assignment_that_is_none(text: str, message: str) -> None:
    """Refused with the text of `bosh`."""
    with pytest.raises(ManifestError) as caught:
        variable_from_assignment(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "Expected var 'a' to be in format 'name=path'"),
        ("=b", "Expected var '=b' to specify non-empty name"),
        ("a=", "Expected var 'a=' to specify non-empty path"),
    ],
)
def test_a_file_variable_that_is_none(text: str, message: str) -> None:
    """Refused with the text of `bosh`."""
    with pytest.raises(ManifestError) as caught:
        split_file_assignment(text)
    assert str(caught.value) == message


def test_the_environment() -> None:
    """`PREFIX_name` gives `name`, its value read as YAML."""
    environment = {"P_a": "x: [1]", "P_n": "5", "P_e": "", "PX": "1", "Q_a": "2"}
    assert variables_from_environment("P", environment) == {"a": {"x": [1]}, "n": 5, "e": None}
    with pytest.raises(ManifestError, match="environment variable 'P_a': yaml: "):
        variables_from_environment("P", {"P_a": "["})
    with pytest.raises(ManifestError, match="prefix to be non-empty"):
        variables_from_environment("", {})


def test_precedence() -> None:
    """Assignment, file content, variables file (the later), environment, and then the store."""
    sources: dict[str, list[Variables]] = {
        "assignments": [{"a": "assignment"}],
        "contents": [{"a": "content", "b": "content"}],
        "files": [{"a": "file", "b": "file", "c": "first"}, {"c": "second"}],
        "environments": [{"a": "env", "b": "env", "c": "env", "d": "env"}],
    }
    store = MemoryStore({"a": "store", "d": "store", "e": "store"})
    written = interpolate(
        b"[((a)), ((b)), ((c)), ((d)), ((e))]",
        variables=merge_variables(**sources),
        store=store,
    )
    assert written == "- assignment\n- content\n- second\n- env\n- store\n"


def test_dotted_names_make_maps() -> None:
    """`-v a.b=1` is a map `a`; what would contradict itself is refused."""
    assert expand_dotted_names({"a.b.c": 1, "a.b.d": 2, "e": 3}) == {
        "a": {"b": {"c": 1, "d": 2}},
        "e": 3,
    }
    assert interpolate(b"((a))", variables={"a.b": 3}) == "b: 3\n"
    with pytest.raises(ManifestError, match="Expected variable 'a' to be a map"):
        expand_dotted_names({"a": 1, "a.b": 2})


def test_what_is_missing_and_what_is_unused() -> None:
    """Both lists are shown, sorted, when both are asked for; the result is not."""
    template = b"k: [((b)), ((a)), ((known))]\n"
    variables: Variables = {"known": 1, "z": 1, "y.q": 2}
    assert "((a))" in interpolate(template, variables=variables)
    with pytest.raises(ManifestError) as caught:
        interpolate(template, variables=variables, all_found=True, all_used=True)
    assert caught.value.report() == (
        "- Expected to find variables:\n    - a\n    - b\n"
        "- Expected to use variables:\n    - y\n    - z"
    )


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("/a", "text\n"),
        ("/b", "two\nlines\n\n"),
        ("/c", "- 1\n"),
        ("/d", "5\n"),
        ("/e", "null\n"),
        ("/gone?", "null\n"),
    ],
)
def test_a_path_of_the_result(path: str, printed: str) -> None:
    """A text is printed as it is, anything else as YAML."""
    template = b'{a: text, b: "two\\nlines\\n", c: [1], d: 5, e: ~}'
    assert interpolate(template, path=paths.parse_pointer(path)) == printed


def made(definition: Definition, _by_name: object) -> Tree:
    """Make a value that shows what it was made from."""
    return f"{definition.type}/{definition.options}"


def test_typed_definitions_are_made_in_their_order_and_leave_the_manifest() -> None:
    """Each into the store, once; what has a value is no longer defined."""
    template = b"""
k: ((b))
variables:
- {name: a, type: t}
- {name: b, type: t, options: {x: ((a))}, update_mode: converge}
- {name: given, type: t}
- {name: untyped}
- {name: /absolute/name, type: t}
"""
    store = MemoryStore()
    written = interpolate(template, variables={"given": 1}, store=store, make=made)
    assert written == "k: 't/{''x'': ''t/None''}'\nvariables:\n- name: untyped\n"
    assert list(store.variables()) == ["a", "b", "/absolute/name"]
    again = interpolate(template, variables={"given": 1}, store=store, make=lambda *_: "changed")
    assert again == written


def test_without_a_store_nothing_is_made() -> None:
    """The definitions stay, and so do the references."""
    template = "k: ((a))\nvariables:\n- name: a\n  type: t\n"
    assert text_of(template) == template
    assert text_of(template, a=1) == "k: 1\nvariables: []\n"


def test_options_that_refer_to_what_is_missing_leave_the_variable_alone() -> None:
    """Nothing is made from half of its options."""
    template = b"variables:\n- name: a\n  options: ((gone))\n  type: t\n"
    store = MemoryStore()
    assert interpolate(template, store=store, make=made) == template.decode()
    assert not store.variables()


def test_definitions_that_need_each_other_are_refused() -> None:
    """A circle of options has no beginning."""
    template = b"""
variables:
- {name: a, type: t, options: {x: ((b))}}
- {name: b, type: t, options: {x: ((a))}}
"""
    with pytest.raises(ManifestError) as caught:
        interpolate(template, store=MemoryStore(), make=made)
    assert caught.value.report().splitlines()[-1].strip() == "Detected recursion"
    assert str(caught.value).startswith(
        "Getting all variables from variable definitions sections: "
        "Interpolating variable 'a' definition options: Finding variable 'b': "
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{a: b}", "line 2: cannot unmarshal !!map into []template.VariableDefinition"),
        ("x", "line 1: cannot unmarshal !!str `x` into []template.VariableDefinition"),
        ("[x]", "line 2: cannot unmarshal !!str `x` into template.VariableDefinition"),
        ("[{name: [q]}]", "line 3: cannot unmarshal !!seq into string"),
    ],
)
def test_a_section_of_the_wrong_shape(section: str, message: str) -> None:
    """Refused with the line that it has in the manifest as `bosh` writes it."""
    with pytest.raises(ManifestError) as caught:
        text_of(f"variables: {section}\n")
    assert str(caught.value) == f"yaml: unmarshal errors:\n  {message}"


def test_two_definitions_of_one_name_are_refused() -> None:
    """Which one would leave the manifest?"""
    with pytest.raises(ManifestError, match="exactly one matching array item"):
        text_of("variables: [{name: a}, {name: a}]\n", a=1)
