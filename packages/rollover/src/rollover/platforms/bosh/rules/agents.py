"""Rules over a director's deployments and their agents: what certificates do not show.

Findings follow from what was gathered beforehand; nothing here asks anybody. H1 to H18 are the
hazards of docs/explanation/bosh-hazards.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from rollover.engine.ports import Moment
from rollover.fleet.names import InstanceName, RuleId
from rollover.platforms.bosh import cost
from rollover.platforms.bosh.agent_availability import ObservedAgent, being_created, silence_of
from rollover.platforms.bosh.connections import Listing
from rollover.platforms.bosh.director_records import (
    STARTED,
    BoshInstance,
    DirectorLock,
    NamedConfig,
)
from rollover.platforms.bosh.provenance import Provenance
from rollover.rules.rule import Finding, Rule, Severity, found

_MANUAL = "docs-bosh, Rotating NATS Certificate Authorities"

UNRESPONSIVE = Rule(
    id=RuleId("bosh-agent-unresponsive"),
    severity=Severity.ERROR,
    title="Every agent answers",
    meaning="An agent does not answer a ping over NATS.",
    why="It gets no new credentials; a deploy of its deployment fails as a whole before it changes "
    "anything, and after the withdrawal of the old CA the agent is cut off.",
    example="`web/router/3f…`: connected, but it does not answer.",
    remedy="`bosh -d DEPLOYMENT recreate GROUP/ID --fix`, or `bosh cck`; then run Rollover again.",
    source=f"{_MANUAL}, preconditions; timeouts measured",
)
IGNORED = Rule(
    id=RuleId("bosh-vm-ignored"),
    severity=Severity.WARNING,
    title="No VM is ignored",
    meaning="`bosh ignore` is set for an instance.",
    why="Deploys leave it out, so it keeps its old credentials (H5). The rotation stops before the "
    "step that would cut it off.",
    example="`web/router/3f…` is ignored.",
    remedy="`bosh -d DEPLOYMENT unignore GROUP/ID`.",
    source=f"{_MANUAL}, preconditions",
)
STOPPED = Rule(
    id=RuleId("bosh-vm-stopped"),
    severity=Severity.WARNING,
    title="No VM is stopped with its agent running",
    meaning="`bosh stop` without `--hard` was used on an instance.",
    why="A deploy returns before it gives such an agent anything (H5). After the withdrawal its "
    "agent is gone, and every later deploy of the deployment fails without `--fix`. The rotation "
    "stops before that step.",
    example="`web/worker/77…`: state `stopped`.",
    remedy="`bosh -d DEPLOYMENT start GROUP/ID`, or `stop --hard`, which gives it a new VM later.",
    source="bosh-director, instance_updater/update_procedure.rb",
)
LOCKED = Rule(
    id=RuleId("bosh-locked"),
    severity=Severity.ERROR,
    title="Nobody else is changing deployments",
    meaning="The director holds a lock for a task that is not Rollover's.",
    why="`create-env` would end the task half-way, and a deploy by Rollover would have to wait.",
    example="`web` is locked by task 812.",
    remedy="Wait until the task has ended (`bosh task N`), or cancel it.",
    source="bosh-director, lock.rb: one task for each deployment",
)
RECREATE_NEEDED = Rule(
    id=RuleId("bosh-recreate-needed"),
    severity=Severity.WARNING,
    title="VMs take new credentials in place",
    meaning="A director before 271.12, or an agent before 2.388 (stemcells before Bionic 1.36 or "
    "Windows 2019.41), cannot change the credentials of a VM that runs.",
    why="Such VMs are recreated, twice in a rotation. An old agent answers `ok` and changes "
    "nothing (H1); a director that is upgraded in the same step takes everything as up to date "
    "(H4).",
    example="12 VMs of `web` on Bionic 1.10: 48 minutes each time, instead of 9.",
    remedy="Upgrade the director first, then the stemcells, deploy, and rotate after that; or plan "
    "for the recreations.",
    source=f"{_MANUAL}; director 271.12 (4c60a45a), agent 2.388 (6afc0689)",
)
NO_CONNECTIONS = Rule(
    id=RuleId("bosh-connections-unseen"),
    severity=Severity.EVIDENCE,
    title="The connections of NATS can be listed",
    meaning="The monitoring port of the director's NATS is not described, or does not answer.",
    why="A deploy can report success although an agent changed nothing (H1 to H4). The only proof "
    "is the agent's certificate as the NATS server sees it. Nobody can answer for it: without "
    "that proof no rollout of agents could ever be confirmed.",
    example="`director.monitor` is not in the fleet file.",
    remedy="Set the property `nats.enable_metrics_endpoint: true` in the director's manifest (it "
    "writes `http: localhost:8222` into `nats.cfg`), run `create-env`, and put the URL, of a "
    "tunnel to that port of the director VM, into the fleet file: "
    "`director: {monitor: http://localhost:8222}`.",
    source="nats-server, connz?auth=1: tls_peer_certs",
    answerable=False,
)
CERTIFICATE_ENDS = Rule(
    id=RuleId("bosh-agent-certificate-ends"),
    severity=Severity.WARNING,
    title="Agents' certificates last",
    meaning="The certificate of an agent lives two years from its VM's creation or its last "
    "rotation, whatever the CA does, and that time is nearly over, as far as it is known.",
    why="The agent goes on until it has to reconnect, and then never comes back (H11). No command "
    "of the bosh CLI shows it.",
    example="`web/router/3f…`: created 23 months ago.",
    remedy="Rotate the CA, or recreate the VM.",
    source="nats_client_cert_generator.rb; bosh issue 2307",
)
DEPLOY_CONFIG = Rule(
    id=RuleId("bosh-deploy-config"),
    severity=Severity.WARNING,
    title="No config forces flags on deploys",
    meaning="The director has a config of type `deploy`.",
    why="It makes every `bosh deploy` of the CLI recreate or fix VMs (H6). Rollover's own deploys "
    "do not use it; those in the runbook do.",
    example="config `default` of type `deploy`: `recreate: true`.",
    remedy="Delete the config for the time of the rotation (`bosh delete-config --type=deploy`).",
    source="bosh-cli, cmd/deploy.go",
)
RESURRECTION = Rule(
    id=RuleId("bosh-resurrection-on"),
    severity=Severity.WARNING,
    title="The resurrector is off during a rotation",
    meaning="The health monitor recreates VMs whose agents were silent for a minute.",
    why="After each `create-env` agents can be away for 70 seconds: VMs are then recreated, with "
    "the loss of their ephemeral disks, and their locks stand in the way of deploys (H15).",
    example="resurrection is on for 12 instances of `web`.",
    remedy="`bosh update-resurrection off` before, `on` after the rotation.",
    source="bosh-monitor, resurrector; measured reconnect times",
)
PENDING = Rule(
    id=RuleId("bosh-deploy-pending"),
    severity=Severity.WARNING,
    title="A deploy of the same manifest changes nothing else",
    meaning="A deployment differs from its manifest with the present cloud and runtime configs.",
    why="The deploy that brings new credentials brings these changes too, and can fail by them; an "
    "earlier deploy that failed half-way leaves some instances behind (H6).",
    example="`web`: 14 lines of its manifest would change.",
    remedy="`bosh -d DEPLOYMENT deploy`, or take the change of the config back.",
    source="POST /deployments/D/diff",
)
BIG_GROUP = Rule(
    id=RuleId("bosh-big-group"),
    severity=Severity.WARNING,
    title="Instance groups are of a size that updates well",
    meaning="An instance group has more than 500 instances.",
    why="`update_settings` has no retry: with bosh-dns broadcasts beside it, it ran into its "
    "timeout of 45 seconds (H16).",
    example="`cf/diego-cell`: 620 instances.",
    remedy="Lower `max_in_flight`, or rotate with `in_place: direct`; a failed deploy is repeated.",
    source="bosh issue 2124",
)
RECOVERY_LOSES = Rule(
    id=RuleId("bosh-recovery-loses"),
    severity=Severity.WARNING,
    title="Recovery does not stop what it deletes",
    meaning="An instance with a persistent disk does not answer; it will be recreated with "
    "`--fix`.",
    why="Its jobs are not drained and its disk is not unmounted (H17): writes can be lost, a "
    "database can be damaged. It is never safe.",
    example="`mysql/db/0a…`: disk `disk-7`.",
    remedy="Take a snapshot or backup of the disk, stop what writes to it, and use a maintenance "
    "window.",
    source=f"{_MANUAL}, when the NATS CA has already expired",
)
KEYS_IN_LOGS = Rule(
    id=RuleId("bosh-keys-in-agent-logs"),
    severity=Severity.WARNING,
    title="Agents' logs hold their private keys",
    meaning="Agents write the credentials that they are given to their log, in the clear.",
    why="The keys of certificates that are valid for two years lie in `/var/vcap/bosh/log`, and in "
    "whatever collects logs (H18).",
    example="13 lines of `agent.log` for each update.",
    remedy="Keep the agents' logs out of log collection, and delete what was collected.",
    source="measured with bosh-agent 2.874",
)
FOREIGN = Rule(
    id=RuleId("bosh-foreign-connection"),
    severity=Severity.ERROR,
    title="Every connection to NATS is known",
    meaning="Somebody is connected to the director's NATS that belongs to no deployment that the "
    "director lists: an orphaned VM, a VM of another team or director, another program.",
    why="No deploy reaches it. If it comes from the old CA, it is cut off by the withdrawal (H5).",
    example="agent `9d…` at 10.0.4.7 is in no deployment.",
    remedy="Delete the orphaned VM (`bosh vms`, `bosh orphaned-vms`), or have its owner rotate; "
    "check that Rollover's client may see all deployments.",
    source="nats-server, connz?auth=1",
)
UNCHANGED = Rule(
    id=RuleId("bosh-agent-unchanged"),
    severity=Severity.ERROR,
    title="An agent that was updated has a new certificate",
    meaning="The director, or the agent, reported success, and the agent's certificate at the NATS "
    "server is not the one that was ordered.",
    why="The agent crashed before it saved what it got (H2), only its DNS was updated (H3), or the "
    "director took it as up to date (H4). It would be cut off by the withdrawal.",
    example="`web/router/3f…`: task 812 is done, the certificate is the same.",
    remedy="Recreate the instance: `bosh -d DEPLOYMENT recreate GROUP/ID`. Then run Rollover "
    "again.",
    source="measured: an agent killed between accepting and saving",
)
DEPLOY_FAILED = Rule(
    id=RuleId("bosh-deploy-failed"),
    severity=Severity.ERROR,
    title="Deploys end well",
    meaning="A deploy or recreate of the director ended with an error.",
    why="Instances before the one that failed have new credentials, those after it the old ones "
    "(H6). No further deployment is begun.",
    example="`web/router/3f…`: `is not running after update`.",
    remedy="Read `bosh task N --debug`, mend the cause, and run Rollover again: it goes on from "
    "there.",
    source="bosh-director, deployment tasks",
)
STALE_RECORD = Rule(
    id=RuleId("bosh-record-stale"),
    severity=Severity.WARNING,
    title="The director knows what its agents have",
    meaning="Rollover itself gave agents new credentials; the director still has the fingerprint "
    "of those before.",
    why="Nothing breaks: the next deploy of each deployment gives the agents new credentials once "
    "more, in place, 46 seconds for each.",
    example="120 agents in 7 deployments.",
    remedy="Nothing has to be done; deploy when there is time.",
    source="bosh-director, nats_config_sha1",
)

RECOVERY_NEEDED = Rule(
    id=RuleId("recovery-needed"),
    severity=Severity.ERROR,
    title="Expired certificates have cut instances off that can only be made anew",
    meaning="Instances that get their certificates from a source (the agents of a BOSH director) "
    "present, or are to accept, certificates that have expired: their next handshake fails.",
    why="They are reached over the very connection that needs those certificates. Whoever still "
    "answers does so on an open connection, and is gone once its server restarts. Making instances "
    "anew stops nothing in order: stateful services may lose writes.",
    example="`nats-ca@1` expired yesterday; the 40 agents answer until NATS restarts, which the "
    "first rollout does.",
    remedy="Choose a maintenance window with the fewest writes, then `rollover rotate --recover "
    "--window START/END`; `rollover plan --recover` shows beforehand what it does.",
    source="BOSH, when the NATS CA has already expired",
)
"""Found by the engine, at any fleet with a source; only agents of a director have one."""

RULES = (
    UNRESPONSIVE,
    IGNORED,
    STOPPED,
    LOCKED,
    RECREATE_NEEDED,
    NO_CONNECTIONS,
    CERTIFICATE_ENDS,
    DEPLOY_CONFIG,
    RESURRECTION,
    PENDING,
    BIG_GROUP,
    RECOVERY_LOSES,
    KEYS_IN_LOGS,
    FOREIGN,
    UNCHANGED,
    DEPLOY_FAILED,
    STALE_RECORD,
)
"""All of them, for `rollover explain`."""


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
    observed: Mapping[InstanceName, ObservedAgent]
    listing: Listing
    strangers: Listing = Listing()
    """Connections that belong to no deployment, in two listings one after another."""
    locks: tuple[DirectorLock, ...] = ()
    """Those that were held all the while."""
    configs: tuple[NamedConfig, ...] = ()
    """Of type `deploy`."""
    resurrection: bool | None = None
    """Whether the director lets VMs be brought back; None: only its instances may tell."""
    pending: Mapping[str, int] = {}
    """By deployment, lines of its manifest that a deploy would change."""
    ends: Mapping[InstanceName, datetime] = {}
    """When an agent's certificate ends, as early as it can."""
    provenance: Provenance = Provenance()
    distrusted: frozenset[InstanceName] = frozenset()
    """Who is not connected, and may have a certificate of a CA that is not trusted now."""
    recover: bool = False
    expired: bool = False
    """All that agents trust has: who still answers does so until his connection ends."""

    def agent_of(self, instance: BoshInstance) -> ObservedAgent:
        """Return what was seen of an instance's agent."""
        return self.observed.get(instance.name, ObservedAgent())


