"""Ops files: what each operation does to a manifest, and what it says when it cannot."""

from __future__ import annotations

import json

import pytest

from bosh_interpolate import ManifestError, interpolate, load, paths, read_ops_file
from bosh_interpolate.ops_files import apply_operations
from bosh_interpolate.paths import find
from bosh_interpolate.values import Tree

MANIFEST = b"""
a: {b: {c: 1}, l: [x, w, z], nothing: ~}
m:
- {name: j1, v: 1}
- {name: j2, v: 2}
- {name: j2, v: 3}
- {name: 9}
num: 5
s: t
"""
FAILED = "Error 'operation [0] in o.yml failed': "


def after(kind: str, path: str, **fields: object) -> Tree:
    """Return the manifest after one operation."""
    text = json.dumps([{"type": kind, "path": path, **fields}])
    return apply_operations(load(MANIFEST), read_ops_file(text.encode(), name="o.yml"))


def at(document: Tree, path: str) -> Tree:
    """Return what is at a path."""
    return find(document, paths.parse_pointer(path))


@pytest.mark.parametrize(
    ("path", "where", "found"),
    [
        ("/a/b", "/a/b", "new"),
        ("/a/x?", "/a/x", "new"),
        ("/a/x?/y/z", "/a/x", {"y": {"z": "new"}}),
        ("/a/x?/-", "/a/x", ["new"]),
        ("/a/x?/name=k", "/a/x", ["new"]),
        ("/a/x?/name=k/z", "/a/x", [{"name": "k", "z": "new"}]),
        ("/a/l/0", "/a/l", ["new", "w", "z"]),
        ("/a/l/-1", "/a/l", ["x", "w", "new"]),
        ("/a/l/01", "/a/l", ["x", "new", "z"]),
        ("/a/l/-", "/a/l", ["x", "w", "z", "new"]),
        ("/a/l/0:prev", "/a/l", ["x", "w", "new"]),
        ("/a/l/0:next:next", "/a/l", ["x", "w", "new"]),
        ("/a/l/0:before", "/a/l", ["new", "x", "w", "z"]),
        ("/a/l/0:after", "/a/l", ["x", "new", "w", "z"]),
        ("/a/l/-1:after", "/a/l", ["x", "w", "z", "new"]),
        ("/a/l/0:next:after", "/a/l", ["x", "w", "new", "z"]),
        ("/m/name=j1", "/m/0", "new"),
        ("/m/name=j1/v", "/m/0/v", "new"),
        ("/m/name=j1:next/v", "/m/1/v", "new"),
        ("/m/name=j1:before", "/m/0", "new"),
        ("/m/name=j1:after", "/m/1", "new"),
        ("/m/name=j3?", "/m/-1", "new"),
        ("/m/name=j3?:before", "/m/-1", "new"),
        ("/m/name=j3?/v/w", "/m/-1", {"name": "j3", "v": {"w": "new"}}),
        ("/m/name=9?", "/m/4", "new"),
        ("/x~1~0~7?", "/x~1~0~7", "new"),
        ("", "", "new"),
    ],
)
def test_replace(path: str, where: str, found: Tree) -> None:
    """Each form of a path puts the value where `bosh` puts it."""
    assert at(after("replace", path, value="new"), where) == found


@pytest.mark.parametrize(
    ("path", "where", "found"),
    [
        ("/a/b/c", "/a/b", {}),
        ("/a/l/1", "/a/l", ["x", "z"]),
        ("/a/l/-1:prev", "/a/l", ["x", "z"]),
        ("/m/name=j1", "/m/0/v", 2),
        ("/a/zz?", "/num", 5),
        ("/a/zz?/name=q/r", "/num", 5),
        ("/m/name=zz?", "/num", 5),
        ("/m/name=zz?/v", "/num", 5),
    ],
)
def test_remove(path: str, where: str, found: Tree) -> None:
    """What is there goes; what is optional may be missing."""
    assert at(after("remove", path), where) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/zz?", None),
        ("/a/zz?/name=q", None),
        ("/m/name=zz?", {"name": "zz"}),
        ("/m/name=j1:next/v", 2),
        ("", load(MANIFEST)),
    ],
)
def test_find(path: str, found: Tree) -> None:
    """What is optional and missing is nothing, or an item made of its name."""
    expected = {"name": "q"} if path.endswith("name=q") else found
    assert at(load(MANIFEST), path) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "/num", "value": 5},
        {"path": "/num", "value": 5, "absent": False},
        {"path": "/a/b", "value": {"c": 1}},
        {"path": "/q", "absent": True},
        {"path": "/a/l/3", "absent": True},
    ],
)
def test_a_test_that_holds_changes_nothing(fields: dict[str, object]) -> None:
    """`test` looks only."""
    text = json.dumps([{"type": "test", **fields}]).encode()
    document = apply_operations(load(MANIFEST), read_ops_file(text, name="o.yml"))
    assert document == load(MANIFEST)


