"""Manifests, as far as the lab's director reads them, and how two of them differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover_lab.bosh.director import deployment_plan, manifest_diff
from rollover_lab.bosh.director.database import DirectorDatabase
from rollover_lab.bosh.director.deployment_plan import DesiredGroup, Overrides
from rollover_lab.bosh.director.manifest import (
    CloudConfig,
    WatchTime,
    amount,
    parse,
    parse_cloud_config,
    tree,
    watch_time,
)
from rollover_lab.bosh.director.records import Stock
from rollover_lab.bosh.director.refusals import (
    BadManifest,
    FieldMissing,
    InvalidYaml,
    UnknownStemcell,
)

DEFAULT = WatchTime(first=0, last=300)
MANIFEST = """
name: zk
stemcells: [{alias: default, os: ubuntu-jammy, version: latest}]
releases: [{name: zk, version: 1.5}]
update: {canaries: 1, max_in_flight: 50%, serial: false, update_watch_time: 1000-2000}
instance_groups:
- name: router
  instances: 4
  stemcell: default
  vm_type: small
  persistent_disk_type: big
  jobs:
  - {name: gorouter, release: zk, properties: {a: 1}, provides: {link: {as: shown}, other: nil}}
- name: cell
  stemcell: default
  update: {max_in_flight: 3, serial: true, canary_watch_time: 5000}
"""


def groups(
    folder: Path,
    text: str = MANIFEST,
    *,
    cloud: CloudConfig | None = None,
    overrides: Overrides | None = None,
) -> tuple[DesiredGroup, ...]:
    """Return what a manifest asks for, with an empty stock."""
    return deployment_plan.desired_groups(
        parse(text.encode()),
        cloud=cloud or CloudConfig(),
        stock=Stock(DirectorDatabase(folder / "director.sqlite")),
        overrides=overrides or Overrides(),
        watch_minimum=0,
    )


def test_a_group_has_its_own_rules_and_else_those_of_the_manifest(tmp_path: Path) -> None:
    """Both may be a number or a percentage."""
    router, cell = groups(tmp_path)
    assert (router.update.in_flight(4), router.update.canary_count(4)) == (2, 1)
    assert not router.update.serial
    assert router.update.update_watch == WatchTime(first=1, last=2)
    assert (cell.update.in_flight(10), cell.update.serial) == (3, True)
    assert cell.update.canary_watch == WatchTime(first=5, last=5)


def test_flags_of_a_command_go_before_the_manifest(tmp_path: Path) -> None:
    """`--canaries` and `--max-in-flight` hold for every group."""
    wanted = Overrides(canaries="0", max_in_flight="100%")
    for group in groups(tmp_path, overrides=wanted):
        assert (group.update.canary_count(7), group.update.in_flight(7)) == (0, 7)


def test_what_a_job_provides_is_in_dns_and_nowhere_else(tmp_path: Path) -> None:
    """A change of it is a change of DNS records only (H3)."""
    renamed = groups(tmp_path, MANIFEST.replace("as: shown", "as: renamed"))[0]
    router = groups(tmp_path)[0]
    assert (router.links, renamed.links) == (("other", "shown"), ("other", "renamed"))
    assert router.spec == renamed.spec


def test_the_cloud_config_says_what_types_are(tmp_path: Path) -> None:
    """Another definition of a VM type is another VM; a disk type has a size."""
    text = "vm_types: [{name: small, cloud_properties: {cpu: %d}}]\n"
    text += "disk_types: [{name: big, disk_size: 77}]"
    one, two = (
        groups(tmp_path, cloud=parse_cloud_config((text % cpu).encode()))[0].spec for cpu in (1, 2)
    )
    assert one.cloud_properties != two.cloud_properties
    assert one.persistent_disk == 77


def test_the_latest_stemcell_is_in_stock_afterwards(tmp_path: Path) -> None:
    """What a manifest names counts as uploaded."""
    router = groups(tmp_path)[0]
    assert router.spec.stemcell_name == "bosh-lab-ubuntu-jammy-go_agent"
    stock = Stock(DirectorDatabase(tmp_path / "director.sqlite"))
    assert [stemcell.version for stemcell in stock.stemcells()] == [router.spec.stemcell_version]
    assert [(release.name, release.version) for release in stock.releases()] == [("zk", "1.5")]


def test_a_stemcell_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    """The group is named."""
    with pytest.raises(UnknownStemcell, match="'router' references an unknown stemcell 'x'"):
        groups(tmp_path, MANIFEST.replace("stemcell: default", "stemcell: x"))


@pytest.mark.parametrize(
    ("text", "error"),
    [("- a", BadManifest), ("{}", FieldMissing), ("a: [", InvalidYaml), ("name: {}", FieldMissing)],
)
def test_what_is_no_manifest_is_refused(text: str, error: type[Exception]) -> None:
    """Each with the number that the real director has for it."""
    with pytest.raises(error):
        parse(text.encode())


@pytest.mark.parametrize(
    ("text", "size", "expected"), [("2", 9, 2), ("50%", 9, 4), ("0%", 9, 0), ("100%", 3, 3)]
)
def test_amounts_are_numbers_or_rounded_down_percentages(
    text: str, size: int, expected: int
) -> None:
    """As Ruby divides integers."""
    assert amount(text, size) == expected


def test_an_amount_that_is_neither_is_refused() -> None:
    """A number or a percentage, nothing else."""
    with pytest.raises(BadManifest):
        amount("half", 4)


@pytest.mark.parametrize("text", ["a", "3-1", "1-", ""])
def test_watch_times_are_a_number_or_a_range(text: str) -> None:
    """Everything else is refused."""
    with pytest.raises(BadManifest):
        watch_time(text, otherwise=DEFAULT)


@given(st.integers(0, 10_000), st.integers(0, 400_000))
def test_looks_are_between_one_and_fifteen_seconds_apart(first: int, span: int) -> None:
    """The first look comes after the minimum, the last one not after the maximum."""
    watch = watch_time(f"{first}-{first + span}", otherwise=DEFAULT)
    waits = watch.waits()
    assert waits[0] == first / 1000
    assert all(1 <= wait <= 15 for wait in waits[1:])
    assert sum(waits) <= (first + span) / 1000 + 1e-6


def diff(before: str, after: str, *, redact: bool = True) -> list[tuple[str, str | None]]:
    """Return how two texts differ."""
    return manifest_diff.diff_lines(tree(before.encode()), tree(after.encode()), redact=redact)


def test_equal_manifests_have_no_diff() -> None:
    """Whatever their layout."""
    assert diff("{a: 1, b: [x]}", "b:\n- x\na: 1\n") == []


def test_a_diff_shows_the_way_to_what_differs() -> None:
    """Keys and names around a change are shown without a sign."""
    assert diff(
        "instance_groups: [{name: a, instances: 1}, {name: b}]",
        "instance_groups: [{name: a, instances: 2}, {name: b}]",
    ) == [
        ("instance_groups:", None),
        ("- name: a", None),
        ("  instances: 1", "removed"),
        ("  instances: 2", "added"),
    ]


def test_values_of_properties_are_not_shown() -> None:
    """Neither in what comes nor in what goes, however deep; unless somebody insists."""
    before, after = "g: {properties: {p: {q: OLD}}}", "g: {properties: {p: {q: NEW}, r: [NEW]}}"
    lines = diff(before, after)
    assert ("    p:", None) in lines
    assert ("      q: <redacted>", "added") in lines
    assert not [text for text, _ in lines if "OLD" in text or "NEW" in text]
    assert ("      q: NEW", "added") in diff(before, after, redact=False)
