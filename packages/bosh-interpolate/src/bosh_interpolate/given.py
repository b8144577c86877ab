"""Variables as they are given: `-v`, `--var-file`, `--vars-file`, `--vars-env`, and which wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bosh_interpolate.reading import load, load_variables
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Tree, Variables, copied


def from_assignment(text: str) -> Variables:
    """Return the variable of `-v name=value`.

    The value is read as YAML; where that is a string, the text itself counts, less one pair of
    quotes around it, so that line breaks stay.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ManifestError(f"Expected var '{text}' to be in format 'name=value'")
    if not name:
        raise ManifestError(f"Expected var '{text}' to specify non-empty name")
    if not value:
        raise ManifestError(f"Expected var '{text}' to specify non-empty value")
    try:
        read = load(_octets(value))
    except ManifestError as error:
        raise ManifestError(f"Deserializing variables '{text}'", cause=error) from None
    return {name: _unquoted(value) if isinstance(read, str) else read}


def file_of(text: str) -> tuple[str, str]:
    """Return name and path of `--var-file name=path`."""
    name, equals, path = text.partition("=")
    if not equals:
        raise ManifestError(f"Expected var '{text}' to be in format 'name=path'")
    if not name:
        raise ManifestError(f"Expected var '{text}' to specify non-empty name")
    if not path:
        raise ManifestError(f"Expected var '{text}' to specify non-empty path")
    return name, path


def from_file_content(name: str, data: bytes) -> Variables:
    """Return the variable of `--var-file`: the text of the file, as it is."""
    return {name: data.decode("utf-8", "surrogateescape")}


def from_vars_file(data: bytes, *, name: str) -> Variables:
    """Return the variables of a file that is a map."""
    try:
        return load_variables(data)
    except ManifestError as error:
        raise ManifestError(f"Deserializing variables file '{name}'", cause=error) from None


def from_environment(prefix: str, environment: Mapping[str, str]) -> Variables:
    """Return what `PREFIX_name=value` says in the environment; values are YAML."""
    if not prefix:
        raise ManifestError("Expected environment variable prefix to be non-empty")
    start = prefix + "_"
    return {
        name.removeprefix(start): _environment_value(name, value)
        for name, value in environment.items()
        if name.startswith(start)
    }


def _environment_value(name: str, text: str) -> Tree:
    try:
        return load(_octets(text))
    except ManifestError as error:
        raise ManifestError(
            f"Deserializing YAML from environment variable '{name}'", cause=error
        ) from None


def merged(
    *,
    environments: Iterable[Variables] = (),
    files: Iterable[Variables] = (),
    contents: Iterable[Variables] = (),
    assignments: Iterable[Variables] = (),
) -> Variables:
    """Return all variables; later kinds win, and within a kind the later one."""
    found: dict[str, Tree] = {}
    for kind in (environments, files, contents, assignments):
        for variables in kind:
            found.update(variables)
    return found


def expanded(variables: Variables) -> Variables:
    """Return the variables with dotted names as maps: `a.b` becomes the key `b` of `a`."""
    found = {name: value for name, value in variables.items() if "." not in name}
    for name, value in variables.items():
        if "." in name:
            _put(found, name, value)
    return found


def _put(found: dict[str, Tree], name: str, value: Tree) -> None:
    first, *rest = name.split(".")
    root = copied(found.get(first, {}))
    here = root
    for step in rest[:-1]:
        here = here.setdefault(step, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        raise ManifestError(f"Expected variable '{first}' to be a map, because of '{name}'")
    here[rest[-1]] = value
    found[first] = root


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] == text[-1] and text[0] in "\"'" else text


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
