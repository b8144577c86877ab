"""A rotation written down for people: files that work, commands for this fleet, no keys."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from bosh_interpolate import FileStore, interpolate, load, load_variables, read_ops_file
from rigs import bosh_director_files as files
from rigs import bosh_lab, bosh_plans
from rigs.bosh_director_files import Director, Generation
from rigs.bosh_plans import of_agents, of_director, plan
from rollover.engine.recovery import Recovery
from rollover.errors import SpecError
from rollover.fleet.names import InstanceName, RuleId
from rollover.fleet.plan import Plan
from rollover.platforms.bosh import nats_properties, ops_files, runbook
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.ops_files import WantedTls
from rollover.platforms.bosh.runbook import (
    DeploymentFacts,
    InstanceFacts,
    OperatorAccess,
    RunbookFacts,
)
from rollover.platforms.bosh.runbook_ops_files import FORGET, GO_BACK, KEEP
from rollover.rules.rule import Finding, Severity

AT = datetime.now(UTC).replace(microsecond=0)
URL = "https://10.0.0.6:25555"
RUN = "from rollover.cli.app import main; main()"


def instance(name: str, *, recreate: str = "", disk: bool = False) -> InstanceFacts:
    """One instance that runs."""
    return InstanceFacts(name=InstanceName(name), recreate=recreate, disk=disk)


IGNORED = InstanceFacts(name=InstanceName("cf/api/2"), ignored=True)
DEPLOYMENTS = (
    DeploymentFacts(name="cf", instances=(instance("cf/db/1", disk=True), IGNORED)),
    DeploymentFacts(name="old", instances=(instance("old/x/1", recreate="its stemcell is old"),)),
    DeploymentFacts(
        name="mixed",
        instances=(instance("mixed/x/1", recreate="its stemcell is old"), instance("mixed/y/1")),
    ),
    DeploymentFacts(name="empty"),
)
FACTS = RunbookFacts(
    access=OperatorAccess(url=URL, monitor="http://127.0.0.1:8222"),
    name="test",
    uuid="0f0f",
    deployments=DEPLOYMENTS,
)
MEANT = tuple(
    instance_facts.name for instance_facts in FACTS.instances if not instance_facts.ignored
)
CUT_OFF = Recovery(expired=("`nats_ca@1` expired",), cut_off=MEANT)
LONG_AGO = AT - timedelta(days=400)


def recovering(director: Director) -> Path:
    """Write the runbook of a recovery: all that is trusted has expired."""
    present = director.environment().inputs().evaluate().properties().tls
    old = files.generation(begins=LONG_AGO)
    assert present.signer == old.ca
    new = files.generation(21)
    what = plan(
        of_director(1, presents=(new,) * 4, trusts=(new,), at=AT),
        of_agents(2, instances=MEANT, at=AT),
        target=new.ca.fingerprint,
        at=AT,
    )
    return write(director, facts=msgspec.structs.replace(FACTS, recovery=CUT_OFF), what=what)


def expired(folder: Path) -> Director:
    """A director whose CA has ended."""
    old = files.generation(begins=LONG_AGO)
    return files.director(folder, values={"nats_password": "x", **old.values()})


def four_steps() -> Plan:
    """The plan that the search finds."""
    return bosh_plans.four_steps(files.generation(), files.generation(21), at=AT, instances=MEANT)


def write(director: Director, *, facts: RunbookFacts = FACTS, what: Plan | None = None) -> Path:
    """Write the runbook; return its directory."""
    directory = director.folder / "runbook"
    written = runbook.write_runbook(
        directory, what or four_steps(), environment=director.environment(), facts=facts
    )
    assert {path.name for path in written} == {path.name for path in directory.iterdir()}
    return directory


def by_hand(director: Director, ops_file: Path | None, **given: str) -> str:
    """What `create-env` deploys with a file, what is missing generated."""
    return interpolate(
        director.manifest.read_bytes(),
        operations=read_ops_file(ops_file.read_bytes(), name="o") if ops_file else (),
        variables={**load_variables((director.folder / "vars.yml").read_bytes()), **given},
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
        operations=read_ops_file((directory / "update_nats_var_values.yml").read_bytes(), name="o"),
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
    directory = write(director)
    text = (directory / "RUNBOOK.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## For the change ticket",
        "## Steps at a glance",
        "## What you need",
        "## Before step 1",
        "## Step 1: the director VM (trust, activate, reissue)",
        "## Step 2: all agents (trust, reissue)",
        "## Step 3: the director VM (reissue, withdraw)",
        "## Step 4: all agents (withdraw)",
        "## Step 5: clean up the vars store",
        "## In the end",
        "## To give it up after step 2 has begun",
    ]
    for wanted in (
        f"(cd {tmp_path} &&\n  bosh create-env bosh.yml",
        f"-o {tmp_path}/runbook/add-new-ca.yml",
        f"-o {tmp_path}/runbook/remove-old-ca.yml",
        'bosh -n -d cf deploy "$PRIVATE/cf.yml"\n',
        "\nbosh -n -d old recreate\n",
        'bosh -n -d mixed deploy "$PRIVATE/mixed.yml" &&\n  bosh -n -d mixed recreate x/1\n',
        "its stemcell is old",
        "`api/2`",
        "update-resurrection off",
        "update-resurrection on",
        "signs with nats_ca@2 instead of nats_ca@1",
        'export VAR_nats_password="${VAR_nats_password:?}"',
    ):
        assert wanted in text, wanted
    assert "-d empty" not in text
    assert "hush" not in text
    settings = (directory / "settings.sh").read_text()
    assert f"export BOSH_ENVIRONMENT={URL}\n" in settings
    assert "export DEPLOYMENTS='cf old mixed empty'\n" in settings
    assert "export LEFT_OUT=cf/api/2\n" in settings


def test_many_deployments_are_a_loop_after_the_first_of_them(tmp_path: Path) -> None:
    """Nobody reads hundreds of blocks; the smallest still goes first, alone."""
    many = tuple(
        DeploymentFacts(
            name=f"d{number}", instances=tuple(instance(f"d{number}/x/{at}") for at in range(size))
        )
        for number, size in enumerate((2, 1, 2, 2, 2, 2, 2))
    )
    facts = msgspec.structs.replace(FACTS, deployments=many)
    what = bosh_plans.four_steps(
        files.generation(),
        files.generation(21),
        at=AT,
        instances=tuple(instance_facts.name for instance_facts in facts.instances),
    )
    text = (write(files.director(tmp_path), facts=facts, what=what) / "RUNBOOK.md").read_text()
    second = text.partition("## Step 2")[2].partition("## Step 3")[0]
    assert 'bosh -n -d d1 deploy "$PRIVATE/d1.yml"' in second
    assert "for deployment in d0 d2 d3 d4 d5 d6; do" in second
    assert 'bosh -n -d "$deployment" deploy "$PRIVATE/$deployment.yml" ||\n  exit 1' in second
    assert "-d d0 deploy" not in second


def test_whoever_is_done_is_left_alone(tmp_path: Path) -> None:
    """Deployments without an instance in a rollout are not deployed, nor waited for."""
    what = bosh_plans.four_steps(
        files.generation(), files.generation(21), at=AT, instances=(InstanceName("old/x/1"),)
    )
    directory = write(files.director(tmp_path), what=what)
    text = (directory / "RUNBOOK.md").read_text()
    assert "-d old recreate" in text
    assert "-d cf deploy" not in text
    settings = (directory / "settings.sh").read_text()
    assert "export DONE_BEFORE_2='cf/db/1 cf/api/2 mixed/x/1 mixed/y/1'\n" in settings


def test_what_stands_in_the_way_is_told_first(tmp_path: Path) -> None:
    """Before anything is done."""
    finding = Finding(
        rule=RuleId("bosh-locked"),
        severity=Severity.ERROR,
        subject="cf",
        message="it is locked by task 12",
        remedy="Wait for it.",
    )
    facts = msgspec.structs.replace(FACTS, findings=(finding,))
    text = (write(files.director(tmp_path), facts=facts) / "RUNBOOK.md").read_text()
    assert text.index("it is locked by task 12") < text.index("## Step 1")


def test_no_key_and_no_password_is_written(tmp_path: Path) -> None:
    """Files that people pass around."""
    directory = write(files.director(tmp_path, flags="-v director_name=hush"))
    everything = "".join(path.read_text() for path in directory.iterdir())
    assert not re.search(r"PRIVATE KEY-----|secret-of-nats|hush", everything)


def test_a_rotation_under_way_is_gone_on_with(tmp_path: Path) -> None:
    """What is in the vars store already is used; what is missing gets a definition."""
    old, new = files.generation(), files.generation(2)
    director = files.director(tmp_path)
    present = (NatsPart.CLIENT_CA, NatsPart.DIRECTOR, NatsPart.HEALTH_MONITOR)
    successors = {f"{files.NAMES[part]}_2": new.value(part) for part in present}
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    director.write_store({**director.stored(), **successors})
    chains = {
        part: ((old if part is NatsPart.SERVER else new).of[part].certificate,) for part in NatsPart
    }
    found = ops_files.write_ops_file(
        plain, WantedTls(bundle=(old.ca, new.ca), chains=chains), director.stored()
    )
    assert found is not None
    kept = tmp_path / found.name
    kept.write_bytes(found.content)
    director.deployed(kept)
    specimen = files.generation(21)
    server = Generation({**new.of, NatsPart.SERVER: specimen.of[NatsPart.SERVER]})
    rest = plan(
        of_director(1, presents=(server, new, new, new), trusts=(new,), at=AT),
        of_agents(2, instances=MEANT, at=AT),
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
    text = (tmp_path / "runbook/RUNBOOK.md").read_text()
    before, _, first = text.partition("## Step 1")
    assert f'"$RUNBOOK/gate" deployed {kept.name}' in before
    assert f"-o {tmp_path}/runbook/{kept.name}" in first.partition("## Step 2")[0]
    by_hand(director, tmp_path / "runbook/remove-old-ca.yml")
    server_value = director.stored()["nats_server_tls_3"]
    ca_value = director.stored()["nats_ca_2"]
    assert isinstance(server_value, dict)
    assert isinstance(ca_value, dict)
    assert server_value["ca"] == ca_value["certificate"]


def test_what_is_left_may_be_the_clean_up_alone(tmp_path: Path) -> None:
    """Of a rotation whose last rollout of the director VM is done already."""
    new = files.generation(2)
    director = files.director(tmp_path)
    inputs = director.environment().inputs()
    plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
    successors = {f"{files.NAMES[part]}_2": new.value(part) for part in NatsPart}
    director.write_store({**director.stored(), **successors})
    chains = {part: (new.of[part].certificate,) for part in NatsPart}
    found = ops_files.write_ops_file(
        plain, WantedTls(bundle=(new.ca,), chains=chains), director.stored()
    )
    assert found is not None
    kept = tmp_path / found.name
    kept.write_bytes(found.content)
    director.deployed(kept)
    what = plan(of_agents(1, instances=MEANT, at=AT), target=new.ca.fingerprint, at=AT)
    directory = tmp_path / "runbook"
    runbook.write_runbook(
        directory, what, environment=director.environment(), facts=FACTS, kept=(kept,)
    )
    text = (directory / "RUNBOOK.md").read_text()
    assert "## Step 2: clean up the vars store" in text
    assert f'gate" same "$PRIVATE/vars-store.new" {found.name}' in text
    assert (directory / found.name).read_bytes() == found.content
    assert "go-back" not in text


def test_the_way_back_trusts_both_and_comes_from_the_old_ca(tmp_path: Path) -> None:
    """It generates nothing, and what it deploys differs from the plain manifest by a CA."""
    director = files.director(tmp_path)
    directory = write(director)
    by_hand(director, directory / "add-new-ca.yml")
    stored = director.stored()
    text = by_hand(director, directory / GO_BACK)
    assert director.stored() == stored
    found = nats_properties.read_properties(load(text.encode())).tls
    assert found.signer == files.generation().ca
    assert found.bundle[0] == files.generation().ca
    assert len(found.bundle) == 2
    assert found.pairs == director.environment().inputs().evaluate().properties().tls.pairs


def test_a_recovery_never_calls_itself_safe(tmp_path: Path) -> None:
    """It names what may be lost, asks for a window, and recreates with `--fix`."""
    text = (recovering(expired(tmp_path)) / "RUNBOOK.md").read_text()
    assert "not safe" in text
    assert "maintenance window" in text
    assert "`cf`: `db/1`" in text
    assert "bosh -n -d old recreate --fix" in text
    assert "is safe" not in text.lower()
    assert "`nats_ca@1` expired" in text
    assert "go-back" not in text
    before = text.partition("## Before step 1")[2].partition("## Step 1")[0]
    assert '"$RUNBOOK/gate" agents' not in before


def test_a_recovery_goes_on_where_it_is(tmp_path: Path) -> None:
    """With the director done, its new CA is kept: nobody is cut off once more."""
    director = files.director(tmp_path)
    what = plan(
        of_agents(1, instances=MEANT, at=AT), target=files.generation().ca.fingerprint, at=AT
    )
    facts = msgspec.structs.replace(FACTS, recovery=CUT_OFF)
    directory = write(director, facts=facts, what=what)
    text = (directory / "RUNBOOK.md").read_text()
    assert "-d old recreate --fix" in text
    assert "create-env" not in text.partition("## Step 1")[2].partition("## In the end")[0]
    assert not (directory / FORGET).exists()


def test_one_that_is_cut_off_does_not_cost_the_others_their_ca(tmp_path: Path) -> None:
    """While a CA is trusted that is valid, nothing is taken out of the vars store."""
    facts = msgspec.structs.replace(FACTS, recovery=CUT_OFF)
    directory = write(files.director(tmp_path), facts=facts)
    assert not (directory / FORGET).exists()
    assert (directory / "add-new-ca.yml").exists()


def test_the_recovery_makes_all_certificates_anew_and_loses_nothing_of_them(
    tmp_path: Path,
) -> None:
    """Also what no definition says (H10)."""
    present = files.generation(31, names=("127.0.0.1", "nats.example.com"), begins=LONG_AGO)
    director = files.director(tmp_path, values={"nats_password": "x", **present.values()})
    new = files.generation(21)
    what = plan(
        of_director(1, presents=(new,) * 4, trusts=(new,), at=AT),
        target=new.ca.fingerprint,
        at=AT,
    )
    facts = msgspec.structs.replace(FACTS, recovery=CUT_OFF)
    directory = write(director, facts=facts, what=what)
    director.store.write_text(
        interpolate(
            director.store.read_bytes(),
            operations=read_ops_file((directory / FORGET).read_bytes(), name="o"),
        )
    )
    assert set(director.stored()) == {"nats_password"}
    by_hand(director, directory / KEEP)
    found = director.environment().inputs().evaluate().properties().tls
    assert found.pairs[NatsPart.SERVER].chain[0].names == ("nats.example.com", "127.0.0.1")
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
    assert not (tmp_path / "runbook").exists()


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
    assert "## In the end" not in text


def shell_of(text: str, heading: str) -> str:
    """Return the first commands below a heading."""
    return text.partition(heading)[2].partition("```sh\n")[2].partition("```")[0]


def run(commands: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run commands with the runbook's settings; `bosh` is our own, for what needs no director."""
    shim = directory.parent / "bin/bosh"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{RUN}" "$@"\n')
    shim.chmod(0o700)
    return subprocess.run(
        ["sh", "-euc", f". {directory}/settings.sh\n{commands}"],  # noqa: S607 - any shell
        env={"PATH": f"{shim.parent}:/usr/bin:/bin", **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("given", [True, False])
def test_the_commands_of_the_clean_up_never_leave_half_a_store(
    tmp_path: Path, *, given: bool
) -> None:
    """Run by a shell: all of it happens, or, with a value that nobody set, nothing (H8)."""
    director = files.director(tmp_path, flags="-v director_name=other")
    directory = write(director)
    by_hand(director, directory / "add-new-ca.yml", director_name="other")
    third = by_hand(director, directory / "remove-old-ca.yml", director_name="other")
    director.record(hashlib.sha512(third.encode()).hexdigest())
    before = director.store.read_bytes()
    commands = shell_of((directory / "RUNBOOK.md").read_text(), "clean up the vars store")
    variables = {"VAR_director_name": "other"} if given else {}
    ended = run(f'mkdir "$PRIVATE"\n{commands}', directory, **variables)
    assert (ended.returncode == 0) is given, ended.stderr
    if given:
        assert set(director.stored()) == {"nats_password", *files.NAMES.values()}
        assert by_hand(director, None, director_name="other") == third
        assert director.store.stat().st_mode & 0o777 == 0o600
    else:
        assert director.store.read_bytes() == before


def test_the_gates_know_what_is_deployed(tmp_path: Path) -> None:
    """By the state file, and nothing that differs from it passes."""
    director = files.director(tmp_path)
    directory = write(director)
    passed = run('"$RUNBOOK/gate" deployed', directory)
    assert (passed.returncode, passed.stdout) == (0, "PASS: the manifest is what is deployed\n")
    by_hand(director, directory / "add-new-ca.yml")
    assert run('"$RUNBOOK/gate" deployed add-new-ca.yml', directory).returncode == 1
    director.deployed(directory / "add-new-ca.yml")
    assert run('"$RUNBOOK/gate" deployed add-new-ca.yml', directory).returncode == 0
    failed = run('"$RUNBOOK/gate" deployed', directory)
    assert failed.returncode == 1
    assert failed.stderr.startswith("FAIL: the manifest is not what ")


def test_the_gates_count_cas_that_can_be_read(tmp_path: Path) -> None:
    """Two joined without a line break between them are not two (H9)."""
    director = files.director(tmp_path)
    directory = write(director)
    by_hand(director, directory / "add-new-ca.yml")
    assert run('"$RUNBOOK/gate" bundle 2 add-new-ca.yml', directory).returncode == 0
    assert run('"$RUNBOOK/gate" bundle 1 add-new-ca.yml', directory).returncode == 1
    stored = director.stored()
    server = stored["nats_server_tls"]
    assert isinstance(server, dict)
    server["ca"] = str(server["ca"]).rstrip("\n")
    director.write_store(stored)
    joined = run('"$RUNBOOK/gate" bundle 2 add-new-ca.yml', directory)
    assert joined.returncode == 1
    assert joined.stderr.startswith("FAIL: ")


def test_the_gates_tell_how_they_are_used(tmp_path: Path) -> None:
    """A word that is no gate passes nothing."""
    ended = run('"$RUNBOOK/gate" nonsense', write(files.director(tmp_path)))
    assert ended.returncode == 2
    assert "gate agents [SECONDS]" in ended.stderr
