"""Which stemcells and releases a deployment uses: those that its last manifest names."""

from __future__ import annotations

from typing import NamedTuple

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.deployments import Deployment
from rollover_lab.bosh.director.manifest import Manifest
from rollover_lab.bosh.director.stock import Release, Stemcell
from rollover_lab.bosh.director.work import Director


class Parts(NamedTuple):
    """What a deployment is made from."""

    stemcells: tuple[Stemcell, ...] = ()
    releases: tuple[Release, ...] = ()


def manifest_of(deployment: Deployment) -> Manifest | None:
    """Return the last manifest of a deployment, None before its first success."""
    if deployment.manifest is None:
        return None
    return manifests.parse(deployment.manifest.encode())


def parts_in_use(director: Director, deployment: Deployment) -> Parts:
    """Return what a deployment uses."""
    manifest = manifest_of(deployment)
    if manifest is None:
        return Parts()
    return Parts(
        tuple(
            director.stock.stemcell(
                name=each.name, operating_system=each.os, version=str(each.version)
            )
            for each in manifest.stemcells
        ),
        tuple(
            director.stock.release(name=each.name, version=str(each.version), jobs=())
            for each in manifest.releases
        ),
    )
