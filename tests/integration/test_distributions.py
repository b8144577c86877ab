"""The five distributions as others get them: wheels, installed into empty environments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from rigs.client_cluster import running
from rigs.client_pki import Authority, bundle, deliver

PACKAGES = Path(__file__).parents[2] / "packages"
DISTRIBUTIONS = (
    "bosh-interpolate",
    "nats-config",
    "nats-rotating-client",
    "rollover",
    "rollover-lab",
)
LEAVES = DISTRIBUTIONS[:3]
PRODUCT = ("bosh_interpolate", "nats_config", "rollover_ca")
OURS = ("bosh_interpolate", "nats_config", "nats_rotating_client", "rollover", "_editable")
LEFT_BEHIND = re.compile(r"build|dist|.*\.(?:egg|dist)-info")


class Environment:
    """A virtual environment with nothing in it but what a test installs."""

    def __init__(self, directory: Path) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", directory)
        self.directory = directory
        self.python = directory / "bin" / "python"

    def install(self, *what: str | Path) -> None:
        """Install with the pip of whoever runs the tests."""
        _run(
            sys.executable, "-m", "pip", "--python", self.python, "--quiet",
            "--disable-pip-version-check", "install", *what,
        )  # fmt: skip

    def run(
        self, *arguments: str | Path, cwd: Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; nothing of the source tree is in its way."""
        inherited = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        program, *others = arguments
        return subprocess.run(
            (self.directory / "bin" / program, *others),
            cwd=cwd,
            env=inherited | variables,
            capture_output=True,
            check=False,
            text=True,
        )

    def see_packages_of_others(self) -> None:
        """Link what is installed beside the tests, except whatever is ours.

        A path in a `.pth` would show the metadata of our own editable installation too.
        """
        [there] = self.directory.glob("lib/python*/site-packages")
        for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
            target = there / path.name
            if not path.name.startswith(OURS) and not target.exists():
                target.symlink_to(path)


def _run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stderr


def _example(name: str) -> tuple[str, str]:
    """Return the program in a README, and what it prints."""
    text = (PACKAGES / name / "README.md").read_text()
    blocks = dict(re.findall(r"^```(python|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return blocks["python"], blocks["text"]


def _imported_names(names: Iterable[str]) -> str:
    return (
        "from importlib.util import find_spec; "
        f"print(*[name for name in {sorted(names)} if find_spec(name)])"
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each distribution, by the name in its file name."""
    directory = tmp_path_factory.mktemp("wheels")
    _run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-build-isolation", "--wheel-dir", directory,
        *(PACKAGES / name for name in DISTRIBUTIONS),
    )  # fmt: skip
    return {path.name.partition("-")[0]: path for path in directory.glob("*.whl")}


def _installed(directory: Path, wheels: Iterable[Path]) -> Environment:
    """Return an environment with these wheels, and all that is not ours."""
    environment = Environment(directory)
    environment.install("--no-deps", "--no-index", *wheels)
    environment.see_packages_of_others()
    return environment


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Environment:
    """The product with the two leaves that it needs."""
    chosen = [wheels[name] for name in PRODUCT]
    return _installed(tmp_path_factory.mktemp("product") / "env", chosen)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Environment:
    """All five."""
    return _installed(tmp_path_factory.mktemp("everything") / "env", wheels.values())


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_installs_alone_and_its_example_runs(leaf: str, tmp_path: Path) -> None:
    """`pip install ./packages/LEAF` into an empty environment is all that its README needs."""
    environment = Environment(tmp_path / "env")
    environment.install(PACKAGES / leaf)
    here = tmp_path / "here"
    here.mkdir()
    names = [name for name in OURS if not name.startswith("_")]
    ours = environment.run("python", "-c", _imported_names([*names, "rollover_lab"]), cwd=here)
    assert ours.stdout.split() == [leaf.replace("-", "_")]
    program, printed = _example(leaf)
    if leaf == "nats-rotating-client":
        authority = Authority("alone")
        home = tmp_path / "orders"
        deliver(home, authority.issue("orders"), ca=bundle(authority))
        with running(tmp_path, authority, ca=bundle(authority)) as cluster:
            ended = environment.run(
                "python", "-c", program, cwd=here,
                NATS_URL=cluster.urls[0], TLS_DIRECTORY=str(home),
            )  # fmt: skip
    else:
        ended = environment.run("python", "-c", program, cwd=here)
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr


def test_product_and_lab_install_with_their_siblings(
    everything: Environment, tmp_path: Path
) -> None:
    """The lab adds its commands to those of the product."""
    for words in (("--help",), ("lab", "--help"), ("demo", "--help"), ("int", "--help")):
        ended = everything.run("rollover", *words, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("Usage: rollover")
    assert everything.run("bosh-interpolate", "--help", cwd=tmp_path).returncode == 0


def test_the_product_works_without_the_lab(product: Environment, tmp_path: Path) -> None:
    """Its commands are there, the rotating client is not needed, and `lab` says what is missing."""
    ended = product.run("rollover", "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    code = "import rollover; rollover.open_fleet; import rollover.site"
    ended = product.run("python", "-c", code, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    ours = product.run(
        "python", "-c", _imported_names(["nats_rotating_client", "rollover_lab"]), cwd=tmp_path
    )
    assert ours.stdout.split() == []
    for command in ("lab", "demo"):
        ended = product.run("rollover", command, cwd=tmp_path)
        assert ended.returncode != 0
        assert "rollover-lab" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_wheel_has_every_file_of_its_sources(wheels: dict[str, Path]) -> None:
    """Templates, migrations and the mark of types are read at run time, and by type checkers."""
    kinds = set()
    for name in DISTRIBUTIONS:
        wheel = wheels["rollover_ca" if name == "rollover" else name.replace("-", "_")]
        source = PACKAGES / name / "src"
        expected = {
            str(path.relative_to(source))
            for path in source.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        with zipfile.ZipFile(wheel) as archive:
            inside = {entry for entry in archive.namelist() if ".dist-info/" not in entry}
        assert inside == expected
        assert f"{name.replace('-', '_')}/py.typed" in inside
        kinds |= {Path(entry).suffix for entry in inside}
    assert {".j2", ".sql", ".typed"} <= kinds


def test_building_leaves_nothing_in_the_source_tree(wheels: dict[str, Path]) -> None:
    """A checkout stays as it was: no `build`, no `egg-info`."""
    assert len(wheels) == len(DISTRIBUTIONS)
    left = [path for path in PACKAGES.rglob("*") if LEFT_BEHIND.fullmatch(path.name)]
    assert left == []
