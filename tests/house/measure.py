"""Measures the tree as HOUSE.md §2 does, a row for each distribution: it prints, it gates nothing.

    python tests/house/measure.py [SOURCE … [--tests DIRECTORY …]]

file: non-blank lines of a module. function: the body without its docstring, non-blank lines.
comments: lines that only comment, of all non-blank lines. called once: private functions whose
name stands in exactly one other place of their module.
"""

# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.BoolOp, ast.match_case)
MOCK_WORDS = re.compile(r"\b(?:mock|patch|monkeypatch|MagicMock)\b", re.IGNORECASE)
COLUMNS = (
    "package", "files", "lines", "file med/p90/max", "fn med/p90/max", "branches", "annotated",
    "docstr", "comments", "called once", "loops `each`", "test ratio", "tests w/ docstr",
    "mock words/test",
)  # fmt: skip

type_of_function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """One source file, read and parsed."""

    path: Path
    text: tuple[str, ...]
    """Line by line."""
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How many lines are not blank."""
        return non_blank(self.text)

    def functions(self) -> Iterator[type_of_function]:
        """Yield every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, type_of_function):
                yield node


def non_blank(lines: Iterable[str]) -> int:
    """Count the lines that hold something."""
    return sum(1 for line in lines if line.strip())


def read(directory: Path) -> list[Module]:
    """Read every module below a directory."""
    modules: list[Module] = []
    for path in sorted(directory.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        modules.append(Module(path, tuple(text.splitlines()), ast.parse(text)))
    return modules


def body_lines(module: Module, function: type_of_function) -> int:
    """Count the lines of a function's body, its docstring left out."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return non_blank(module.text[body[0].lineno - 1 : body[-1].end_lineno])


def comment_lines(module: Module) -> int:
    """Count the lines that hold a comment and nothing else."""
    with module.path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    return sum(
        1
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#")
    )


def is_annotated(function: type_of_function) -> bool:
    """Say whether a function's arguments and result have types."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return function.returns is not None and all(
        argument.annotation or argument.arg in {"self", "cls"} for argument in arguments
    )


def quantiles(values: Sequence[int]) -> str:
    """Return the median, the ninth decile and the largest of some numbers."""
    if not values:
        return "–"
    ordered = sorted(values)
    return "/".join(
        str(ordered[index])
        for index in (len(ordered) // 2, min(len(ordered) - 1, len(ordered) * 9 // 10), -1)
    )


def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def called_once(modules: Sequence[Module]) -> tuple[int, int]:
    """Count the private functions that are named in one other place, and all functions.

    Private means private to a module, so other modules' functions of the same name are others.
    """
    once = functions = 0
    for module in modules:
        named: Counter[str] = Counter()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name):
                named[node.id] += 1
            elif isinstance(node, ast.Attribute):
                named[node.attr] += 1
        for function in module.functions():
            functions += 1
            private = function.name.startswith("_") and not function.name.startswith("__")
            once += private and named[function.name] == 1
    return once, functions


def loops(modules: Sequence[Module]) -> tuple[int, int]:
    """Count the loops whose element is called `each`, and all loops."""
    targets = [
        node.target
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
    ]
    return sum(isinstance(target, ast.Name) and target.id == "each" for target in targets), len(
        targets
    )


def row(name: str, sources: Iterable[Path], tests: Iterable[Path]) -> tuple[str, ...]:
    """Return the figures of some packages, their tests beside them."""
    modules = [module for source in sources for module in read(source)]
    tested = [module for directory in tests for module in read(directory)]
    functions = [(module, function) for module in modules for function in module.functions()]
    test_functions = [
        (module, function)
        for module in tested
        for function in module.functions()
        if function.name.startswith("test_")
    ]
    public = [function for _, function in functions if not function.name.startswith("_")]
    lines = sum(module.lines for module in modules)
    once, all_functions = called_once(modules)
    each, all_loops = loops(modules)
    mocks = sum(len(MOCK_WORDS.findall(line)) for module in tested for line in module.text)
    return (
        name,
        str(len(modules)),
        f"{sum(len(module.text) for module in modules):,}",
        quantiles([module.lines for module in modules if module.lines > 1]),
        quantiles([body_lines(module, function) for module, function in functions]),
        quantiles(
            [
                sum(isinstance(node, BRANCHES) for node in ast.walk(function))
                for _, function in functions
            ]
        ),
        share(sum(is_annotated(function) for _, function in functions), len(functions)),
        share(sum(ast.get_docstring(function) is not None for function in public), len(public)),
        share(sum(comment_lines(module) for module in modules), lines),
        share(once, all_functions),
        f"{each} of {all_loops}",
        f"{sum(module.lines for module in tested) / lines:.2f}" if lines else "–",
        share(
            sum(ast.get_docstring(function) is not None for _, function in test_functions),
            len(test_functions),
        ),
        f"{mocks / len(test_functions):.2f}" if test_functions else "–",
    )


def rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each distribution of the workspace, and one for all of it."""
    sources = sorted(
        path for path in ROOT.glob("packages/*/src/*") if (path / "__init__.py").exists()
    )
    for source in sources:
        yield row(source.name, [source], [source.parents[1] / "tests"])
    yield row("all", sources, [*ROOT.glob("packages/*/tests"), ROOT / "tests"])


def main(arguments: Sequence[str]) -> None:
    """Print the table, of the workspace or of the sources that are named."""
    if arguments:
        named, _, tests = " ".join(arguments).partition("--tests")
        sources = [Path(path) for path in named.split()]
        found = [row(named.strip(), sources, [Path(path) for path in tests.split()])]
    else:
        found = list(rows())
    for line in (COLUMNS, tuple("---" for _ in COLUMNS), *found):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
