"""What jobs are told: one type for each kind of task. They are kept with the task."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollover_lab.bosh.director.desired import Overrides
from rollover_lab.bosh.director.plan import Wish

ALL_GROUPS = "*"


class JobType(StrEnum):
    """The kinds of tasks."""

    DEPLOY = "update_deployment"
    DELETE = "delete_deployment"
    INSTANCE = "update_instance"
    ERRAND = "run_errand"
    VMS = "vms"
    SCAN = "cck_scan"
    APPLY = "cck_apply"
    SCAN_AND_FIX = "cck_scan_and_fix"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state: of all groups (`*`), of one, or of one instance of it."""

    group: str
    wish: Wish
    index: int | None = None


class DeployOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Deploy a manifest, or change states with the last one."""

    manifest: str | None
    cloud_configs: tuple[int, ...] = ()
    runtime_configs: tuple[int, ...] = ()
    new: bool = False
    change: Change | None = None
    recreate: bool = False
    recreate_persistent_disks: bool = False
    created_before: str | None = None
    fix: bool = False
    dry_run: bool = False
    skip_drain: str = ""
    """`*`, or names of groups with commas between."""
    overrides: Overrides = Overrides()


class DeleteOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a deployment; `force`: whatever fails on the way."""

    force: bool = False


class Action(StrEnum):
    """What is done to a single instance without looking at the rest."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"


class InstanceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Act on one instance (`--no-converge`); `hard`: its VM goes."""

    instance_id: int
    action: Action
    hard: bool = False
    skip_drain: bool = False
    ignore_unresponsive_agent: bool = False


class ErrandOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Run an errand; `instances` are `group` or `group/index-or-id`."""

    name: str
    keep_alive: bool = False
    instances: tuple[str, ...] = ()


class VmsOrder(msgspec.Struct, frozen=True, kw_only=True):
    """List VMs, or instances with and without one."""

    instances: bool = False


class ScanOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Look for problems."""


class ApplyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Resolve problems: by id, what to do; None: what suits."""

    resolutions: dict[str, str | None] = {}


class ScanAndFixOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Look at these instances and recreate those that do not answer: group → ids or indexes."""

    jobs: dict[str, tuple[str | int, ...]] = {}
