"""What the rotating client refuses ends the traffic process as an error of the product."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import rollover.clients
from rollover.clients import errors
from rollover.errors import PemError, Rejected, RolloverError, SpecError, TimedOut, Unreachable
from rollover.lab.traffic.client_errors import client_errors

WHERE = {"client": "orders", "operation": "connect"}
OURS = {"system": "nats client `orders`", "operation": "connect"}


def exceptions_of_the_library() -> Iterator[type[Exception]]:
    """Yield every exception class that a module of the library defines."""
    package = rollover.clients
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for found in vars(importlib.import_module(module.name)).values():
            if (
                inspect.isclass(found)
                and issubclass(found, Exception)
                and found.__module__ == module.name
            ):
                yield found


MAPPED = [
    (
        errors.MaterialError("bad", hint="h", place="tls.crt"),
        PemError("bad", hint="h", place="tls.crt"),
    ),
    (errors.OptionError("bad", hint="h", field="tls"), SpecError("bad", hint="h", field="tls")),
    (errors.StatusFileError("bad", place="s.json"), SpecError("bad", place="s.json")),
    (errors.RotatingClientError("bad"), SpecError("bad")),
    (errors.ConnectError("bad", **WHERE), Unreachable("bad", **OURS)),
    (errors.ServerUnreachable("bad", **WHERE), Unreachable("bad", **OURS)),
    (errors.ServerRefused("bad", hint="h", **WHERE), Rejected("bad", hint="h", **OURS)),
    (errors.ServerSilent("bad", **WHERE), TimedOut("bad", **OURS)),
]


def test_every_exception_of_the_library_is_mapped() -> None:
    """HOUSE.md §3.3: foreign exceptions stop at the adapter, none is forgotten."""
    assert set(exceptions_of_the_library()) == {type(error) for error, _ in MAPPED}


@pytest.mark.parametrize(("refused", "ours"), MAPPED)
def test_a_refusal_is_told_in_the_same_words(
    refused: errors.RotatingClientError, ours: RolloverError
) -> None:
    """The same text, hint and kind of error, so the same exit code."""
    with pytest.raises(type(ours)) as caught, client_errors():
        raise refused
    assert type(caught.value) is type(ours)
    assert str(caught.value) == str(ours) == str(refused)
    assert caught.value.hint == ours.hint == refused.hint
