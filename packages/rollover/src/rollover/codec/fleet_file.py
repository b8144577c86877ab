"""`fleet.yml`: bytes to a fleet description and back; errors name file, line and field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from rollover.codec import strict_yaml
from rollover.codec.strict_yaml import Document, FieldPath, Tree
from rollover.errors import SpecError
from rollover.fleet.description import FLEET_VERSION, FleetDescription

_SILENT: tuple[object, ...] = (None, "", ())
HEADER = b"# What Rollover knows of this fleet: `rollover discover` wrote it, you may edit it.\n"


def read_fleet(data: bytes, *, place: str) -> FleetDescription:
    """Return the description; `SpecError` names the file, the line and the field."""
    document = strict_yaml.load(data, place=place)
    if isinstance(document.value, dict):
        _check_version(document.value.get("version"), document)
    described = strict_yaml.convert(
        document, FleetDescription, hint="`rollover schema` prints what a fleet file may say"
    )
    _check_names(described, document)
    return described


def write_fleet(described: FleetDescription) -> bytes:
    """Return the file: only fields that say something, in the order of the schema."""
    return HEADER + strict_yaml.dump(_lean(described))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `fleet.yml`."""
    return msgspec.json.schema(FleetDescription)


def _lean(value: Any) -> Any:
    """Return plain values without the optional fields that say nothing."""
    if isinstance(value, msgspec.Struct):
        return dict(_fields(value))
    if isinstance(value, tuple):
        return [_lean(item) for item in value]
    return msgspec.to_builtins(value)


def _fields(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    config = struct.__struct_config__
    if config.tag is not None and config.tag_field is not None:
        yield config.tag_field, config.tag
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if field.required or value not in _SILENT:
            yield field.encode_name, _lean(value)


def _check_version(version: Tree, document: Document) -> None:
    if version != FLEET_VERSION:
        raise SpecError(
            f"expected {FLEET_VERSION}, found {version!r}",
            place=document.place(("version",)),
            field="version",
            hint=f"write `version: {FLEET_VERSION}`, or use the Rollover that wrote this file",
        )


def _check_names(described: FleetDescription, document: Document) -> None:
    """Refuse two things of one name: nothing could be told apart."""
    seen: set[tuple[str, str]] = set()
    for path, kind, name in _named(described):
        if (kind, name) in seen:
            raise SpecError(
                f"{kind} `{name}` is there twice",
                place=document.place(path),
                field=strict_yaml.field_name(path),
                hint="give each a name of its own",
            )
        seen.add((kind, name))


def _named(described: FleetDescription) -> Iterator[tuple[FieldPath, str, str]]:
    """Yield where each name stands, and what it must be unique among."""
    for number, authority in enumerate(described.authorities):
        yield ("authorities", number, "name"), "authority", authority.name
    for number, group in enumerate(described.groups):
        yield ("groups", number, "name"), "group", group.name
        # Over all groups, not within one: a plan and its journal name instances alone.
        for index, instance in enumerate(group.instances):
            path: FieldPath = ("groups", number, "instances", index)
            yield (*path, "name"), "instance", instance.name
            for position, endpoint in enumerate(instance.endpoints):
                where = (*path, "endpoints", position, "name")
                yield where, f"of the instance `{instance.name}` the endpoint", endpoint.name
