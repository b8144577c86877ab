"""The example of a director: its files are those that come out for its manifest."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import bosh_plans
from bosh_director_files import Director, Generation, Made, generation
from rollover.manifest import FileStore, interpolate, load_variables
from rollover.pki.keys import from_pem
from rollover.platforms.bosh import runbook
from rollover.platforms.bosh.runbook import Facts
from rollover.platforms.bosh.runbook_text import DeploymentFacts

EXAMPLE = Path(__file__).parents[2] / "examples/bosh"
INPUTS = ("bosh.yml", "create-env.sh", "vars.yml")
SHOWN_AT = "/srv/director"
"""Where the example is, for those who read it."""
FACTS = Facts(
    director="https://10.0.0.6:25555",
    deployments=(
        DeploymentFacts(name="cf", instances=42, with_disks=("database/0c1f",)),
        DeploymentFacts(
            name="legacy",
            instances=3,
            recreated=("`worker/77aa`: `ubuntu-xenial/621.5` has an agent older than 2.388",),
            ignored=("worker/9b2e",),
        ),
    ),
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
    plan = bosh_plans.four_steps(old, generation(21), at=datetime(2026, 1, 5, 9, tzinfo=UTC))
    written = runbook.write_runbook(
        folder / "runbook", plan, environment=director.environment(), facts=FACTS
    )
    return {each.name: each.read_text().replace(str(folder), SHOWN_AT) for each in written}


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
