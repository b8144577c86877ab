"""Reads the shape of a real director through its API: nothing is changed there."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from rollover.platforms.bosh.director import Director
from rollover.platforms.bosh.records import BoshInstance, Deployment
from rollover.platforms.bosh.update_block import updates
from rollover_lab.bosh.shape import (
    NEW_STEMCELL,
    PERSISTENT_MB,
    DeploymentShape,
    GroupShape,
    Shape,
    Stemcell,
)

_STOPPED, _DETACHED = "stopped", "detached"


def shape_of(director: Director) -> Shape:
    """Return what a director deploys: groups, counts, stemcells, disks, ignored and stopped ones.

    Asks every agent for its state, as `bosh instances` does. Raises what the director's client
    raises.
    """
    found = (_deployment(director, each) for each in director.deployments())
    return Shape(deployments=tuple(each for each in found if each.groups))


def _deployment(director: Director, deployment: Deployment) -> DeploymentShape:
    instances = sorted(director.instances(deployment.name), key=attrgetter("group"))
    fallback = next(
        (Stemcell(each.name, each.version) for each in deployment.stemcells),
        Stemcell(*NEW_STEMCELL),
    )
    update = updates(director.manifest(deployment.name)).default
    return DeploymentShape(
        name=deployment.name,
        groups=tuple(
            _group(name, tuple(members), fallback)
            for name, members in groupby(instances, key=attrgetter("group"))
        ),
        max_in_flight=update.max_in_flight,
        canaries=update.canaries,
    )


def _group(name: str, members: tuple[BoshInstance, ...], fallback: Stemcell) -> GroupShape:
    stemcells = [each.stemcell for each in members if each.stemcell is not None]
    stemcell = Stemcell(stemcells[0].name, stemcells[0].version) if stemcells else fallback
    return GroupShape(
        name=name,
        instances=len(members),
        stemcell=stemcell,
        persistent_disk_mb=PERSISTENT_MB if any(each.disk_cids for each in members) else 0,
        ignored=sum(each.ignore for each in members),
        stopped=sum(each.state == _STOPPED for each in members),
        detached=sum(each.state == _DETACHED for each in members),
    )
