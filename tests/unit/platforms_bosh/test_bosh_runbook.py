"""A rotation written down for people: files that work, commands for this fleet, no keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import bosh_director_files as files
import bosh_lab
import bosh_plans
from bosh_director_files import Director, Generation
from bosh_plans import of_agents, of_director, plan
from rollover.checks.rule import Finding, Severity
from rollover.engine.recovery import Recovery
from rollover.errors import SpecError
from rollover.fleet.names import RuleId
from rollover.fleet.plan import Plan
from rollover.manifest import FileStore, interpolate, load_variables, operations
from rollover.platforms.bosh import ops_files, runbook
from rollover.platforms.bosh.ops_files import Wanted
from rollover.platforms.bosh.properties import Part
from rollover.platforms.bosh.runbook import Facts
from rollover.platforms.bosh.runbook_text import DeploymentFacts

AT = datetime.now(UTC).replace(microsecond=0)
URL = "https://10.0.0.6:25555"
RUN = "from rollover.cli.app import main; main()"
FACTS = Facts(
    director=URL,
    deployments=(
        DeploymentFacts(name="cf", instances=7, with_disks=("db/1",), ignored=("api/2",)),
        DeploymentFacts(name="old", instances=2, recreated=("`x/1`: its stemcell is too old",)),
        DeploymentFacts(name="empty", instances=0),
    ),
)


def four_steps() -> Plan:
    """The plan that the search finds."""
    return bosh_plans.four_steps(files.generation(), files.generation(21), at=AT)


def write(director: Director, *, facts: Facts = FACTS, what: Plan | None = None) -> Path:
    """Write the runbook; return its directory."""
    directory = director.folder / "runbook"
    written = runbook.write_runbook(
        directory, what or four_steps(), environment=director.environment(), facts=facts
    )
    assert {each.name for each in written} == {each.name for each in directory.iterdir()}
    return directory


def by_hand(director: Director, ops_file: Path | None) -> str:
    """What `create-env` deploys with a file, what is missing generated."""
    return interpolate(
        director.manifest.read_bytes(),
        operations=operations(ops_file.read_bytes(), name="o") if ops_file else (),
        variables=load_variables((director.folder / "vars.yml").read_bytes()),
        store=FileStore(director.store),
        all_found=True,
    )


def test_the_files_rotate_a_director_by_hand(tmp_path: Path) -> None:
    """Step 1 generates all four, step 3 uses them, the clean-up deploys nothing else."""
    director = files.director(tmp_path)
    directory = write(director)
    before = set(director.stored())
    by_hand(director, directory / "add-new-ca.yml")
    assert set(director.stored()) - before == {f"{name}_2" for name in files.NAMES.values()}
    stored = director.stored()
    third = by_hand(director, directory / "remove-old-ca.yml")
    assert director.stored() == stored
    cleaned = interpolate(
        director.store.read_bytes(),
        operations=operations((directory / "update_nats_var_values.yml").read_bytes(), name="o"),
        variables=stored,
    )
    director.store.write_text(cleaned)
    assert set(director.stored()) == before
    assert by_hand(director, None) == third


def test_the_files_do_what_those_of_the_documentation_do(tmp_path: Path) -> None:
    """With the same vars store, byte for byte."""
    director = files.director(tmp_path)
    directory = write(director)
    by_hand(director, directory / "add-new-ca.yml")
    stored = director.stored()
    for name, theirs in (
        ("add-new-ca.yml", bosh_lab.add_new_ca()),
        ("remove-old-ca.yml", bosh_lab.remove_old_ca()),
    ):
        ours = (directory / name).read_bytes()
        assert files.interpolated(director, ours, stored=stored) == files.interpolated(
            director, json.dumps(theirs).encode(), stored=stored
        )


def test_the_instructions_are_for_this_fleet(tmp_path: Path) -> None:
    """Its own line, its deployments, who is left out, and what to look at before each step."""
    director = files.director(tmp_path, flags="-v nats_password=hush")
    text = (write(director) / "RUNBOOK.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Before you begin",
        "## Step 1: the director VM (trust, activate, reissue)",
        "## Step 2: all agents",
        "## Step 3: the director VM (reissue, withdraw)",
        "## Step 4: all agents",
        "## Step 5: clean up the vars store",
        "## If a step has to be taken back",
    ]
    for wanted in (
        f"cd {tmp_path}\nbosh create-env bosh.yml",
        f"-o {tmp_path}/runbook/add-new-ca.yml",
        f"-o {tmp_path}/runbook/remove-old-ca.yml",
        f"bosh -e {URL} -n -d cf deploy cf.yml",
        f"bosh -e {URL} -n -d old recreate\n",
        "its stemcell is too old",
        "`api/2`",
        "update-resurrection off",
        "connz?auth=1",
        "current_manifest_sha",
        "signs with nats_ca@2 instead of nats_ca@1",
    ):
        assert wanted in text, wanted
    assert "-d empty" not in text
    assert "hush" not in text


def test_what_stands_in_the_way_is_told_first(tmp_path: Path) -> None:
    """Before anything is done."""
    finding = Finding(
        rule=RuleId("bosh-locked"),
        severity=Severity.ERROR,
        subject="cf",
        message="it is locked by task 12",
        remedy="Wait for it.",
    )
    facts = Facts(director=URL, deployments=FACTS.deployments, findings=(finding,))
    text = (write(files.director(tmp_path), facts=facts) / "RUNBOOK.md").read_text()
    assert text.index("it is locked by task 12") < text.index("## Step 1")


def test_no_key_and_no_password_is_written(tmp_path: Path) -> None:
    """Files that people pass around."""
    directory = write(files.director(tmp_path, flags="-v director_name=hush"))
    everything = "".join(each.read_text() for each in directory.iterdir())
    assert not re.search(r"PRIVATE KEY-----|secret-of-nats|hush", everything)


def test_a_rotation_under_way_is_gone_on_with(tmp_path: Path) -> None:
    """What is in the vars store already is used; what is missing gets a definition."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path)
    present = (Part.CLIENT_CA, Part.DIRECTOR, Part.HEALTH_MONITOR)
    successors = {f"{files.NAMES[part]}_2": new.value(part) for part in present}
    inputs = director.environment().inputs()
    plain = ops_files.plain(inputs, tls=inputs.evaluate().properties().tls)
    director.write_store({**director.stored(), **successors})
    chains = {part: ((old if part is Part.SERVER else new).of[part].certificate,) for part in Part}
    found = ops_files.written(
        plain, Wanted(bundle=(old.ca, new.ca), chains=chains), director.stored()
    )
    assert found is not None
    kept = tmp_path / found.name
    kept.write_bytes(found.content)
    director.deployed(kept)
    specimen = files.generation(21)
    server = Generation({**new.of, Part.SERVER: specimen.of[Part.SERVER]})
    rest = plan(
        of_director(1, presents=(server, new, new, new), trusts=(new,), at=AT),
        of_agents(2, at=AT),
        target=new.ca.fingerprint,
        at=AT,
    )
    runbook.write_runbook(
        tmp_path / "runbook",
        rest,
        environment=director.environment(),
        facts=FACTS,
        kept=(kept,),
    )
    by_hand(director, tmp_path / "runbook/remove-old-ca.yml")
    server_value = director.stored()["nats_server_tls_3"]
    ca_value = director.stored()["nats_ca_2"]
    assert isinstance(server_value, dict)
    assert isinstance(ca_value, dict)
    assert server_value["ca"] == ca_value["certificate"]


