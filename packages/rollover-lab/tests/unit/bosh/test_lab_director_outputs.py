"""Outputs of tasks and the parts of them that clients ask for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollover_lab.bosh.director.task_records import (
    OutputKind,
    Outputs,
    Slice,
    Unsatisfiable,
    wanted_slice,
)


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-", 10, Slice(0, 10, 10)),
        ("bytes=4-", 10, Slice(4, 10, 10)),
        ("bytes=4-6", 10, Slice(4, 7, 10)),
        ("bytes=4-600", 10, Slice(4, 10, 10)),
        ("bytes=-3", 10, Slice(7, 10, 10)),
        ("bytes=-30", 10, Slice(0, 10, 10)),
        ("bytes=10-", 10, Unsatisfiable(10)),
        ("bytes=11-", 10, Unsatisfiable(10)),
        ("bytes=0-", 0, Unsatisfiable(0)),
        ("bytes=-0", 10, Unsatisfiable(10)),
        ("bytes=-", 10, None),
        ("bytes=1-2,4-5", 10, None),
        ("lines=1-", 10, None),
    ],
)
def test_a_range_is_one_part_an_empty_one_or_none(
    header: str | None, size: int, expected: Slice | Unsatisfiable | None
) -> None:
    """One range of octets is honoured, one past the end refused, everything else ignored."""
    assert wanted_slice(header, size) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0, 60), max_size=8))
def test_reading_on_from_where_one_stopped_gives_everything(data: bytes, growth: list[int]) -> None:
    """Whoever asks from its offset on, while the output grows, gets every octet exactly once."""
    seen, size = b"", 0
    for step in [*growth, len(data)]:
        size = min(len(data), size + step)
        part = wanted_slice(f"bytes={len(seen)}-", size)
        if isinstance(part, Slice):
            seen += data[part.first : part.end]
    assert seen == data


def test_lines_are_appended_for_their_owner_only(tmp_path: Path) -> None:
    """Lines stand one after another in a private file, and parts of it can be read."""
    outputs = Outputs(tmp_path / "tasks")
    assert outputs.size(7, OutputKind.EVENT) is None
    for text in ("one", "two"):
        outputs.append(7, OutputKind.EVENT, text)
    size = outputs.size(7, OutputKind.EVENT)
    assert size == 8
    assert outputs.read(7, OutputKind.EVENT, Slice(4, 8, 8)) == b"two\n"
    path = outputs.path(7, OutputKind.EVENT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
