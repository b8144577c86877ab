"""What every file of the repository keeps to, and the direction of imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import LONGEST

ROOT = Path(__file__).parents[2]
TESTS = sorted((*ROOT.glob("packages/*/tests/**/test_*.py"), *ROOT.glob("tests/**/test_*.py")))
LARGEST_TEXT = 2_000_000
OUTSIDE = {"__pycache__", "_build", "build", "dist", "node_modules"}
HIDDEN_AND_OURS = {".ci", ".gitignore"}

REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("proxy.golang", "org"),
        ("crates", "io"),
    )
)
PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+(?:[A-Za-z0-9+/=]{16,}\s+)+-----END "
)
HOME = re.compile(r"(?<![\w.-])/(?:home|Users)/[a-z][\w-]+/|(?<![\w.-])/root/[\w.]")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def _files() -> Iterator[Path]:
    """Yield every file that belongs to the repository, without what tools leave behind."""
    waiting = [ROOT]
    while waiting:
        for path in waiting.pop().iterdir():
            foreign = path.name.startswith(".") and path.name not in HIDDEN_AND_OURS
            if foreign or path.name in OUTSIDE or path.is_symlink():
                continue
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The content of every text file, by its path in the repository."""
    found: dict[str, str] = {}
    for path in _files():
        if path.stat().st_size <= LARGEST_TEXT:
            try:
                found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


def test_no_file_names_a_path_of_somebodys_machine(texts: dict[str, str]) -> None:
    """A checkout works anywhere: nothing points into the directory it was written in."""
    assert "pyproject.toml" in texts
    here = re.compile(rf"(?<![\w.-]){re.escape(str(ROOT))}/")
    for name, text in texts.items():
        assert not here.search(text), name
        assert not HOME.search(text), name


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    """Where packages come from is each machine's own setting."""
    for name, text in texts.items():
        for host in REGISTRIES:
            assert host not in text, f"{name}: {host}"


def test_no_file_holds_a_private_key(texts: dict[str, str]) -> None:
    """Tests make their keys; a key in the repository is nobody's secret any more."""
    for name, text in texts.items():
        assert not PRIVATE_KEY.search(text), name


def test_a_private_key_would_be_found() -> None:
    """The pattern above matches what it is meant to find."""
    body = "\n".join(["A" * 64] * 3)
    for kind in ("", "RSA ", "EC ", "ENCRYPTED "):
        marker = f"{kind}PRIVATE KEY-----"
        assert PRIVATE_KEY.search(f"-----BEGIN {marker}\n{body}\n-----END {marker}\n")


def test_every_module_says_what_it_is_for() -> None:
    """The first line of each module is a docstring of one sentence."""
    modules = [path for path in _files() if path.suffix == ".py"]
    assert modules
    for path in modules:
        tree = ast.parse(path.read_text())
        first = (ast.get_docstring(tree) or "").partition("\n\n")[0].partition("\n::")[0]
        assert first.strip().endswith((".", "?", ":")), path
        assert path.read_text().startswith(('"""', "#!", 'r"""')), path


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A feature is found by the name of its file."""
    for path in _files():
        assert path.stem not in FORBIDDEN_NAMES, path


def test_names_of_test_files_are_unique() -> None:
    """Two tests of one name could not be told apart in a report."""
    names = [path.name for path in TESTS]
    assert sorted(names) == sorted(set(names))


def test_files_that_are_begun_first_are_there() -> None:
    """A file that was renamed would be begun last, and the other workers would wait for it."""
    names = {path.name for path in TESTS}
    assert set(LONGEST) <= names
    assert len(set(LONGEST)) == len(LONGEST)


def test_every_test_states_the_behaviour_it_checks() -> None:
    """Each test function has a docstring of its own."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, functions) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_imports_point_downwards() -> None:
    """The layers of `pyproject.toml` hold (import-linter)."""
    linter = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_the_licence_is_the_whole_text() -> None:
    """The licence that `pyproject.toml` names lies beside it."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
