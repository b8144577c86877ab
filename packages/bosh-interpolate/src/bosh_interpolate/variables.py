"""Variables: what a manifest defines, where values come from, and `((name))` filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from bosh_interpolate.errors import ManifestError, SeveralErrors
from bosh_interpolate.ops_files import through_yaml
from bosh_interpolate.paths import Index, MapKey, find, parse_pointer
from bosh_interpolate.reading import Misfit, load, load_variables, misfit_error
from bosh_interpolate.values import (
    Key,
    Tree,
    Variables,
    as_key,
    copy_tree,
    format_value,
    key_value,
    octets,
    text_of,
    type_name,
)
from bosh_interpolate.vars_stores import VarsStore
from bosh_interpolate.writing import emit

# The `variables` section of a manifest.

_DEFINITION = "template.VariableDefinition"


class Definition(NamedTuple):
    """A variable by its name; one without a type is never generated."""

    name: str
    type: str = ""
    options: Tree = None


def read_definitions(document: Tree) -> tuple[Definition, ...]:
    """Return what the manifest defines, in its order; keys that are not known are ignored."""
    section = document.get("variables") if isinstance(document, dict) else None
    if section is None:
        return ()
    if not isinstance(section, list):
        raise _unfit(document, [Misfit(("variables",), f"[]{_DEFINITION}")])
    misfits = [misfit for place, item in enumerate(section) for misfit in _misfits(item, place)]
    if misfits:
        raise _unfit(document, misfits)
    return tuple(map(_definition, section))


def _misfits(item: Tree, place: int) -> Iterator[Misfit]:
    if item is not None and not isinstance(item, dict):
        yield Misfit(("variables", place), _DEFINITION)
    if isinstance(item, dict):
        for field in ("name", "type"):
            if text_of(item.get(field)) is None:
                yield Misfit(("variables", place, field), "string")


def _definition(item: Tree) -> Definition:
    fields = item if isinstance(item, dict) else {}
    return Definition(
        name=text_of(fields.get("name")) or "",
        type=text_of(fields.get("type")) or "",
        options=through_yaml(fields.get("options")),
    )


def _unfit(document: Tree, misfits: list[Misfit]) -> ManifestError:
    # `bosh` reads the section from the manifest as it writes it: so its lines are counted.
    return misfit_error(octets(emit(document)), misfits)


# Variables as they are given: `-v`, `--var-file`, `--vars-file`, `--vars-env`.


def variable_from_assignment(text: str) -> Variables:
    """Return the variable of `-v name=value`.

    The value is read as YAML; where that is a string, the text itself counts, less one pair of
    quotes around it, so that line breaks stay.
    """
    name, value = _split_assignment(text, "value")
    try:
        read = load(octets(value))
    except ManifestError as error:
        raise ManifestError(f"Deserializing variables '{text}'", cause=error) from None
    if not isinstance(read, str):
        return {name: read}
    quoted = value[0] == value[-1] and value[0] in "\"'"
    return {name: value[1:-1] if quoted else value}


def split_file_assignment(text: str) -> tuple[str, str]:
    """Return name and path of `--var-file name=path`."""
    return _split_assignment(text, "path")


def _split_assignment(text: str, wanted: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ManifestError(f"Expected var '{text}' to be in format 'name={wanted}'")
    if not name:
        raise ManifestError(f"Expected var '{text}' to specify non-empty name")
    if not value:
        raise ManifestError(f"Expected var '{text}' to specify non-empty {wanted}")
    return name, value


def variable_from_content(name: str, data: bytes) -> Variables:
    """Return the variable of `--var-file`: the text of the file, as it is."""
    return {name: data.decode("utf-8", "surrogateescape")}


def variables_from_file(data: bytes, *, name: str) -> Variables:
    """Return the variables of a file that is a map."""
    try:
        return load_variables(data)
    except ManifestError as error:
        raise ManifestError(f"Deserializing variables file '{name}'", cause=error) from None


def variables_from_environment(prefix: str, environment: Mapping[str, str]) -> Variables:
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
        return load(octets(text))
    except ManifestError as error:
        raise ManifestError(
            f"Deserializing YAML from environment variable '{name}'", cause=error
        ) from None


def merge_variables(
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


def expand_dotted_names(variables: Variables) -> Variables:
    """Return the variables with dotted names as maps: `a.b` becomes the key `b` of `a`."""
    found = {name: value for name, value in variables.items() if "." not in name}
    for name, value in variables.items():
        if "." in name:
            _put_dotted(found, name, value)
    return found


def _put_dotted(found: dict[str, Tree], name: str, value: Tree) -> None:
    first, *rest = name.split(".")
    root = copy_tree(found.get(first, {}))
    here = root
    for step in rest[:-1]:
        here = here.setdefault(step, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        raise ManifestError(f"Expected variable '{first}' to be a map, because of '{name}'")
    here[rest[-1]] = value
    found[first] = root


# References: `((name))` in a manifest.

# Go's `\w` is ASCII, its `\pL` any letter; Python's `[^\W\d_]` is that, and number letters.
_NAME = r"!?(?:[-/.0-9A-Za-z_]|[^\W\d_])+"
_REFERENCE = re.compile(rf"\(\( ?({_NAME}) ?\)\)")


class UnknownVariable(Exception):
    """There is no such variable: its reference stays as it is."""


def substitute(tree: Tree, resolve: Callable[[str], Tree]) -> Tree:
    """Return the tree with every reference replaced, in values and keys.

    `resolve` returns the value of a reference or raises `UnknownVariable`. A string that is nothing
    but a reference becomes the value with its type; values that come in are not looked into again.
    """
    if isinstance(tree, str):
        return _substitute_text(tree, resolve) if "((" in tree else tree
    if isinstance(tree, list):
        return [substitute(item, resolve) for item in tree]
    if isinstance(tree, dict):
        return _substitute_map(tree, resolve)
    return tree


def _substitute_map(tree: dict[Key, Tree], resolve: Callable[[str], Tree]) -> dict[Key, Tree]:
    found: dict[Key, Tree] = {}
    for key, item in tree.items():
        value = substitute(item, resolve)
        new_key = substitute(key_value(key), resolve) if isinstance(key, str) else key_value(key)
        if isinstance(new_key, dict | list):
            raise ManifestError(
                f"Expected the value of '{key}' to be a scalar, because it stands as a map key"
            )
        found[as_key(new_key)] = value
    return found


def _substitute_text(text: str, resolve: Callable[[str], Tree]) -> Tree:
    whole = _REFERENCE.fullmatch(text) is not None
    for found in _REFERENCE.findall(text):
        name = found.removeprefix("!")
        try:
            value = resolve(name)
        except UnknownVariable:
            continue
        except ManifestError as error:
            raise ManifestError(f"Finding variable '{name}'", cause=error) from None
        if whole:
            return value
        text = _embedded(text, name, value)
    return text


def _embedded(text: str, name: str, value: Tree) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ManifestError(
            f"Invalid type '{type_name(value)}' for value '{format_value(value)}' "
            f"and variable '{name}'. "
            "Supported types for interpolation within a string are integers and strings."
        )
    return text.replace(f"(({name}))", str(value)).replace(f"((!{name}))", str(value))


# Looking variables up, and keeping count of what was met.

Make: TypeAlias = Callable[[Definition, "Callable[[str], Tree]"], Tree]
"""Makes the value of a definition; the second argument looks a variable up by its name."""


class Sources:
    """All variables that there are: supplied ones first, then the store, which generates."""

    def __init__(self, supplied: Variables, store: VarsStore | None, make: Make) -> None:
        self._supplied = supplied
        self._store = store
        self._make = make

    def names(self) -> set[str]:
        """Return the names of all variables that exist."""
        stored = self._store.variables() if self._store else {}
        return {*self._supplied, *(name.partition(".")[0] for name in stored)}

    def value(self, definition: Definition) -> Tree:
        """Return the value of a variable, made now where it has a type."""
        name = definition.name
        if name in self._supplied:
            return self._supplied[name]
        if self._store is None:
            raise UnknownVariable(name)
        stored = self._store.variables()
        if name in stored:
            return stored[name]
        if not definition.type:
            raise UnknownVariable(name)
        try:
            return self._store.add(name, lambda: self._make(definition, self._by_name))
        except ManifestError as error:
            raise ManifestError(f"Generating variable '{name}'", cause=error) from None

    def _by_name(self, name: str) -> Tree:
        return self.value(Definition(name))


class Lookup:
    """Finds variables for one interpolation; `missing` and `met` are what it was asked for."""

    def __init__(
        self,
        sources: Sources,
        defined: Mapping[str, Definition],
        *,
        within: frozenset[str] = frozenset(),
    ) -> None:
        self._sources = sources
        self._defined = defined
        self._within = within
        self._options: dict[str, Tree] = {}
        self.missing: set[str] = set()
        self.met: set[str] = set()

    def resolve(self, reference: str) -> Tree:
        """Return the value of `name` or `name.path.into.it`; `UnknownVariable` without `name`."""
        name, *path = reference.split(".")
        value = self.variable(name)
        return _inside(value, "/" + "/".join(path)) if path else value

    def variable(self, name: str) -> Tree:
        """Return the value of a variable; `UnknownVariable` when there is none."""
        self.met.add(name)
        if name in self._within:
            raise ManifestError("Detected recursion")
        inner = Lookup(self._sources, self._defined, within=self._within | {name})
        definition = self._complete(self._defined.get(name, Definition(name)), inner)
        if inner.missing:
            raise UnknownVariable(name)
        try:
            return self._sources.value(definition)
        except UnknownVariable:
            self.missing.add(name)
            raise

    def _complete(self, definition: Definition, inner: Lookup) -> Definition:
        """Return the definition with the variables in its options filled in."""
        try:
            options = substitute(definition.options, inner.resolve)
        except ManifestError as error:
            raise ManifestError(
                f"Interpolating variable '{definition.name}' definition options", cause=error
            ) from None
        return Definition(definition.name, definition.type, options)

    def trouble(self, *, all_found: bool, all_used: bool) -> None:
        """Raise for variables that were not found, and for those that nothing asked for."""
        unused = self._sources.names() - self.met if all_used else set()
        errors = []
        if all_found and self.missing:
            errors.append(_listed("Expected to find variables", self.missing))
        if unused:
            errors.append(_listed("Expected to use variables", unused))
        if errors:
            raise SeveralErrors(errors)


def _listed(message: str, names: set[str]) -> ManifestError:
    points = SeveralErrors(ManifestError(name) for name in sorted(names))
    return ManifestError(message, cause=points)


def _inside(value: Tree, path: str) -> Tree:
    """Follow a path into a variable; what fails as an index is tried as a key."""
    found = parse_pointer(path)
    try:
        return find(value, found)
    except ManifestError:
        keys = tuple(
            MapKey(str(token.number)) if isinstance(token, Index) else token for token in found
        )
        return find(value, keys)
