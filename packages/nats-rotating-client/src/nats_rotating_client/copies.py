"""Tells which messages are copies when two connections carry one subscription for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def identity(
    subject: str, reply: str, data: bytes, *, headers: Mapping[str, str] | None = None
) -> int:
    """Return a number that copies of one message share.

    Core NATS gives a message no id, so this is its whole content. Two *different* messages of
    equal content share it too; JetStream's never do, for their reply subject holds the sequence.
    """
    return hash((subject, reply, data, tuple(headers.items()) if headers else ()))


class Copies:
    """What the first connection delivered since the second one also listens.

    The first speaks until it has nothing left; only then the second's messages are looked at, in
    their order. Each that is still noted here is a copy, every other one is news. So nothing is
    lost, order is kept, and each message is called a copy at most as often as it came before.
    """

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()

    def note(self, key: int) -> None:
        """Remember one message that the first connection delivered."""
        self._seen[key] += 1

    def take(self, key: int) -> bool:
        """Say whether a message of the second is a copy, and use that memory up."""
        left = self._seen.get(key, 0)
        if not left:
            return False
        if left == 1:
            del self._seen[key]
        else:
            self._seen[key] = left - 1
        return True

    def __len__(self) -> int:
        return self._seen.total()
