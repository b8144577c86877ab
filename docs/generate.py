"""Writes docs/reference and the maps of the packages from the code.

`--check` says what is out of date and changes nothing.
"""

# ruff: noqa: INP001, S101 - a script, which asserts what it takes for granted of our own code

from __future__ import annotations

import ast
import inspect
import re
import runpy
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from rollover import errors
from rollover.cli.app import COMMANDS, root
from rollover.cli.options import FLEET_VARIABLE
from rollover.codec.fleet_file import schema
from rollover.delivery import client_status
from rollover.fleet import description, journal
from rollover.platforms.bosh import login
from rollover.rule_catalogue import whole_catalogue
from rollover.site import KEY_VARIABLE

REFERENCE = Path(__file__).parent / "reference"
GLOSSARY = Path(__file__).with_name("glossary.py")
WIDTH = 96
NOTE = "<!-- Written by docs/generate.py: change the code, then `make docs`. -->\n"

EXITS = {
    errors.ExitCode.DONE: "done, or safe",
    errors.ExitCode.USAGE: "a wrong option or input; nothing was changed",
    errors.ExitCode.WAITING: "an instance or a lease must come back first; what was done is safe",
    errors.ExitCode.REFUSED: "refused as unsafe, or `check` found an error; nothing was changed",
    errors.ExitCode.STOPPED: "stopped half-way; the same command goes on",
    errors.ExitCode.EVIDENCE_MISSING: "something that must be seen was not seen; run it again "
    "once it can be",
}

VARIABLES = {
    FLEET_VARIABLE: "The fleet file of every command that has `--fleet`; by default `fleet.yml`, "
    "or else `lab/fleet.yml`.",
    KEY_VARIABLE: "The sealing key of the credential store: 32 bytes in base64, or several "
    "separated by white space, the first of which seals. It goes before the file `sealing.key` "
    "in the state directory.",
    "NO_COLOR": "Set to anything: no colour, also on a terminal. `--color` and `--no-color` go "
    "before it.",
    "XDG_DATA_HOME": "Where `rollover issue` keeps its CA: in `rollover/ca` below it. "
    "By default `~/.local/share`.",
    login.ENVIRONMENT_VARIABLE: "A BOSH director, or its alias, as for the bosh CLI. What the "
    "fleet file or an option says goes before all of these.",
    login.CLIENT: "The user or UAA client at that director; else whoever logged in with "
    "`bosh log-in`.",
    login.SECRET: "Its secret. It is never written down.",
    login.CA_CERT: "The CA of the director's certificate: a file, or PEM.",
    login.CONFIG_VARIABLE: "The bosh CLI's own file, with aliases and logins; by default "
    "`~/.bosh/config`.",
}

TOLD_TO_COMMANDS = {
    "ROLLOVER_VERB": "What a delivery command is asked to do.",
    "ROLLOVER_INSTANCE": "To which instance.",
    "ROLLOVER_DIRECTORY": "The directory with the manifest and the files.",
}

ENTRIES = {
    journal.EntryKind.STARTED: "A rotation was begun: its goal, and where it began.",
    journal.EntryKind.PLANNED: "What was planned from what was observed.",
    journal.EntryKind.REFUSED: "The run ended because a step was refused or evidence was missing.",
    journal.EntryKind.OVERRIDDEN: "Somebody answered for a refusal: the rule and the reason.",
    journal.EntryKind.APPROVED: "A rollout was approved, by a person or by `--yes`.",
    journal.EntryKind.DECLINED: "A person said no to a rollout.",
    journal.EntryKind.ROLLOUT_STARTED: "A rollout began: its group, what it does, its proof.",
    journal.EntryKind.CONFIRMED: "An instance shows that it uses what it was given.",
    journal.EntryKind.FAILED: "An instance did not take what it was given.",
    journal.EntryKind.EVIDENCE: "Something was observed besides.",
    journal.EntryKind.GATE: "What was seen before the next step: handshakes, or the drain.",
    journal.EntryKind.ROLLOUT_FINISHED: "Every instance of a rollout was confirmed.",
    journal.EntryKind.INTERRUPTED: "The run was stopped, by a person or by a signal.",
    journal.EntryKind.FINISHED: "The goal was reached.",
}


def commands() -> str:
    """Return what `--help` says of every command."""
    parts = ["# Commands\n", _code(_help(root, "rollover"))]
    for name in COMMANDS:
        parts += _command(root, name, "rollover", depth=2)
    return "\n".join(parts)


def _command(group: click.Group, name: str, before: str, *, depth: int) -> Iterator[str]:
    command = group.get_command(click.Context(group), name)
    assert command is not None, f"{before} {name}: no such command"
    path = f"{before} {name}"
    yield f"\n{'#' * depth} {path}\n"
    yield _code(_help(command, path))
    if isinstance(command, click.Group):
        for list_command in command.list_commands(click.Context(command)):
            yield from _command(command, list_command, path, depth=depth + 1)


