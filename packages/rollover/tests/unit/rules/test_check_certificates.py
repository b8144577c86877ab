"""Rules over dates, usages and key identifiers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rigs import builders as build
from rigs import check_scenes as scenes
from rollover.fleet.fleet import Role

DAY = timedelta(days=1)


def test_a_healthy_fleet_has_no_findings() -> None:
    """Nothing is found where nothing is wrong."""
    report = scenes.run(*scenes.pair(acceptor=scenes.ANOTHER), scenes.world())
    assert scenes.rules_hit(report) == set()
    assert report.worst is None


def test_an_expired_leaf_is_an_error_at_each_endpoint_that_presents_it() -> None:
    """Who presents an expired leaf is named."""
    made = scenes.world(old__leaf={"not_after": build.NOW - 3 * DAY})
    found = scenes.of(scenes.run(*scenes.pair(), made), "certificate-expired")
    assert [finding.subject for finding in found] == ["client1/dials", "server1/accepts"]
    assert "3 days ago" in found[0].message


def test_the_end_of_the_ca_counts_for_its_leaves() -> None:
    """A leaf that is valid for long is reported when its CA ends soon."""
    made = scenes.world(old={"not_after": build.NOW + 10 * DAY})
    found = scenes.of(scenes.run(*scenes.pair(), made), "certificate-expires-soon")
    assert len(found) == 2
    assert "the CA nats-ca@1 expires in 10 days" in found[0].message


@pytest.mark.parametrize(("days", "count"), [(9, 0), (11, 2)])
def test_soon_is_what_the_caller_says(days: int, count: int) -> None:
    """The warning begins where `expires_within` says."""
    made = scenes.world(old__leaf={"not_after": build.NOW + 10 * DAY})
    report = scenes.run(*scenes.pair(), made, expires_within=days * DAY)
    assert len(scenes.of(report, "certificate-expires-soon")) == count


def test_an_expired_chain_does_not_also_expire_soon() -> None:
    """One fault is told once."""
    made = scenes.world(old={"not_after": build.NOW - DAY})
    hit = scenes.rules_hit(scenes.run(*scenes.pair(), made))
    assert "certificate-expired" in hit
    assert not hit & {"certificate-expires-soon", "validity-margin"}


def test_a_trusted_ca_from_the_future_is_an_error() -> None:
    """A CA that is trusted already, but not valid yet, is named with the time."""
    made = scenes.world(new={"not_before": build.NOW + DAY})
    dialer = build.endpoint("dials", trusts=("old", "new"))
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), made), "certificate-not-yet-valid")
    assert [finding.subject for finding in found] == ["client1/dials"]
    assert "nats-ca@2 is valid from 2026-11-23 12:00:00 UTC" in found[0].message


@pytest.mark.parametrize(("margin", "count"), [(300.0, 0), (3600.0, 2)])
def test_a_chain_that_ends_within_a_step_is_an_error(margin: float, count: int) -> None:
    """What remains of a chain is compared with the longest rollout and the margin."""
    made = scenes.world(old__leaf={"not_after": build.NOW + timedelta(minutes=30)})
    report = scenes.run(*scenes.pair(), made, margin_seconds=margin)
    assert len(scenes.of(report, "validity-margin")) == count


def test_a_leaf_that_outlives_its_ca_is_a_warning() -> None:
    """The date of the leaf promises more than its CA keeps."""
    made = scenes.world(old__leaf={"not_after": build.NOW + 4000 * DAY})
    assert len(scenes.of(scenes.run(*scenes.pair(), made), "leaf-outlives-authority")) == 2


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"extended_key_usages": None}, 0),
        ({"extended_key_usages": ("any",)}, 0),
        ({"extended_key_usages": ("server_auth", "client_auth")}, 0),
        ({"extended_key_usages": ("server_auth",)}, 1),
        ({"extended_key_usages": ("client_auth",)}, 1),
    ],
)
def test_routes_need_both_usages(fields: dict[str, Any], count: int) -> None:
    """A route dials and is dialled: a leaf for one direction only is an error."""
    made = scenes.world(old__leaf=fields)
    route = build.endpoint("accepts", role=Role.ROUTE)
    report = scenes.run(*scenes.pair(acceptor=route), made)
    assert len(scenes.of(report, "usage-missing")) == count


def test_a_ca_that_restricts_usages_restricts_its_leaves() -> None:
    """The extended key usage of the CA counts for the route below it."""
    made = scenes.world(old={"extended_key_usages": ("server_auth",)})
    route = build.endpoint("accepts", role=Role.ROUTE)
    found = scenes.of(scenes.run(*scenes.pair(acceptor=route), made), "usage-missing")
    assert found[0].message == "the CA nats-ca@1 lacks client_auth"


def test_a_client_port_may_serve_one_direction() -> None:
    """A port that is only dialled needs no client authentication."""
    made = scenes.world(old__leaf={"extended_key_usages": ("server_auth",)})
    port = build.endpoint("accepts", role=Role.CLIENT_PORT)
    assert not scenes.of(scenes.run(*scenes.pair(acceptor=port), made), "usage-missing")


def test_a_ca_without_key_identifier_is_told_once() -> None:
    """However many trust it, the CA is one finding."""
    made = scenes.world(old={"subject_key_id": ""})
    found = scenes.of(scenes.run(*scenes.pair(), made), "authority-without-key-id")
    assert [finding.subject for finding in found] == ["nats-ca@1"]
