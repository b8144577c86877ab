"""How two manifests differ, in lines: (text, `added`, `removed` or None) (`changeset.rb`)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

import bosh_interpolate
from bosh_interpolate.values import Tree

ADDED: Final = "added"
REMOVED: Final = "removed"
_INDENT: Final = "  "
_REDACTED: Final = "<redacted>"
_SECRETIVE: Final = ("properties", "bosh")
"""Keys whose values nobody sees in a diff (`redactor.rb`)."""
_FIRST_SECTIONS: Final = (
    "azs",
    "vm_types",
    "vm_extensions",
    "compilation",
    "networks",
    "disk_types",
    "name",
    "stemcells",
    "releases",
    "update",
    "jobs",
    "addons",
    "variables",
)

DiffLine = tuple[str, str | None]
YamlMap = dict[str, object]


class HideValue(Enum):
    """Which values a reader does not see."""

    NOTHING = auto()
    SECRETS = auto()
    ALL = auto()


def diff_lines(before: YamlMap, after: YamlMap, *, redact: bool) -> list[DiffLine]:
    """Return the lines of a diff, section by section with an empty line between."""
    hide = HideValue.SECRETS if redact else HideValue.NOTHING
    found: list[DiffLine] = []
    for key in sorted({**before, **after}, key=_section):
        section = list(_map_lines(_only(before, key), _only(after, key), depth=0, hide=hide))
        if found and section:
            found.append(("", None))
        found += section
    return found


def _section(key: str) -> int:
    return _FIRST_SECTIONS.index(key) if key in _FIRST_SECTIONS else len(_FIRST_SECTIONS)


def _only(document: YamlMap, key: str) -> YamlMap:
    return {key: document[key]} if key in document else {}


def _map_lines(
    before: YamlMap, after: YamlMap, *, depth: int, hide: HideValue
) -> Iterator[DiffLine]:
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        inner = _inner_lines(old, new, depth=depth, hide=_below(hide, key, old or new))
        if inner is not None:
            yield _INDENT * depth + f"{key}:", None
            yield from inner
            continue
        if old is not None:
            yield from _yaml({key: old}, REMOVED, depth=depth, hide=hide)
        if new is not None:
            yield from _yaml({key: new}, ADDED, depth=depth, hide=hide)


def _inner_lines(old: object, new: object, *, depth: int, hide: HideValue) -> list[DiffLine] | None:
    """Return what differs inside two maps or two lists; None: they are no such pair."""
    if isinstance(old, dict) and isinstance(new, dict):
        return list(_map_lines(old, new, depth=depth + 1, hide=hide))
    if isinstance(old, list) and isinstance(new, list):
        return list(_list_lines(old, new, depth=depth, hide=hide))
    return None


def _list_lines(
    before: list[object], after: list[object], *, depth: int, hide: HideValue
) -> Iterator[DiffLine]:
    removed = [value for value in before if value not in after]
    for new in after:
        if new in before:
            continue
        old = next((value for value in removed if _same_name(value, new)), None)
        if isinstance(old, dict) and isinstance(new, dict):
            removed.remove(old)
            yield from _yaml([{"name": new["name"]}], None, depth=depth, hide=hide)
            yield from _map_lines(old, new, depth=depth + 1, hide=hide)
        else:
            yield from _yaml([new], ADDED, depth=depth, hide=hide)
    if removed:
        yield from _yaml(removed, REMOVED, depth=depth, hide=hide)


def _same_name(old: object, new: object) -> bool:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    return "name" in old and old["name"] == new.get("name")


def _below(hide: HideValue, key: str, value: object) -> HideValue:
    """Return what is hidden below a key: everything, once the key is a secretive one."""
    secretive = key in _SECRETIVE and isinstance(value, dict)
    return HideValue.ALL if hide is HideValue.SECRETS and secretive else hide


def _yaml(value: object, status: str | None, *, depth: int, hide: HideValue) -> Iterator[DiffLine]:
    for line in bosh_interpolate.emit(_shown(value, hide)).splitlines():
        yield _INDENT * depth + line, status


def _shown(value: object, hide: HideValue) -> Tree:
    match value:
        case dict():
            return {
                key: _shown(child, _below(hide, str(key), child)) for key, child in value.items()
            }
        case list():
            return [_shown(child, hide) for child in value]
        case str() | int() | float() | None:
            return _REDACTED if hide is HideValue.ALL else value
        case _:
            raise AssertionError(f"no value of a manifest: {type(value).__name__}")
