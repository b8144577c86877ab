"""`rollover check FILE…`: places, exit codes, silences, peers, and SARIF."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rigs.commands import run, write_fleet
from rigs.config_scenes import Desk, Tls
from rollover.errors import ExitCode
from rollover.pki.pem import write_certificates

LEVELS = {"none", "note", "warning", "error"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder of today."""
    return Desk(tmp_path, now=datetime.now(UTC))


def sane(desk: Desk, name: str = "n1", more: str = "verify: true") -> Path:
    """Write a server without a hazard."""
    return desk.server(name, top=Tls((desk.leaf(),), (desk.root,), more))


def sarif(desk: Desk, *arguments: str | Path) -> dict[str, Any]:
    """Return the one run of the SARIF log of a check."""
    out = desk.folder / "check.sarif"
    run("check", *arguments, "--sarif", out)
    log: dict[str, Any] = json.loads(out.read_bytes())
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert len(log["runs"]) == 1
    found: dict[str, Any] = log["runs"][0]
    return found


def test_a_sane_configuration_is_done(desk: Desk) -> None:
    """Exit code 0, every rule with a sign, and a verdict that counts configurations."""
    ran = run("check", sane(desk), "--expires-within", "5")
    assert ran.code == 0, ran.out
    assert "nothing stands in the way (1 configuration)" in ran.out
    assert "√ Private keys belong to their certificates" in ran.out


def test_an_error_is_refused_with_its_place(desk: Desk) -> None:
    """Exit code 3; file, line and column, the remedy, and how to learn more."""
    config = sane(desk, more="verify: true\ninsecure: true\ntimeout: 0.1")
    (desk.folder / "n1-top.key").chmod(0o644)
    ran = run("check", config)
    assert ran.code == 3
    line = next(text for text in ran.out.splitlines() if "has mode 0644" in text)
    assert re.match(rf"\s+{re.escape(str(config))}:\d+:\d+: n1 tls: ", line)
    assert "`rollover explain key-readable-by-others`" in ran.out


def test_a_warning_is_no_failure(desk: Desk) -> None:
    """Exit code 0, and the warning is shown."""
    ran = run("check", sane(desk, more="verify: true\ntimeout: 0.1"))
    assert ran.code == 0
    assert "‼ Handshakes have time enough" in ran.out


def test_json_has_rule_place_and_remedy(desk: Desk) -> None:
    """Every finding says what a pipeline needs."""
    ran = run("check", sane(desk, more="timeout: 0.1"), "--output", "json")
    found = [finding for one in ran.json["report"]["checked"] for finding in one["findings"]]
    names = {item["rule"]: item for item in found}
    assert {"timeout-too-low", "peers-not-verified"} <= set(names)
    assert names["timeout-too-low"]["place"].startswith(str(desk.configs[0]))
    assert names["timeout-too-low"]["remedy"]


def test_a_configuration_that_cannot_be_read_does_not_hide_the_others(desk: Desk) -> None:
    """It is a finding with its place; the other one is checked."""
    broken = desk.write("broken.conf", "port: 4222\ntls {\n  cert_file: a.pem\n")
    ran = run("check", broken, sane(desk, more="timeout: 0.1"))
    assert ran.code == 3
    assert f"{broken}:" in ran.out
    assert "`rollover explain timeout-too-low`" in ran.out
    assert "2 configurations" in ran.out


def test_several_files_are_peers(desk: Desk) -> None:
    """Two nodes of one cluster that trust different CAs refuse each other."""
    other = desk.authority("Other")
    desk.routes(
        {
            "n1": Tls((desk.leaf("n1.example"),), (desk.root,)),
            "n2": Tls((desk.leaf("n2.example", by=other),), (other,)),
        }
    )
    assert "peers-refuse-each-other" in run("check", *desk.configs).out
    assert "peers-refuse-each-other" not in run("check", desk.configs[0]).out


