"""Labs that go by a name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rollover.errors import SpecError
from rollover_lab.spec import ClusterSpec, Intermediate, LabSpec

PRESETS: Mapping[str, LabSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            LabSpec(name="cluster"),
            LabSpec(name="cluster-large", clusters=(ClusterSpec(servers=5),), clients=200),
            LabSpec(name="cluster-standby", standby=True),
            LabSpec(
                name="supercluster",
                clusters=(
                    ClusterSpec(name="a", servers=3, leaf_nodes=1),
                    ClusterSpec(name="b", servers=2, websocket=True, mqtt=True),
                    ClusterSpec(name="c", servers=2, intermediate=Intermediate.R3),
                ),
                clients=18,
            ),
            LabSpec(name="single", clusters=(ClusterSpec(servers=1),), clients=4),
        )
    }
)
"""`cluster` is the fleet of `make demo`, `supercluster` that of the story of CA rollovers."""


def preset(name: str) -> LabSpec:
    """Return the preset of that name; `SpecError` names those that exist."""
    if name not in PRESETS:
        raise SpecError(
            f"there is no lab preset `{name}`",
            hint=f"use one of {', '.join(f'`{each}`' for each in PRESETS)}, or name a lab file",
        )
    return PRESETS[name]
