"""`rollover issue` as people and scripts meet it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rigs import commands
from rollover.errors import ExitCode
from rollover.fleet.secret import holds_private_key
from rollover.pki.pem import read_certificates


def run(folder: Path, *arguments: str | Path) -> commands.Ran:
    """Run `rollover issue` with its CA and its data in a folder."""
    return commands.run(
        "issue",
        *arguments,
        environment={"XDG_DATA_HOME": str(folder / "data"), "HOME": str(folder)},
    )


def files(folder: Path) -> tuple[str, Path, str, Path]:
    """Return the options that name both files."""
    return "--cert-file", folder / "n1.pem", "--key-file", folder / "n1.key"


def test_it_needs_no_configuration_and_says_where_the_ca_is_and_its_risk(tmp_path: Path) -> None:
    """The first call makes the CA in the directory of the user's data, the second keeps quiet."""
    ran = run(tmp_path, "--for", "server", "n1.example.com", *files(tmp_path))
    assert ran.code == ExitCode.DONE
    assert str(tmp_path / "data/rollover/ca/ca.pem") in ran.out
    assert "can impersonate any name" in ran.talk
    assert f'cert_file: "{tmp_path / "n1.pem"}"' in ran.out
    again = run(tmp_path, "--for", "server", "n1.example.com", "--force", *files(tmp_path))
    assert again.talk == ""


@pytest.mark.parametrize("data", ["", "relative/path"])
def test_without_a_sound_xdg_variable_the_ca_is_below_the_home(tmp_path: Path, data: str) -> None:
    """As the XDG specification has it: relative paths are ignored."""
    ran = commands.run(
        "issue", "--for", "client", "app", *files(tmp_path), "--output", "json",
        environment={"XDG_DATA_HOME": data, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.code == ExitCode.DONE
    expected = tmp_path / ".local/share/rollover/ca/ca.pem"
    assert ran.json["issued"]["authority"]["file"] == str(expected)
    assert stat.S_IMODE(expected.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("output", ["text", "json"])
def test_no_output_shows_a_key(tmp_path: Path, output: str) -> None:
    """Neither that of the certificate nor that of the CA."""
    ran = run(tmp_path, "--for", "route", "n1", *files(tmp_path), "--output", output)
    shown = ran.out + ran.talk
    assert not holds_private_key(shown)
    for key in (tmp_path / "n1.key", tmp_path / "data/rollover/ca/ca-key.pem"):
        for line in key.read_text().splitlines()[1:-1]:
            assert line not in shown


def test_json_says_everything_that_a_script_needs(tmp_path: Path) -> None:
    """What was issued, by whom, where it is, and what to configure."""
    ran = run(tmp_path, "--for", "gateway", "n1", *files(tmp_path), "--days", "7",
              "--key-type", "p-384", "--output", "json")  # fmt: skip
    issued = ran.json["issued"]
    (leaf,) = read_certificates(Path(issued["certificate_file"]).read_bytes()).certificates
    assert issued["fingerprint"] == leaf.fingerprint
    assert issued["key_identity"] == leaf.key_identity
    assert (leaf.not_after - leaf.not_before).days == 7
    assert leaf.key == "p-384"
    assert issued["authority"]["made"] is True
    assert "gateway {" in issued["nats_conf"]
    assert ran.talk == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("n1",),
        ("--for", "server"),
        ("--for", "nobody", "n1"),
        ("--install", "--uninstall"),
        ("--install", "--for", "server", "n1"),
        ("--for", "server", "n1", "--days", "0"),
        ("--for", "server", "n1", "--key-type", "rsa-512"),
        ("--uninstall",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 1 and a message; nothing is made."""
    ran = run(tmp_path, *arguments)
    assert ran.code == ExitCode.USAGE
    assert "Traceback" not in ran.talk
    assert ran.talk
    assert not (tmp_path / "data").exists()


def test_files_get_their_usual_names_in_the_current_directory(tmp_path: Path) -> None:
    """A real process, in a directory of its own, under a umask that hides nothing."""
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    ended = subprocess.run(
        [Path(sys.executable).with_name("rollover"), "issue", "--for", "leaf", "n1", "n2"],
        cwd=tmp_path,
        env=environment,
        umask=0,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == ExitCode.DONE, ended.stderr
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.pem")}
    assert modes == {"n1+1-leaf.pem": 0o644, "n1+1-leaf-key.pem": 0o600}