def test_a_rule_is_silenced_with_a_reason(desk: Desk) -> None:
    """The finding is shown with the reason, and does not count."""
    config = sane(desk)
    (desk.folder / "n1-top.key").chmod(0o644)
    ran = run("check", config, "--silence", "key-readable-by-others:n1*=a container of its own")
    assert ran.code == 0
    assert "(a container of its own)" in ran.out


def test_an_idle_silence_is_told(desk: Desk) -> None:
    """Whoever silences what is not there learns it."""
    ran = run("check", sane(desk), "--silence", "insecure=a try-out")
    assert "`rollover explain silence-without-effect`" in ran.out


@pytest.mark.parametrize("text", ["insecure", "insecure=", "=reason", "no-such-rule=reason"])
def test_a_silence_needs_a_rule_and_a_reason(desk: Desk, text: str) -> None:
    """Exit code 1 with a hint, and no report."""
    ran = run("check", sane(desk), "--silence", text)
    assert ran.code == 1
    assert "hint:" in ran.talk


def test_a_reload_is_foretold(desk: Desk) -> None:
    """`--running FILE=OLD` compares with what the server has loaded."""
    config = sane(desk)
    old = desk.write("old.conf", config.read_text().replace("n1\n", "other\n", 1))
    ran = run("check", config, "--running", f"{config}={old}")
    assert ran.code == 3
    assert "`rollover explain reload-refused`" in ran.out


def test_running_needs_a_file_that_is_checked(desk: Desk) -> None:
    """A misspelt name is an error, not a check that did not happen."""
    ran = run("check", sane(desk), "--running", "other.conf=old.conf")
    assert ran.code == 1
    assert "not among the files" in ran.talk


def test_options_for_files_need_files(desk: Desk) -> None:
    """Without FILES they would have no effect."""
    assert run("check", "--working-directory", desk.folder).code == 1


def test_clients_are_compared_with_mapped_users(desk: Desk) -> None:
    """`--client CERT` says who there is; a user whom nobody is has no certificate."""
    config = desk.server(
        more="authorization { users: [ { user: 'app.example' } ] }",
        top=Tls((desk.leaf(),), (desk.root,), "verify_and_map: true"),
    )
    desk.client("other", desk.leaf("other.example", subject="other"))
    rule = "`rollover explain mapped-user-without-certificate`"
    assert rule not in run("check", config).out
    assert rule in run("check", config, "--client", desk.clients[0]).out


def test_a_client_without_a_certificate_is_an_error(desk: Desk) -> None:
    """The file is named, and nothing falls over."""
    ran = run("check", sane(desk), "--client", desk.write("empty.pem", ""))
    assert ran.code == 1
    assert "empty.pem" in ran.talk


def test_sarif_keeps_to_the_schema(desk: Desk) -> None:
    """The main constraints of SARIF 2.1.0: rules, levels, messages, indexes, places."""
    told = sarif(desk, sane(desk, more="timeout: 0.1\ninsecure: true"))
    driver = told["tool"]["driver"]
    assert driver["name"] == "rollover"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in LEVELS
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
    assert told["results"]
    for result in told["results"]:
        assert result["level"] in LEVELS
        assert result["message"]["text"]
        assert ids[result["ruleIndex"]] == result["ruleId"]
        for location in result["locations"]:
            region = location["physicalLocation"].get("region", {"startLine": 1})
            assert region["startLine"] >= 1
            assert region.get("startColumn", 1) >= 1


