"""What a manifest, the cloud config and the flags of a command ask of each group."""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.manifest import (
    CloudConfig,
    InstanceGroup,
    Manifest,
    UpdateRules,
    WatchTime,
    fingerprint,
)
from rollover_lab.bosh.director.nouns import Spec
from rollover_lab.bosh.director.refusals import UnknownStemcell
from rollover_lab.bosh.director.stock import Stemcell, Stock

WATCH_SECONDS = 300.0
"""How long an instance may take to come up when the manifest does not say."""


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of a command that go before what the manifest says."""

    canaries: str | None = None
    max_in_flight: str | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it shall be."""

    name: str
    size: int
    azs: tuple[str, ...]
    spec: Spec
    update: UpdateRules
    links: tuple[str, ...]
    """Names that its jobs provide: they are in its DNS records, and nowhere else."""


def groups(
    manifest: Manifest,
    *,
    cloud: CloudConfig,
    stock: Stock,
    overrides: Overrides,
    watch_minimum: float,
) -> tuple[Group, ...]:
    """Return every group; stemcells and releases that it names are in stock afterwards."""
    stemcells = {
        each.alias: stock.stemcell(
            name=each.name, operating_system=each.os, version=str(each.version)
        )
        for each in manifest.stemcells
    }
    releases = _releases(manifest, stock)
    watch = WatchTime(first=watch_minimum, last=watch_minimum + WATCH_SECONDS)
    return tuple(
        Group(
            name=each.name,
            size=each.instances,
            azs=each.azs,
            spec=_spec(each, manifest, cloud, stemcell=_stemcell(each, stemcells), used=releases),
            update=_rules(each, manifest, overrides=overrides, watch=watch),
            links=_links(each),
        )
        for each in manifest.instance_groups
    )


def _releases(manifest: Manifest, stock: Stock) -> dict[str, str]:
    jobs = [job for group in manifest.instance_groups for job in group.jobs]
    return {
        each.name: stock.release(
            name=each.name,
            version=str(each.version),
            jobs=tuple(job.name for job in jobs if job.release == each.name),
        ).version
        for each in manifest.releases
    }


def _stemcell(group: InstanceGroup, stemcells: dict[str, Stemcell]) -> Stemcell:
    found = stemcells.get(group.stemcell or "default")
    if found is None and len(stemcells) == 1 and not group.stemcell:
        found = next(iter(stemcells.values()))
    if found is None:
        raise UnknownStemcell(
            f"Instance group '{group.name}' references an unknown stemcell '{group.stemcell}'"
        )
    return found


def _spec(
    group: InstanceGroup,
    manifest: Manifest,
    cloud: CloudConfig,
    *,
    stemcell: Stemcell,
    used: dict[str, str],
) -> Spec:
    types = {each.name: each.cloud_properties for each in cloud.vm_types}
    extensions = {each.name: each.cloud_properties for each in cloud.vm_extensions}
    return Spec(
        stemcell_name=stemcell.name,
        stemcell_version=stemcell.version,
        vm_type=group.vm_type,
        cloud_properties=fingerprint(
            types.get(group.vm_type),
            [extensions.get(name) for name in group.vm_extensions],
            group.vm_resources,
        ),
        env=fingerprint(group.env),
        networks=fingerprint(group.networks),
        jobs=tuple(job.name for job in group.jobs),
        configuration=fingerprint(
            group.properties,
            [(job.name, job.properties, used.get(job.release)) for job in group.jobs],
        ),
        persistent_disk=_disk(group, cloud),
        lifecycle=group.lifecycle,
        tags=fingerprint(manifest.tags),
    )


def _disk(group: InstanceGroup, cloud: CloudConfig) -> int:
    if not group.persistent_disk_type:
        return group.persistent_disk
    sizes = {each.name: each.disk_size for each in cloud.disk_types}
    return sizes.get(group.persistent_disk_type, manifests.DEFAULT_DISK_MEBIBYTES)


def _rules(
    group: InstanceGroup, manifest: Manifest, *, overrides: Overrides, watch: WatchTime
) -> UpdateRules:
    own, common = group.update, manifest.update
    canary = manifests.watch_time(common.canary_watch_time, otherwise=watch)
    update = manifests.watch_time(common.update_watch_time, otherwise=watch)
    serial = common.serial if own.serial is None else own.serial
    return UpdateRules(
        canaries=overrides.canaries or _number(own.canaries, common.canaries),
        max_in_flight=overrides.max_in_flight or _number(own.max_in_flight, common.max_in_flight),
        canary_watch=manifests.watch_time(own.canary_watch_time, otherwise=canary),
        update_watch=manifests.watch_time(own.update_watch_time, otherwise=update),
        serial=True if serial is None else serial,
    )


def _number(own: manifests.Number, common: manifests.Number) -> str:
    return str(next((value for value in (own, common) if value is not None), 1))


def _links(group: InstanceGroup) -> tuple[str, ...]:
    """Return the names under which jobs provide links: `provides: {link: {as: NAME}}`."""
    names: set[str] = set()
    for job in group.jobs:
        if not isinstance(job.provides, dict):
            continue
        for link, said in job.provides.items():
            renamed = said.get("as") if isinstance(said, dict) else None
            names.add(str(renamed or link))
    return tuple(sorted(names))
