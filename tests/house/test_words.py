"""Public names: the words of the glossary, one meaning for a class, none that says nothing."""

from __future__ import annotations

import ast
import re
import runpy
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.py"
MOST_WORDS = 60
PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
SAYS_NOTHING = {
    "common", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc",
    "processor", "processors", "util", "utils", "wrapper", "wrappers",
}  # fmt: skip
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class Word(NamedTuple):
    """An entry of the glossary."""

    word: str
    meaning: str
    source: str
    replaces: tuple[str, ...]


class PublicName(NamedTuple):
    """A name that other modules may use, and where it stands."""

    kind: str
    name: str
    module: str

    @property
    def words(self) -> tuple[str, ...]:
        """The name, word by word: `LeafIssuer` and `leaf_issuer` have the same."""
        return split(self.name)

    def has(self, phrase: tuple[str, ...]) -> bool:
        """Say whether these words stand in the name one after another."""
        starts = range(len(self.words) - len(phrase) + 1)
        return any(self.words[start : start + len(phrase)] == phrase for start in starts)


@cache
def split(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case."""
    return tuple(part.lower() for part in PARTS.findall(name))


def is_public(name: str) -> bool:
    """Say whether a name is for others."""
    return not name.startswith("_")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules of the five distributions by their dotted names."""
    for source in sorted(ROOT.glob("packages/*/src")):
        for path in sorted(source.rglob("*.py")):
            name = ".".join(path.relative_to(source).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def names_in(module: str, tree: ast.Module) -> Iterator[PublicName]:
    """Yield the public names of a module, its own first."""
    yield PublicName("module", module.rpartition(".")[2], module)
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and is_public(node.name):
            yield PublicName("function", node.name, module)
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            yield PublicName("class", node.name, module)
            yield from (PublicName("member", name, module) for name in members(node))


def members(node: ast.ClassDef) -> Iterator[str]:
    """Yield the public methods and attributes of a class."""
    for item in node.body:
        match item:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found = [name]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case ast.Assign(targets=targets):
                found = [target.id for target in targets if isinstance(target, ast.Name)]
            case _:
                found = []
        yield from filter(is_public, found)


@pytest.fixture(scope="module")
def glossary() -> tuple[Word, ...]:
    """The entries of the glossary."""
    return tuple(Word(*entry) for entry in runpy.run_path(str(GLOSSARY))["WORDS"])


@pytest.fixture(scope="module")
def public_names() -> tuple[PublicName, ...]:
    """Every public name of the five distributions."""
    return tuple(name for module, tree in modules() for name in names_in(module, tree))


def test_the_glossary_is_short_and_says_where_words_come_from(glossary: tuple[Word, ...]) -> None:
    """At most sixty words, each once, with meaning and source, in place of at least one other."""
    assert len(glossary) <= MOST_WORDS
    assert len({entry.word for entry in glossary}) == len(glossary)
    for entry in glossary:
        assert entry.meaning.endswith("."), entry.word
        assert entry.source, entry.word
        assert entry.replaces, entry.word


def test_a_word_is_replaced_by_one_other(glossary: tuple[Word, ...]) -> None:
    """Whoever meets an old word finds one new one for it."""
    replaced = [phrase for entry in glossary for phrase in entry.replaces]
    assert sorted(set(replaced)) == sorted(replaced)


def test_no_public_name_has_a_word_that_the_glossary_replaces(
    glossary: tuple[Word, ...], public_names: tuple[PublicName, ...]
) -> None:
    """A thing has one word; a name that is itself a word of the glossary is that word."""
    own = {entry.word for entry in glossary}
    wrong = [
        f"{name.module}: {name.kind} {name.name}: say {entry.word}, not {phrase}"
        for entry in glossary
        for phrase in entry.replaces
        for name in public_names
        if name.name not in own and name.has(split(phrase))
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["WayBack", "the_way_back", "way_back_of", "TheWAYBack"])
def test_a_replaced_word_is_found_in_any_spelling(name: str) -> None:
    """Several words in a row are one term, in classes and in functions."""
    assert PublicName("class", name, "x").has(split("way_back"))
    assert not PublicName("class", name, "x").has(split("back_way"))


def test_a_class_name_means_one_thing_in_the_workspace() -> None:
    """No public class of the five distributions has the name of another."""
    found = defaultdict[str, list[str]](list)
    for module, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and is_public(node.name):
                found[node.name].append(module)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_public_name_says_nothing(public_names: tuple[PublicName, ...]) -> None:
    """Nothing is a manager, a handler, a helper, a processor, a wrapper, or what is left over."""
    wrong = [
        name
        for name in public_names
        if name.kind in {"module", "class"} and name.words and name.words[-1] in SAYS_NOTHING
    ]
    assert wrong == []


def test_a_loop_names_its_element() -> None:
    """`for link in links`, and not `for each in links`: what an element is need not be guessed."""
    loops = ast.For | ast.AsyncFor | ast.comprehension
    wrong = [
        f"{module}: {ast.unparse(node.iter)}"
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, loops)
        and any(isinstance(part, ast.Name) and part.id == "each" for part in ast.walk(node.target))
    ]
    assert wrong == []
