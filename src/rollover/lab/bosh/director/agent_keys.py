"""Private keys for agents' certificates: one each, or a few that they share in a lab in a hurry."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from rollover.fleet.certificate import KeyKind
from rollover.pki.keys import PrivateKey, generate

NewKey = Callable[[], PrivateKey]


def own_key() -> PrivateKey:
    """Return a new RSA-3072 key, as the real director makes one for each certificate.

    It takes 0.1 to 1 s of a processor, and an agent gets two certificates at its birth alone.
    """
    return generate(KeyKind.RSA_3072)


class SharedKeys:
    """So many keys, handed out by turns; made in the background, so that nobody waits for all.

    Whoever has one agent's credentials can then pretend to be others: for labs only.
    """

    def __init__(self, count: int) -> None:
        self._ready: list[PrivateKey] = []
        self._turns = itertools.count()
        self._grown = threading.Condition()
        threading.Thread(target=self._make, args=(count,), daemon=True).start()

    def next(self) -> PrivateKey:
        """Return the key whose turn it is; waits for the first one only."""
        with self._grown:
            self._grown.wait_for(lambda: self._ready)
            return self._ready[next(self._turns) % len(self._ready)]

    def _make(self, count: int) -> None:
        for _ in range(count):
            key = own_key()
            with self._grown:
                self._ready.append(key)
                self._grown.notify_all()
