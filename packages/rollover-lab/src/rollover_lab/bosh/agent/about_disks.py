"""Actions on persistent disks: directories of the cloud, mounted with symbolic links."""

from __future__ import annotations

import shutil
from pathlib import Path

from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.protocol import ActionFailed, Request
from rollover_lab.bosh.agent.settings import DiskSettings


def list_disk(host: Host, _request: Request) -> object:
    """Return the cids of the mounted disks."""
    host.reload()
    return [
        cid
        for cid, disk in host.settings.disks.persistent.items()
        if any(_holds(point, disk.path) for point in _points(host))
    ]


def mount_disk(host: Host, request: Request) -> object:
    """Mount a disk; a second one where `migrate_disk` looks for it."""
    cid = request.argument(0, str)
    host.reload()
    disk = _disk(host, cid, "Reading")
    if any(_holds(point, disk.path) for point in _points(host)):
        return {}
    for point in _points(host):
        if not point.is_symlink():
            point.symlink_to(disk.path, target_is_directory=True)
            return {}
    raise ActionFailed("Mounting persistent disk: two disks are mounted already")


def unmount_disk(host: Host, request: Request) -> object:
    """Unmount a disk, if it is mounted."""
    cid = request.argument(0, str)
    disk = _disk(host, cid, "Getting")
    for point in _points(host):
        if _holds(point, disk.path):
            point.unlink()
            return {"message": f"Unmounted partition of {cid}"}
    return {"message": f"Partition of {cid} is not mounted"}


def migrate_disk(host: Host, _request: Request) -> object:
    """Copy everything from the first disk to the second, which then takes its place."""
    old, new = _points(host)
    if not (old.is_symlink() and new.is_symlink()):
        raise ActionFailed("Migrating persistent disk: two mounted disks are needed")
    try:
        shutil.copytree(old.resolve(), new.resolve(), symlinks=True, dirs_exist_ok=True)
    except OSError as error:
        raise ActionFailed(f"Migrating persistent disk: {error.strerror}") from None
    old.unlink()
    new.rename(old)
    return {}


def change_hints(_host: Host, request: Request) -> object:
    """Take note of where a disk is; the lab's settings say so already."""
    request.argument(0, str)
    return {}


def _disk(host: Host, cid: str, doing: str) -> DiskSettings:
    try:
        return host.disk(cid)
    except ActionFailed as error:
        raise ActionFailed(f"{doing} persistent disk settings: {error}") from None


def _points(host: Host) -> tuple[Path, Path]:
    return host.files.store, host.files.store_migration


def _holds(point: Path, path: str) -> bool:
    return point.is_symlink() and point.readlink() == Path(path)
