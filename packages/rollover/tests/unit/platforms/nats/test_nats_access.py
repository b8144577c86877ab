"""The system account as it is described: its files, its mistakes, nothing shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rigs.nats_fleet_rig import Authority, endpoint
from rollover.errors import NotFound, SpecError, Unreachable
from rollover.fleet.description import InstanceDescription, SystemAccount
from rollover.fleet.fleet import Role, Touch
from rollover.fleet.names import EndpointName, InstanceName
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.access import ServerAccess, read_account
from rollover.platforms.nats.reload import ReloadSettings, reload

ALONE = InstanceDescription(
    name=InstanceName("n1"),
    endpoints=(endpoint(EndpointName("route"), Role.ROUTE, address="127.0.0.1:1"),),
)


def way(touch: Touch = Touch.RELOAD) -> ReloadSettings:
    """Return how to reload, without much patience."""
    return ReloadSettings(touch, 1.0, {})


def test_a_password_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    """Line ends are not part of it."""
    (tmp_path / "secret").write_text("hush-hush\r\n")
    account = read_account(SystemAccount(user="sys", password_file="secret"), base=tmp_path)
    assert account.login is not None
    assert account.login.password == "hush-hush"
    assert "hush" not in repr(account)


def test_a_user_without_a_password_is_told_with_the_field(tmp_path: Path) -> None:
    """Half an account is none."""
    with pytest.raises(SpecError) as refused:
        read_account(SystemAccount(user="sys"), base=tmp_path)
    assert refused.value.field == "system.password_file"


def test_a_password_file_that_is_missing_is_told_with_the_field(tmp_path: Path) -> None:
    """The path stands in the message."""
    with pytest.raises(SpecError, match="no-such-file"):
        read_account(SystemAccount(user="sys", password_file="no-such-file"), base=tmp_path)


def test_a_certificate_of_its_own_comes_first(tmp_path: Path) -> None:
    """With it no password is needed."""
    leaf = Authority("ca").issue("sys")
    (tmp_path / "sys.key").write_bytes(leaf.key.reveal())
    (tmp_path / "sys.crt").write_bytes(write_certificates((leaf.certificate,)))
    account = read_account(SystemAccount(certificate="sys.crt", key="sys.key"), base=tmp_path)
    assert account.login is None
    assert account.own is not None
    assert account.own.fingerprints == (leaf.certificate.fingerprint,)


def test_a_server_that_nothing_can_reload_is_told_with_the_remedy() -> None:
    """No system account, no pid file, no restart command."""
    with pytest.raises(NotFound) as refused:
        reload(ServerAccess(ALONE, None, (), ()), way())
    assert "pid_file" in refused.value.hint


@pytest.mark.parametrize("content", ["", "1\n", "0", "-5", "not a number", "999999999"])
def test_a_pid_file_that_names_no_process_is_told(tmp_path: Path, content: str) -> None:
    """Neither the init process nor a group of processes is ever signalled."""
    (tmp_path / "pid").write_text(content)
    instance = msgspec.structs.replace(ALONE, pid_file=str(tmp_path / "pid"))
    with pytest.raises(Unreachable, match=r"pid|process"):
        reload(ServerAccess(instance, None, (), ()), way())


def test_a_stale_pid_file_never_ends_another_program(tmp_path: Path) -> None:
    """Numbers are given anew: a process that is no nats-server gets no signal."""
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "pid").write_text(str(bystander.pid))
        instance = msgspec.structs.replace(ALONE, pid_file=str(tmp_path / "pid"))
        with pytest.raises(Unreachable, match="stale"):
            reload(ServerAccess(instance, None, (), ()), way())
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


def test_a_restart_without_a_command_is_told() -> None:
    """The field to fill in is named."""
    with pytest.raises(NotFound) as refused:
        reload(ServerAccess(ALONE, None, (), ()), way(Touch.RESTART))
    assert "restart" in refused.value.hint
