"""The rollout of simulated agents by the sliding window, beside ⌈N/K⌉ × t and fixed batches.

Run: `python benchmarks/rollout_window.py [--agents N] [--in-flight K] [--seconds T] [--rounds R]`.
The agents' times scatter as a lognormal distribution of mean t. Both arms get the same times, begin
with a canary and write each result durably to a journal, as the engine does. `possible` is what a
window that costs nothing would take with these times: the canary, full width, the last stragglers.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from os import getloadavg
from pathlib import Path
from time import monotonic, sleep

from rollover.engine.ports import Pacing
from rollover.engine.rollout import in_window
from rollover.fleet.evidence import Applied, Order, Result
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import InstanceName
from rollover.store.journal import SqliteJournal, open_journal

GOAL = 1.15
SIGMAS = (0.3, 0.6)

Work = Callable[[Order], Result]
Arm = Callable[[Work, Sequence[Order], int], Iterator[Result]]


def sliding(work: Work, orders: Sequence[Order], in_flight: int) -> Iterator[Result]:
    """Roll out as Rollover does."""
    return in_window(
        work,
        orders,
        pacing=Pacing(canaries=1, max_in_flight=in_flight),
        stopping=lambda: False,
    )


def batches(work: Work, orders: Sequence[Order], in_flight: int) -> Iterator[Result]:
    """Roll out in fixed batches: the next begins when the last of the one before is done."""
    yield work(orders[0])
    with ThreadPoolExecutor(max_workers=in_flight) as pool:
        for start in range(1, len(orders), in_flight):
            yield from list(pool.map(work, orders[start : start + in_flight]))


ARMS: dict[str, Arm] = {"window": sliding, "batches": batches}


def agents(count: int, *, mean: float, sigma: float, seed: int) -> dict[InstanceName, float]:
    """Return how long each agent takes, of exactly this mean over all; the first, the canary, too.

    A canary takes a time of its own before the window opens: chance has no part in that here.
    """
    chance = random.Random(seed)
    drawn = [math.exp(chance.gauss(0, sigma)) for _ in range(count - 1)]
    scale = mean / statistics.fmean(drawn)
    times = (mean, *(number * scale for number in drawn))
    return {InstanceName(f"agent-{number}"): each for number, each in enumerate(times)}


def possible(times: dict[InstanceName, float], in_flight: int) -> float:
    """Return what a sliding window that costs nothing takes: canary, full width, stragglers."""
    canary, *others = times.values()
    free_at = [canary] * in_flight
    for other in others:
        heapq.heapreplace(free_at, free_at[0] + other)
    return max(free_at)


def rolled_out(
    arm: Arm, times: dict[InstanceName, float], *, in_flight: int, journal: SqliteJournal
) -> float:
    """Return the seconds that the rollout of all agents takes."""

    def work(order: Order) -> Result:
        sleep(times[order.instance])
        return Applied(instance=order.instance, seconds=times[order.instance])

    orders = [Order(instance=name, endpoints=()) for name in times]
    start = monotonic()
    for result in arm(work, orders, in_flight):
        assert isinstance(result, Applied)
        journal.append(
            "benchmark", EntryKind.CONFIRMED, at=datetime.now(UTC), subject=result.instance
        )
    return monotonic() - start


def measure(
    *, sigma: float, chosen: argparse.Namespace, journal: SqliteJournal
) -> dict[str, float]:
    """Return the median seconds of each arm, over rounds with times of their own."""
    found: dict[str, list[float]] = {"possible": [], **{name: [] for name in ARMS}}
    for seed in range(chosen.rounds):
        times = agents(chosen.agents, mean=chosen.seconds, sigma=sigma, seed=seed)
        found["possible"].append(possible(times, chosen.in_flight))
        # In turns, so that other work on the machine disturbs both alike.
        for name, arm in ARMS.items():
            found[name].append(rolled_out(arm, times, in_flight=chosen.in_flight, journal=journal))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.2, help="what an agent takes, mean")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    ideal = math.ceil(chosen.agents / chosen.in_flight) * chosen.seconds
    print(
        f"{chosen.agents} agents, {chosen.in_flight} in flight, {chosen.seconds:g} s each on "
        f"average, median of {chosen.rounds}; load {getloadavg()[0]:.1f}"
    )
    print(
        f"{'σ':>4}{'⌈N/K⌉×t s':>12}{'possible s':>12}{'window s':>10}{'ratio':>7}{'canary':>8}"
        f"{'ratio without':>15}{'goal':>8}{'batches s':>11}{'ratio':>7}{'window/batches':>16}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="rollover-bench-") as name,
        open_journal(Path(name) / "state" / "journal.db") as journal,
    ):
        for sigma in SIGMAS:
            seconds = measure(sigma=sigma, chosen=chosen, journal=journal)
            window, fixed = seconds["window"], seconds["batches"]
            print(
                f"{sigma:4.1f}{ideal:12.2f}{seconds['possible']:12.2f}{window:10.2f}"
                f"{window / ideal:7.2f}{chosen.seconds:8.2f}"
                f"{(window - chosen.seconds) / ideal:15.2f}{f'≤ {GOAL:g}':>8}"
                f"{fixed:11.2f}{fixed / ideal:7.2f}{window / fixed:16.2f}"
            )


if __name__ == "__main__":
    main()
