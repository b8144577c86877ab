"""Where generated variables live: the protocol, and a store in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bosh_interpolate.values import Tree, Variables


class VarsStore(Protocol):
    """A flat map of variables by name.

    `variables` returns what is stored, and may be called often. `add` stores what `make` returns
    and returns it; where the name is already there, because somebody else was faster, it returns
    what is there and calls nothing. What was added stays, also when a later variable fails.
    """

    def variables(self) -> Variables:
        """Return everything by name."""

    def add(self, name: str, make: Callable[[], Tree]) -> Tree:
        """Store a new variable, or return the one that is there."""


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self, variables: Variables | None = None) -> None:
        self._variables = dict(variables or {})

    def variables(self) -> Variables:
        """Return everything by name."""
        return self._variables

    def add(self, name: str, make: Callable[[], Tree]) -> Tree:
        """Store a new variable, or return the one that is there."""
        if name not in self._variables:
            self._variables[name] = make()
        return self._variables[name]
