"""What the product makes of the errors of BOSH manifests."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import bosh_interpolate
from bosh_interpolate import ManifestError, interpolate, read_ops_file
from bosh_interpolate.errors import SeveralErrors
from bosh_interpolate.variables import UnknownVariable
from rollover.codec.manifests import manifest_errors
from rollover.errors import ExitCode, SpecError

INTERNAL = {"_NothingThere", UnknownVariable.__name__}
"""What the library raises to itself: something optional is not there, a variable has no value."""


def exceptions_of_the_library() -> Iterator[type[Exception]]:
    """Yield every exception class that a module of the library defines."""
    package = bosh_interpolate
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.endswith("__main__"):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if (
                inspect.isclass(found)
                and issubclass(found, Exception)
                and found.__module__ == module.name
            ):
                yield found


def test_every_exception_that_leaves_the_library_is_mapped() -> None:
    """HOUSE.md §3.3: foreign exceptions stop at the adapter, none is forgotten."""
    others = {
        found.__name__
        for found in exceptions_of_the_library()
        if not issubclass(found, ManifestError)
    }
    assert others == INTERNAL


def test_what_the_library_raises_to_itself_stays_inside() -> None:
    """A variable without a value stays as it is, what is not there need not be removed."""
    removed = read_ops_file(b"- {type: remove, path: '/b?/c'}", name="o.yml")
    assert interpolate(b"a: ((v))\n", operations=removed) == "a: ((v))\n"


@pytest.mark.parametrize(
    "refused",
    [
        ManifestError("Reading ops file 'o.yml'", cause=ManifestError("open o.yml: no such file")),
        SeveralErrors((ManifestError("one"), ManifestError("two"))),
    ],
)
def test_a_refused_manifest_is_told_in_the_same_words(refused: ManifestError) -> None:
    """Message and exit code are those that the product always had; there is no hint."""
    with pytest.raises(SpecError) as caught, manifest_errors():
        raise refused
    assert (str(caught.value), caught.value.message) == (str(refused), str(refused))
    assert (caught.value.hint, caught.value.place, caught.value.field) == ("", "", "")
    assert (caught.value.code, caught.value.exit_code) == ("spec", ExitCode.USAGE)
    assert caught.value.__cause__ is refused
