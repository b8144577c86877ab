"""What stands in the way of a rotation of agents' certificates, from what was gathered. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.checks import bosh_agents as rules
from rollover.checks.rule import Finding, Severity, found
from rollover.engine.platform_extras import Moment
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh import versions
from rollover.platforms.bosh.book import Book
from rollover.platforms.bosh.connections import Listing
from rollover.platforms.bosh.parsing import Config
from rollover.platforms.bosh.records import BoshInstance, Lock
from rollover.platforms.bosh.standing import STARTED, Sight, being_born, silence

MOST_IN_GROUP = 500
"""H16: the size at which timeouts of `update_settings` were reported."""
MOST_NAMED = 5
ENDS_WITHIN = timedelta(days=60)
SETTLED_AFTER = timedelta(seconds=60)
"""A stranger that is connected for less may be a VM that is being made, or going."""
_EARLY = frozenset({Moment.CHECK, Moment.BEFORE})


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of director, NATS and agents for one moment."""

    at: datetime
    version: tuple[int, ...]
    instances: tuple[BoshInstance, ...]
    """Those that the fleet has, with their states."""
    sights: Mapping[InstanceName, Sight]
    listing: Listing
    strangers: Listing = Listing()
    """Connections that belong to no deployment, on two looks one after another."""
    locks: tuple[Lock, ...] = ()
    """Those that were held all the while."""
    configs: tuple[Config, ...] = ()
    """Of type `deploy`."""
    resurrection: bool | None = None
    """Whether the director lets VMs be brought back; None: only its instances may tell."""
    pending: Mapping[str, int] = {}
    """By deployment, lines of its manifest that a deploy would change."""
    ends: Mapping[InstanceName, datetime] = {}
    """When an agent's certificate ends, as early as it can."""
    book: Book = Book()
    distrusted: frozenset[InstanceName] = frozenset()
    """Who is not connected, and may have a certificate of a CA that is not trusted now."""
    recover: bool = False
    expired: bool = False
    """All that agents trust has: who still answers does so until his connection ends."""


def findings(gathered: Gathered, moment: Moment) -> Iterator[Finding]:
    """Yield what is to be told at that moment."""
    if moment is Moment.AFTER:
        yield from _afterwards(gathered)
        return
    yield from _availability(gathered)
    yield from _sight(gathered)
    yield from _strangers(gathered)
    yield from _locks(gathered, moment)
    if moment in _EARLY:
        yield from _cost(gathered)
        yield from _expiry(gathered)
        yield from _configs(gathered)
        yield from _sizes(gathered)
        yield from _losses(gathered)
        yield from _resurrection(gathered)
    yield from _pending(gathered)


def _availability(gathered: Gathered) -> Iterator[Finding]:
    for each in gathered.instances:
        sight = gathered.sights.get(each.name, Sight())
        if each.ignore:
            yield found(
                rules.IGNORED, each.name, "it is ignored", remedy=_command(each, "unignore")
            )
        elif sight.answers and each.state != STARTED:
            yield found(
                rules.STOPPED,
                each.name,
                f"its state is `{each.state}`, and its agent runs",
                remedy=_command(each, "start"),
            )
        if not sight.answers and not being_born(each, sight, at=gathered.at):
            yield _unresponsive(each, sight, gathered)


def _unresponsive(instance: BoshInstance, sight: Sight, gathered: Gathered) -> Finding:
    if instance.name in gathered.distrusted:
        return found(
            rules.UNRESPONSIVE,
            instance.name,
            f"{silence(sight)}: it may have a certificate of a CA that NATS does not trust now",
            remedy="It comes back when the director trusts that CA again: the next rollout of "
            "`rollover rotate`, or of `rollover rollback`, sees to that.",
            severity=Severity.WARNING,
        )
    return found(
        rules.UNRESPONSIVE,
        instance.name,
        silence(sight),
        remedy=_command(instance, "recreate", "--fix"),
        severity=Severity.WARNING if gathered.recover else None,
    )


def _command(instance: BoshInstance, verb: str, flag: str = "") -> str:
    named = f"{instance.group}/{instance.id}"
    words = f"bosh -d {instance.deployment} {verb} {named} {flag}".strip()
    return f"`{words}`; then run Rollover again."


def _sight(gathered: Gathered) -> Iterator[Finding]:
    if gathered.listing.missing:
        yield found(rules.NO_CONNECTIONS, "nats", gathered.listing.missing)


def _strangers(gathered: Gathered) -> Iterator[Finding]:
    for agent in gathered.strangers.agents:
        if _settled(agent.since, gathered.at):
            yield found(
                rules.FOREIGN,
                f"agent {agent.agent_id}",
                f"connection {agent.cid}: it is in no deployment",
            )
    for other in gathered.strangers.others:
        if _settled(other.since, gathered.at):
            yield found(
                rules.FOREIGN,
                other.subject or f"connection {other.cid}",
                f"connection {other.cid} from {other.ip or 'an unknown address'}: "
                "neither the director, the health monitor nor an agent",
            )


def _settled(since: datetime | None, at: datetime) -> bool:
    return since is None or at - since > SETTLED_AFTER


