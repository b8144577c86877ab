"""Reads a lab file (YAML or JSON) into a `LabSpec`."""

from __future__ import annotations

from pathlib import Path

from rollover.codec import strict_yaml, typed
from rollover.errors import SpecError
from rollover.lab.spec import LabSpec


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
    spec = typed.read(
        document, LabSpec, hint="the example `examples/nats-cluster/lab.yml` shows every field"
    )
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
