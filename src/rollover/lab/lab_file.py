"""Reads a lab file (YAML or JSON) into a `LabSpec`."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from rollover.codec import strict_yaml
from rollover.errors import SpecError
from rollover.lab.spec import LabSpec

_STEP = re.compile(r"\w+")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


def load(path: Path) -> LabSpec:
    """Read the lab file at `path`; `SpecError` names the file, the line and the field."""
    try:
        with path.open("rb") as file:
            data = file.read(strict_yaml.MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            hint="name a lab file, or a preset such as `cluster`",
        ) from None
    return read(data, place=str(path))


def read(data: bytes, *, place: str) -> LabSpec:
    """Read a lab file's content; `place` names it in errors."""
    document = strict_yaml.load(data, place=place)
    try:
        spec = msgspec.convert(document.value, LabSpec)
    except msgspec.ValidationError as error:
        raise _refused(error, document) from None
    check(spec, place=place)
    return spec


def check(spec: LabSpec, *, place: str = "") -> None:
    """Refuse what the types allow and this lab cannot start: `SpecError`."""
    if len(spec.clusters) > 1:
        raise SpecError(
            f"{len(spec.clusters)} clusters, expected 1",
            place=place,
            field="clusters",
            hint="put all servers into one cluster: gateways between clusters are yet to come",
        )


def _refused(error: msgspec.ValidationError, document: strict_yaml.Document) -> SpecError:
    message, _, where = str(error).partition(" - at `")
    path = [int(step) if step.isdigit() else step for step in _STEP.findall(where)]
    if unknown := _UNKNOWN.search(message):
        path.append(unknown[1])
    return SpecError(
        message[:1].lower() + message[1:],
        place=document.place(tuple(path)),
        field=where.strip("`$.") or ".".join(str(step) for step in path),
        hint="the example `examples/nats-cluster/lab.yml` shows every field",
    )