def findings(gathered: Gathered, moment: Moment) -> Iterator[Finding]:
    """Yield what is to be told at that moment."""
    if moment is Moment.AFTER:
        yield from _afterwards(gathered)
        return
    yield from _availability(gathered)
    if gathered.listing.missing:
        yield found(NO_CONNECTIONS, "nats", gathered.listing.missing)
    yield from _strangers(gathered)
    yield from _locks(gathered, moment)
    if moment in _EARLY:
        yield from _cost(gathered)
        yield from _ending_certificates(gathered)
        for config in gathered.configs:
            message = f"config `{config.name}` of type `{config.kind}` is set"
            yield found(DEPLOY_CONFIG, config.name, message)
        yield from _big_groups(gathered)
        yield from _losses(gathered)
        yield from _resurrection(gathered)
    for deployment, lines in sorted(gathered.pending.items()):
        if lines:
            yield found(PENDING, deployment, f"{lines} lines of its manifest would change")


def _availability(gathered: Gathered) -> Iterator[Finding]:
    for instance in gathered.instances:
        agent = gathered.agent_of(instance)
        if instance.ignore:
            yield found(
                IGNORED, instance.name, "it is ignored", remedy=_command(instance, "unignore")
            )
        elif agent.answers and instance.state != STARTED:
            yield found(
                STOPPED,
                instance.name,
                f"its state is `{instance.state}`, and its agent runs",
                remedy=_command(instance, "start"),
            )
        if not agent.answers and not being_created(instance, agent, at=gathered.at):
            yield _unresponsive(instance, agent, gathered)