def test_sarif_names_files_relative_to_the_working_directory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code hosts match results by relative paths, percent-encoded; others are whole URIs."""
    sane(desk, "n 1", more="timeout: 0.1")
    monkeypatch.chdir(desk.folder)
    uris = _uris(sarif(desk, "n 1.conf"))
    assert "n%201.conf" in uris
    monkeypatch.chdir("/")
    (desk.folder / "below").mkdir()
    monkeypatch.chdir(desk.folder / "below")
    assert all(text.startswith("file:///") for text in _uris(sarif(desk, desk.configs[0])))


def _uris(told: dict[str, Any]) -> set[str]:
    return {
        location["physicalLocation"]["artifactLocation"]["uri"]
        for result in told["results"]
        for location in result["locations"]
    }


def test_sarif_tells_findings_apart_and_knows_them_again(desk: Desk) -> None:
    """A fingerprint stays when lines above come and go, and no two findings share one."""
    config = sane(desk, more="timeout: 0.1\ninsecure: true")
    before = _fingerprints(sarif(desk, config))
    config.write_text(f"# one more line\n{config.read_text()}")
    assert _fingerprints(sarif(desk, config)) == before
    assert len(set(before)) == len(before) > 1


def _fingerprints(told: dict[str, Any]) -> list[str]:
    return [result["partialFingerprints"]["primaryLocationLineHash"] for result in told["results"]]


def test_sarif_gives_every_finding_of_a_fleet_a_file(desk: Desk) -> None:
    """Code hosts show nothing that stands nowhere: what is of the fleet stands in its file."""
    fleet = write_fleet(desk.folder, port=1)
    out = desk.folder / "fleet.sarif"
    run("check", "--fleet", fleet, "--sarif", out)
    told = json.loads(out.read_bytes())["runs"][0]
    assert told["results"]
    assert all(uri.endswith("fleet.yml") for uri in _uris(told))


def test_sarif_says_that_relative_paths_begin_at_the_root_of_the_sources(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`%SRCROOT%`, and rules with tags and a markdown help."""
    sane(desk, more="timeout: 0.1")
    monkeypatch.chdir(desk.folder)
    told = sarif(desk, "n1.conf")
    artifacts = [
        location["physicalLocation"]["artifactLocation"]
        for result in told["results"]
        for location in result["locations"]
    ]
    assert {"uri": "n1.conf", "uriBaseId": "%SRCROOT%"} in artifacts
    for rule in told["tool"]["driver"]["rules"]:
        assert rule["help"]["markdown"]
        assert "security" in rule["properties"]["tags"]


@pytest.mark.parametrize("name", ["none.conf", "."])
def test_a_file_that_is_not_there_is_no_report(desk: Desk, name: str) -> None:
    """Exit code 1 with its name, also as JSON, and nothing was checked: `*.conf` of nothing."""
    ran = run("check", sane(desk), desk.folder / name, "--output", "json")
    assert ran.code == ExitCode.USAGE
    assert str(desk.folder / name) in ran.json["error"]["message"]
    assert "nothing was checked" in ran.json["error"]["hint"]


def test_what_is_found_in_many_places_is_told_once(desk: Desk) -> None:
    """One line with some names and a count; JSON has each."""
    names = [f"n{number}" for number in range(9)]
    configs = [sane(desk, name, more="verify: true\ntimeout: 0.1") for name in names]
    lines = [line for line in run("check", *configs).out.splitlines() if "may take 0.1 s" in line]
    assert len(lines) == 1
    assert lines[0].endswith("; likewise n1 tls, n2 tls, n3 tls and 5 more")
    report = run("check", *configs, "--output", "json").json["report"]
    findings = [finding for one in report["checked"] for finding in one["findings"]]
    assert len([finding for finding in findings if finding["rule"] == "timeout-too-low"]) == len(
        names
    )


def test_a_unit_says_where_relative_paths_begin(desk: Desk) -> None:
    """Of a service that is at `/`, unless it says otherwise; and it may start with flags."""
    made = desk.leaf()
    desk.write("a.pem", write_certificates((made.certificate,)))
    desk.write("a.key", made.key_pem())
    config = desk.raw("n1", "port: 4222\ntls { cert_file: a.pem, key_file: a.key }\n")
    start = f"ExecStart=-/usr/sbin/nats-server --config {config} --tlsverify=true\n"
    here = desk.write("here.service", f"[Service]\n{start}WorkingDirectory={desk.folder}\n")
    root = desk.write("root.service", f"[Service]\n{start}")
    missing = "`rollover explain file-missing`"
    assert missing not in run("check", config, "--unit", here).out
    ran = run("check", config, "--unit", root)
    assert missing in ran.out
    assert f"{root}:2:1: {root}: it starts nats-server with `--tlsverify`" in ran.out