def _help(command: click.Command, path: str) -> str:
    context = click.Context(
        command, info_name=path, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return command.get_help(context)


def _code(text: str) -> str:
    lines = (line.rstrip() for line in text.splitlines())
    return "```\n" + "\n".join(lines) + "\n```"


def exits_and_errors() -> str:
    """Return the exit codes, and the class, code and exit code of every error."""
    parts = ["# Exit codes and errors\n", "## Exit codes\n", "| code | what |", "|---|---|"]
    parts += [f"| {code.value} | {EXITS[code]} |" for code in errors.ExitCode]
    parts += [
        "\n## Errors\n",
        "Every error says what is wrong and where, and after `hint:` what to do.",
        "With `--output json` its code is in the field `code`; codes never change.\n",
    ]
    for error_klass in sorted(_error_classes(), key=lambda kind: kind.code):
        retry = getattr(error_klass, "retryable", False)
        parts += [
            f"### `{error_klass.code}`\n",
            _sentences(error_klass),
            f"\nExit code {error_klass.exit_code.value}; `rollover.errors.{error_klass.__name__}`."
            + (" The same call may succeed later." if retry else "")
            + "\n",
        ]
    return "\n".join(parts)


def _error_classes() -> list[type[errors.RolloverError]]:
    found = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.RolloverError)
    ]
    return [entry for entry in found if entry.__module__ == errors.__name__]


def rules() -> str:
    """Return every rule as `rollover explain` tells it."""
    parts = ["# Rules\n", "`rollover explain RULE` shows one of them.\n"]
    for rule in whole_catalogue().rules:
        parts += [
            f"## `{rule.id}`\n",
            f"**{rule.title}** ({rule.severity})\n",
            f"{rule.meaning}\n",
            f"*Why:* {rule.why}\n",
            f"*Example:* {rule.example}\n",
            f"*Remedy:* {rule.remedy}\n",
            f"*Source:* {rule.source}\n",
        ]
    return "\n".join(parts)


def environment() -> str:
    """Return every variable that is read, and those that operators' commands are given."""
    parts = ["# Environment variables\n"]
    for name, meaning in VARIABLES.items():
        parts += [f"## `{name}`\n", f"{meaning}\n"]
    parts.append("Variables that a nats-server configuration names are read with it.\n")
    parts += ["## Given to a delivery command\n", "| variable | what |", "|---|---|"]
    parts += [f"| `{name}` | {meaning} |" for name, meaning in TOLD_TO_COMMANDS.items()]
    return "\n".join(parts)


def fleet_file() -> str:
    """Return the fields of `fleet.yml`, from its schema."""
    parts = [
        "# The fleet file\n",
        "`rollover schema` prints this as a JSON Schema.",
        "Unknown fields are refused.\n",
    ]
    definitions = schema()["$defs"]
    names = ["FleetDescription", *(name for name in definitions if name != "FleetDescription")]
    for name in names:
        parts += _structure(name, definitions[name])
    return "\n".join(parts)


def _structure(name: str, definition: dict[str, object]) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{_sentences(getattr(description, name, None) or definition)}\n"
    if "enum" in definition:
        values = definition["enum"]
        assert isinstance(values, list)
        yield f"One of {', '.join(f'`{value}`' for value in values)}.\n"
        return
    properties, required = definition["properties"], definition.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    notes = _field_notes(name)
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for field, about in properties.items():
        default = "required" if field in required else _default(about)
        yield f"| `{field}` | {_type(about)} | {default} | {notes.get(field, '')} |"
    yield ""


def _default(about: dict[str, object]) -> str:
    value = about.get("default")
    return "" if value in (None, "", [], ()) else f"`{msgspec.json.encode(value).decode()}`"


def _type(about: dict[str, object]) -> str:
    match about:
        case {"$ref": str(path)}:
            name = path.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": list(options)}:
            return " or ".join(_type(option) for option in options if option != {"type": "null"})
        case {"enum": list(values)}:
            return ", ".join(f"`{value}`" for value in values)
        case {"items": dict(item)}:
            return f"list of {_type(item)}"
    return str(about.get("type", "anything"))


def _field_notes(name: str) -> dict[str, str]:
    """Return the docstrings that stand below fields."""
    notes: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(description))):
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        for field, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                assert isinstance(field.target, ast.Name)
                assert isinstance(below.value, ast.Constant)
                notes[field.target.id] = _one_line(str(below.value.value))
    return notes


def journal_entries() -> str:
    """Return the kinds of journal entries."""
    parts = [
        "# The journal\n",
        _sentences(journal.Entry),
        "\nKinds are only ever added.\n",
        "| kind | what |",
        "|---|---|",
    ]
    parts += [f"| `{kind.value}` | {ENTRIES[kind]} |" for kind in journal.EntryKind]
    return "\n".join(parts)


