"""The stages that `create-env` prints."""

from __future__ import annotations

import pytest

from rollover_lab.bosh.create_env import Skipped, Stages


def test_stages_read_as_those_of_bosh() -> None:
    """Groups are set off by a blank line and indented; each stage ends with its time."""
    said: list[str] = []
    stages = Stages(said.append)
    stages.line("Deployment manifest: 'bosh.yml'")
    with stages.group("validating") as validating, validating.stage("Validating stemcell"):
        pass
    _skip(stages, "Uploading stemcell 'noble/1'")
    assert "".join(said).splitlines() == [
        "Deployment manifest: 'bosh.yml'",
        "",
        "Started validating",
        "  Validating stemcell... Finished (00:00:00)",
        "Finished validating (00:00:00)",
        "",
        "Uploading stemcell 'noble/1'... Skipped [Stemcell already uploaded] (00:00:00)",
    ]


def _skip(stages: Stages, name: str) -> None:
    with stages.stage(name):
        raise Skipped("Stemcell already uploaded")


def test_a_failure_is_shown_at_its_stage_and_group() -> None:
    """What fails is told where it failed, and goes on to the caller."""
    said: list[str] = []
    stages = Stages(said.append)

    def deploy() -> None:
        with stages.group("deploying") as deploying, deploying.stage("Deleting VM 'vm-1'"):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        deploy()
    assert "".join(said).splitlines()[1:] == [
        "Started deploying",
        "  Deleting VM 'vm-1'... Failed (00:00:00)",
        "Failed deploying (00:00:00)",
    ]