def test_a_recovery_never_calls_itself_safe(tmp_path: Path) -> None:
    """It names what may be lost, asks for a window, and recreates with `--fix`."""
    director = files.director(tmp_path)
    recovery = Recovery(expired=("`nats_ca@1` expired",), cut_off=())
    facts = Facts(director=URL, deployments=FACTS.deployments, recovery=recovery)
    directory = write(director, facts=facts)
    text = (directory / "RUNBOOK.md").read_text()
    assert "not safe" in text
    assert "maintenance window" in text
    assert "`db/1`" in text
    assert f"bosh -e {URL} -n -d cf recreate --fix" in text
    assert "is safe" not in text.lower()
    assert "`nats_ca@1` expired" in text
    assert "every agent answers" not in text


def test_the_recovery_makes_all_certificates_anew_and_loses_nothing_of_them(
    tmp_path: Path,
) -> None:
    """Also what no definition says (H10)."""
    present = files.generation(31, names=("127.0.0.1", "nats.example.com"))
    director = files.director(tmp_path, values={"nats_password": "x", **present.values()})
    facts = Facts(director=URL, deployments=(), recovery=Recovery(expired=("`nats_ca@1` expired",)))
    directory = write(director, facts=facts)
    director.store.write_text(
        interpolate(
            director.store.read_bytes(),
            operations=operations((directory / runbook.FORGET).read_bytes(), name="o"),
        )
    )
    assert set(director.stored()) == {"nats_password"}
    by_hand(director, directory / runbook.KEEP)
    found = director.environment().inputs().evaluate().properties().tls
    assert found.pairs[Part.SERVER].chain[0].names == ("nats.example.com", "127.0.0.1")
    assert found.signer != present.ca


