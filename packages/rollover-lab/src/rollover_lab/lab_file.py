"""Reads a lab file (YAML or JSON) into a `LabSpec`."""

from __future__ import annotations

from pathlib import Path

from rollover.codec import strict_yaml, typed
from rollover.errors import SpecError
from rollover_lab.spec import MOST_SERVERS, LabSpec


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
    names = [cluster.name for cluster in spec.clusters]
    if len(set(names)) < len(names):
        raise SpecError(
            "two clusters have one name",
            place=place,
            field="clusters",
            hint="name each cluster differently: gateways find each other by these names",
        )
    if len(spec.servers) > MOST_SERVERS:
        raise SpecError(
            f"{len(spec.servers)} servers, at most {MOST_SERVERS}",
            place=place,
            field="clusters",
            hint="use fewer servers, or smaller clusters",
        )
    if len(set(spec.servers)) < len(spec.servers):
        raise SpecError(
            "two servers would have one name",
            place=place,
            field="clusters",
            hint="end no cluster's name with a number",
        )
