"""What `bosh interpolate` does: ops files, then variables, then perhaps one path of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.ops_files import Operation, Remove, apply_operations
from bosh_interpolate.paths import MapKey, Match, Pointer, find
from bosh_interpolate.reading import load
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.variables import (
    Definition,
    Lookup,
    Make,
    Sources,
    UnknownVariable,
    expand_dotted_names,
    read_definitions,
    substitute,
)
from bosh_interpolate.vars_stores import VarsStore
from bosh_interpolate.writing import emit


def interpolate(
    template: bytes,
    *,
    operations: Sequence[Operation] = (),
    variables: Variables | None = None,
    store: VarsStore | None = None,
    make: Make | None = None,
    path: Pointer | None = None,
    all_found: bool = False,
    all_used: bool = False,
) -> str:
    """Return what `bosh interpolate` prints, to the byte; `ManifestError` with its error texts.

    Given `variables` count before the `store`. A variable that the manifest defines with a type
    and that is in neither is made and put into the store: by `make`, or as `bosh` makes it. With
    a `path` the result is the value there, a string as it is. `all_found` and `all_used` refuse
    references without a variable and variables without a reference.
    """
    try:
        document = apply_operations(load(template), tuple(operations))
        sources = Sources(expand_dotted_names(variables or {}), store, make or _generate)
        result = _resolved(document, sources, all_found=all_found, all_used=all_used)
        if path is not None:
            result = find(result, path)
        return f"{result}\n" if path is not None and isinstance(result, str) else emit(result)
    except RecursionError:
        raise ManifestError("the manifest is nested too deep") from None


def _resolved(document: Tree, sources: Sources, *, all_found: bool, all_used: bool) -> Tree:
    defined = read_definitions(document)
    # Of several definitions of one name the first counts.
    lookup = Lookup(sources, {definition.name: definition for definition in reversed(defined)})
    # In their order, whether they are used or not: an authority comes before its leaves.
    _names_with_value(lookup, [definition for definition in defined if definition.type])
    result = substitute(document, lookup.resolve)
    for name in _names_with_value(lookup, defined):
        Remove((MapKey("variables"), Match("name", name))).apply(result)
    lookup.trouble(all_found=all_found, all_used=all_used)
    return result


def _names_with_value(lookup: Lookup, wanted: Sequence[Definition]) -> list[str]:
    """Return the names that have a value now, after making those that can be made."""
    names = []
    for definition in wanted:
        try:
            lookup.variable(definition.name)
        except UnknownVariable:
            continue
        except ManifestError as error:
            raise ManifestError(
                "Getting all variables from variable definitions sections", cause=error
            ) from None
        names.append(definition.name)
    return names


def _generate(definition: Definition, by_name: Callable[[str], Tree]) -> Tree:
    from bosh_interpolate.generation import generate_value  # noqa: PLC0415 - imports cryptography

    return generate_value(definition, by_name)
