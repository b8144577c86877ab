"""Rollover gives agents their credentials itself; and without proof it does nothing at all."""

from __future__ import annotations

from pathlib import Path

from rigs.bosh_lab import BoshLab, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import (
    announced,
    command,
    create_envs,
    machines,
    rotate,
    task_descriptions,
    trusted_by_nats,
    variables,
)
from rollover.errors import ExitCode
from rollover.probe.monitoring import Monitor

MONITOR = "  monitor: "


def _starts_of_jobs(lab: BoshLab) -> dict[str, bytes]:
    """Return what each VM's monit remembers: since when its jobs run."""
    found = {path.parts[-3]: path.read_bytes() for path in lab.layout.cloud.rglob("jobs.json")}
    assert len(found) == len(machines(lab))
    return found


def _connections(lab: BoshLab) -> frozenset[str]:
    """Return the certificates that agents are connected with."""
    from rollover.platforms.bosh.connections import MonitoredConnections  # noqa: PLC0415

    url = next(
        line.removeprefix(MONITOR)
        for line in lab.layout.fleet.read_text().splitlines()
        if line.startswith(MONITOR)
    )
    listing = MonitoredConnections(Monitor(url, timeout_seconds=15.0)).listing()
    return frozenset(str(agent.cert_sha256) for agent in listing.agents)


def test_agents_are_updated_without_restarts_of_their_jobs(tmp_path: Path) -> None:
    """First without sight of connections: refused. Then directly; the next deploy catches up."""
    with bosh_lab(tmp_path / "lab", in_a_hurry(agents=4, deployments=2, max_in_flight=4)) as lab:
        before = variables(lab)
        text = lab.layout.fleet.read_text()
        blind = lab.layout.root / "blind.yml"
        blind.write_text(
            "\n".join(line for line in text.splitlines() if not line.startswith(MONITOR))
        )
        refused = command(lab, "rotate", "--yes", fleet=blind)
        assert refused.code == ExitCode.EVIDENCE_MISSING, refused.said
        assert "bosh-connections-unseen" in refused.output
        assert "enable_metrics_endpoint" in refused.output
        assert (create_envs(lab), announced(lab), variables(lab)) == (0, (), before)

        lab.layout.fleet.write_text(text.replace("in_place: director", "in_place: direct"))
        jobs, deploys = _starts_of_jobs(lab), task_descriptions(lab)
        done = rotate(lab)
        assert done.code == ExitCode.DONE, done.said
        assert trusted_by_nats(lab) == 1
        assert lab.all_answer()
        assert _starts_of_jobs(lab) == jobs
        changes = [
            task_description
            for task_description in task_descriptions(lab)[len(deploys) :]
            if "vm-stats" not in task_description
        ]
        assert changes == []
        assert "bosh-record-stale" in done.said

        connected, before_deploy = _connections(lab), machines(lab)
        lab.deploy()
        eventually(lab.all_answer)
        eventually(lambda: not connected & _connections(lab))
        assert machines(lab) == before_deploy
        again = rotate(lab)
        assert again.code == ExitCode.DONE, again.said
        assert "nothing to do" in again.said
        assert "bosh-record-stale" not in again.said
