"""Rules over bundles and keys."""

from __future__ import annotations

import msgspec

from rigs import builders as build
from rigs import check_scenes as scenes
from rollover.fleet.fleet import Instance, State
from rollover.fleet.names import Fingerprint
from rollover.rules.rule import Severity

SAME = {"subject": "CN=NATS CA"}
BOTH = ("old", "new")


def test_two_cas_of_one_subject_without_key_identifiers_are_an_error() -> None:
    """Nothing tells them apart: OpenSSL peers fail."""
    made = scenes.world(old={**SAME, "subject_key_id": ""}, new={**SAME, "subject_key_id": ""})
    dialer = build.endpoint("dials", trusts=BOTH)
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), made), "same-subject-authorities")
    assert [finding.severity for finding in found] == [Severity.ERROR]
    assert "OpenSSL" in found[0].message


def test_two_cas_of_one_subject_that_key_identifiers_tell_apart_are_a_warning() -> None:
    """With identifiers on both CAs and their leaves every stack finds the right one."""
    made = scenes.world(old=SAME, new=SAME)
    dialer = build.endpoint("dials", trusts=BOTH)
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), made), "same-subject-authorities")
    assert [finding.severity for finding in found] == [Severity.WARNING]


def test_a_leaf_without_authority_key_identifier_makes_it_an_error_again() -> None:
    """Identifiers on the CAs do not help when the leaf names none."""
    made = scenes.world(
        old=SAME, new=SAME, old__leaf={"issuer_name": SAME["subject"], "authority_key_id": ""}
    )
    dialer = build.endpoint("dials", trusts=BOTH)
    found = scenes.of(scenes.run(*scenes.pair(dialer=dialer), made), "same-subject-authorities")
    assert [finding.severity for finding in found] == [Severity.ERROR]


def test_a_renewed_ca_with_the_same_key_is_no_second_ca() -> None:
    """One key under two dates is one authority: no stack minds."""
    made = scenes.world(old={**SAME, "key_identity": "k"}, new={**SAME, "key_identity": "k"})
    dialer = build.endpoint("dials", trusts=BOTH)
    report = scenes.run(*scenes.pair(dialer=dialer), made)
    assert not scenes.of(report, "same-subject-authorities")


def test_a_foreign_ca_that_nobody_presents_is_a_warning() -> None:
    """A CA of no authority here, from which nobody has a certificate, is named."""
    made = scenes.world()
    made.add(build.certificate("legacy"))
    made.add(msgspec.structs.replace(made.certificates[Fingerprint("legacy")], is_ca=True))
    acceptor = build.endpoint("accepts", trusts=("old", "legacy"))
    found = scenes.of(scenes.run(*scenes.pair(acceptor=acceptor), made), "trusts-unused-authority")
    assert len(found) == 1
    assert "CN=legacy" in found[0].subject


def test_a_standby_version_is_no_unused_ca() -> None:
    """A version of our own authority may be trusted ahead of its use."""
    dialer = build.endpoint("dials", trusts=("old", "next"))
    report = scenes.run(*scenes.pair(dialer=dialer), scenes.world())
    assert not scenes.of(report, "trusts-unused-authority")


def test_a_ca_in_use_without_key_names_the_command_that_brings_it_in() -> None:
    """The remedy has the authority's name filled in."""
    found = scenes.of(
        scenes.run(*scenes.pair(), scenes.world(), keys=("new",)), "authority-without-key"
    )
    assert [finding.subject for finding in found] == ["nats-ca@1"]
    assert "rollover authority import nats-ca" in found[0].remedy


def test_two_versions_presented_are_a_half_done_rotation() -> None:
    """The counts of both versions are told."""
    acceptor = build.endpoint("accepts", presents="new", trusts=BOTH)
    dialer = build.endpoint("dials", trusts=BOTH)
    report = scenes.run(*scenes.pair(dialer=dialer, acceptor=acceptor), scenes.world())
    found = scenes.of(report, "mixed-state")
    assert found[0].message == "of its endpoints 1 present nats-ca@1, 1 present nats-ca@2"


def test_files_that_were_not_loaded_are_a_half_done_rotation() -> None:
    """An instance that may be in another state than the one seen is named."""
    (clients, servers), links = scenes.pair()
    other = State(((Fingerprint("new:leaf"),),), ((Fingerprint("new"),),))
    doubtful: Instance = msgspec.structs.replace(servers.instances[0], may_be=(other,))
    servers = msgspec.structs.replace(servers, instances=(doubtful,))
    found = scenes.of(scenes.run((clients, servers), links, scenes.world()), "mixed-state")
    assert [finding.subject for finding in found] == ["server1"]
