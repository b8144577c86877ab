"""Looks variables up while a manifest is interpolated, and keeps count of what it met."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from bosh_interpolate import pointer
from bosh_interpolate.definitions import Definition
from bosh_interpolate.finding import find
from bosh_interpolate.pointer import Index, MapKey
from bosh_interpolate.substitution import Unknown, substituted
from bosh_interpolate.trouble import ManifestError, SeveralErrors
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.vars_store import VarsStore

Make: TypeAlias = Callable[[Definition, "Callable[[str], Tree]"], Tree]
"""Makes the value of a definition; the second argument looks a variable up by its name."""


class Sources:
    """All variables that there are: given ones first, then the store, which generates."""

    def __init__(self, given: Variables, store: VarsStore | None, make: Make) -> None:
        self._given = given
        self._store = store
        self._make = make

    def names(self) -> set[str]:
        """Return the names of all variables that exist."""
        stored = self._store.variables() if self._store else {}
        return {*self._given, *(name.partition(".")[0] for name in stored)}

    def value(self, definition: Definition) -> Tree:
        """Return the value of a variable, made now where it has a type; `Unknown` else."""
        name = definition.name
        if name in self._given:
            return self._given[name]
        if self._store is None:
            raise Unknown(name)
        stored = self._store.variables()
        if name in stored:
            return stored[name]
        if not definition.type:
            raise Unknown(name)
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
        """Return the value of `name` or `name.path.into.it`; `Unknown` when there is no `name`."""
        name, *path = reference.split(".")
        value = self.variable(name)
        return _inside(value, "/" + "/".join(path)) if path else value

    def variable(self, name: str) -> Tree:
        """Return the value of a variable; `Unknown` when there is none."""
        self.met.add(name)
        if name in self._within:
            raise ManifestError("Detected recursion")
        inner = Lookup(self._sources, self._defined, within=self._within | {name})
        definition = self._complete(self._defined.get(name, Definition(name)), inner)
        if inner.missing:
            raise Unknown(name)
        try:
            return self._sources.value(definition)
        except Unknown:
            self.missing.add(name)
            raise

    def _complete(self, definition: Definition, inner: Lookup) -> Definition:
        """Return the definition with the variables in its options filled in."""
        try:
            options = substituted(definition.options, inner.resolve)
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
    found = pointer.parse(path)
    try:
        return find(value, found)
    except ManifestError:
        keys = tuple(
            MapKey(str(token.number)) if isinstance(token, Index) else token for token in found
        )
        return find(value, keys)
