"""What Rollover itself sends to an agent: complete, checked, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rigs.bosh_fakes import BEGUN, Ca, ca
from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.agent_rollout import (
    AgentSettings,
    NamedDisk,
    NewAgentCredentials,
    check_credentials,
    issue_credentials,
    settings_message,
    settings_of,
)
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.provenance import IssuedCredentials

PLAIN = "instance_groups:\n- name: db\n  persistent_disk: 10\n"
ONE = "instance_groups:\n- name: db\n  persistent_disks:\n  - name: data\n    type: big\n"
TWO = ONE + "  - name: wal\n    type: fast\n"


@pytest.fixture(scope="module")
def signer() -> Ca:
    """The CA that signs now."""
    return ca("new")


@pytest.fixture(scope="module")
def handout(signer: Ca) -> IssuedCredentials:
    """Both are trusted."""
    return IssuedCredentials(
        signer=signer.certificate, bundle=(ca("old").certificate, signer.certificate)
    )


@pytest.fixture(scope="module")
def made(signer: Ca, handout: IssuedCredentials) -> NewAgentCredentials:
    """New credentials of an agent."""
    return issue_credentials("a1", handout, signer_key=signer.secret, at=BEGUN)


def vm(*disks: str) -> BoshInstance:
    """Return an instance with these disks."""
    return BoshInstance(deployment="web", group="db", id="1", agent_id="a1", disk_cids=disks)


def test_credentials_are_those_that_a_director_makes(
    made: NewAgentCredentials, handout: IssuedCredentials
) -> None:
    """RSA 3072 as PKCS#1, the agent's name, every PEM block ended by a newline."""
    assert made.certificate.key == "rsa-3072"
    assert "CN=a1.agent.bosh-internal" in made.certificate.subject
    assert made.key.reveal().startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    for pem in (made.chain, made.key.reveal(), made.bundle):
        assert pem.endswith(b"-----\n")
        assert b"----------" not in pem
    assert made.bundle.count(b"BEGIN CERTIFICATE") == len(handout.bundle)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            lambda made, other: msgspec.structs.replace(made, key=other.key),
            "not that of the certificate",
        ),
        (
            lambda made, other: msgspec.structs.replace(made, chain=other.chain, key=other.key),
            "not signed by the CA",
        ),
        (
            lambda made, other: msgspec.structs.replace(made, bundle=other.chain),
            "",
        ),
        (
            lambda made, _: msgspec.structs.replace(
                made, key=SecretBytes(made.key.reveal().rstrip(b"\n"))
            ),
            "does not end with a newline",
        ),
    ],
)
def test_what_would_cut_an_agent_off_for_good_is_never_sent(
    made: NewAgentCredentials,
    handout: IssuedCredentials,
    damage: Callable[[NewAgentCredentials, NewAgentCredentials], NewAgentCredentials],
    what: str,
) -> None:
    """§0.4: the agent stores anything, and then crashes for ever."""
    stranger = ca("stranger")
    other = issue_credentials(
        "a1",
        IssuedCredentials(signer=stranger.certificate, bundle=(stranger.certificate,)),
        signer_key=stranger.secret,
        at=BEGUN,
    )
    bundle = msgspec.structs.replace(other, chain=other.bundle)
    with pytest.raises(SpecError, match=f"must not be sent.*{what}"):
        check_credentials(damage(made, bundle if not what else other), handout)


def test_the_message_keeps_what_update_settings_overwrites(made: NewAgentCredentials) -> None:
    """Trusted certificates and disk names are sent as they are, blobstores not at all."""
    found = settings_message(
        made, AgentSettings(trusted_certs="PEM", disks=(NamedDisk("data", "disk-1"),))
    )
    assert found["trusted_certs"] == "PEM"
    assert found["disk_associations"] == [{"name": "data", "cid": "disk-1"}]
    assert "blobstores" not in found
    mbus = found["mbus"]
    assert isinstance(mbus, dict)
    assert mbus["urls"] == []
    assert mbus["cert"]["private_key"] == made.key.reveal().decode()
    assert mbus["cert"]["ca"] == made.bundle.decode()


def test_disks_are_named_only_where_the_manifest_names_them() -> None:
    """A managed disk has no association; one named disk is the only one."""
    assert settings_of(vm("disk-1"), PLAIN, "t") == AgentSettings(trusted_certs="t")
    assert settings_of(vm("disk-1"), ONE, "").disks == (NamedDisk("data", "disk-1"),)


@pytest.mark.parametrize(
    ("instance", "manifest", "trusted", "why"),
    [
        (vm("disk-1", "disk-2"), TWO, "", "which of its 2 disks"),
        (vm(), ONE, "", "which of its 0 disks"),
        (vm(), "instance_groups: []\n", "", "not in the manifest"),
        (vm(), "", "", "not in the manifest"),
        (vm(), PLAIN, None, "trusted_certs` are not known"),
    ],
)
def test_what_is_not_known_is_left_to_the_director(
    instance: BoshInstance, manifest: str, trusted: str | None, why: str
) -> None:
    """It would overwrite what the agent has."""
    with pytest.raises(SpecError, match=why):
        settings_of(instance, manifest, trusted)
