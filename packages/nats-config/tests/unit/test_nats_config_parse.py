"""What the reader makes of a text: values with places, remarks, and errors that help."""

from __future__ import annotations

import pytest

from nats_config import Position, Table, Tree, ValueNode, parse_text
from nats_config.errors import NatsConfigError


def no_files(path: str, place: Position) -> bytes:
    """Stand for an empty folder."""
    raise NatsConfigError(f"`{path}` is not there", place=str(place), hint="write it")


def parse(text: str, **environment: str) -> Tree:
    """Read a text that includes nothing."""
    return parse_text(text, place="n.conf", include=no_files, environment=environment)


def node(tree: Tree, path: str) -> ValueNode:
    """Return the value at a dotted path."""
    table = tree.root
    *outer, last = path.split(".")
    for name in outer:
        value = table.fields[name].node.value
        assert isinstance(value, Table)
        table = value
    return table.fields[last].node


def refusal(text: str, **environment: str) -> NatsConfigError:
    """Return the error that a text is refused with."""
    with pytest.raises(NatsConfigError) as caught:
        parse(text, **environment)
    return caught.value


def test_every_value_knows_its_place() -> None:
    """Keys and values carry file, line and column, counted in characters from 1."""
    tree = parse("# one\ncluster {\n  é: x, name: hub\n}\n")
    cluster = tree.root.fields["cluster"]
    assert cluster.place == Position("n.conf", 2, 1)
    assert cluster.node.place == Position("n.conf", 2, 9)
    assert isinstance(cluster.node.value, Table)
    assert cluster.node.value.fields["name"].place == Position("n.conf", 3, 9)
    assert node(tree, "cluster.name").place == Position("n.conf", 3, 15)


def test_a_variable_stands_where_it_is_used() -> None:
    """The value comes from the definition, the place from the use, and the name is kept."""
    found = node(parse("p: 4222\n\nport: $p"), "port")
    assert (found.value, found.place, found.variable) == (4222, Position("n.conf", 3, 7), "p")


def test_a_definition_is_known_as_such() -> None:
    """The key that a variable referred to is told from an option of the server."""
    tree = parse("p: 4222\nq: 1\nport: $p")
    assert tree.definitions == {Position("n.conf", 1, 1)}


def test_a_variable_of_the_environment_has_a_type() -> None:
    """The text of an environment variable is read as a value, not as a string."""
    assert node(parse("port: $P", P="4222"), "port").value == 4222
    assert node(parse("port: $P", P="'4222'"), "port").value == "4222"


def test_the_last_of_equal_keys_wins_with_a_remark() -> None:
    """Two `tls` blocks are not merged: the first vanishes, and the remark says so."""
    tree = parse("tls { a: 1, b: 2 }\ntls { a: 3 }")
    assert [field.name for field in table(node(tree, "tls")).fields.values()] == ["a"]
    assert [(remark.code, str(remark.place)) for remark in tree.remarks] == [
        ("duplicate-key", "n.conf:2:1")
    ]
    assert "n.conf:1:1" in tree.remarks[0].message


def table(found: ValueNode) -> Table:
    """Return the map that a node holds."""
    assert isinstance(found.value, Table)
    return found.value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("a: 1kbb", "unknown-unit"),
        ("cluster { name }", "key-without-value"),
        ("a: ['", "cut-off"),
    ],
)
def test_what_nats_server_drops_silently_is_remarked(text: str, code: str) -> None:
    """Oddities that the digest must follow do not pass unseen."""
    assert code in {remark.code for remark in parse(text).remarks}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("port:\n4222", "n.conf:1:6", "missing"),
        ("a: [1]\n", "n.conf:2:1", "the end"),
        ("a: 1 b: 2", "n.conf:1:6", "`b`"),
        ("host: 'x", "n.conf:1:7", "not closed"),
        ('\nhost: "\\q"', "n.conf:2:8", "escape"),
        ("a {\n b: $c\n}", "n.conf:2:5", "`c`"),
        ("a: 2026-02-30T00:00:00Z", "n.conf:1:4", "date"),
        ("a: 99999999999999999999", "n.conf:1:4", "64 bits"),
        ("a: .5", "n.conf:1:4", "dot"),
        ("a: (\nx", "n.conf:1:4", "block"),
        ("port", "n.conf:1:1", "no value"),
        ("include 7", "n.conf:1:9", "include"),
    ],
)
def test_a_refusal_names_the_place_and_the_remedy(text: str, place: str, said: str) -> None:
    """Each error says where, what was found, and what to write instead."""
    error = refusal(text)
    assert error.place == place
    assert said in error.message
    assert error.hint


def test_a_password_is_in_no_repr_and_no_error() -> None:
    """Neither a repr of the tree nor a refusal shows what may be a password."""
    tree = parse("authorization { user: u, password: 'hunter2' }")
    assert "hunter2" not in repr(tree)
    assert "hunter2" not in repr(node(tree, "authorization.password").__rich_repr__())
    assert "unter2" not in str(refusal("authorization { password: $hunter2 }"))
    assert "7" * 30 not in str(refusal("authorization { password: " + "7" * 30 + " }"))


def test_a_cycle_in_the_environment_is_refused() -> None:
    """Variables that refer to each other end in an error, not in a hang."""
    assert "refers to itself" in str(refusal("port: $A", A="$B", B="$A"))


def test_names_are_searched_from_the_inside_outwards() -> None:
    """A variable is the nearest definition above its use, then the environment's."""
    tree = parse("n: outer\nc { n: inner, a: $n }\nb: $n\ne: $E", E="env")
    assert node(tree, "c.a").value == "inner"
    assert node(tree, "b").value == "outer"
    assert node(tree, "e").value == "env"
