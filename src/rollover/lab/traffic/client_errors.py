"""What the rotating client refuses, as errors of the product: the traffic process ends so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rollover.clients.errors import (
    ConnectError,
    MaterialError,
    RotatingClientError,
    ServerRefused,
    ServerSilent,
)
from rollover.errors import (
    AdapterError,
    PemError,
    Rejected,
    RolloverError,
    SpecError,
    TimedOut,
    Unreachable,
)


@contextmanager
def client_errors() -> Iterator[None]:
    """Raise what the rotating client refuses in the body as ours, in the same words."""
    try:
        yield
    except RotatingClientError as error:
        raise _ours(error) from error


def _ours(error: RotatingClientError) -> RolloverError:
    if isinstance(error, ConnectError):
        kind: type[AdapterError] = Unreachable
        if isinstance(error, ServerRefused):
            kind = Rejected
        elif isinstance(error, ServerSilent):
            kind = TimedOut
        return kind(
            error.problem,
            system=f"nats client `{error.client}`",
            operation=error.operation,
            hint=error.hint,
        )
    spec_kind = PemError if isinstance(error, MaterialError) else SpecError
    return spec_kind(error.problem, hint=error.hint, place=error.place, field=error.field)