def _unresponsive(instance: BoshInstance, agent: ObservedAgent, gathered: Gathered) -> Finding:
    if instance.name in gathered.distrusted:
        return found(
            UNRESPONSIVE,
            instance.name,
            f"{silence_of(agent)}: it may have a certificate of a CA that NATS does not trust now",
            remedy="It comes back when the director trusts that CA again: the next rollout of "
            "`rollover rotate`, or of `rollover rollback`, sees to that.",
            severity=Severity.WARNING,
        )
    return found(
        UNRESPONSIVE,
        instance.name,
        silence_of(agent),
        remedy=_command(instance, "recreate", "--fix"),
        severity=Severity.WARNING if gathered.recover else None,
    )


def _command(instance: BoshInstance, verb: str, flag: str = "") -> str:
    named = f"{instance.group}/{instance.id}"
    words = f"bosh -d {instance.deployment} {verb} {named} {flag}".strip()
    return f"`{words}`; then run Rollover again."


def _strangers(gathered: Gathered) -> Iterator[Finding]:
    for agent in gathered.strangers.agents:
        if _settled(agent.since, gathered.at):
            yield found(
                FOREIGN,
                f"agent {agent.agent_id}",
                f"connection {agent.cid}: it is in no deployment",
            )
    for other in gathered.strangers.others:
        if _settled(other.since, gathered.at):
            yield found(
                FOREIGN,
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
            LOCKED,
            "/".join(lock.resource) or lock.kind,
            f"it is locked{task}",
            severity=Severity.WARNING if moment is Moment.CHECK else None,
        )


