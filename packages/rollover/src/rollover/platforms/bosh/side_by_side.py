"""Deployments side by side, a canary first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from queue import Empty, SimpleQueue

from rollover.fleet.evidence import Failed, Result
from rollover.platforms.bosh.converging import Work

QUEUE_POLL_SECONDS = 0.1


def side_by_side(
    results: Callable[[Work], Iterator[Result]],
    works: Sequence[Work],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    """Yield the results of all deployments: the smallest alone, as the canary, then side by side.

    After a failure no further deployment is begun, and none once `stopping()` is true; those
    begun are finished.
    """
    in_order = sorted(works, key=lambda each: (len(each.orders), each.deployment))
    failed = False
    for work in in_order[:1]:
        if stopping():
            return
        for result in results(work):
            failed = failed or isinstance(result, Failed)
            yield result
    if not failed:
        yield from _window(results, in_order[1:], width=max(1, width), stopping=stopping)


def _window(
    results: Callable[[Work], Iterator[Result]],
    works: Sequence[Work],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    # A generator runs in one thread: the others hand it their results by this queue.
    told: SimpleQueue[Result] = SimpleQueue()

    def run(work: Work) -> bool:
        fine = True
        for result in results(work):
            fine = fine and not isinstance(result, Failed)
            told.put(result)
        return fine

    waiting = iter(works)
    with ThreadPoolExecutor(width, thread_name_prefix="deployment") as pool:
        running: set[Future[bool]] = {
            pool.submit(run, each) for each in islice(waiting, width) if not stopping()
        }
        while running:
            done, running = wait(running, timeout=QUEUE_POLL_SECONDS, return_when=FIRST_COMPLETED)
            if stopping() or not all(each.result() for each in done):
                waiting = iter(())
            for work in islice(waiting, width - len(running)):
                running.add(pool.submit(run, work))
            yield from _drained(told)
    yield from _drained(told)


def _drained(told: SimpleQueue[Result]) -> Iterator[Result]:
    while True:
        try:
            yield told.get_nowait()
        except Empty:
            return
