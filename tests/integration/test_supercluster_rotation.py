"""The servers' own CA rotated over a whole supercluster: every port of every kind, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollover.engine.outcome import Ending
from rollover.lab.lab import running
from rollover.lab.presets import preset
from rollover.lab.renewal import gateways
from rotating import UNHARMED, Losses, holds, rotate, trusted_and_presented

pytestmark = pytest.mark.xdist_group("lab")


def test_the_own_ca_rotates_over_clusters_leaf_nodes_websocket_and_mqtt(tmp_path: Path) -> None:
    """Withdrawals on a port that nobody uses do not wait for those on another."""
    with running(preset("supercluster"), tmp_path / "lab") as lab:
        losses = Losses(lab)
        outcome = rotate(lab)
        assert outcome.ending is Ending.DONE, outcome.message
        assert losses.since() == UNHARMED
        assert all(each.stands for each in gateways(lab))
        trusted, presented = trusted_and_presented(lab)
        assert not any("Demo NATS CA 1" in each for each in (*trusted, *presented))
        assert any("Demo NATS CA 2" in each for each in trusted)
        assert holds(lab)
