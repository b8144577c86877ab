"""The spec that the traffic reads and the report that it writes."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run

import msgspec
import pytest

from rollover.errors import SpecError
from rollover_lab.nats.foundation import cast_clients
from rollover_lab.nats.spec import preset_named
from rollover_lab.traffic import report as reports
from rollover_lab.traffic import spec as specs
from rollover_lab.traffic.report import ClientReport, TrafficPhase, TrafficReport
from rollover_lab.traffic.spec import MQTT, ClientRole, ClientSpec, TrafficSpec


def client(**changes: object) -> ClientSpec:
    """Return a client, changed as asked."""
    base = ClientSpec(name="one", role=ClientRole.PUBLISHER, certificate="c", key="k", ca="a")
    return msgspec.structs.replace(base, **changes)


def test_a_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The JSON form of the struct is the file's format."""
    spec = TrafficSpec(servers=("tls://localhost:1",), clients=(client(),), report="r.json")
    path = tmp_path / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    assert specs.read(path) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a traffic spec"),
        ('{"servers":[],"clients":[],"report":"r","speed":1}', "unknown field `speed`"),
        (
            (
                '{"servers":[],"report":"r","clients":[{"name":"one","role":"publisher",'
                '"certificate":"c","key":"k","ca":"a","rate_per_second":0}]}'
            ),
            "one: a sender needs a rate above 0",
        ),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Wrong shapes, unknown fields and senders that never send are named."""
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        specs.read(path)


def test_a_missing_spec_ends_the_process_with_a_plain_error(tmp_path: Path) -> None:
    """No trace reaches the user, and the exit code says that it was called wrongly."""
    command = [sys.executable, "-m", "rollover_lab.traffic", "--spec", str(tmp_path / "none.json")]
    ended = run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_the_cast_of_a_cluster_has_twenty_clients_and_five_hundred_deliveries_a_second() -> None:
    """Every role of a NATS client is there, names are unique, and the load is modest."""
    cast = cast_clients(preset_named("cluster"))
    assert len({part.name for part in cast}) == len(cast) == 20
    assert {part.role for part in cast} == set(ClientRole) - MQTT
    sent = sum(part.rate_per_second for part in cast if part.role is ClientRole.PUBLISHER)
    listeners = sum(part.role is ClientRole.SUBSCRIBER for part in cast)
    assert 400 <= sent * listeners <= 600


def test_a_report_adds_its_clients_up_and_survives_the_file(tmp_path: Path) -> None:
    """Totals are derived, so they never disagree with the counts that they come from."""
    path = tmp_path / "report.json"
    parts = (
        ClientReport(name="p", role=ClientRole.PUBLISHER, rotating=True, connected=True, sent=5),
        ClientReport(
            name="s",
            role=ClientRole.SUBSCRIBER,
            rotating=False,
            connected=True,
            received=4,
            lost=1,
            longest_gap_ms=9.0,
        ),
    )
    now = datetime(2026, 1, 2, tzinfo=UTC)
    report = TrafficReport(pid=1, started_at=now, at=now, phase=TrafficPhase.DONE, clients=parts)
    reports.write(path, report)
    again = reports.read(path)
    assert again == report
    assert (again.sent, again.received, again.lost, again.longest_gap_ms) == (5, 4, 1, 9.0)
    assert again.final
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_is_not_there_yet_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """The reader is told what to look at."""
    with pytest.raises(SpecError, match="cannot read the traffic's report") as refused:
        reports.read(tmp_path / "report.json")
    assert refused.value.hint


def test_reading_reports_does_not_import_nats() -> None:
    """A command that shows the figures starts fast."""
    code = (
        "import sys, rollover_lab.traffic.report as r, rollover.delivery.client_status;"
        "sys.exit(any(m in sys.modules for m in ('nats', 'asyncio', 'ssl', 'cryptography')))"
    )
    assert run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0
