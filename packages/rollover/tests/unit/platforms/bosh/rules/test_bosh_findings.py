"""The hazards of agents and deployments: each is found, named, and given a remedy."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from rigs.bosh_fakes import BEGUN, JAMMY, OLD
from rollover.engine.ports import Moment
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.platforms.bosh.agent_availability import ObservedAgent, issued_at
from rollover.platforms.bosh.connections import AgentConnection, Listing, OtherConnection
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DirectorLock,
    NamedConfig,
    Stemcell,
)
from rollover.platforms.bosh.provenance import ObservedCertificate, Provenance
from rollover.platforms.bosh.rules.agents import RULES, Gathered, findings
from rollover.rules.rule import Finding, Severity

CERTIFICATE = Fingerprint("ab")
CONNECTED = AgentConnection(cid=1, agent_id="a0", bootstrap=False, cert_sha256=CERTIFICATE)
THERE = ObservedAgent(connection=CONNECTED, answers=True)
AGO = BEGUN - timedelta(days=9)


def instance(
    number: int = 0,
    *,
    group: str = "router",
    ignore: bool = False,
    state: str = "started",
    stemcell: Stemcell = JAMMY,
    disks: tuple[str, ...] = (),
    paused: bool = True,
) -> BoshInstance:
    """Return an instance that is well, but for what is said."""
    return BoshInstance(
        deployment="web",
        group=group,
        id=str(number),
        agent_id=f"a{number}",
        vm_created_at=AGO,
        job_state="running",
        ignore=ignore,
        state=state,
        stemcell=stemcell,
        disk_cids=disks,
        resurrection_paused=paused,
    )


def gathered(
    *instances: BoshInstance, sight: ObservedAgent = THERE, recover: bool = False, **more: object
) -> Gathered:
    """Return what was gathered of these instances."""
    basis = Gathered(
        at=BEGUN,
        version=(283,),
        instances=instances,
        observed={bosh_instance.name: sight for bosh_instance in instances},
        listing=Listing(agents=(CONNECTED,)),
        recover=recover,
    )
    changed = {**{name: getattr(basis, name) for name in basis.__struct_fields__}, **more}
    return Gathered(**changed)


def only(found: Gathered, moment: Moment = Moment.BEFORE) -> Finding:
    """Return the only finding of a moment."""
    (finding,) = findings(found, moment)
    return finding


def test_a_fleet_that_is_well_has_none() -> None:
    """At no moment but the last, which tells of the logs."""
    well = gathered(instance())
    for moment in (Moment.CHECK, Moment.BEFORE, Moment.BETWEEN):
        assert list(findings(well, moment)) == []
    assert only(well, Moment.AFTER).rule == "bosh-keys-in-agent-logs"


CASES = {
    "bosh-agent-unresponsive": gathered(instance(), sight=ObservedAgent(connection=CONNECTED)),
    "bosh-vm-ignored": gathered(instance(ignore=True)),
    "bosh-vm-stopped": gathered(instance(state="stopped")),
    "bosh-locked": gathered(
        instance(), locks=(DirectorLock(kind="deployment", resource=("web",), task_id="8"),)
    ),
    "bosh-recreate-needed": gathered(instance(stemcell=OLD)),
    "bosh-connections-unseen": gathered(instance(), listing=Listing(missing="no port")),
    "bosh-agent-certificate-ends": gathered(
        instance(), ends={instance().name: BEGUN + timedelta(days=20)}
    ),
    "bosh-deploy-config": gathered(
        instance(), configs=(NamedConfig(id="1", kind="deploy", name="default"),)
    ),
    "bosh-resurrection-on": gathered(instance(paused=False)),
    "bosh-deploy-pending": gathered(instance(), pending={"web": 3, "cf": 0}),
    "bosh-big-group": gathered(*(instance(number) for number in range(501))),
    "bosh-foreign-connection": gathered(
        instance(), strangers=Listing(others=(OtherConnection(cid=5, subject="CN=tool"),))
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_each_hazard_is_found_before_a_rotation(rule: str) -> None:
    """By its own rule, and by no other one."""
    finding = only(CASES[rule])
    assert finding.rule == rule
    assert finding.remedy
    assert finding.subject


def test_costs_are_told_with_numbers() -> None:
    """What recreating takes, beside what it takes in place."""
    finding = only(gathered(*(instance(number, stemcell=OLD) for number in range(12))))
    assert "12 VMs" in finding.message
    assert "48 VM minutes instead of 9" in finding.message
    old = only(gathered(instance(), version=(270, 1)))
    assert "older than 271.12" in old.message


def test_remedies_name_the_instance() -> None:
    """A command that can be pasted."""
    assert "bosh -d web unignore router/0" in only(CASES["bosh-vm-ignored"]).remedy
    assert "recreate router/0 --fix" in only(CASES["bosh-agent-unresponsive"]).remedy


def test_recovery_names_what_may_be_lost() -> None:
    """H17: silent VMs with disks, and only those; that they are silent is no error then."""
    found = list(
        findings(
            gathered(instance(disks=("disk-7",)), sight=ObservedAgent(), recover=True),
            Moment.BEFORE,
        )
    )
    cost, disks = (finding for finding in found if finding.rule == "bosh-recovery-loses")
    (silent,) = (finding for finding in found if finding.rule == "bosh-agent-unresponsive")
    assert (cost.subject, disks.subject) == ("agents", "web/router/0")
    assert "1 VMs (`web/router/0`) are made anew with `--fix`, about 4 VM minutes" in cost.message
    assert "disk-7" in disks.message
    assert silent.severity is Severity.WARNING
    well = gathered(instance(disks=("disk-7",)), recover=True)
    assert list(findings(well, Moment.BEFORE)) == []


def test_where_all_has_expired_who_still_answers_is_lost_too() -> None:
    """An open connection outlives its certificates, and not the next `create-env`."""
    there = gathered(instance(disks=("disk-7",)), recover=True, expired=True)
    rules = [finding.rule for finding in findings(there, Moment.CHECK)]
    assert rules == ["bosh-recovery-loses"] * 2
    assert list(findings(gathered(instance(), expired=True), Moment.CHECK)) == []


@pytest.mark.parametrize(
    ("sight", "said"),
    [
        (ObservedAgent(connection=CONNECTED), "it is connected, but does not answer"),
        (ObservedAgent(), "it is not connected"),
        (ObservedAgent(listed=False), "it does not answer"),
    ],
)
def test_what_is_known_of_a_silent_agent_is_said(sight: ObservedAgent, said: str) -> None:
    """Whether it hangs or is away makes a difference to who has to mend it."""
    assert only(gathered(instance(), sight=sight)).message == said


def test_a_stranger_that_came_a_moment_ago_is_not_told() -> None:
    """A VM that compiles, or a deployment that comes and goes."""
    young = OtherConnection(cid=5, subject="CN=tool", since=BEGUN - timedelta(seconds=5))
    assert (
        list(findings(gathered(instance(), strangers=Listing(others=(young,))), Moment.CHECK)) == []
    )


def test_a_stale_record_of_the_director_is_told_afterwards() -> None:
    """Only for agents whose present certificate Rollover made."""
    sighting = ObservedCertificate(
        certificate=CERTIFICATE, first_observed=BEGUN, last_observed=BEGUN, issued_here=True
    )
    book = Provenance(agents={"a0": (sighting,), "a7": (sighting,)})
    rules = [
        finding.rule for finding in findings(gathered(instance(), provenance=book), Moment.AFTER)
    ]
    assert rules == ["bosh-keys-in-agent-logs", "bosh-record-stale"]


def test_every_rule_explains_itself() -> None:
    """Ids are unique, begin with `bosh-`, and every text is there."""
    ids = [item.id for item in RULES]
    assert len(set(ids)) == len(ids)
    for rule in RULES:
        assert rule.id.startswith("bosh-")
        texts = (rule.title, rule.meaning, rule.why, rule.example, rule.remedy, rule.source)
        assert all(texts)
    assert set(CASES) <= set(ids)


@pytest.mark.parametrize(
    ("created", "since", "expected"),
    [
        (10, 5, 10),
        (729, 5, 729),
        (800, 5, 5),
        (None, 5, 5),
        (None, None, 0),
    ],
)
def test_a_certificate_is_as_old_as_it_can_be_but_never_broken_already(
    created: int | None, since: int | None, expected: int
) -> None:
    """Days ago. H11: it ends two years after its VM was made, unless it was renewed since."""

    def ago(days: int | None) -> datetime | None:
        return None if days is None else BEGUN - timedelta(days=days)

    made = BoshInstance(deployment="d", group="g", id="1", vm_created_at=ago(created))
    found = issued_at(made, first_seen=None, after=None, since=ago(since), at=BEGUN)
    assert found == ago(expected)


def test_names_are_of_the_fleet() -> None:
    """A finding's subject is what `status` shows."""
    assert only(CASES["bosh-vm-ignored"]).subject == InstanceName("web/router/0")
