"""The `variables` section of a manifest: what is to be generated, and of what kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bosh_interpolate.misfits import Misfit, unfit
from bosh_interpolate.patching import through_yaml
from bosh_interpolate.scalars import text_of
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import Tree
from bosh_interpolate.writing import emit

_DEFINITION = "template.VariableDefinition"


class Definition(NamedTuple):
    """A variable by its name; one without a type is never generated."""

    name: str
    type: str = ""
    options: Tree = None


def definitions(document: Tree) -> tuple[Definition, ...]:
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
    return unfit(emit(document).encode("utf-8", "surrogateescape"), misfits)
