"""What an agent keeps of what it is told, and which of two credentials it uses."""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.agent.directory import (
    AgentInput,
    BoshEnv,
    CertKeyPair,
    DiskAssociation,
    EnvSettings,
    LabAgentSettings,
    MbusSettings,
    UpdateSettings,
)

OLD = CertKeyPair(ca="old", certificate="c1", private_key="k1")
NEW = CertKeyPair(ca="new", certificate="c2", private_key="k2")
BORN = LabAgentSettings(
    agent_id="a", mbus="nats://old:4222", env=EnvSettings(bosh=BoshEnv(mbus=MbusSettings(cert=OLD)))
)


def _update(text: str) -> UpdateSettings:
    return msgspec.json.decode(text, type=UpdateSettings)


def test_trusted_certificates_are_overwritten_even_with_nothing() -> None:
    """Whoever sends none takes away those that were there, and disk associations too."""
    known = UpdateSettings(
        trusted_certs="pem", disk_associations=(DiskAssociation(name="d", cid="disk-1"),)
    )
    together, restart = known.merged(_update("{}"))
    assert (together.trusted_certs, together.disk_associations, restart) == ("", None, False)


def test_an_absent_message_bus_keeps_the_known_one() -> None:
    """No `mbus`, or an empty one, changes nothing and restarts nothing."""
    known = UpdateSettings(mbus=MbusSettings(cert=NEW))
    for text in ("{}", '{"mbus": {}}', '{"mbus": null}'):
        together, restart = known.merged(_update(text))
        assert (together.mbus, restart) == (known.mbus, False)


def test_another_message_bus_is_taken_unchecked_and_needs_a_restart() -> None:
    """Credentials that cannot work are taken like good ones."""
    together, restart = UpdateSettings().merged(_update('{"mbus": {"cert": {"ca": "junk"}}}'))
    assert together.mbus == MbusSettings(cert=CertKeyPair(ca="junk"))
    assert restart


def test_the_same_message_bus_again_needs_no_restart() -> None:
    """Only a difference ends the process; `urls` absent is not the same as empty."""
    known = UpdateSettings(mbus=MbusSettings(cert=NEW, urls=()))
    assert not known.merged(UpdateSettings(mbus=MbusSettings(cert=NEW, urls=())))[1]
    assert known.merged(UpdateSettings(mbus=MbusSettings(cert=NEW)))[1]


def test_other_blobstores_need_a_restart_too() -> None:
    """As in the real agent, blobstores end the process when they differ."""
    together, restart = UpdateSettings().merged(_update('{"blobstores": [{"provider": "dav"}]}'))
    assert restart
    assert together.blobstores == ({"provider": "dav"},)
    assert not together.merged(_update('{"blobstores": [{"provider": "dav"}]}'))[1]


def test_updated_credentials_win_only_with_a_ca() -> None:
    """`mbus.cert` of the update counts when its `ca` is not empty; its urls count always."""
    without_ca = MbusSettings(
        cert=CertKeyPair(certificate="c2", private_key="k2"), urls=("nats://new:1",)
    )
    assert AgentInput(settings=BORN).credentials == OLD
    assert AgentInput(settings=BORN, update=UpdateSettings(mbus=without_ca)).credentials == OLD
    assert AgentInput(settings=BORN, update=UpdateSettings(mbus=without_ca)).urls == (
        "nats://new:1",
    )
    assert (
        AgentInput(settings=BORN, update=UpdateSettings(mbus=MbusSettings(cert=NEW))).credentials
        == NEW
    )
    assert AgentInput(settings=BORN, update=UpdateSettings(mbus=MbusSettings(cert=NEW))).urls == (
        BORN.mbus,
    )


def test_no_text_form_shows_a_private_key() -> None:
    """Neither the pair nor what holds it shows the key."""
    secret = CertKeyPair(ca="ca", certificate="c", private_key="hush-hush")
    told = AgentInput(settings=BORN, update=UpdateSettings(mbus=MbusSettings(cert=secret)))
    assert "hush-hush" not in f"{told!r} {told} {secret!r}"
