"""Commands that look at a fleet, on one whose server does not run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rigs import commands
from rollover.errors import ExitCode
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import issue_authority
from rollover.pki.keys import generate
from rollover.pki.pem import write_certificates


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Path]:
    """A fleet file; its server's port is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield commands.write_fleet(tmp_path, port=taken.getsockname()[1])


def test_check_ends_with_5_when_an_instance_cannot_be_seen(fleet: Path) -> None:
    """Evidence is missing; what could be seen is reported all the same."""
    ran = commands.run("check", "--fleet", fleet)
    assert ran.code == ExitCode.EVIDENCE_MISSING
    assert "  ? Every instance was seen" in ran.out
    assert "      n1: " in ran.out
    assert "hint: Bring it back" in ran.out
    assert ran.out.rstrip().splitlines()[-1].startswith("prod: evidence is missing (1 gap,")


def test_check_silenced_with_a_reason_ends_with_0_and_shows_it(fleet: Path) -> None:
    """The reason is shown, the finding does not count."""
    with fleet.open("a") as file:
        file.write("silenced: [{rule: instance-unreachable, reason: moved next week}]\n")
    ran = commands.run("check", "--fleet", fleet)
    assert "silenced: n1: " in ran.out
    assert "(moved next week)" in ran.out
    assert ran.code == ExitCode.DONE


def test_check_ends_with_3_when_an_error_stands_in_the_way(fleet: Path) -> None:
    """An ignored instance is an error, and an error outweighs missing evidence."""
    text = fleet.read_text().replace("- name: n1\n", "- name: n1\n        ignored: on holiday\n")
    fleet.write_text(text)
    ran = commands.run("check", "--fleet", fleet)
    assert ran.code == ExitCode.REFUSED
    assert "n1: ignored: on holiday" in ran.out


def test_check_as_json_has_every_rule(fleet: Path) -> None:
    """Also those that found nothing."""
    ran = commands.run("check", "--fleet", fleet, "--output", "json")
    assert ran.json["schema"] == "rollover.report/1"
    checked = {entry["rule"]: entry["findings"] for entry in ran.json["report"]["checked"]}
    assert checked["instance-unreachable"][0]["severity"] == "evidence-missing"
    assert checked["broken-now"] == []


def test_check_of_an_unknown_authority_names_those_there_are(fleet: Path) -> None:
    """The hint lists them."""
    ran = commands.run("check", "--fleet", fleet, "--authority", "other")
    assert ran.code == ExitCode.USAGE
    assert "hint: it has `nats-ca`" in ran.talk


def test_topology_shows_what_is_known_of_an_instance_that_does_not_answer(fleet: Path) -> None:
    """Its files are read; that it does not answer is said beside it."""
    ran = commands.run("topology", "--fleet", fleet)
    assert ran.code == ExitCode.DONE
    assert "servers (1 instance, reload)" in ran.out
    assert "└─ n1: unreachable" in ran.out
    assert "presents nats-ca@1 until " in ran.out
    assert "(89 days left), trusts nats-ca@1" in ran.out


def test_topology_as_json_has_a_versioned_schema(fleet: Path) -> None:
    """And what the text shows."""
    ran = commands.run("topology", "--fleet", fleet, "--links", "--output", "json")
    assert ran.json["schema"] == "rollover.topology/1"
    endpoint = ran.json["topology"]["groups"][0]["instances"][0]["endpoints"][0]
    assert (endpoint["issuer"], endpoint["trusts"]) == ("nats-ca@1", ["nats-ca@1"])


def test_an_authority_is_brought_in_once(fleet: Path) -> None:
    """The key is here afterwards; the same again adds nothing."""
    home = fleet.parent
    words = ("authority", "import", "nats-ca", "--certificate", home / "ca.pem",
             "--key", home / "ca.key", "--fleet", fleet)  # fmt: skip
    before = commands.run("authority", "list", "--fleet", fleet, "--output", "json").json
    assert [entry["key_here"] for entry in before["versions"]] == [False]
    assert commands.run(*words).code == ExitCode.DONE
    assert commands.run(*words).code == ExitCode.DONE
    after = commands.run("authority", "list", "--fleet", fleet, "--output", "json").json
    version = after["versions"][0]
    assert [len(after["versions"]), version["key_here"]] == [1, True]
    assert (version["label"], version["trusted_by"], version["presented_by"]) == ("nats-ca@1", 1, 1)


@pytest.mark.parametrize(
    ("begins_in_days", "word"), [(-20, "expired on"), (5, "is not valid before"), (-1, "")]
)
def test_a_ca_out_of_its_dates_is_taken_and_told(
    fleet: Path, begins_in_days: int, word: str
) -> None:
    """An expired one is needed to recover; whoever brings it in should know what it is."""
    key = generate(KeyKind.P256)
    begin = datetime.now(UTC) + timedelta(days=begins_in_days)
    made = issue_authority(
        common_name="Other CA", key=key, not_before=begin, lifetime=timedelta(days=10)
    )
    file = fleet.parent / "other.pem"
    file.write_bytes(write_certificates((made,)))
    ran = commands.run("authority", "import", "nats-ca", "--certificate", file, "--fleet", fleet)
    assert ran.code == ExitCode.DONE
    assert ("! `CN=Other CA` " in ran.talk, word in ran.talk) == (bool(word), True)


