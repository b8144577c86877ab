"""Run all rules over some configurations and gather what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from rollover.checks import silence
from rollover.checks.configs import bundles, chains, files, peers, settings
from rollover.checks.configs.scene import ConfigScene
from rollover.checks.rule import Finding, Rule
from rollover.checks.run import Checked, Report
from rollover.fleet.description import Silence

Check = Callable[[ConfigScene], Iterator[Finding]]

AREAS: Mapping[str, tuple[tuple[Rule, Check], ...]] = MappingProxyType(
    {
        "files": files.CHECKS,
        "chains": chains.CHECKS,
        "trust bundles": bundles.CHECKS,
        "peers": peers.CHECKS,
        "settings": settings.CHECKS,
    }
)
"""What is checked, in the order of the report. A new rule is a function in one of these tables."""


def check_configs(scene: ConfigScene, *, silenced: Sequence[Silence] = ()) -> Report:
    """Return every hazard of the configurations. Pure.

    Findings that `silenced` covers are in the report with their reason.
    """
    return Report(
        fleet=", ".join(each.config.path for each in scene.servers),
        at=scene.now,
        instances=len(scene.servers),
        links=0,
        checked=tuple(
            Checked(
                area=area,
                rule=rule.id,
                title=rule.title,
                findings=tuple(silence.silenced(each, silenced) for each in function(scene)),
            )
            for area, checks in AREAS.items()
            for rule, function in checks
        ),
    )
