"""Rules over instances: can they be seen, changed, and changed alone?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rigs import builders as build
from rigs import check_scenes as scenes
from rollover.fleet.description import CommandDelivery, Delivery, FileDelivery, SystemAccount
from rollover.fleet.fleet import Availability, Fleet, Touch
from rollover.rules.report import Report
from rollover.rules.rule import Severity


@pytest.mark.parametrize(
    ("availability", "rule", "severity"),
    [
        (Availability.IGNORED, "instance-unavailable", Severity.ERROR),
        (Availability.REFUSING, "instance-unavailable", Severity.ERROR),
        (Availability.UNREACHABLE, "instance-unreachable", Severity.EVIDENCE),
    ],
)
def test_an_instance_that_cannot_be_changed_is_named_with_its_reason(
    availability: Availability, rule: str, severity: Severity
) -> None:
    """Ignored and refusing instances block; an unreachable one is missing evidence."""
    group = build.group(
        "agents", build.instance("a1", build.endpoint("c"), availability=availability)
    )
    found = scenes.of(scenes.run((group,), (), scenes.world()), rule)
    assert [(finding.subject, finding.severity) for finding in found] == [("a1", severity)]


@pytest.mark.parametrize(("why", "count"), [("tls.crt: the file is empty", 1), ("", 0)])
def test_an_instance_that_answers_and_could_not_start_again_is_a_warning(
    why: str, count: int
) -> None:
    """It runs with what it loaded; its files would be refused by the next reload."""
    instance = build.instance("a1", build.endpoint("c"))
    group = build.group("agents", msgspec.structs.replace(instance, why=why))
    found = scenes.of(scenes.run((group,), (), scenes.world()), "instance-doubted")
    assert [finding.message for finding in found] == [why] * count
    assert {finding.severity for finding in found} <= {Severity.WARNING}


def _with_endpoints(**fields: Any) -> Report:
    group = build.uniform("agent", 1, build.endpoint("c"))
    fleet = build.fleet((group,), (), scenes.world())
    plain = scenes.described(fleet)
    instance = plain.groups[0].instances[0]
    endpoint = msgspec.structs.replace(instance.endpoints[0], **fields)
    changed = msgspec.structs.replace(instance, endpoints=(endpoint,))
    groups = (msgspec.structs.replace(plain.groups[0], instances=(changed,)),)
    description = msgspec.structs.replace(plain, groups=groups)
    return scenes.run((group,), (), scenes.world(), description=description)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"certificate": None}, "`certificate` not described"),
        ({"key": None}, "`key` not described"),
        ({"ca": None}, "`ca` not described"),
        ({"certificate": None, "ca": None}, "`certificate` and `ca` not described"),
    ],
)
def test_material_without_a_file_cannot_be_delivered(fields: dict[str, None], missing: str) -> None:
    """What an endpoint holds must come from a file that is described."""
    found = scenes.of(_with_endpoints(**fields), "no-material-files")
    assert [finding.message for finding in found] == [missing]


def _two_instances(delivery: Delivery, *, homes: tuple[str, str]) -> Report:
    group = build.uniform("agent", 2, build.endpoint("c"))
    made = scenes.world()
    fleet: Fleet = build.fleet((group,), (), made)
    plain = scenes.described(fleet)
    instances = tuple(
        msgspec.structs.replace(each, working_directory=home)
        for each, home in zip(plain.groups[0].instances, homes, strict=True)
    )
    changed = msgspec.structs.replace(plain.groups[0], instances=instances, delivery=delivery)
    description = msgspec.structs.replace(plain, groups=(changed,))
    return scenes.run((group,), (), made, description=description)


def test_two_instances_with_one_file_are_an_error() -> None:
    """Also when the paths are spelt differently."""
    report = _two_instances(FileDelivery(), homes=("/etc/nats", "/etc/nats/x/.."))
    found = scenes.of(report, "shared-files")
    assert {finding.message for finding in found} == {
        "`/etc/nats/ca.crt` is also a file of `agent2`",
        "`/etc/nats/tls.crt` is also a file of `agent2`",
        "`/etc/nats/tls.key` is also a file of `agent2`",
    }


def test_one_path_on_two_machines_is_no_shared_file() -> None:
    """A command carries files elsewhere: equal paths mean nothing there."""
    delivery = CommandDelivery(command=("carry",))
    report = _two_instances(delivery, homes=("/etc/nats", "/etc/nats"))
    assert not scenes.of(report, "shared-files")


def test_a_key_in_two_places_is_a_warning() -> None:
    """All instances that present it are one finding."""
    group = build.uniform("agent", 5, build.endpoint("c"))
    found = scenes.of(scenes.run((group,), (), scenes.world()), "shared-key")
    assert [finding.subject for finding in found] == ["agent1/c"]
    assert "and 1 more present the same key" in found[0].message


@pytest.mark.parametrize(
    ("touch", "size", "count"),
    [(Touch.RESTART, 1, 1), (Touch.RECREATE, 1, 1), (Touch.RESTART, 2, 0), (Touch.RELOAD, 1, 0)],
)
def test_a_group_of_one_that_restarts_goes_down(touch: Touch, size: int, count: int) -> None:
    """Only groups without a second instance that cannot reload are named."""
    group = build.uniform("director", size, build.endpoint("c"), touch=touch)
    report = scenes.run((group,), (), scenes.world())
    assert len(scenes.of(report, "group-of-one")) == count


@pytest.mark.parametrize(
    ("touch", "status_file", "system", "count"),
    [
        (Touch.RECONNECT, None, None, 1),
        (Touch.RECONNECT, "/run/c.json", None, 0),
        (Touch.RECONNECT, None, SystemAccount(user="sys"), 0),
        (Touch.WATCH, None, None, 0),
    ],
)
def test_clients_that_nobody_can_ask_to_reconnect_are_an_error(
    touch: Touch, status_file: str | None, system: SystemAccount | None, count: int
) -> None:
    """Their rollout would fail half-way; a system account or a status file lifts it."""
    group = build.uniform("clients", 1, build.endpoint("c"), touch=touch)
    made = scenes.world()
    plain = scenes.described(build.fleet((group,), (), made))
    instance = msgspec.structs.replace(plain.groups[0].instances[0], status_file=status_file)
    described = msgspec.structs.replace(plain.groups[0], instances=(instance,), touch=touch)
    description = msgspec.structs.replace(plain, groups=(described,), system=system)
    report = scenes.run((group,), (), made, description=description)
    assert len(scenes.of(report, "no-way-to-reconnect")) == count
