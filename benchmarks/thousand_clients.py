"""The whole live rotation of a cluster of three servers with 1,000 mutual-TLS clients.

Run: `python benchmarks/thousand_clients.py [--clients N] [--in-flight K]`. All clients live in one
process and send little: what is measured is the rotation, not that process. The figures are those
of `rotation.py`.
"""

from __future__ import annotations

import argparse
import tempfile
from os import getloadavg
from pathlib import Path

from rotation import Way, measure, show

from rollover_lab.nats.spec import LabSpec, RateSpec

RATES = RateSpec(publish_per_second=0.05, request_per_second=0.5, jetstream_per_second=0.05)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=50)
    chosen = parser.parse_args()
    spec = LabSpec(name="thousand", clients=chosen.clients, rates=RATES)
    way = Way("standard", spec, in_flight=chosen.in_flight)
    print(
        f"rotating {len(spec.servers)} nats-servers and {chosen.clients} clients, "
        f"{chosen.in_flight} in flight; load {getloadavg()[0]:.1f}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="rollover-bench-") as name:
        show([(way, measure(way, Path(name) / "fleet"))])


if __name__ == "__main__":
    main()
