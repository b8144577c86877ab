"""What a rotation writes into the journal: plain values, bounded, what fails first."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rollover.engine import run_log
from rollover.fleet.evidence import Applied, Evidence, Fact, Failed
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName, InstanceName

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def fact(number: int, *, holds: bool = True) -> Evidence:
    """One fact about an instance of that number."""
    return Evidence(
        fact=Fact.PRESENTS,
        subject=EndpointRef(InstanceName(f"n{number}"), EndpointName("client")),
        holds=holds,
        observed="CN=x",
        at=NOON,
        by="handshake",
    )


def test_evidence_is_bounded_and_what_fails_comes_first() -> None:
    """One failed fact among thousands is not left out."""
    seen = [*(fact(number) for number in range(1000)), fact(1000, holds=False)]
    written = run_log.evidence_data(seen)
    assert len(written) == run_log.MOST_EVIDENCE
    first = written[0]
    assert isinstance(first, dict)
    assert (first["subject"], first["holds"]) == ("n1000/client", False)


def test_a_failure_is_written_with_what_to_do() -> None:
    """Code, message, hint, and whether the instance has what it had before."""
    result = Failed(
        instance=InstanceName("n1"),
        seconds=1.23456,
        code="rejected",
        message="the disk is full",
        hint="free some space",
        restored=False,
    )
    assert run_log.result_data(result) == {
        "seconds": 1.235,
        "code": "rejected",
        "message": "the disk is full",
        "hint": "free some space",
        "restored": False,
    }


def test_what_is_written_is_plain_json() -> None:
    """A journal takes nothing else."""
    result = Applied(instance=InstanceName("n1"), seconds=0.5, evidence=(fact(1),))
    assert json.loads(json.dumps(run_log.result_data(result)))["evidence"][0]["by"] == "handshake"
