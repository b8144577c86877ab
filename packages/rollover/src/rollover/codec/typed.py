"""From a document to a typed value; what does not fit is told with its line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from rollover.codec.strict_yaml import Document, Path
from rollover.errors import SpecError

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")

T = TypeVar("T")


def read(document: Document, into: type[T], *, hint: str) -> T:
    """Return the document as a value of that type; `SpecError` with the hint when it is none."""
    try:
        return msgspec.convert(document.value, into)
    except msgspec.ValidationError as error:
        raise _refused(error, document, hint=hint) from None


def field_name(path: Path) -> str:
    """Return a path as people write it: `groups[0].name`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def _refused(error: msgspec.ValidationError, document: Document, *, hint: str) -> SpecError:
    message, _, where = str(error).partition(" - at `")
    path = tuple(_steps(where.rstrip("`").removeprefix("$")))
    if unknown := _UNKNOWN.search(message):
        path = (*path, unknown[1])
    return SpecError(
        message[:1].lower() + message[1:],
        place=document.place(path),
        field=field_name(path),
        hint=hint,
    )


def _steps(where: str) -> Iterator[str | int]:
    for word, index in _STEP.findall(where):
        if word:
            yield word
        elif index:
            yield int(index)
