"""The options of a variable definition, checked field by field as `bosh` checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from bosh_interpolate.misfits import Misfit, unfit
from bosh_interpolate.scalars import text_of
from bosh_interpolate.trouble import ManifestError
from bosh_interpolate.values import MOST_SIGNED, Tree
from bosh_interpolate.writing import emit

FieldType: TypeAlias = Literal["string", "bool", "int", "int64", "[]string"]


class Fields(NamedTuple):
    """Options that fit: a field that is not there has Go's zero value."""

    texts: Mapping[str, str]
    numbers: Mapping[str, int]
    flags: Mapping[str, bool]
    lists: Mapping[str, tuple[str, ...]]


def checked(options: Tree, known: Mapping[str, FieldType], *, purpose: str) -> Fields:
    """Return the options; `ManifestError` for a field that is not known or does not fit."""
    try:
        return _checked(options, known)
    except ManifestError as error:
        raise ManifestError(
            f"Failed to generate {purpose}, parameters are invalid", cause=error
        ) from None


def _checked(options: Tree, known: Mapping[str, FieldType]) -> Fields:
    if options is not None and not isinstance(options, dict):
        raise _undeserializable(options, [Misfit((), "map[string]interface {}")])
    given = {text_of(key): value for key, value in (options or {}).items() if isinstance(key, str)}
    for name in sorted(str(key) for key in options or {}):
        if name not in known:
            raise ManifestError(f"Unsupported parameter '{name}'")
    fields = {name: given.get(name) for name in known}
    misfits = [
        misfit for name, value in fields.items() for misfit in _misfits(name, value, known[name])
    ]
    if misfits:
        raise _undeserializable(options, misfits)
    return Fields(
        texts={name: text_of(fields[name]) or "" for name in _of(known, "string")},
        numbers={name: _number(fields[name]) for name in _of(known, "int", "int64")},
        flags={name: fields[name] is True for name in _of(known, "bool")},
        lists={name: _texts(fields[name]) for name in _of(known, "[]string")},
    )


def _of(known: Mapping[str, FieldType], *types: FieldType) -> Iterator[str]:
    return (name for name, kind in known.items() if kind in types)


def _misfits(name: str, value: Tree, kind: FieldType) -> Iterator[Misfit]:
    if value is None:
        return
    if kind == "[]string" and isinstance(value, list):
        for place, item in enumerate(value):
            if text_of(item) is None:
                yield Misfit((name, place), "string")
    elif not _FITS[kind](value):
        yield Misfit((name,), kind)


def _fits_number(value: Tree) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= MOST_SIGNED


_FITS: dict[FieldType, Callable[[Tree], bool]] = {
    "string": lambda value: not isinstance(value, dict | list),
    "bool": lambda value: isinstance(value, bool),
    "int": _fits_number,
    "int64": _fits_number,
    "[]string": lambda value: isinstance(value, list),
}


def _number(value: Tree) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _texts(value: Tree) -> tuple[str, ...]:
    return tuple(text_of(item) or "" for item in value) if isinstance(value, list) else ()


def _undeserializable(options: Tree, misfits: list[Misfit]) -> ManifestError:
    cause = unfit(emit(options).encode("utf-8", "surrogateescape"), misfits)
    return ManifestError("Expected input to be deserializable", cause=cause)