def status_file() -> str:
    """Return the fields of the file that a client writes."""
    text = inspect.getdoc(client_status) or ""
    intro, _, rows = text.partition("=\n")
    found = re.findall(r"^`(\w+)`\s+(.+)$", rows, re.MULTILINE)
    parts = ["# The status file of a client\n", _one_line(intro.partition("\n==")[0]) + "\n"]
    parts += ["| field | what |", "|---|---|"]
    parts += [f"| `{field}` | {meaning} |" for field, meaning in found]
    return "\n".join(parts)


def glossary() -> str:
    """Return the words of the project, with their sources and what they are said instead of."""
    parts = [
        "# Glossary\n",
        "One word for one thing, in code, output and docs: the field's, with where it comes from.",
        "No public name in the code has a word of the last column.\n",
    ]
    for title, words in runpy.run_path(str(GLOSSARY))["SECTIONS"].items():
        parts += [f"## {title}\n", "| word | meaning | source | instead of |", "|---|---|---|---|"]
        for word, meaning, source, replaces in words:
            instead = ", ".join(phrase.replace("_", " ") for phrase in replaces)
            parts.append(f"| **{word}** | {meaning} | {source} | {instead} |")
        parts.append("")
    return "\n".join(parts)


def _sentences(subject: object) -> str:
    """Return a docstring with one paragraph to a line."""
    text = subject.get("description") if isinstance(subject, dict) else inspect.getdoc(subject)
    return "\n\n".join(_one_line(part) for part in str(text or "").split("\n\n"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "errors.md": exits_and_errors,
    "rules.md": rules,
    "environment.md": environment,
    "fleet-file.md": fleet_file,
    "journal.md": journal_entries,
    "client-status.md": status_file,
    "glossary.md": glossary,
}


ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "packages" / "rollover" / "src" / "rollover"


def layers() -> tuple[tuple[str, ...], ...]:
    """Return the layers of the product from top to bottom, as import-linter checks them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert len(found) == 1, "one contract has the layers"
    return tuple(tuple(layer.split(" | ")) for layer in found[0])


def distributions() -> Iterator[tuple[Path, str, Path]]:
    """Yield the directory of each distribution, its name, and the package that it brings."""
    for project in sorted(ROOT.glob("packages/*/pyproject.toml")):
        about = tomllib.loads(project.read_text(encoding="utf-8"))
        packages = about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        for package in packages:
            yield project.parent, about["project"]["name"], project.parent / package


def distribution_map() -> str:
    """Return the distributions of the workspace, with what each is for."""
    rows = [
        f"| [`{name}`]({_path(directory)}) | `{package.name}` | {_first_line(package)} |"
        for directory, name, package in distributions()
    ]
    return "\n".join(["| distribution | import | what |", "|---|---|---|", *rows])


def layer_map() -> str:
    """Return the packages of the product, the highest layer first; the lowest has the number 1."""
    rows = [
        _layer_row(number, package)
        for number, layer in reversed(list(enumerate(reversed(layers()), start=1)))
        for name in layer
        for package in _packages(PRODUCT / name)
    ]
    return "\n".join(["| layer | package of `rollover` | what |", "|---|---|---|", *rows])


def _packages(package: Path) -> tuple[Path, ...]:
    """Return a package, or module, and the packages in it."""
    return (package, *sorted(module.parent for module in package.glob("*/__init__.py")))


def _layer_row(number: int, package: Path) -> str:
    name = package.relative_to(PRODUCT).as_posix()
    return f"| {number} | [`{name}`]({_path(_module(package))}) | {_first_line(package)} |"


def _module(place: Path) -> Path:
    return place if place.is_dir() else place.with_suffix(".py")


def _path(place: Path) -> str:
    return place.relative_to(ROOT).as_posix()


def _first_line(package: Path) -> str:
    module = _module(package)
    file = module / "__init__.py" if module.is_dir() else module
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert said, f"{file} says nothing of what it is for"
    return _one_line(said.partition("\n\n")[0])


MAPPED = ("README.md", "CONTRIBUTING.md")
MAPS: dict[str, Callable[[], str]] = {
    "distributions": distribution_map,
    "layers": layer_map,
}


def with_maps(text: str) -> str:
    """Return a page with the maps of today; whatever stands between their markers is replaced."""
    for name, drawn in MAPS.items():
        begin, end = f"<!-- {name}: written by docs/generate.py -->", f"<!-- end of {name} -->"
        assert text.count(begin) == text.count(end) == 1, f"no place for the map of {name}"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{drawn()}\n{end}{rest.partition(end)[2]}"
    return text


def outdated() -> tuple[str, ...]:
    """Return the pages that are not what the code says."""
    pages = tuple(
        name
        for name, page in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != _whole(page)
    )
    maps = (name for name in MAPPED if with_maps(_read(name)) != _read(name))
    return (*pages, *maps)


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _whole(page: Callable[[], str]) -> str:
    return NOTE + page().rstrip() + "\n"


def write() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(_whole(page))
    for name in MAPPED:
        (ROOT / name).write_text(with_maps(_read(name)), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        late = outdated()
        sys.exit(f"out of date: {', '.join(late)}; run `make docs`" if late else 0)
    write()