def _cost(gathered: Gathered) -> Iterator[Finding]:
    too_old = cost.director_too_old(gathered.version)
    if too_old:
        seconds = cost.RECREATE_SECONDS * len(gathered.instances)
        yield found(
            RECREATE_NEEDED,
            "director",
            f"{too_old}: all {len(gathered.instances)} VMs are recreated in each of two rounds, "
            f"about {seconds / 60:,.0f} VM minutes",
        )
        return
    reasons: dict[tuple[str, str], list[BoshInstance]] = {}
    for instance in gathered.instances:
        why = cost.stemcell_too_old(instance.stemcell)
        if why:
            reasons.setdefault((instance.deployment, why), []).append(instance)
    for (deployment, why), instances in reasons.items():
        seconds = cost.RECREATE_SECONDS * len(instances)
        in_place = cost.IN_PLACE_SECONDS * len(instances)
        yield found(
            RECREATE_NEEDED,
            deployment,
            f"{_named(instances)}: {why}: recreated in each of two rounds, about "
            f"{seconds / 60:,.0f} VM minutes instead of {max(1.0, in_place / 60):,.0f}",
        )


def _ending_certificates(gathered: Gathered) -> Iterator[Finding]:
    for name, end in sorted(gathered.ends.items()):
        if end - gathered.at < ENDS_WITHIN:
            over = "may be over since" if end <= gathered.at else "may end on"
            yield found(CERTIFICATE_ENDS, name, f"its agent's certificate {over} {end:%Y-%m-%d}")


