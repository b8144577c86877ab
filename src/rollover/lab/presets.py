"""Labs that go by a name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rollover.errors import SpecError
from rollover.lab.spec import ClusterSpec, LabSpec

PRESETS: Mapping[str, LabSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            LabSpec(name="cluster"),
            LabSpec(name="cluster-large", clusters=(ClusterSpec(servers=5),), clients=200),
            LabSpec(name="cluster-standby", standby=True),
            LabSpec(name="single", clusters=(ClusterSpec(servers=1),), clients=4),
        )
    }
)
"""`cluster` is the fleet of `make demo`."""


def preset(name: str) -> LabSpec:
    """Return the preset of that name; `SpecError` names those that exist."""
    if name not in PRESETS:
        raise SpecError(
            f"there is no lab preset `{name}`",
            hint=f"use one of {', '.join(f'`{each}`' for each in PRESETS)}, or name a lab file",
        )
    return PRESETS[name]
