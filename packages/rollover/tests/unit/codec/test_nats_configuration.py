"""What the product makes of nats_config."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import nats_config
from nats_config import parse_text
from nats_config.errors import NatsConfigError
from nats_config.parser import UnknownUnit
from rollover.codec.nats_configuration import config_errors
from rollover.errors import ConfigError, ExitCode

TOLD = {"hint": "write it anew", "place": "n.conf:1:2", "field": "cluster.tls"}


def exceptions_of_the_library() -> Iterator[type[Exception]]:
    """Yield every exception class that a module of nats_config defines."""
    package = nats_config
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for found in vars(importlib.import_module(module.name)).values():
            if (
                inspect.isclass(found)
                and issubclass(found, Exception)
                and found.__module__ == module.name
            ):
                yield found


def test_every_exception_that_leaves_nats_config_is_mapped() -> None:
    """HOUSE.md §3.3: foreign exceptions stop at the adapter, none is forgotten."""
    assert set(exceptions_of_the_library()) == {NatsConfigError, UnknownUnit}


def test_a_unit_that_is_unknown_never_leaves_nats_config() -> None:
    """It is a remark there, as nats-server drops the field without a word."""

    def include(path: str, place: object) -> bytes:
        raise AssertionError(path, place)

    tree = parse_text("a: 1kbb", place="n.conf", include=include, environment={})
    assert [remark.code for remark in tree.remarks] == ["unknown-unit", "empty"]


@pytest.mark.parametrize("told", [TOLD, {}, {"place": "n.conf:1:2"}, {"field": "cluster.tls"}])
def test_a_refused_configuration_is_told_in_the_same_words(told: dict[str, str]) -> None:
    """Message, hint, place, field and exit code are those that the product always had."""
    refused = NatsConfigError("an odd value", **told)
    with pytest.raises(ConfigError) as caught, config_errors():
        raise refused
    ours = ConfigError("an odd value", **told)
    for name in ("message", "hint", "place", "field", "code", "exit_code"):
        assert getattr(caught.value, name) == getattr(ours, name)
    assert str(caught.value) == str(refused) == refused.message
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.__cause__ is refused


def test_other_errors_pass() -> None:
    """What an include of the caller raises is its own affair."""
    with pytest.raises(KeyError), config_errors():
        raise KeyError("x")