def test_sarif_keeps_silenced_findings_as_suppressed(desk: Desk) -> None:
    """A suppression has its kind and the reason."""
    told = sarif(desk, sane(desk, more="timeout: 0.1"), "--silence", "timeout-too-low=slow link")
    hidden = [result for result in told["results"] if result["ruleId"] == "timeout-too-low"]
    assert [item["suppressions"] for item in hidden] == [
        [{"kind": "external", "justification": "slow link"}]
    ]


def test_a_sarif_file_that_cannot_be_written_is_an_error(desk: Desk) -> None:
    """The file is named; no trace."""
    ran = run("check", sane(desk), "--sarif", desk.folder / "none" / "x.sarif")
    assert ran.code == 1
    assert "x.sarif" in ran.talk


def test_the_configurations_of_a_fleet_are_checked_too(desk: Desk) -> None:
    """Their findings stand behind those of the fleet; silences of the fleet file cover both."""
    config = sane(desk, more="timeout: 0.1")
    fleet = write_fleet(desk.folder, port=1)
    text = fleet.read_text().replace(
        "      - name: n1\n", f"      - name: n1\n        config: {config}\n"
    )
    fleet.write_text(f"{text}silenced: [{{rule: timeout-too-low, reason: slow link}}]\n")
    ran = run("check", "--fleet", fleet, "--output", "json")
    findings = [finding for one in ran.json["report"]["checked"] for finding in one["findings"]]
    assert [
        finding["silenced"] for finding in findings if finding["rule"] == "timeout-too-low"
    ] == ["slow link"]
    assert not [finding for finding in findings if finding["rule"] == "silence-without-effect"]
    assert [finding for finding in findings if finding["rule"] == "peers-not-verified"]


def test_a_fleet_file_that_is_named_silences_files(desk: Desk) -> None:
    """`check FILE --fleet F` takes the silences of F, and does not mind those of other things."""
    config = sane(desk, more="timeout: 0.1\nverify: true")
    fleet = write_fleet(desk.folder, port=1)
    reasons = "{rule: timeout-too-low, reason: slow link}, {rule: insecure, reason: elsewhere}"
    fleet.write_text(f"{fleet.read_text()}silenced: [{reasons}]\n")
    ran = run("check", config, "--fleet", fleet)
    assert "(slow link)" in ran.out
    assert "silence-without-effect" not in ran.out


def test_what_cannot_be_read_names_its_place_once(desk: Desk) -> None:
    """Also where the error lies in a field."""
    for name, text, place, message in (
        ("loop", "include loop.conf", ":1:9", "loop.conf` includes itself"),
        ("half", "tls { cert_file: a.pem }", ":1:7", "tls: `key_file` is missing"),
    ):
        path = desk.folder / f"{name}.conf"
        path.write_text(text, encoding="utf-8")
        ran = run("check", path)
        assert ran.code == 3
        (line,) = (entry for entry in ran.out.splitlines() if message in entry)
        assert line.startswith(f"      {path}{place}: {path}: ")
        assert line.count(place) == 1


def test_the_verdict_on_many_files_stays_one_line(desk: Desk) -> None:
    """Two hundred names help nobody; every finding has its own."""
    paths = [desk.folder / f"n{number}.conf" for number in range(9)]
    for path in paths:
        path.write_text("listen: '127.0.0.1:4222'\n", encoding="utf-8")
    verdict = run("check", *paths).out.splitlines()[-1]
    assert verdict.startswith(f"{', '.join(map(str, paths[:5]))} and 4 more: ")
    assert verdict.endswith("(9 configurations)")


@pytest.mark.parametrize("words", [("check", "--expires-within"), ("inspect", "--timeout")])
def test_no_option_takes_what_is_no_number(desk: Desk, words: tuple[str, str]) -> None:
    """`nan` lies in every range."""
    command, option = words
    ran = run(command, sane(desk), option, "nan")
    assert ran.code == ExitCode.USAGE
    assert f"Invalid value for '{option}'" in ran.talk
