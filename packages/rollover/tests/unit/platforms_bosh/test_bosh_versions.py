"""Who takes new credentials in place, by the version of director and stemcell."""

from __future__ import annotations

import pytest

from rollover.platforms.bosh.records import Stemcell
from rollover.platforms.bosh.versions import Way, director_too_old, of_instance, stemcell_too_old

AWS = "bosh-aws-xen-hvm"


def stemcell(name: str, version: str) -> Stemcell:
    """Return a stemcell for AWS."""
    return Stemcell(name=f"{AWS}-{name}-go_agent", version=version)


@pytest.mark.parametrize(
    ("name", "version", "way"),
    [
        ("ubuntu-bionic", "1.35", Way.RECREATE),
        ("ubuntu-bionic", "1.36", Way.IN_PLACE),
        ("ubuntu-bionic", "1.204", Way.IN_PLACE),
        ("ubuntu-bionic", "2.0", Way.IN_PLACE),
        ("windows2019", "2019.40", Way.RECREATE),
        ("windows2019", "2019.41", Way.IN_PLACE),
        ("windows2016", "2016.99", Way.RECREATE),
        ("ubuntu-xenial", "621.999", Way.RECREATE),
        ("ubuntu-trusty", "3586.1", Way.RECREATE),
        ("ubuntu-jammy", "1.1", Way.IN_PLACE),
        ("ubuntu-noble", "1.1", Way.IN_PLACE),
        ("plan9", "4", Way.RECREATE),
    ],
)
def test_the_stemcell_decides_the_way(name: str, version: str, way: Way) -> None:
    """Bionic 1.36 and Windows 2019.41 are the first; what is not known is recreated."""
    verdict = of_instance((283, 1, 6), stemcell(name, version))
    assert verdict.way is way
    assert bool(verdict.why) is (way is Way.RECREATE)


@pytest.mark.parametrize(
    ("version", "too_old"),
    [((271, 11), True), ((271, 12), False), ((271, 12, 0), False), ((280,), False), ((), True)],
)
def test_the_director_must_be_271_12(version: tuple[int, ...], too_old: bool) -> None:  # noqa: FBT001 - a table
    """An older one recreates everything, whatever the stemcell."""
    assert bool(director_too_old(version)) is too_old
    assert (of_instance(version, stemcell("ubuntu-jammy", "1")).way is Way.RECREATE) is too_old


def test_recreating_costs_more_than_updating_in_place() -> None:
    """The cost is told beside the way."""
    cheap = of_instance((283,), stemcell("ubuntu-jammy", "1"))
    dear = of_instance((283,), None)
    assert dear.seconds > cheap.seconds > 0
    assert "stemcell is unknown" in stemcell_too_old(None)