def test_a_plan_that_the_ops_files_cannot_say_is_refused(tmp_path: Path) -> None:
    """A standby is a CA more than there are names for."""
    old, specimen, standby = files.generation(), files.generation(21), files.generation(3)
    what = plan(
        of_director(
            1,
            presents=(old, specimen, specimen, specimen),
            trusts=(old, specimen, standby),
            at=AT,
        ),
        target=specimen.ca.fingerprint,
        at=AT,
    )
    with pytest.raises(SpecError, match="standby"):
        write(files.director(tmp_path), what=what)


def test_a_plan_that_is_blocked_has_no_clean_up(tmp_path: Path) -> None:
    """It is for the end."""
    old, specimen = files.generation(), files.generation(21)
    what = plan(
        of_director(1, presents=(old, specimen, specimen, specimen), trusts=(old, specimen), at=AT),
        target=specimen.ca.fingerprint,
        at=AT,
        complete=False,
    )
    text = (write(files.director(tmp_path), what=what) / "RUNBOOK.md").read_text()
    assert "## Not planned yet" in text
    assert "clean up" not in text


def shell_of(text: str, heading: str) -> str:
    """Return the first commands below a heading."""
    return text.partition(heading)[2].partition("```sh\n")[2].partition("```")[0]


@pytest.mark.parametrize("given", [True, False])
def test_the_commands_of_the_clean_up_never_leave_half_a_store(
    tmp_path: Path, *, given: bool
) -> None:
    """Run by a shell: all of it happens, or, with a value that nobody set, nothing (H8)."""
    director = files.director(tmp_path, flags="-v director_name=other")
    directory = write(director)
    by_hand(director, directory / "add-new-ca.yml")
    third = by_hand(director, directory / "remove-old-ca.yml")
    before = director.store.read_bytes()
    shim = tmp_path / "bin/bosh"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{RUN}" "$@"\n')
    shim.chmod(0o700)
    commands = shell_of((directory / "RUNBOOK.md").read_text(), "clean up the vars store")
    ended = subprocess.run(
        ["sh", "-c", commands],  # noqa: S607 - any shell
        env={
            "PATH": f"{shim.parent}:/usr/bin:/bin",
            **({"VAR_director_name": "other"} if given else {}),
        },
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode == 0) is given, ended.stderr
    if given:
        assert set(director.stored()) == {"nats_password", *files.NAMES.values()}
        assert by_hand(director, None) == third
        assert director.store.stat().st_mode & 0o777 == 0o600
    else:
        assert director.store.read_bytes() == before
