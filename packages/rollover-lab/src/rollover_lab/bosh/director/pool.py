"""Runs work side by side, at most so much at a time (`thread_pool.rb`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

Job = Callable[[], None]


def run_all(jobs: Iterable[Job], *, at_once: int) -> None:
    """Run every job, in order, `at_once` of them together, and wait for them.

    After the first that fails no other begins; those under way are waited for, then its error is
    raised. The threads do not keep a process alive.
    """
    waiting = deque(jobs)
    failed: list[Exception] = []

    def work() -> None:
        while not failed:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            try:
                job()
            except Exception as error:  # noqa: BLE001 - handed to the caller below
                failed.append(error)

    count = min(max(1, at_once), len(waiting))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
