"""The example of a director: its files are those that come out for its manifest."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bosh_interpolate import FileStore, interpolate, load_variables
from rigs import bosh_plans
from rigs.bosh_director_files import Director, Generation, Made, generation
from rigs.workspace import EXAMPLES
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import InstanceName, short
from rollover.pki.keys import from_pem
from rollover.platforms.bosh import runbook
from rollover.platforms.bosh.runbook import (
    DeploymentFacts,
    InstanceFacts,
    OperatorAccess,
    RunbookFacts,
)

EXAMPLE = EXAMPLES / "bosh"
INPUTS = ("bosh.yml", "create-env.sh", "vars.yml")
SHOWN_AT = "/srv/director"
"""Where the example is, for those who read it."""
CF = tuple(InstanceFacts(name=InstanceName(f"cf/cell/{at:04x}")) for at in range(40))
DATABASES = tuple(
    InstanceFacts(name=InstanceName(f"cf/database/{at:04x}"), disk=True) for at in range(2)
)
OLD = "`ubuntu-xenial/621.5` has an agent older than 2.388"
LEGACY = (
    InstanceFacts(name=InstanceName("legacy/worker/77aa"), recreate=OLD),
    InstanceFacts(name=InstanceName("legacy/worker/9b2e"), recreate=OLD),
    InstanceFacts(name=InstanceName("legacy/api/01c3")),
)
FACTS = RunbookFacts(
    access=OperatorAccess(
        url="https://10.0.0.6:25555",
        client="rollover",
        ca_cert=Path("/srv/director/director-ca.pem"),
    ),
    name="example",
    uuid="6c1b0a52-0f6e-4c0b-9d5d-2f7a3f1f0a11",
    deployments=(
        DeploymentFacts(
            name="cf", instances=CF + DATABASES, at_once=4, takes=timedelta(minutes=18)
        ),
        DeploymentFacts(name="legacy", instances=LEGACY, takes=timedelta(minutes=11)),
    ),
    resurrection=True,
)


def made(folder: Path) -> dict[str, str]:
    """Write the example's runbook from its manifest, with throw-away credentials; return it all."""
    for name in INPUTS:
        shutil.copy(EXAMPLE / name, folder / name)
    director = Director(folder)
    interpolate(
        director.manifest.read_bytes(),
        variables={
            **load_variables((folder / "vars.yml").read_bytes()),
            "director_name": "example",
        },
        store=FileStore(director.store),
        all_found=True,
    )
    director.deployed()
    tls = director.environment().inputs().evaluate().properties().tls
    old = Generation(
        {part: Made(pair.chain[0], from_pem(pair.key.reveal())) for part, pair in tls.pairs.items()}
    )
    plan = bosh_plans.four_steps(
        old,
        generation(21),
        at=datetime(2026, 1, 5, 9, tzinfo=UTC),
        instances=tuple(instance.name for instance in FACTS.instances),
    )
    written = runbook.write_runbook(
        folder / "runbook", plan, environment=director.environment(), facts=FACTS
    )
    return {path.name: shown(path.read_text(), folder, tls.signer) for path in written}


def shown(text: str, folder: Path, signer: Certificate) -> str:
    """Return a file without what differs each time."""
    for now, ever in (
        (str(folder), SHOWN_AT),
        (short(signer.fingerprint), "7d0e52a94c1b"),
        (f"{signer.not_after:%Y-%m-%d}", "2026-02-19"),
    ):
        text = text.replace(now, ever)
    return text


def test_the_examples_files_are_those_that_come_out(tmp_path: Path) -> None:
    """Whoever changes ops files or runbooks looks at the difference here."""
    found = made(tmp_path)
    assert found == {name: (EXAMPLE / name).read_text() for name in found}


@pytest.mark.parametrize("name", ["add-new-ca.yml"])
def test_the_example_shows_what_is_carried_over(name: str) -> None:
    """The name and the lifetime that the documentation's file would lose."""
    text = (EXAMPLE / name).read_text()
    assert "- nats.example.com" in text
    assert text.count(f"duration: {timedelta(days=730).days}") == 4
