"""Brings the instances of a group to what they shall be: canaries, then so many at a time."""

from __future__ import annotations

from functools import partial
from itertools import groupby

from rollover_lab.bosh.director import deleting, pool, updating
from rollover_lab.bosh.director.binding import GroupPlans
from rollover_lab.bosh.director.event_log import Stage
from rollover_lab.bosh.director.plan import Plan
from rollover_lab.bosh.director.work import Work


def update_all(work: Work, groups: tuple[GroupPlans, ...]) -> bool:
    """Update groups one after another; neighbours that are not serial together (`BatchMulti…`).

    Returns whether anything was changed.
    """
    changed = [group for group in groups if group.obsolete or _needed(group)]
    for serial, batch in groupby(groups, key=lambda each: each.group.update.serial):
        together = list(batch)
        work.checkpoint()
        if serial:
            for group in together:
                work.checkpoint()
                update(work, group)
        else:
            jobs = (partial(update, work, group) for group in together)
            pool.run_all(jobs, at_once=len(together))
    return bool(changed)


def update(work: Work, group: GroupPlans) -> None:
    """Delete instances that are not wanted, then update those that differ, zone by zone."""
    name, rules = group.group.name, group.group.update
    if group.obsolete:
        stage = work.events.stage("Deleting unneeded instances", len(group.obsolete), name)
        at_once = rules.in_flight(len(group.obsolete))
        deleting.delete_instances(work, group.obsolete, stage, at_once=at_once)
    plans = _needed(group)
    if not plans:
        return
    stage = work.events.stage("Updating instance", len(plans), name)
    canaries_done = False
    for zone in dict.fromkeys(plan.instance.az for plan in plans):
        here = [plan for plan in plans if plan.instance.az == zone]
        _update_zone(work, group, here, stage, canaries_done=canaries_done)
        canaries_done = True


def _needed(group: GroupPlans) -> list[Plan]:
    if group.group.spec.lifecycle == "errand":
        return [plan for plan in group.plans if group.starts and not plan.instance.ignore]
    return [plan for plan in group.plans if plan.changes and not plan.instance.ignore]


def _update_zone(
    work: Work, group: GroupPlans, plans: list[Plan], stage: Stage, *, canaries_done: bool
) -> None:
    rules = group.group.update
    count = 0 if canaries_done else rules.canary_count(len(plans))
    at_once = rules.in_flight(len(plans))
    canaries, rest = plans[:count], plans[count:]
    for part, canary in ((canaries, True), (rest, False)):
        jobs = (partial(_update_one, work, plan, stage, canary=canary) for plan in part)
        pool.run_all(jobs, at_once=at_once)


def _update_one(work: Work, plan: Plan, stage: Stage, *, canary: bool) -> None:
    label = plan.instance.label
    with stage.step(f"{label} (canary)" if canary else label) as step:
        updating.update(work, plan, step, canary=canary)