def _resurrection(gathered: Gathered) -> Iterator[Finding]:
    on = [instance for instance in gathered.instances if not instance.resurrection_paused]
    if on and gathered.resurrection is not False:
        yield found(RESURRECTION, "director", f"resurrection is on for {_named(on)}")


def _big_groups(gathered: Gathered) -> Iterator[Finding]:
    sizes = Counter((instance.deployment, instance.group) for instance in gathered.instances)
    for (deployment, group), size in sorted(sizes.items()):
        if size > MOST_IN_GROUP:
            yield found(BIG_GROUP, f"{deployment}/{group}", f"it has {size} instances")


def _losses(gathered: Gathered) -> Iterator[Finding]:
    if not gathered.recover:
        return
    lost = [
        instance
        for instance in gathered.instances
        if gathered.expired or not gathered.agent_of(instance).answers
    ]
    if lost:
        seconds = cost.RECREATE_SECONDS * len(lost)
        yield found(
            RECOVERY_LOSES,
            "agents",
            f"{_named(lost)} are made anew with `--fix`, about {seconds / 60:,.0f} VM minutes: "
            "nothing on them is stopped, their ephemeral disks are lost",
        )
    for instance in lost:
        if instance.disk_cids:
            disks = ", ".join(f"`{cid}`" for cid in instance.disk_cids)
            yield found(
                RECOVERY_LOSES,
                instance.name,
                f"its VM is deleted without a stop; persistent disk {disks} is not unmounted",
            )


def _afterwards(gathered: Gathered) -> Iterator[Finding]:
    if gathered.instances:
        yield found(
            KEYS_IN_LOGS,
            "agents",
            f"{_named(gathered.instances)} have written their new private keys to their logs",
        )
    ours = {
        agent for agent, seen in gathered.provenance.agents.items() if seen and seen[-1].issued_here
    }
    stale = [instance for instance in gathered.instances if instance.agent_id in ours]
    if stale:
        yield found(
            STALE_RECORD,
            "director",
            f"Rollover gave {_named(stale)} their credentials; the director's record of them is "
            "old until its next deploys",
        )


def _named(instances: Sequence[BoshInstance]) -> str:
    """Return how many there are, and the first few names."""
    names = ", ".join(f"`{instance.name}`" for instance in instances[:MOST_NAMED])
    more = len(instances) - MOST_NAMED
    return f"{len(instances)} VMs ({names}{f' and {more} more' if more > 0 else ''})"
