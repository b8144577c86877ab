"""The naive swap: what the planner refuses breaks in reality, at the link that it names."""

from __future__ import annotations

from pathlib import Path

from rigs.rotating import request
from rollover.site import now, open_fleet
from rollover_lab.nats import naive_swap
from rollover_lab.nats.lab import running
from rollover_lab.nats.spec import preset_named


def test_what_the_planner_refuses_does_break(tmp_path: Path) -> None:
    """The refusal names a link; done all the same, that link breaks and messages are lost."""
    with running(preset_named("cluster"), tmp_path / "lab") as lab:
        with open_fleet(lab.layout.fleet, scratch=True) as library:
            refused = library.naive_swap(request())
        witnesses = [violation.witness for violation in refused if violation.witness is not None]
        assert witnesses
        assert {violation.rule for violation in refused} == {"trust-before-use"}
        report = naive_swap.naive_swap(lab, naive_swap.new_lab_authority(lab, now=now()))
    broken = {(link.dialer, link.acceptor) for link in report.broken}
    for witness in witnesses:
        assert (str(witness.dialer), str(witness.acceptor)) in broken
    assert lab.traffic().lost > 0
