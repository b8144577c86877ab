"""The commands that look at a fleet, on a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs import commands
from rigs.rotating import SMALL
from rollover.errors import ExitCode
from rollover_lab.nats import lab
from rollover_lab.nats.lab import Lab


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three servers and six clients."""
    with lab.running(SMALL, tmp_path_factory.mktemp("looked-at") / "lab") as fleet:
        yield fleet


def test_a_healthy_fleet_can_be_rotated(small: Lab) -> None:
    """No rule finds an error, and the exit code says so; the lab shares one CA for everything."""
    ran = commands.run("check", "--fleet", small.layout.fleet)
    assert ran.code == ExitCode.DONE
    assert "nothing stands in the way (6 warnings, 9 instances, 24 links)" in ran.out
    assert not set("×?") & set(ran.out)
    assert set(re.findall("rollover explain ([a-z-]+)", ran.out)) == {
        "trust-in-one-authority",
        "trust-shared-between-purposes",
    }


def test_the_topology_of_a_real_fleet(small: Lab) -> None:
    """Every instance was seen, and every link works."""
    seen = commands.run("topology", "--fleet", small.layout.fleet, "--links", "--output", "json")
    topology = seen.json["topology"]
    instances = [instance for group in topology["groups"] for instance in group["instances"]]
    assert {instance["availability"] for instance in instances} == {"ready"}
    assert {tuple(e["trusts"]) for instance in instances for e in instance["endpoints"]} == {
        ("nats-ca@1",)
    }
    assert [(link["links"], link["working"]) for link in topology["links"]] == [(6, 6), (18, 18)]
    assert all(entry["works"] for entry in topology["every_link"])


def test_expiry_is_told_as_early_as_asked_for(small: Lab) -> None:
    """A warning does not stand in the way."""
    ran = commands.run("check", "--fleet", small.layout.fleet, "--expires-within", "400")
    assert ran.code == ExitCode.DONE
    assert "‼ No certificate in use expires soon" in ran.out


def test_the_authority_is_listed_with_its_users(small: Lab) -> None:
    """Twelve endpoints trust and present it; the lab brought its key in."""
    ran = commands.run("authority", "list", "--fleet", small.layout.fleet, "--output", "json")
    found = ran.json["versions"]
    assert [(entry["trusted_by"], entry["presented_by"], entry["key_here"]) for entry in found] == [
        (12, 12, True)
    ]


def _configs(small: Lab) -> list[Path]:
    return sorted(small.layout.root.glob("*/*.conf"))


def test_a_fleet_file_is_written_once_and_then_changed_on_request_only(
    small: Lab, tmp_path: Path
) -> None:
    """First written; then shown as a difference; changed with `--write`, save what people say."""
    out = tmp_path / "fleet.yml"
    words: tuple[str | Path, ...] = ("discover", "--config", *_configs(small), "-o", out)
    assert commands.run(*words).code == ExitCode.DONE
    discovered = out.read_text()
    decided = discovered.replace("max_in_flight: 1", "max_in_flight: 7")
    edited = decided.replace("verify: true", "verify: false")
    out.write_text(edited)

    shown = commands.run(*words)
    assert "-      verify: false\n+      verify: true\n" in shown.out
    assert "max_in_flight: 1" not in shown.out
    assert "`--write` changes it" in shown.talk
    assert out.read_text() == edited

    changed = commands.run(*words, "--write", "--output", "json").json["discovery"]
    assert changed["written"]
    assert out.read_text() == decided
    assert not list(tmp_path.glob(".fleet.yml.*"))


def test_without_a_file_the_description_is_printed_and_remarks_are_talk(small: Lab) -> None:
    """Stdout can be piped into a file; what a person should look at is on stderr."""
    ran = commands.run("discover", *_configs(small))
    assert ran.out.startswith("# ")
    assert "version: 1\n" in ran.out
    assert "! clients: " in ran.talk
    assert "! " not in ran.out


def test_a_discovered_fleet_can_be_looked_at(small: Lab, tmp_path: Path) -> None:
    """Its servers are seen; for the clients, whose files nobody told, evidence is missing."""
    out = tmp_path / "fleet.yml"
    commands.run("discover", *_configs(small), "-o", out, "--quiet")
    ran = commands.run("check", "--fleet", out)
    assert ran.code == ExitCode.REFUSED
    assert "× The files of every endpoint are known" in ran.out
    topology = commands.run("topology", "--fleet", out, "--output", "json").json["topology"]
    servers = topology["groups"][0]["instances"]
    assert {server["availability"] for server in servers} == {"ready"}
