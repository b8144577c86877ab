"""How a discovered director looks: what it said of its world, then the fleet file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rollover.cli.views import discovery as view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollover.cli.printer import Printer
    from rollover.platforms.bosh.cost import RoundCost
    from rollover.platforms.bosh.discovery import (
        DeploymentReading,
        Discovery,
        InstanceReading,
        Reading,
    )
    from rollover.platforms.bosh.records import Stemcell

MOST_SHOWN = 30
"""Instances that are shown one by one; of more, those that are not as they should be."""
_MINUTE, _HOUR = 60, 3600


def deliver(printer: Printer, found: Discovery, *, out: Path | None, write: bool) -> None:
    """Show what was read, then print or write the description."""
    if not printer.json and out is not None:
        show(printer, found.reading)
        printer.line()
    view.deliver(printer, found, out=out, write=write, reading=found.reading)


def show(printer: Printer, reading: Reading) -> None:
    """Show the director, its deployments, its instances, certificates, and what a round takes."""
    director = reading.director
    version = ".".join(str(each) for each in director.version)
    printer.line(f"director {director.name} {version} ({director.cpi or 'no CPI named'})", "bold")
    if reading.deployments:
        printer.line()
        printer.table(
            ("deployment", "instances", "in place", "recreate", "variables", "stemcells"),
            (_deployment(each) for each in reading.deployments),
        )
    instances = tuple(_shown(reading))
    if instances:
        printer.line()
        printer.table(
            ("instance", "should be", "agent says", "stemcell", "new credentials"),
            (_instance(each) for each in instances),
        )
    if reading.certificates:
        printer.line()
        printer.table(
            ("certificate of the director", "until", "days left"),
            (
                (each.path, f"{each.expires_at:%Y-%m-%d}", str(each.days_left))
                for each in reading.certificates
            ),
        )
    printer.line()
    printer.line(_round(reading.round))


def _shown(reading: Reading) -> Iterator[InstanceReading]:
    every = [one for each in reading.deployments for one in each.instances]
    few = len(every) <= MOST_SHOWN
    return (each for each in every if few or not _fine(each))


def _fine(instance: InstanceReading) -> bool:
    return instance.state == "started" and instance.job_state == "running" and not instance.ignored


def _deployment(deployment: DeploymentReading) -> tuple[str, ...]:
    ways = Counter(each.way.value for each in deployment.instances if each.has_vm)
    locked = " (locked)" if deployment.locked else ""
    return (
        f"{deployment.name}{locked}",
        str(len(deployment.instances)),
        str(ways["in place"]),
        str(ways["recreate"]),
        str(len(deployment.variables)),
        ", ".join(_named(each) for each in deployment.stemcells),
    )


def _instance(instance: InstanceReading) -> tuple[str, ...]:
    says = instance.job_state or "nothing"
    return (
        instance.name,
        f"{instance.state}, ignored" if instance.ignored else instance.state,
        says if instance.has_vm else "has no VM",
        _named(instance.stemcell) if instance.stemcell else "",
        instance.way.value if instance.has_vm else "when it is started",
    )


def _named(stemcell: Stemcell) -> str:
    return f"{stemcell.name}/{stemcell.version}"


def _round(cost: RoundCost) -> str:
    if not cost.deployments:
        return "no agent has to be given anything"
    count = sum(each.instances for each in cost.deployments)
    recreated = sum(each.recreated for each in cost.deployments)
    how = f", {recreated:,} of them recreated" if recreated else ""
    side = f"{min(cost.workers, len(cost.deployments))} deployments side by side"
    return (
        f"a round over {count:,} agents{how} takes about {_duration(cost.seconds)}, {side}; "
        "a rotation has two"
    )


def _duration(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    if seconds >= _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds:.0f} s"