MAP = "map[interface {}]interface {}"
KEYS = "'a', 'm', 'num', 's'"


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("replace", "/x", f"Expected to find a map key 'x' for path '/x' (found map keys: {KEYS})"),
        (
            "replace",
            "/x/y?",
            f"Expected to find a map key 'x' for path '/x' (found map keys: {KEYS})",
        ),
        ("replace", "/num/x", "Expected to find a map at path '/num/x' but found 'int'"),
        ("replace", "/s/x", "Expected to find a map at path '/s/x' but found 'string'"),
        ("replace", "/m/x", "Expected to find a map at path '/m/x' but found '[]interface {}'"),
        (
            "replace",
            "/a/nothing/x",
            "Expected to find a map at path '/a/nothing/x' but found '<nil>'",
        ),
        ("replace", "/a/0", f"Expected to find an array at path '/a/0' but found '{MAP}'"),
        ("replace", "/a/-", f"Expected to find an array at path '/a/-' but found '{MAP}'"),
        (
            "replace",
            "/a/l/3",
            "Expected to find array index '3' but found array of length '3' for path '/a/l/3'",
        ),
        (
            "replace",
            "/m/name=j2",
            "Expected to find exactly one matching array item for path '/m/name=j2' but found 2",
        ),
        (
            "replace",
            "/m/name=9",
            "Expected to find exactly one matching array item for path '/m/name=9' but found 0",
        ),
        (
            "replace",
            "/a/l/-/x",
            "Expected to find a map at path '/a/l/-' but found '[]interface {}'",
        ),
        (
            "replace",
            "/a/x?/0",
            "Expected to find key, matching index or after last index token at path '/a/x?/0'",
        ),
        (
            "replace",
            "/a/l/0:after:next",
            (
                "Expected to not find any modifiers after 'after' modifier, but found modifier "
                "'patch.NextModifier'"
            ),
        ),
        (
            "remove",
            "/a/l/0:before",
            (
                "Expected to find one of the following modifiers: 'prev', 'next', but found "
                "modifier 'patch.BeforeModifier'"
            ),
        ),
        (
            "remove",
            "/a/l/-",
            "Expected to not find token 'patch.AfterLastIndexToken' at path '/a/l/-'",
        ),
        ("remove", "", "Cannot remove entire document"),
        ("remove", "/x", f"Expected to find a map key 'x' for path '/x' (found map keys: {KEYS})"),
        ("remove", "/a/b/c/d", "Expected to find a map at path '/a/b/c/d' but found 'int'"),
        ("test", "/num", "Found value does not match expected value"),
        (
            "test",
            "/a/l/-",
            (
                "Expected not to find after last index token in path '/a/l/-' (not "
                "supported in find operations)"
            ),
        ),
        ("absent", "/num", "Expected to not find '/num'"),
        (
            "absent",
            "/x/y",
            f"Expected to find a map key 'x' for path '/x' (found map keys: {KEYS})",
        ),
    ],
)
def test_what_fails_says_so_in_the_words_of_bosh(kind: str, path: str, message: str) -> None:
    """Each refusal names the operation, its file, the path and what was found there."""
    fields: dict[str, object] = {"value": "new"} if kind in ("replace", "test") else {}
    if kind == "absent":
        kind, fields = "test", {"absent": True}
    with pytest.raises(ManifestError) as caught:
        after(kind, path, **fields)
    assert str(caught.value) == FAILED + message


@pytest.mark.parametrize("value", ["'5'", "5.0", "'5.0'"])
def test_a_value_of_another_type_is_another_value(value: str) -> None:
    """`5`, `5.0` and `"5"` differ."""
    found = read_ops_file(f"- {{type: test, path: /num, value: {value}}}".encode(), name="o.yml")
    with pytest.raises(ManifestError, match="Found value does not match"):
        apply_operations(load(MANIFEST), found)


def test_a_value_is_copied_for_each_use() -> None:
    """A later operation changes one place, not the value that another operation brought."""
    text = b"""
- {type: replace, path: /num, value: &v {k: 1}}
- {type: replace, path: /s, value: *v}
- {type: replace, path: /num/k, value: 2}
"""
    document = apply_operations(load(MANIFEST), read_ops_file(text, name="o.yml"))
    assert at(document, "/s/k") == 1
    assert at(document, "/num/k") == 2