def _locks(gathered: Gathered, moment: Moment) -> Iterator[Finding]:
    for lock in gathered.locks:
        task = f" by task {lock.task_id}" if lock.task_id else ""
        yield found(
            rules.LOCKED,
            "/".join(lock.resource) or lock.kind,
            f"it is locked{task}",
            severity=Severity.WARNING if moment is Moment.CHECK else None,
        )


def _cost(gathered: Gathered) -> Iterator[Finding]:
    too_old = versions.director_too_old(gathered.version)
    if too_old:
        seconds = versions.RECREATE_SECONDS * len(gathered.instances)
        yield found(
            rules.RECREATE_NEEDED,
            "director",
            f"{too_old}: all {len(gathered.instances)} VMs are recreated in each of two rounds, "
            f"about {seconds / 60:,.0f} VM minutes",
        )
        return
    reasons: dict[tuple[str, str], list[BoshInstance]] = {}
    for each in gathered.instances:
        why = versions.stemcell_too_old(each.stemcell)
        if why:
            reasons.setdefault((each.deployment, why), []).append(each)
    for (deployment, why), instances in reasons.items():
        seconds = versions.RECREATE_SECONDS * len(instances)
        in_place = versions.IN_PLACE_SECONDS * len(instances)
        yield found(
            rules.RECREATE_NEEDED,
            deployment,
            f"{_named(instances)}: {why}: recreated in each of two rounds, about "
            f"{seconds / 60:,.0f} VM minutes instead of {max(1.0, in_place / 60):,.0f}",
        )


def _expiry(gathered: Gathered) -> Iterator[Finding]:
    for name, end in sorted(gathered.ends.items()):
        if end - gathered.at < ENDS_WITHIN:
            over = "may be over since" if end <= gathered.at else "may end on"
            yield found(
                rules.CERTIFICATE_ENDS, name, f"its agent's certificate {over} {end:%Y-%m-%d}"
            )


def _configs(gathered: Gathered) -> Iterator[Finding]:
    for each in gathered.configs:
        yield found(
            rules.DEPLOY_CONFIG, each.name, f"config `{each.name}` of type `{each.kind}` is set"
        )


def _resurrection(gathered: Gathered) -> Iterator[Finding]:
    on = [each for each in gathered.instances if not each.resurrection_paused]
    if on and gathered.resurrection is not False:
        yield found(rules.RESURRECTION, "director", f"resurrection is on for {_named(on)}")


def _pending(gathered: Gathered) -> Iterator[Finding]:
    for deployment, lines in sorted(gathered.pending.items()):
        if lines:
            yield found(rules.PENDING, deployment, f"{lines} lines of its manifest would change")


def _sizes(gathered: Gathered) -> Iterator[Finding]:
    sizes = Counter((each.deployment, each.group) for each in gathered.instances)
    for (deployment, group), size in sorted(sizes.items()):
        if size > MOST_IN_GROUP:
            yield found(rules.BIG_GROUP, f"{deployment}/{group}", f"it has {size} instances")


def _losses(gathered: Gathered) -> Iterator[Finding]:
    if not gathered.recover:
        return
    lost = [each for each in gathered.instances if _lost(each, gathered)]
    if lost:
        seconds = versions.RECREATE_SECONDS * len(lost)
        yield found(
            rules.RECOVERY_LOSES,
            "agents",
            f"{_named(lost)} are made anew with `--fix`, about {seconds / 60:,.0f} VM minutes: "
            "nothing on them is stopped, their ephemeral disks are lost",
        )
    for each in lost:
        if each.disk_cids:
            disks = ", ".join(f"`{cid}`" for cid in each.disk_cids)
            yield found(
                rules.RECOVERY_LOSES,
                each.name,
                f"its VM is deleted without a stop; persistent disk {disks} is not unmounted",
            )


def _lost(instance: BoshInstance, gathered: Gathered) -> bool:
    return gathered.expired or not gathered.sights.get(instance.name, Sight()).answers


def _afterwards(gathered: Gathered) -> Iterator[Finding]:
    if gathered.instances:
        yield found(
            rules.KEYS_IN_LOGS,
            "agents",
            f"{_named(gathered.instances)} have written their new private keys to their logs",
        )
    ours = {agent for agent, seen in gathered.book.agents.items() if seen and seen[-1].issued_here}
    stale = [each for each in gathered.instances if each.agent_id in ours]
    if stale:
        yield found(
            rules.STALE_RECORD,
            "director",
            f"Rollover gave {_named(stale)} their credentials; the director's record of them is "
            "old until its next deploys",
        )


def _named(instances: Sequence[BoshInstance]) -> str:
    """Return how many there are, and the first few names."""
    names = ", ".join(f"`{each.name}`" for each in instances[:MOST_NAMED])
    more = len(instances) - MOST_NAMED
    return f"{len(instances)} VMs ({names}{f' and {more} more' if more > 0 else ''})"


def changed(diff: Iterable[str]) -> int:
    """Return how many lines of a diff are changes."""
    return sum(1 for each in diff if each)
