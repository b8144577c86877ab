"""A NATS CA that has expired: told from the certificates, refused, and recovered in a window."""

from __future__ import annotations

from pathlib import Path

from rigs.bosh_lab import NAMES, bosh_lab, eventually, in_a_hurry
from rigs.bosh_rotating import command, create_envs, instance, machines, rotate, variables
from rollover.errors import ExitCode
from rollover_lab.bosh import expiry
from rollover_lab.bosh.lab import create_env_call


def test_an_expired_ca_is_recovered_from_in_a_window(tmp_path: Path) -> None:
    """What may be lost is named before; nothing of it is called safe; then everybody answers."""
    spec = in_a_hurry(agents=2, deployments=1, max_in_flight=2, persistent=1)
    with bosh_lab(tmp_path / "lab", spec) as lab:
        before, machines_before = variables(lab), machines(lab)
        manifest = lab.layout.manifest.read_bytes()
        database = instance(lab, "cf", "database")
        (disk,) = (lab.layout.cloud / "disks").iterdir()
        (disk / "data").write_text("precious")
        expiry.expire(lab.layout, lab.cloud, request=create_env_call(lab.layout))

        checked = command(lab, "check")
        assert checked.code == ExitCode.REFUSED, checked.said
        assert "the CA nats_ca@1 expired" in checked.output

        refused = rotate(lab)
        assert refused.code == ExitCode.REFUSED, refused.said
        assert "recovery-needed: `nats_ca@1`" in refused.output
        assert "rollover rotate --recover --window START/END" in refused.output
        assert create_envs(lab) == 0

        planned = command(lab, "plan", "--recover")
        assert "NOT SAFE" in planned.said
        assert f"bosh-recovery-loses: {database.name}: " in planned.said
        assert disk.name in planned.said

        at_any_time = rotate(lab, "--recover")
        assert at_any_time.code == ExitCode.USAGE
        assert "--window" in at_any_time.errors
        too_early = rotate(lab, "--recover", "--window", "2199-01-01T00:00Z/PT1H")
        assert too_early.code == ExitCode.WAITING, too_early.said
        assert create_envs(lab) == 0

        done = rotate(lab, "--recover", "--window", "PT1H")
        assert done.code == ExitCode.DONE, done.said
        assert done.said.index("NOT SAFE") < done.said.index("rollout 1/2")
        assert done.said.index(f"bosh-recovery-loses: {database.name}") < done.said.index(
            "rollout 1/2"
        )
        eventually(lab.all_answer)
        after = machines(lab)
        assert after.keys() == machines_before.keys()
        assert not set(after.values()) & set(machines_before.values())
        assert (disk / "data").read_text() == "precious"
        assert {name for name, value in variables(lab).items() if value != before[name]} == {*NAMES}
        assert lab.layout.manifest.read_bytes() == manifest
        assert "Skipping deploy." in lab.create_env()
        assert command(lab, "check").code == ExitCode.DONE