def test_a_lost_sealing_key_is_named_and_not_made_anew(fleet: Path) -> None:
    """A fresh key would open nothing that the store holds, and hide what happened."""
    home = fleet.parent
    words = ("authority", "import", "nats-ca", "--certificate", home / "ca.pem",
             "--key", home / "ca.key", "--fleet", fleet)  # fmt: skip
    assert commands.run(*words).code == ExitCode.DONE
    (lost,) = home.rglob("sealing.key")
    lost.unlink()
    ran = commands.run("plan", "--fleet", fleet)
    assert ran.code == ExitCode.USAGE
    assert "sealing.key` is missing" in ran.talk
    assert not lost.exists()


def test_an_address_that_is_none_is_named_with_its_endpoint(fleet: Path) -> None:
    """A fleet has many addresses: the message says which one is wrong."""
    text = fleet.read_text()
    address = next(line for line in text.splitlines() if "address:" in line)
    fleet.write_text(text.replace(address, address.split("address:")[0] + 'address: "n1:99999"'))
    ran = commands.run("check", "--fleet", fleet)
    assert ran.code == ExitCode.USAGE
    assert "n1/" in ran.talk
    assert "`n1:99999` is not an address" in ran.talk


def test_a_key_that_came_later_makes_no_second_version_in_the_list(fleet: Path) -> None:
    """First the certificate alone, then with its key: it is one CA."""
    home = fleet.parent
    words = ("authority", "import", "nats-ca", "--certificate", home / "ca.pem", "--fleet", fleet)
    assert commands.run(*words).code == ExitCode.DONE
    assert commands.run(*words, "--key", home / "ca.key").code == ExitCode.DONE
    listed = commands.run("authority", "list", "--fleet", fleet).out
    assert listed.count("NATS CA 1") == 1
    assert "  yes  " in listed


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("ca.pem", "leaf.key", "leaf.key: the key (`p-256`) is not that of `CN=NATS CA 1`"),
        ("ca.key", "ca.pem", "ca.key"),
        ("leaf.pem", "leaf.key", "leaf.pem: `CN=n1` "),
        ("ca.pem", "ca.pem", "ca.pem: a certificate where a private key belongs"),
        ("none.pem", "ca.key", "none.pem: cannot be read: No such file"),
        ("empty.pem", "ca.key", "empty.pem"),
    ],
)
def test_files_that_do_not_belong_are_refused_by_name(
    certificate: str, key: str, message: str, fleet: Path
) -> None:
    """Swapped, mismatched, missing and empty files; nothing is stored, no key is shown."""
    home = fleet.parent
    (home / "empty.pem").touch()
    ran = commands.run(
        "authority", "import", "nats-ca", "--certificate", home / certificate,
        "--key", home / key, "--fleet", fleet,
    )  # fmt: skip
    assert ran.code == ExitCode.USAGE
    assert message in ran.talk
    assert "hint: " in ran.talk
    assert "PRIVATE KEY" not in ran.talk.replace("`-----BEGIN PRIVATE KEY-----`", "")
    listed = commands.run("authority", "list", "--fleet", fleet, "--output", "json").json
    assert [version["key_here"] for version in listed["versions"]] == [False]


def test_a_key_that_others_can_read_is_told_and_taken(fleet: Path) -> None:
    """It is talk, on stderr, and quiet on request."""
    home = fleet.parent
    (home / "ca.key").chmod(0o644)
    words = ("authority", "import", "nats-ca", "--certificate", home / "ca.pem",
             "--key", home / "ca.key", "--fleet", fleet)  # fmt: skip
    assert "chmod 600" in commands.run(*words).talk
    assert commands.run(*words, "--quiet").talk == ""


def test_explain_needs_no_fleet_and_lists_every_rule() -> None:
    """A rule by its id, all of them without one."""
    listed = commands.run("explain", "--output", "json").json
    assert listed["schema"] == "rollover.rules/1"
    for rule in listed["rules"]:
        shown = commands.run("explain", rule["id"])
        assert shown.code == ExitCode.DONE
        assert shown.out.startswith(rule["id"])


def test_explain_guesses_what_was_meant() -> None:
    """A misspelt id leads to the one that is near."""
    ran = commands.run("explain", "left-behnid")
    assert ran.code == ExitCode.USAGE
    assert "did you mean `left-behind`?" in ran.talk


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o nosort"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_completion_prints_a_script_for_each_shell(shell: str, sign: str) -> None:
    """The script asks `rollover` itself what there is."""
    ran = commands.run("completion", shell)
    assert ran.code == ExitCode.DONE
    assert sign in ran.out
    assert "_ROLLOVER_COMPLETE" in ran.out


def test_completion_completes_commands_and_options() -> None:
    """What the script asks for is answered."""
    asked = {"_ROLLOVER_COMPLETE": "bash_complete", "COMP_WORDS": "rollover top", "COMP_CWORD": "1"}
    assert "plain,topology" in commands.run(environment=asked).out
    asked = {**asked, "COMP_WORDS": "rollover check --exp", "COMP_CWORD": "2"}
    assert "plain,--expires-within" in commands.run(environment=asked).out


def test_schema_is_json() -> None:
    """It describes the fleet file."""
    assert "FleetDescription" in commands.run("schema").json["$defs"]
