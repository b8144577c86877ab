"""Whatever text it is given, the reader agrees with nats-server, or refuses with a place."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nats_config import Position, Tree, find_changes, parse_text
from nats_config.digest import compute_digest
from nats_config.errors import NatsConfigError
from rigs.examples_budget import examples
from rigs.nats_config_corpus import using
from rigs.nats_config_texts import damaged, pieces, values
from rigs.nats_oracle import ask

ORACLE_EXAMPLES = 40
PURE_EXAMPLES = 150


def no_files(path: str, place: Position) -> bytes:
    """Stand for an empty folder."""
    raise NatsConfigError(f"`{path}` is not there", place=str(place), hint="write it")


def outcome(
    text: bytes | str, environment: Mapping[str, str] | None = None
) -> Tree | NatsConfigError:
    """Return the tree or the refusal."""
    try:
        return parse_text(text, place="f.conf", include=no_files, environment=environment or {})
    except NatsConfigError as error:
        return error


def parsed(text: bytes | str, environment: Mapping[str, str] | None = None) -> Tree | None:
    """Return the tree, None when the reader refuses with a place and a remedy."""
    found = outcome(text, environment)
    if isinstance(found, Tree):
        return found
    assert found.place
    assert found.hint
    return None


def agrees(text: bytes) -> None:
    """Ask both about one text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.conf"
        path.write_bytes(text)
        answer = ask(path)
    tree = outcome(text)
    assert isinstance(tree, NatsConfigError) == answer.of_syntax, f"{tree!r} / {answer}"
    if answer.digest and isinstance(tree, Tree):
        assert compute_digest(tree) == answer.digest


@examples(ORACLE_EXAMPLES)
@given(values())
def test_values_are_read_as_nats_server_reads_them(text: bytes) -> None:
    """Any value of the grammar has the digest that nats-server prints."""
    agrees(using(text))


@examples(ORACLE_EXAMPLES)
@given(damaged() | pieces())
def test_damaged_texts_are_read_as_nats_server_reads_them(text: bytes) -> None:
    """A damaged text is refused by both, or read by both as the same."""
    agrees(using(text))


@examples(PURE_EXAMPLES)
@given(st.binary(max_size=80) | st.text(max_size=80) | pieces() | pieces().map(lambda t: t * 30))
def test_any_text_gives_a_tree_or_a_config_error(text: bytes | str) -> None:
    """No text makes the reader raise anything else, and every tree has a digest."""
    tree = parsed(text)
    if tree is not None:
        assert compute_digest(tree).startswith("sha256:")


@examples(PURE_EXAMPLES)
@given(st.text(alphabet=st.characters(exclude_characters="\0"), max_size=60))
def test_any_environment_gives_a_tree_or_a_config_error(text: str) -> None:
    """The text of an environment variable is as harmless as that of a file."""
    parsed("v: $X\nw: [$X, $Y ]", {"X": text, "Y": "$X"})


@examples(PURE_EXAMPLES)
@given(values())
def test_a_tree_does_not_change_against_itself(text: bytes) -> None:
    """Reading the same text twice shows no changes, however it is laid out."""
    tree = parsed(b"accounts: " + text)
    again = parsed(b"# moved\n\n  accounts: " + text)
    assert (tree is None) == (again is None)
    if tree is not None and again is not None:
        assert find_changes(tree, again) == ()
        assert compute_digest(tree) == compute_digest(again)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"a: " + b"[" * 100_000, id="brackets"),
        pytest.param(b"a: " + b"{b " * 100_000, id="braces"),
        pytest.param(b"{" * 200_000, id="blocks"),
        pytest.param(b"a: '" + b"x" * 1_000_000, id="open quote"),
        pytest.param(b"a: (" + b"\n) " * 300_000, id="block ends"),
        pytest.param(b"# " * 500_000, id="comment"),
        pytest.param(b"a: 1" + b"/" * 500_000, id="slashes"),
        pytest.param(b"a: " + b"9" * 1_000_000, id="digits"),
        pytest.param(b"a: 0." + b"9" * 1_000_000, id="fraction"),
        pytest.param(b'a: "' + b"\\n" * 300_000, id="escapes"),
        pytest.param(b"a: " + b"x\\n" * 300_000, id="bare escapes"),
        pytest.param(b"a:[1 ,1 ]\n" + b"a:[$a,$a]\n" * 200, id="doubling variables"),
        pytest.param(b"a:[1 ,1 ]\n" + b"a:[$a,$a]\n" * 20, id="doubling just below the limit"),
        pytest.param(b"a:1\n" + b"a:[$a]\n" * 500, id="nesting variables"),
    ],
)
@pytest.mark.timeout(20)
def test_hostile_texts_end_soon(text: bytes) -> None:
    """Depth, length and growth are bounded: no hang, no RecursionError, no memory eaten."""
    tree = parsed(text)
    if tree is not None:
        compute_digest(tree)
