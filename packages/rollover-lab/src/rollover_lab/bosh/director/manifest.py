"""A deployment manifest, parsed as far as the lab goes, and what it asks of each group."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

import bosh_interpolate
from bosh_interpolate import ManifestError
from bosh_interpolate.values import Key, Tree, key_value
from rollover_lab.bosh.director.refusals import BadManifest, FieldMissing, InvalidYaml

DEFAULT_DISK_MEBIBYTES = 10_240
"""Of a `persistent_disk_type` that no cloud config defines."""

Number = str | int | float | None


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that the lab has no use for are passed over."""


class JobDescription(_Part, frozen=True, kw_only=True):
    """A job of a group. `provides` only names DNS records, it configures nothing."""

    name: str
    release: str = ""
    properties: object = None
    provides: object = None


class UpdateDescription(_Part, frozen=True, kw_only=True):
    """`update`, of a manifest or of a group; None: as the manifest says."""

    canaries: Number = None
    max_in_flight: Number = None
    canary_watch_time: Number = None
    update_watch_time: Number = None
    serial: bool | None = None


class ManifestInstanceGroup(_Part, frozen=True, kw_only=True):
    """An instance group."""

    name: str
    instances: int = 1
    azs: tuple[str, ...] = ()
    jobs: tuple[JobDescription, ...] = ()
    stemcell: str = ""
    vm_type: str = ""
    vm_extensions: tuple[str, ...] = ()
    vm_resources: object = None
    env: object = None
    networks: object = None
    persistent_disk: int = 0
    persistent_disk_type: str = ""
    lifecycle: Literal["service", "errand"] = "service"
    update: UpdateDescription = UpdateDescription()
    properties: object = None


class ReleaseDescription(_Part, frozen=True, kw_only=True):
    """A release that a manifest uses."""

    name: str
    version: str | int | float = "latest"


class StemcellDescription(_Part, frozen=True, kw_only=True):
    """A stemcell that a manifest uses."""

    alias: str = "default"
    os: str = ""
    name: str = ""
    version: str | int | float = "latest"


class VariableDescription(_Part, frozen=True, kw_only=True):
    """A variable that a manifest defines."""

    name: str


class DeploymentManifest(_Part, frozen=True, kw_only=True):
    """A deployment manifest."""

    name: str
    releases: tuple[ReleaseDescription, ...] = ()
    stemcells: tuple[StemcellDescription, ...] = ()
    instance_groups: tuple[ManifestInstanceGroup, ...] = ()
    update: UpdateDescription = UpdateDescription()
    variables: tuple[VariableDescription, ...] = ()
    tags: object = None


class VmType(_Part, frozen=True, kw_only=True):
    """A VM type of a cloud config."""

    name: str
    cloud_properties: object = None


class DiskType(_Part, frozen=True, kw_only=True):
    """A disk type of a cloud config; its size in MiB."""

    name: str
    disk_size: int = DEFAULT_DISK_MEBIBYTES


class CloudConfig(_Part, frozen=True, kw_only=True):
    """The parts of a cloud config that VMs are made from."""

    vm_types: tuple[VmType, ...] = ()
    vm_extensions: tuple[VmType, ...] = ()
    disk_types: tuple[DiskType, ...] = ()


def tree(text: bytes) -> dict[str, object]:
    """Return a YAML document that is a map; `InvalidYaml`, `BadManifest`."""
    try:
        found = bosh_interpolate.load(text)
    except ManifestError as error:
        raise InvalidYaml(f"Incorrect YAML structure of the uploaded manifest: {error}") from None
    if not isinstance(found, dict):
        raise BadManifest(f"Manifest should be a hash, got {type(found).__name__}")
    return _plain_map(found)


def _plain_map(value: dict[Key, Tree]) -> dict[str, object]:
    """Return a map with the texts of its keys; nothing the lab reads has other ones."""
    return {str(key_value(key)): _plain(child) for key, child in value.items()}


def _plain(value: Tree) -> object:
    match value:
        case dict():
            return _plain_map(value)
        case list():
            return [_plain(child) for child in value]
        case _:
            return value


def parse(text: bytes) -> DeploymentManifest:
    """Return a manifest; `InvalidYaml`, `FieldMissing` without a name, `BadManifest`."""
    found = tree(text)
    if not found.get("name"):
        raise FieldMissing("Deployment manifest must have a 'name' key")
    try:
        return msgspec.convert(found, DeploymentManifest)
    except msgspec.ValidationError as error:
        raise BadManifest(f"Manifest cannot be used: {error}") from None


def parse_cloud_config(text: bytes) -> CloudConfig:
    """Return the parts of a cloud config that matter here."""
    try:
        return msgspec.convert(tree(text), CloudConfig)
    except msgspec.ValidationError as error:
        raise BadManifest(f"Cloud config cannot be used: {error}") from None


def fingerprint(*parts: object) -> str:
    """Return a hash that is equal exactly for equal parts, whatever the order of keys."""
    data = msgspec.json.encode(parts, order="sorted")
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class WatchTime(msgspec.Struct, frozen=True, kw_only=True):
    """For how long an instance may take to come up, in seconds, and when it is first looked at."""

    first: float
    last: float

    def waits(self) -> list[float]:
        """Return how long to sleep before each look (`starter.rb: watch_schedule`)."""
        span = self.last - self.first
        step = sorted((1.0, span / 9, 15.0))[1]
        return [self.first, *[step] * int(span / step)]


class UpdateRules(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances of a group change at once."""

    canaries: str
    max_in_flight: str
    canary_watch: WatchTime
    update_watch: WatchTime
    serial: bool

    def canary_count(self, size: int) -> int:
        """Return how many of `size` instances go first."""
        return min(amount(self.canaries, size), size)

    def in_flight(self, size: int) -> int:
        """Return how many of `size` instances change at once, at least one."""
        return max(1, amount(self.max_in_flight, size))


def amount(text: str, size: int) -> int:
    """Return a number, or a percentage of `size` (`numerical_value_calculator.rb`)."""
    if match := re.fullmatch(r"(\d+)%", text):
        return min(int(match[1]) * size // 100, size)
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    raise BadManifest(f"'{text}' cannot be calculated")


_WATCH = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def watch_time(value: Number, *, otherwise: WatchTime) -> WatchTime:
    """Return `MIN-MAX` or `TIME`, milliseconds; `BadManifest`."""
    if value is None:
        return otherwise
    match = _WATCH.fullmatch(str(value))
    if match is None or int(match[1]) > int(match[2] or match[1]):
        raise BadManifest("Watch time should be an integer or a range of two integers")
    return WatchTime(first=int(match[1]) / 1000, last=int(match[2] or match[1]) / 1000)
