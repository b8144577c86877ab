"""What directors answer, and how it is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from rigs import bosh_api_stub as stub
from rollover.platforms.bosh import director_records
from rollover.platforms.bosh.director_records import Stemcell, TaskState


def encoded(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("283.1.6 (00000000)", (283, 1, 6)),
        ("271.12.0", (271, 12, 0)),
        ("1.3262.24.0 (c0ffee11)", (1, 3262, 24, 0)),
        ("", ()),
    ],
)
def test_a_version_is_its_numbers(text: str, numbers: tuple[int, ...]) -> None:
    """Without what stands behind it."""
    found = director_records.read_info(encoded({"name": "a", "uuid": "b", "version": text}))
    assert (found.version, found.uaa, found.user) == (numbers, None, None)


def test_a_uaa_has_an_https_url() -> None:
    """Tokens are never asked for in the clear."""

    def info(url: object) -> bytes:
        way = {"type": "uaa", "options": {"url": url}}
        return encoded({"name": "a", "uuid": "b", "version": "1", "user_authentication": way})

    assert director_records.read_info(info("https://uaa:8443/")).uaa == "https://uaa:8443"
    for url in ("http://uaa:8443", None, 1):
        with pytest.raises(director_records.UnreadableAnswer):
            director_records.read_info(info(url))


def test_an_instance_without_vm_has_no_state() -> None:
    """Everything that is null is simply not there."""
    nothing = dict.fromkeys(
        ("vm_cid", "agent_id", "vm_created_at", "job_state", "ips", "disk_cids", "disk_cid", "az",
         "stemcell", "ignore", "active", "index", "resurrection_paused")
    )  # fmt: skip
    (found,) = director_records.read_full_instances(
        encoded({"id": "1", "job_name": "db", "state": "detached", **nothing}), deployment="web"
    )
    assert (found.name, found.state, found.job_state) == ("web/db/1", "detached", None)
    assert (found.vm_cid, found.stemcell, found.vm_created_at) == (None, None, None)


def test_a_full_listing_is_a_line_for_each_instance() -> None:
    """Blank lines do not matter; one disk may stand alone."""
    body = stub.lines(stub.instance(0, disk_cid="d1", disk_cids=[])) + b"\n" + stub.lines(
        stub.instance(1, job_state="unresponsive agent")
    )  # fmt: skip
    first, second = director_records.read_full_instances(body, deployment="web")
    assert first.disk_cids == ("d1",)
    assert first.stemcell == Stemcell(name="bosh-warden-ubuntu-jammy", version="1.199")
    assert second.job_state == "unresponsive agent"


def test_a_brief_listing_names_the_same_instances() -> None:
    """Its fields have other names."""
    (brief,) = director_records.read_brief_instances(encoded([stub.brief(3)]), deployment="web")
    (full,) = director_records.read_full_instances(encoded(stub.instance(3)), deployment="web")
    assert (brief.name, brief.vm_cid, brief.agent_id) == (full.name, full.vm_cid, full.agent_id)


@pytest.mark.parametrize(
    "text", ["2026-01-09 06:23:25 +0000", "2026-01-09 06:23:25 UTC", "2026-01-09T07:23:25+01:00"]
)
def test_times_are_read_as_directors_write_them(text: str) -> None:
    """In UTC."""
    assert director_records.read_time(text) == datetime(2026, 1, 9, 6, 23, 25, tzinfo=UTC)


def test_tasks_have_known_states_only() -> None:
    """One that nobody knows cannot be followed."""
    assert (
        director_records.read_task(encoded({"id": 1, "state": "timeout"})).state
        is TaskState.TIMEOUT
    )
    with pytest.raises(director_records.UnreadableAnswer):
        director_records.read_task(encoded({"id": 1, "state": "dancing"}))


def test_locks_expiries_and_variables_are_read() -> None:
    """Numbers that come as text are numbers."""
    (lock,) = director_records.read_locks(
        encoded([{"type": "deployment", "resource": ["web"], "timeout": "1.5", "task_id": "12"}])
    )
    (expiry,) = director_records.read_expiries(
        encoded([{"certificate_path": "a.b", "expiry": "2026-01-09T06:23:25Z", "days_left": "3"}])
    )
    (variable,) = director_records.read_variables(encoded([{"id": 5, "name": "/d/w/x"}]))
    assert (lock.kind, lock.resource, lock.task_id) == ("deployment", ("web",), "12")
    assert (expiry.path, expiry.days_left) == ("a.b", 3)
    assert (variable.id, variable.name) == ("5", "/d/w/x")


@pytest.mark.parametrize(
    "parse",
    [
        director_records.read_info,
        director_records.read_deployments,
        director_records.read_task,
        director_records.read_locks,
        director_records.read_diff,
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[]x", b'{"a": 1}', b"[1]", b"null"])
def test_what_is_no_answer_of_a_director_is_said_to_be_none(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    """Never another exception."""
    with pytest.raises(director_records.UnreadableAnswer):
        parse(body)
