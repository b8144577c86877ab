"""What `bosh interpolate` does: ops files, then variables, then perhaps one path of the result."""

from __future__ import annotations

from collections.abc import Sequence

from bosh_interpolate.definitions import Definition, definitions
from bosh_interpolate.finding import find
from bosh_interpolate.given import expanded
from bosh_interpolate.lookup import Lookup, Make, Sources
from bosh_interpolate.patching import Operation, Remove, applied
from bosh_interpolate.pointer import MapKey, Match, Pointer
from bosh_interpolate.reading import load
from bosh_interpolate.substitution import Unknown, substituted
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.vars_store import VarsStore
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
        document = applied(load(template), tuple(operations))
        sources = Sources(expanded(variables or {}), store, make or _made)
        result = _resolved(document, sources, all_found=all_found, all_used=all_used)
        if path is not None:
            result = find(result, path)
        return f"{result}\n" if path is not None and isinstance(result, str) else emit(result)
    except RecursionError:
        raise ManifestError("the manifest is nested too deep") from None


def _resolved(document: Tree, sources: Sources, *, all_found: bool, all_used: bool) -> Tree:
    defined = definitions(document)
    lookup = Lookup(sources, _first_by_name(defined))
    # In their order, whether they are used or not: an authority comes before its leaves.
    _known(lookup, [definition for definition in defined if definition.type])
    result = substituted(document, lookup.resolve)
    for name in _known(lookup, defined):
        Remove((MapKey("variables"), Match("name", name))).apply(result)
    lookup.trouble(all_found=all_found, all_used=all_used)
    return result


def _first_by_name(defined: Sequence[Definition]) -> dict[str, Definition]:
    return {definition.name: definition for definition in reversed(defined)}


def _known(lookup: Lookup, wanted: Sequence[Definition]) -> list[str]:
    """Return the names that have a value now, after making those that can be made."""
    names = []
    for definition in wanted:
        try:
            lookup.variable(definition.name)
        except Unknown:
            continue
        except ManifestError as error:
            raise ManifestError(
                "Getting all variables from variable definitions sections", cause=error
            ) from None
        names.append(definition.name)
    return names


def _made(definition: Definition, by_name: object) -> Tree:
    from bosh_interpolate.generate import generate  # noqa: PLC0415 - imports cryptography

    return generate(definition, by_name)  # type: ignore[arg-type]  # passed through
