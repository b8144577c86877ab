"""The payload of the traffic: which run it belongs to, who sent it, its number, and when."""

from __future__ import annotations

import struct
from typing import NamedTuple

_LAYOUT = struct.Struct("!IHQQ")

GREETING = 0
"""The number of messages that only find out whether everybody hears everybody."""


class Parcel(NamedTuple):
    """One numbered message. `sent_ns` is this process's monotonic clock.

    `run` tells it from what an earlier traffic left in the stream.
    """

    run: int
    sender: int
    number: int
    sent_ns: int

    def pack(self) -> bytes:
        """Return the payload."""
        return _LAYOUT.pack(*self)


def unpack(payload: bytes) -> Parcel | None:
    """Return what a payload says; None when it is not of this traffic."""
    if len(payload) != _LAYOUT.size:
        return None
    return Parcel(*_LAYOUT.unpack(payload))
