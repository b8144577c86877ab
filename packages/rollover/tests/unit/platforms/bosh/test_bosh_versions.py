"""Who takes new credentials in place, by the version of director and stemcell."""

from __future__ import annotations

import pytest

from rollover.platforms.bosh.cost import UpdateWay, director_too_old, stemcell_too_old, update_of
from rollover.platforms.bosh.director_records import Stemcell

AWS = "bosh-aws-xen-hvm"


def stemcell(name: str, version: str) -> Stemcell:
    """Return a stemcell for AWS."""
    return Stemcell(name=f"{AWS}-{name}-go_agent", version=version)


@pytest.mark.parametrize(
    ("name", "version", "way"),
    [
        ("ubuntu-bionic", "1.35", UpdateWay.RECREATE),
        ("ubuntu-bionic", "1.36", UpdateWay.IN_PLACE),
        ("ubuntu-bionic", "1.204", UpdateWay.IN_PLACE),
        ("ubuntu-bionic", "2.0", UpdateWay.IN_PLACE),
        ("windows2019", "2019.40", UpdateWay.RECREATE),
        ("windows2019", "2019.41", UpdateWay.IN_PLACE),
        ("windows2016", "2016.99", UpdateWay.RECREATE),
        ("ubuntu-xenial", "621.999", UpdateWay.RECREATE),
        ("ubuntu-trusty", "3586.1", UpdateWay.RECREATE),
        ("ubuntu-jammy", "1.1", UpdateWay.IN_PLACE),
        ("ubuntu-noble", "1.1", UpdateWay.IN_PLACE),
        ("plan9", "4", UpdateWay.RECREATE),
    ],
)
def test_the_stemcell_decides_the_way(name: str, version: str, way: UpdateWay) -> None:
    """Bionic 1.36 and Windows 2019.41 are the first; what is not known is recreated."""
    verdict = update_of((283, 1, 6), stemcell(name, version))
    assert verdict.way is way
    assert bool(verdict.why) is (way is UpdateWay.RECREATE)


@pytest.mark.parametrize(
    ("version", "too_old"),
    [((271, 11), True), ((271, 12), False), ((271, 12, 0), False), ((280,), False), ((), True)],
)
def test_the_director_must_be_271_12(version: tuple[int, ...], too_old: bool) -> None:  # noqa: FBT001 - a table
    """An older one recreates everything, whatever the stemcell."""
    assert bool(director_too_old(version)) is too_old
    assert (update_of(version, stemcell("ubuntu-jammy", "1")).way is UpdateWay.RECREATE) is too_old


def test_recreating_costs_more_than_updating_in_place() -> None:
    """The cost is told beside the way."""
    cheap = update_of((283,), stemcell("ubuntu-jammy", "1"))
    dear = update_of((283,), None)
    assert dear.seconds > cheap.seconds > 0
    assert "stemcell is unknown" in stemcell_too_old(None)
