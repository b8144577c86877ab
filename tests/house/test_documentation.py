"""The documentation says what the program does: commands, options, codes, rules, links."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from rollover import errors
from rollover.cli.app import COMMANDS, root
from rollover.rule_catalogue import whole_catalogue

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "examples/**/*.md",
        "benchmarks/*.md",
        "packages/*/*.md",
    )
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)
WRITTEN = [path for path in PAGES if path.parent != DOCS / "reference"]

FENCE = re.compile(r"^ *```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"`(rollover [^`]+)`")
CALL = re.compile(r"^ *(?:\$ )?(?:[\w ./-]+ )?(rollover(?: .+)?)$")
DISTRIBUTIONS = 5
FEATURES = 10
PUNCTUATION = {"|", "&&", "||", ">", ";", "#"}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The program that writes the reference."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _calls(text: str) -> Iterator[list[str]]:
    """Yield every call of the program in a page, word by word."""
    for language, block in FENCE.findall(text):
        if language in {"", "sh", "console"}:
            for line in block.splitlines():
                found = CALL.match(line)
                if found and " … " not in line:
                    yield _words(found[1])
    for call in INLINE.findall(FENCE.sub("", text)):
        yield _words(call)


def _words(call: str) -> list[str]:
    lexer = shlex.shlex(call, posix=True, punctuation_chars="|&;>")
    lexer.commenters = "#"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in PUNCTUATION:
            break
        words.append(word.rstrip(",.:"))
    return words[1:]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that is called, and what it is called with."""
    command: click.Command = root
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no such command: {words[0]}"
        command, words = found, words[1:]
    return command, words


def _options(command: click.Command) -> set[str]:
    names = {"--help", "-h"}
    for parameter in command.params:
        names.update((*parameter.opts, *parameter.secondary_opts))
    return names


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_page_exists_with_its_options(page: Path) -> None:
    """Whoever types what a page shows meets no unknown command or option."""
    for words in _calls(page.read_text()):
        command, given = _command(words)
        options = {word.split("=")[0] for word in given if re.match(r"--?[a-z]", word)}
        unknown = options - _options(command)
        assert not unknown, f"rollover {' '.join(words)}: {unknown}"


def test_pages_hold_commands_to_check() -> None:
    """The check above does look at something."""
    assert sum(len(list(_calls(page.read_text()))) for page in WRITTEN) > len(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and every anchor a heading of it."""
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path.read_text()), f"{page.name}: {target}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_the_reference_is_what_the_code_says(generator: ModuleType) -> None:
    """`make docs` would change nothing: help texts, fields, rules and maps have not drifted."""
    assert generator.outdated() == ()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_maps_leave_no_package_out(page: str) -> None:
    """Every distribution, and every package and module of the product, has a line in the maps."""
    text = (ROOT / page).read_text()
    distributions = [path.parent for path in ROOT.glob("packages/*/pyproject.toml")]
    product = ROOT / "packages" / "rollover" / "src" / "rollover"
    modules = [path for path in product.glob("*.py") if not path.name.startswith("__")]
    packages = [path.parent for path in product.glob("*/__init__.py")]
    platforms = [path.parent for path in product.glob("platforms/*/__init__.py")]
    assert len(distributions) == DISTRIBUTIONS
    for path in (*distributions, *modules, *packages, *platforms):
        link = f"]({path.relative_to(ROOT).as_posix()})"
        assert text.count(link) >= 1, link


def test_a_map_that_was_changed_by_hand_is_out_of_date(generator: ModuleType) -> None:
    """Whatever stands between the markers is what the packages say, and nothing around them."""
    page = (ROOT / "README.md").read_text()
    changed = page.replace("<!-- end of layers -->", "| 14 | `web` | |\n<!-- end of layers -->")
    assert changed != page
    assert generator.with_maps(changed) == page


def test_ten_features_have_one_file_each() -> None:
    """The architecture names, for ten features of the README, the one file where each lives."""
    page = DOCS / "explanation" / "architecture.md"
    _, _, section = page.read_text().partition("## Where a feature lives\n")
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == FEATURES
    files = set()
    for row in rows:
        feature, file = (cell.strip() for cell in row.strip("|").split("|"))
        assert feature
        [target] = LINK.findall(file)
        assert (page.parent / target).is_file(), target
        files.add((page.parent / target).resolve())
    assert len(files) == FEATURES


def test_every_command_has_an_example() -> None:
    """`--help` of each command ends with a line that can be typed."""
    for name in COMMANDS:
        command = root.get_command(click.Context(root), name)
        assert command is not None
        assert f"rollover {name}" in (command.epilog or ""), name


def test_every_error_code_and_exit_code_is_documented() -> None:
    """Each code that a script can meet has its place in the reference."""
    text = (DOCS / "reference/errors.md").read_text()
    classes = [var for var in vars(errors).values() if isinstance(var, type)]
    codes = {klass.code for klass in classes if issubclass(klass, errors.RolloverError)}
    assert codes
    for code in codes:
        assert f"### `{code}`\n" in text
    for exit_code in errors.ExitCode:
        assert f"| {exit_code.value} |" in text


def test_every_rule_is_documented() -> None:
    """Each rule id that a refusal can carry has a heading."""
    text = (DOCS / "reference/rules.md").read_text()
    for rule in whole_catalogue().rules:
        assert f"## `{rule.id}`\n" in text


def test_every_environment_variable_is_documented() -> None:
    """Each variable of ours that the code names stands in the reference."""
    text = (DOCS / "reference/environment.md").read_text()
    named: set[str] = set()
    for path in ROOT.glob("packages/*/src/**/*.py"):
        named |= set(re.findall(r"\b(?:ROLLOVER_[A-Z]+|NO_COLOR)\b", path.read_text()))
    assert "ROLLOVER_FLEET" in named
    for name in named:
        assert f"`{name}`" in text


def test_the_python_example_of_the_readme_runs_as_it_stands() -> None:
    """The README shows the body of `examples/library/rotate.py`, which a test runs."""
    program = (ROOT / "examples/library/rotate.py").read_text()
    blocks = [block for language, block in FENCE.findall((ROOT / "README.md").read_text())
              if language == "python"]  # fmt: skip
    assert blocks
    for block in blocks:
        assert block.strip() in program


def test_the_picture_is_of_a_run_in_which_nothing_was_lost() -> None:
    """`docs/demo.svg` shows a whole run, and is small enough for a page."""
    picture = DOCS / "demo.svg"
    text = picture.read_text().replace("&#160;", " ")
    assert "the CA was rotated in" in text
    assert "0 messages lost" in text
    assert picture.stat().st_size <= 150_000
