"""Private keys for agents' certificates: one each, or a few that they share in a lab in a hurry."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from rollover.fleet.certificate import KeyKind
from rollover.pki.blocks import split
from rollover.pki.keys import PrivateKey, generate, to_pem
from rollover_lab import private_files

NewKey = Callable[[], PrivateKey]


def own_key() -> PrivateKey:
    """Return a new RSA-3072 key, as the real director makes one for each certificate.

    It takes 0.1 to 1 s of a processor, and an agent gets two certificates at its birth alone.
    """
    return generate(KeyKind.RSA_3072)


class SharedKeys:
    """So many keys, handed out by turns; made in the background, so that nobody waits for all.

    Whoever has one agent's credentials can then pretend to be others: for labs only. They are kept
    in a file, where there is one: a director that starts again, or another lab's, has them at once.
    """

    def __init__(self, count: int, *, kept: Path | None = None) -> None:
        self._kept = kept
        self._ready: list[PrivateKey] = _read(kept, count)
        self._turns = itertools.count()
        self._grown = threading.Condition()
        threading.Thread(target=self._make, args=(count,), daemon=True).start()

    def next(self) -> PrivateKey:
        """Return the key whose turn it is; waits for the first one only."""
        with self._grown:
            self._grown.wait_for(lambda: self._ready)
            return self._ready[next(self._turns) % len(self._ready)]

    def _make(self, count: int) -> None:
        if len(self._ready) >= count:
            return
        for _ in range(count - len(self._ready)):
            key = own_key()
            with self._grown:
                self._ready.append(key)
                self._grown.notify_all()
        if self._kept is not None:
            private_files.write(self._kept, b"".join(to_pem(key) for key in self._ready))


def _read(kept: Path | None, count: int) -> list[PrivateKey]:
    if kept is None or not kept.exists():
        return []
    found = []
    for block in split(kept.read_bytes())[:count]:
        # They were made by us: to prove that their primes are primes takes as long as new ones.
        key = load_der_private_key(block.content, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, RSAPrivateKey):
            found.append(PrivateKey(key))
    return found
