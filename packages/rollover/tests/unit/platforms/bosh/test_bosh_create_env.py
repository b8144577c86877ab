"""How `create-env` is run: alone, to its end, its words kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.patience import Patience
from rollover.errors import Conflict, Rejected
from rollover.platforms.bosh import create_env
from rollover.platforms.bosh.command_line import CreateEnvLine

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7Zl\n-----END RSA PRIVATE KEY-----\n"


def command(folder: Path, body: str) -> CreateEnvLine:
    """A `create-env` that is a small program; it sees its words and its directory."""
    program = folder / "program.py"
    program.write_text(f"import os, sys, time\n{body}\n")
    return CreateEnvLine(
        (sys.executable, str(program), "create-env", "bosh.yml"),
        place="create-env.sh:1",
        directory=folder,
        environment={"SAID": "hello"},
    )


def run(folder: Path, body: str, *, seconds: float = 300.0) -> create_env.CreateEnvEnded:
    """Run it with an ops file."""
    return create_env.run_create_env(
        command(folder, body),
        Path("/s/add-new-ca.yml"),
        log=folder / "log",
        lock=folder / "lock",
        timeout_seconds=seconds,
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    patience = Patience(60)
    while not condition():
        assert patience.lasts()
        time.sleep(0.02)


def test_it_runs_in_its_directory_with_our_ops_file_last(tmp_path: Path) -> None:
    """With the environment of the file, and nothing on stdin."""
    ended = run(
        tmp_path,
        "print(os.getcwd(), sys.argv[1:], os.environ['SAID'], repr(sys.stdin.read()))\n"
        "print('on stderr', file=sys.stderr)",
    )
    assert ended.succeeded
    said = ended.log.read_text()
    assert f"{tmp_path} ['create-env', 'bosh.yml', '-o', '/s/add-new-ca.yml'] hello ''" in said
    assert "on stderr" in said
    assert ended.log.stat().st_mode & 0o777 == 0o600


def test_the_last_lines_of_a_failure_are_told_without_keys(tmp_path: Path) -> None:
    """Also when the key is cut off."""
    noise = f"print('x' * 80_000); print({KEY!r}); print('the reason'); sys.exit(3)"
    ended = run(tmp_path, noise)
    assert (ended.code, ended.succeeded) == (3, False)
    told = create_env.last_log_lines(ended.log)
    assert told.endswith("the reason")
    assert "MIIEow" not in told


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Before anything has begun."""
    nothing = CreateEnvLine(
        ("no-such-bosh", "create-env", "bosh.yml"),
        place="create-env.sh:1",
        directory=tmp_path,
        environment={"PATH": ""},
    )
    with pytest.raises(Rejected, match="no-such-bosh"):
        create_env.run_create_env(
            nothing, None, log=tmp_path / "log", lock=tmp_path / "lock", timeout_seconds=1
        )


def test_one_that_takes_too_long_is_left_alone_and_seen(tmp_path: Path) -> None:
    """Nobody ends it half-way, and no second one begins beside it."""
    body = "while not os.path.exists('end'): time.sleep(0.02)\nopen('done', 'w').close()"
    ended = run(tmp_path, body, seconds=0.2)
    assert ended.code is None
    assert create_env.is_running(tmp_path / "lock")
    with pytest.raises(Conflict, match="still running"):
        run(tmp_path, "pass")
    (tmp_path / "end").touch()
    until(lambda: not create_env.is_running(tmp_path / "lock"))
    assert (tmp_path / "done").exists()
    assert run(tmp_path, "pass").succeeded