@pytest.mark.parametrize("text", ["", "# nothing", "~", "[]"])
def test_an_ops_file_may_be_empty(text: str) -> None:
    """No operations."""
    assert read_ops_file(text.encode(), name="o.yml") == ()


@pytest.mark.parametrize(
    ("text", "problem", "fields"),
    [
        ("type: replace", "Replace operation [0]: Missing path", {"Type": "replace"}),
        (
            "{type: replace, path: /a}",
            "Replace operation [0]: Missing value",
            {"Type": "replace", "Path": "/a"},
        ),
        (
            "{type: remove, path: /a, value: 1}",
            "Remove operation [0]: Cannot specify value",
            {"Type": "remove", "Path": "/a", "Value": "<redacted>"},
        ),
        (
            "{type: test, path: /a}",
            "Test operation [0]: Missing value or absent",
            {"Type": "test", "Path": "/a"},
        ),
        (
            "{type: move, path: /a}",
            "Unknown operation [0] with type 'move'",
            {"Type": "move", "Path": "/a"},
        ),
        (
            "{type: remove, path: a}",
            "Remove operation [0]: Invalid path: Expected to start with '/'",
            {"Type": "remove", "Path": "a"},
        ),
        (
            "{type: remove, path: '/a:x'}",
            (
                "Remove operation [0]: Invalid path: Expected to find one of the following "
                "modifiers: 'prev', 'next', 'before', or 'after' but found 'x'"
            ),
            {"Type": "remove", "Path": "/a:x"},
        ),
        (
            "{type: remove, path: '/a:prev'}",
            "Remove operation [0]: Invalid path: Expected not to find any modifiers with key token",
            {"Type": "remove", "Path": "/a:prev"},
        ),
        (
            "{type: remove, path: '/a/-:prev'}",
            (
                "Remove operation [0]: Invalid path: Expected not to find any modifiers with after "
                "last index token"
            ),
            {"Type": "remove", "Path": "/a/-:prev"},
        ),
    ],
)
def test_an_operation_that_makes_no_sense_is_shown_without_its_value(
    text: str, problem: str, fields: dict[str, str]
) -> None:
    """Refused when it is loaded: which, why, and what it says, for the value may be a secret."""
    with pytest.raises(ManifestError) as caught:
        read_ops_file(f"- {text}".encode(), name="o.yml")
    shown = json.dumps({**fields, "Error": "operation [0] in o.yml failed"}, indent=2)
    assert str(caught.value) == f"Building ops: {problem} within\n{shown}"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x", ["line 1: cannot unmarshal !!str `x` into []patch.OpDefinition"]),
        ("a: b", ["line 1: cannot unmarshal !!map into []patch.OpDefinition"]),
        ("- x", ["line 1: cannot unmarshal !!str `x` into patch.OpDefinition"]),
        (
            "- type: replace\n  path: [x]\n  value: 1\n- z\n- type: {}\n",
            [
                "line 2: cannot unmarshal !!seq into string",
                "line 4: cannot unmarshal !!str `z` into patch.OpDefinition",
                "line 5: cannot unmarshal !!map into string",
            ],
        ),
        (
            "- {type: test, path: /q, absent: 'some long text here'}",
            ["line 1: cannot unmarshal !!str `some lo...` into bool"],
        ),
    ],
)
def test_an_ops_file_of_the_wrong_shape_is_refused_with_its_lines(
    text: str, lines: list[str]
) -> None:
    """All misfits at once, each with its line, value and the type it should have."""
    with pytest.raises(ManifestError) as caught:
        read_ops_file(text.encode(), name="o.yml")
    expected = "\n  ".join(("yaml: unmarshal errors:", *lines))
    assert str(caught.value) == f"Deserializing ops file 'o.yml': {expected}"


def test_fields_that_are_not_known_are_ignored() -> None:
    """`error` is overwritten, others are left aside."""
    text = b"- {type: remove, path: /q, error: mine, more: 1}"
    with pytest.raises(ManifestError, match=r"operation \[0\] in o.yml failed"):
        apply_operations(load(MANIFEST), read_ops_file(text, name="o.yml"))


def test_operations_come_before_variables() -> None:
    """A value of an ops file may refer to a variable."""
    found = read_ops_file(b"- {type: replace, path: '/new?', value: ((v))}", name="o.yml")
    assert interpolate(b"a: 1\n", operations=found, variables={"v": [1]}) == "a: 1\nnew:\n- 1\n"
