"""The CA in trust stores: by the tools of each system, stand-ins of which note how they are run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollover.certificates.issue_for_role import open_authority
from rollover.certificates.issue_system_trust import (
    TrustingMachine,
    TrustOutcome,
    install,
    uninstall,
)
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.pki.pem import read_certificates

TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
env >> "{log}.env"
for last; do :; done
case " $* " in *" -A "*) cat "$last" > "{log}.given";; esac
{more}
"""


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """The CA."""
    return open_authority(tmp_path / "ca", now=datetime.now(UTC)).certificate


class Box:
    """A machine made of directories, with the tools that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.tools = folder / "bin"
        self.tools.mkdir(parents=True)

    def tool(self, name: str, more: str = "") -> None:
        """Put a stand-in of a tool on PATH."""
        path = self.tools / name
        path.write_text(TOOL.format(log=self.log, more=more))
        path.chmod(0o755)

    def directory(self, name: str) -> Path:
        """Make a directory of the machine."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path

    @property
    def machine(self) -> TrustingMachine:
        """What the code under test sees."""
        path = f"{self.tools}:/usr/bin:/bin"
        variables = {"PATH": path, "ROLLOVER_KEY": "sealed"}
        return TrustingMachine(self.folder, self.folder / "home", variables)

    def said(self) -> list[str]:
        """Return how the tools were run."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A machine without any store."""
    return Box(tmp_path / "box")


DEBIAN = "usr/local/share/ca-certificates"
FEDORA = "etc/pki/ca-trust/source/anchors"


@pytest.mark.parametrize(
    ("place", "tool", "added", "removed"),
    [
        (DEBIAN, "update-ca-certificates", "", "--fresh"),
        (FEDORA, "update-ca-trust", "extract", "extract"),
    ],
)
def test_the_system_store_is_filled_and_cleared_by_its_tool(
    box: Box, certificate: Certificate, place: str, tool: str, added: str, removed: str
) -> None:
    """An anchor file of our own name, then the tool; twice is as good as once."""
    anchors = box.directory(place)
    box.tool(tool)
    for _ in range(2):
        (result,) = install(certificate, box.machine)
        assert result.outcome is TrustOutcome.INSTALLED
    (file,) = anchors.iterdir()
    assert read_certificates(file.read_bytes()).certificates == (certificate,)
    assert box.said()[-1] == f"{tool} {added}"
    (result,) = uninstall(certificate, box.machine)
    assert result.outcome is TrustOutcome.REMOVED
    assert list(anchors.iterdir()) == []
    assert box.said()[-1] == f"{tool} {removed}"
    (result,) = uninstall(certificate, box.machine)
    assert result.outcome is TrustOutcome.ABSENT


def test_nss_stores_are_filled_and_cleared_by_certutil(box: Box, certificate: Certificate) -> None:
    """That of Chromium and those of Firefox profiles; directories without a store are left out."""
    for name in ("home/.pki/nssdb", "home/.mozilla/firefox/a.default"):
        (box.directory(name) / "cert9.db").touch()
    box.directory("home/.mozilla/firefox/Crash Reports")
    box.tool("certutil")
    results = install(certificate, box.machine)
    assert [result.outcome for result in results] == [TrustOutcome.INSTALLED] * 2
    added = [line for line in box.said() if "-A" in line.split()]
    assert f"-d sql:{box.folder}/home/.pki/nssdb" in added[0]
    assert "-t C,," in added[0]
    given = Path(f"{box.log}.given").read_bytes()
    assert read_certificates(given).certificates == (certificate,)
    assert {store_result.outcome for store_result in uninstall(certificate, box.machine)} == {
        TrustOutcome.REMOVED
    }


def test_a_store_that_never_had_it_says_so(box: Box, certificate: Certificate) -> None:
    """`certutil` finds no such certificate: there is nothing to take out."""
    (box.directory("home/.pki/nssdb") / "cert9.db").touch()
    box.tool("certutil", more="exit 255")
    (result,) = uninstall(certificate, box.machine)
    assert result.outcome is TrustOutcome.ABSENT


def test_a_tool_that_fails_is_told_with_its_words(box: Box, certificate: Certificate) -> None:
    """The other stores are served all the same."""
    box.directory(DEBIAN)
    box.tool("update-ca-certificates", more="echo 'disk full' >&2; exit 3")
    (box.directory("home/.pki/nssdb") / "cert9.db").touch()
    box.tool("certutil")
    first, second = install(certificate, box.machine)
    assert first.outcome is TrustOutcome.FAILED
    assert "ended with 3: disk full" in first.detail
    assert second.outcome is TrustOutcome.INSTALLED


def test_a_directory_that_cannot_be_written_says_how(box: Box, certificate: Certificate) -> None:
    """A file of that name is in the way, as for everybody who is not root the permissions are."""
    anchors = box.directory(DEBIAN)
    box.tool("update-ca-certificates")
    (result,) = install(certificate, box.machine)
    (file,) = anchors.iterdir()
    file.unlink()
    file.mkdir()
    (result,) = install(certificate, box.machine)
    assert result.outcome is TrustOutcome.FAILED
    assert "sudo" in result.detail


def test_a_machine_without_a_known_store_is_a_clear_error(
    box: Box, certificate: Certificate
) -> None:
    """A tool without its directory is none; the hint names what would do."""
    box.tool("update-ca-trust")
    with pytest.raises(SpecError, match="no trust store") as caught:
        install(certificate, box.machine)
    assert "update-ca-certificates" in caught.value.hint


def test_tools_get_none_of_our_variables(box: Box, certificate: Certificate) -> None:
    """The sealing key of the store is not theirs."""
    box.directory(DEBIAN)
    box.tool("update-ca-certificates")
    install(certificate, box.machine)
    assert "ROLLOVER_KEY" not in Path(f"{box.log}.env").read_text()
