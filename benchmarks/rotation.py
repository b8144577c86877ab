"""The whole live rotation of a real fleet, beside the sum of the reload times that it contains.

Run: `python benchmarks/rotation.py [--rounds N] [--clients N]`. Starts the fleet of the demo for
each way of rotating it, rotates its CA once under traffic, and says where the time went. The reload
time of a server is what its reload took; of a client with a status file, the time from its files
being in place until it had loaded them; of a plain client, until a server saw it back.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from os import getloadavg
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from unittest.mock import patch

import msgspec

from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.delivery import client_status
from rollover.delivery.local import LocalDelivery
from rollover.engine import events
from rollover.engine.events import Conduct, Ending
from rollover.engine.goals import Request
from rollover.engine.ports import DeliveredFile, Receipt
from rollover.fleet.evidence import Applied
from rollover.site import open_fleet
from rollover_lab.nats.description import AUTHORITY, CLIENTS
from rollover_lab.nats.lab import running
from rollover_lab.nats.spec import LabSpec, preset_named
from rollover_lab.traffic.report import TrafficReport

GOAL = 2.0
WARM_UP_SECONDS = 1.0
STAGES = (
    "reloading",
    "confirming",
    "delivering",
    "minting",
    "planning",
    "gates",
    "observing",
    "beginning",
)
"""Where several are under way at once, the time counts for the first of them."""


class Way(NamedTuple):
    """One way to rotate a fleet."""

    label: str
    spec: LabSpec
    cross_sign: bool = False
    in_flight: int | None = None
    """Clients at once; None: as many as the lab describes."""


class Span(NamedTuple):
    """A stage that was under way from one moment to another (monotonic seconds)."""

    stage: str
    start: float
    end: float


class Figures(NamedTuple):
    """One rotation. `shares` are seconds of wall time by stage; together they are `seconds`."""

    rollouts: int
    seconds: float
    reload_seconds: float
    shares: dict[str, float]
    lost: int
    disconnects: int

    @property
    def ratio(self) -> float:
        """The whole beside the sum of the reload times."""
        return self.seconds / self.reload_seconds

    @property
    def strict_ratio(self) -> float:
        """The whole beside the time in which at least one instance was reloading."""
        return self.seconds / self.shares["reloading"]


class Stopwatch:
    """Notes which stage of a rotation is under way when, from what the rotation tells."""

    def __init__(self, status_files: dict[str, Path]) -> None:
        self.spans: list[Span] = []
        self.reload_seconds = 0.0
        self._status_files = status_files
        self._delivered: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}
        self._last = self.started = monotonic()
        # Status files tell the time of day.
        self._midnight = datetime.now(UTC).timestamp() - monotonic()

    def tell(self, event: events.Event) -> None:
        """Take an event of the rotation."""
        now = monotonic()
        match event:
            case events.Observed():
                if not self.spans:
                    self._add("beginning", self.started, now - event.seconds)
                self._add("observing", now - event.seconds, now)
            case events.Planned():
                self._add("planning", now - event.seconds, now)
            case events.RolloutStarted():
                self._add("minting", self._last, now)
            case events.GateChecked() | events.Draining():
                self._add("gates", self._last, now)
            case events.InstanceDone(result=Applied() as result):
                self._instance(result)
            case _:
                pass
        self._last = monotonic()

    @contextmanager
    def on_deliveries(self) -> Iterator[None]:
        """Note when files are brought and when they are confirmed, of every instance."""
        deliver, confirm = LocalDelivery.deliver, LocalDelivery.confirm

        def timed_deliver(
            delivery: LocalDelivery, instance: str, files: tuple[DeliveredFile, ...]
        ) -> Receipt:
            start = monotonic()
            receipt = deliver(delivery, instance, files)
            self._delivered[instance] = monotonic()
            self._add("delivering", start, self._delivered[instance])
            return receipt

        def timed_confirm(delivery: LocalDelivery, receipt: Receipt) -> None:
            self._confirmed[receipt.instance] = start = monotonic()
            confirm(delivery, receipt)
            self._add("delivering", start, monotonic())

        with (
            patch.object(LocalDelivery, "deliver", timed_deliver),
            patch.object(LocalDelivery, "confirm", timed_confirm),
        ):
            yield

    def _instance(self, result: Applied) -> None:
        start, end = self._delivered[result.instance], self._confirmed[result.instance]
        loaded = min(end, start + self._reload(result, start))
        self.reload_seconds += loaded - start
        self._add("reloading", start, loaded)
        self._add("confirming", loaded, end)

    def _reload(self, result: Applied, delivered: float) -> float:
        file = self._status_files.get(result.instance)
        if file is None:
            return result.reload_seconds
        status = client_status.decode(file.read_bytes(), place=str(file))
        return max(0.0, status.loaded_at.timestamp() - self._midnight - delivered)

    def _add(self, stage: str, start: float, end: float) -> None:
        self.spans.append(Span(stage, start, end))


def shares(spans: Iterable[Span], *, start: float, end: float) -> dict[str, float]:
    """Return the seconds between two moments by stage, each second counted once."""
    turns = sorted(
        turn for span in spans for turn in ((span.start, 1, span.stage), (span.end, -1, span.stage))
    )
    under_way: Counter[str] = Counter()
    seconds = dict.fromkeys((*STAGES, "other"), 0.0)
    for at, change, stage in (*turns, (end, 0, "")):
        current = next((text for text in STAGES if under_way[text]), "other")
        seconds[current] += at - start
        start = at
        under_way[stage] += change
    return seconds


def measure(way: Way, directory: Path) -> Figures:
    """Start the fleet, rotate it once, end it."""
    with running(way.spec, directory) as lab:
        if way.in_flight is not None:
            widen(lab.layout.fleet, way.in_flight)
        sleep(WARM_UP_SECONDS)
        stopwatch = Stopwatch(
            {
                instance.name: Path(instance.status_file)
                for group in lab.description.groups
                for instance in group.instances
                if instance.status_file is not None
            }
        )
        seconds, rollouts = rotate(lab.layout.fleet, way, stopwatch)
        sleep(WARM_UP_SECONDS)
    traffic: TrafficReport = lab.traffic()
    start = stopwatch.started
    return Figures(
        rollouts,
        seconds,
        stopwatch.reload_seconds,
        shares(stopwatch.spans, start=start, end=start + seconds),
        traffic.lost,
        traffic.disconnects,
    )


def widen(fleet: Path, in_flight: int) -> None:
    """Have so many clients of a fleet file take new files at once."""
    described = read_fleet(fleet.read_bytes(), place=str(fleet))
    groups = tuple(
        msgspec.structs.replace(group, max_in_flight=in_flight) if group.name == CLIENTS else group
        for group in described.groups
    )
    fleet.write_bytes(write_fleet(msgspec.structs.replace(described, groups=groups)))


def rotate(fleet: Path, way: Way, stopwatch: Stopwatch) -> tuple[float, int]:
    """Rotate the CA of a fleet; return how long that took, and in how many rollouts."""
    conduct = Conduct(approve=lambda *_: True, tell=stopwatch.tell, stopping=lambda: False)
    with open_fleet(fleet) as library, stopwatch.on_deliveries():
        stopwatch.started = monotonic()
        outcome = library.rotate(Request(authority=AUTHORITY, cross_sign=way.cross_sign), conduct)
        seconds = monotonic() - stopwatch.started
    assert outcome.ending is Ending.DONE, f"{outcome.message} ({outcome.hint})"
    return seconds, len(outcome.rollouts)


def ways(spec: LabSpec) -> tuple[Way, ...]:
    """Return the ways in which a fleet is rotated, each with the fleet that it is done on."""
    plain = msgspec.structs.replace(spec, rotating_clients=False)
    return (
        Way("standard", spec),
        Way("cross-signed", spec, cross_sign=True),
        Way("plain clients", plain),
    )


def median(rounds: Sequence[Figures]) -> Figures:
    """Return the round in the middle, by time: its parts belong together."""
    middle = statistics.median_low([pair.seconds for pair in rounds])
    return next(pair for pair in rounds if pair.seconds == middle)


def show(results: Sequence[tuple[Way, Figures]]) -> None:
    """Print the tables."""
    print(
        f"{'':14}{'rollouts':>9}{'seconds':>9}{'Σ reloads':>11}{'ratio':>7}{'goal':>7}"
        f"{'reloading':>11}{'ratio':>7}{'lost':>6}{'disconnects':>13}"
    )
    for way, each in results:
        print(
            f"{way.label:14}{each.rollouts:9}{each.seconds:9.2f}{each.reload_seconds:11.2f}"
            f"{each.ratio:7.2f}{f'≤ {GOAL:g}':>7}{each.shares['reloading']:11.2f}"
            f"{each.strict_ratio:7.2f}{each.lost:6}{each.disconnects:13}"
        )
    print("\nseconds of wall time by stage; where several are under way, the leftmost has them")
    print(f"{'':14}" + "".join(f"{stage:>11}" for stage in (*STAGES, "other")))
    for way, each in results:
        print(f"{way.label:14}" + "".join(f"{seconds:11.2f}" for seconds in each.shares.values()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=20)
    chosen = parser.parse_args()
    spec = msgspec.structs.replace(preset_named("cluster"), clients=chosen.clients)
    print(
        f"rotating {len(spec.servers)} nats-servers and {spec.clients} clients, median of "
        f"{chosen.rounds}; load {getloadavg()[0]:.1f}"
    )
    rounds: dict[Way, list[Figures]] = {way: [] for way in ways(spec)}
    with tempfile.TemporaryDirectory(prefix="rollover-bench-") as name:
        for number in range(chosen.rounds):
            # In turns, so that other work on the machine disturbs all ways alike.
            for index, (way, figures) in enumerate(rounds.items()):
                figures.append(measure(way, Path(name) / f"{number}-{index}"))
    show([(way, median(figures)) for way, figures in rounds.items()])


if __name__ == "__main__":
    main()
