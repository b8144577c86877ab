"""A rollout's pace: canaries alone, then a window that slides, never fixed batches.

As soon as one instance is confirmed the next begins, so one slow instance holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from rollover.engine.platform_port import Pacing
from rollover.fleet.evidence import Failed, Order, Result

MOST_IN_FLIGHT = 256
"""A window wider than this would only wait for this process."""


def in_window(
    work: Callable[[Order], Result],
    orders: Sequence[Order],
    *,
    pacing: Pacing,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    """Yield the result of every order that was begun, as they come in.

    `work` brings one order to its instance and confirms it; it returns failures as results. After
    the first failure, or once `stopping()` is true, no further order is begun; those begun are
    finished and yielded.
    """
    canaries = max(0, min(pacing.canaries, len(orders)))
    failed = False
    for order in orders[:canaries]:
        if stopping():
            return
        result = work(order)
        failed = failed or isinstance(result, Failed)
        yield result
        if failed:
            return
    yield from _slide(work, orders[canaries:], width=pacing.max_in_flight, stopping=stopping)


def _slide(
    work: Callable[[Order], Result],
    orders: Sequence[Order],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    width = max(1, min(width, MOST_IN_FLIGHT, len(orders)))
    waiting = iter(orders)
    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="rollout") as pool:
        running: set[Future[Result]] = {
            pool.submit(work, order) for order in islice(waiting, width) if not stopping()
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            results = [each.result() for each in done]
            if any(isinstance(each, Failed) for each in results):
                waiting = iter(())
            # Before the results are told: who takes them down may be slower than an instance.
            for order in islice(waiting, width - len(running)):
                if stopping():
                    waiting = iter(())
                    break
                running.add(pool.submit(work, order))
            yield from results
