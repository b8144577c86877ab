"""`fleet.yml`: bytes to a fleet description and back; errors name file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from rollover.codec.strict_yaml import Document, Path, load
from rollover.codec.strict_yaml import dump as dump_yaml
from rollover.errors import SpecError
from rollover.fleet.description import FLEET_VERSION, FleetDescription

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
HEADER = b"# What Rollover knows of this fleet: `rollover discover` wrote it, you may edit it.\n"


def read_fleet(data: bytes, *, place: str) -> FleetDescription:
    """Return the description; `SpecError` names the file, the line and the field."""
    document = load(data, place=place)
    if isinstance(document.value, dict):
        _check_version(document)
    try:
        described = msgspec.convert(document.value, FleetDescription)
    except msgspec.ValidationError as error:
        raise _refused(error, document) from None
    _check_names(described, place)
    return described


def write_fleet(described: FleetDescription) -> bytes:
    """Return the file: only fields that say something, in the order of the schema."""
    return HEADER + dump_yaml(_lean(msgspec.to_builtins(described)))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `fleet.yml`."""
    return msgspec.json.schema(FleetDescription)


def _lean(value: Any) -> Any:
    if isinstance(value, dict):
        lean = {key: _lean(each) for key, each in value.items()}
        return {key: each for key, each in lean.items() if each not in (None, "", [], ())}
    if isinstance(value, list | tuple):
        return [_lean(each) for each in value]
    return value


def _check_version(document: Document) -> None:
    assert isinstance(document.value, dict)  # noqa: S101 - the caller looked
    version = document.value.get("version")
    if version != FLEET_VERSION:
        raise SpecError(
            f"expected {FLEET_VERSION}, found {version!r}",
            place=document.place(("version",)),
            field="version",
            hint=f"write `version: {FLEET_VERSION}`, or use the Rollover that wrote this file",
        )


def _refused(error: msgspec.ValidationError, document: Document) -> SpecError:
    message, _, where = str(error).partition(" - at `")
    path = tuple(_steps(where.rstrip("`").removeprefix("$")))
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        path = (*path, unknown[1])
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return SpecError(
        message[:1].lower() + message[1:],
        place=document.place(path),
        field=field.lstrip("."),
        hint="`rollover schema` prints what a fleet file may say",
    )


def _steps(where: str) -> Iterator[str | int]:
    for word, index in _STEP.findall(where):
        if word:
            yield word
        elif index:
            yield int(index)


def _check_names(described: FleetDescription, place: str) -> None:
    """Refuse two things of one name: nothing could be told apart."""
    seen: dict[str, Path] = {}
    for number, group in enumerate(described.groups):
        _once(seen, f"group `{group.name}`", ("groups", number), place)
        for index, instance in enumerate(group.instances):
            path: Path = ("groups", number, "instances", index)
            _once(seen, f"instance `{instance.name}`", path, place)
            names = [endpoint.name for endpoint in instance.endpoints]
            if len(set(names)) < len(names):
                raise SpecError(
                    f"two endpoints of `{instance.name}` have one name",
                    place=place,
                    field=f"groups[{number}].instances[{index}].endpoints",
                    hint="give each endpoint of an instance a name of its own",
                )


def _once(seen: dict[str, Path], what: str, path: Path, place: str) -> None:
    if what in seen:
        raise SpecError(
            f"{what} is there twice",
            place=place,
            field=".".join(str(step) for step in path),
            hint="give each a name of its own",
        )
    seen[what] = path
