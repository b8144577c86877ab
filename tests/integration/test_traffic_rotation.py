"""The numbered traffic on a real cluster: nothing lost in a rotation, and a true loss is seen."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rigs.client_cluster import Cluster, running, system_request, wait_until
from rigs.client_pki import Authority, bundle, deliver
from rollover.delivery import client_status
from rollover.errors import SpecError
from rollover_lab.nats.foundation import cast_clients
from rollover_lab.nats.spec import preset_named
from rollover_lab.traffic import report as reports
from rollover_lab.traffic.report import ClientReport, TrafficPhase, TrafficReport
from rollover_lab.traffic.spec import CastClient, ClientRole, ClientSpec, TrafficSpec


class Lab:
    """A cluster, an authority, and the files of a cast of clients."""

    def __init__(self, directory: Path, cluster: Cluster, cast: tuple[CastClient, ...]) -> None:
        self.directory = directory
        self.cluster = cluster
        self.cast = cast

    def deliver(self, signer: Authority | None = None, *, ca: bytes | None = None) -> None:
        """Give every client a fresh certificate, a bundle or both."""
        for part in self.cast:
            pair = signer.issue(part.name) if signer else None
            deliver(self.directory / part.name, pair, ca=ca)

    def spec(
        self, *, plain: frozenset[str] = frozenset(), finish_seconds: float = 2.0
    ) -> TrafficSpec:
        """Return the spec of the traffic; clients in `plain` do not rotate."""
        return TrafficSpec(
            servers=tuple(self.cluster.urls),
            clients=tuple(self._client(part, plain=part.name in plain) for part in self.cast),
            report=str(self.directory / "report.json"),
            poll_seconds=0.1,
            finish_seconds=finish_seconds,
        )

    def _client(self, part: CastClient, *, plain: bool) -> ClientSpec:
        home = self.directory / part.name
        return ClientSpec(
            name=part.name,
            role=part.role,
            certificate=str(home / "tls.crt"),
            key=str(home / "tls.key"),
            ca=str(home / "ca.crt"),
            rate_per_second=part.rate_per_second,
            rotating=not plain,
            status_file=str(home / "status.json"),
        )

    def report(self) -> TrafficReport | None:
        """Return the latest report, if there is one."""
        try:
            return reports.read(self.directory / "report.json")
        except SpecError:
            return None

    def wait_for_all(self, what: str, *, ca: tuple[str, ...] = (), swaps: int = 0) -> None:
        """Wait until every client says that it trusts `ca` and has swapped so often."""

        def done() -> bool:
            found = [client_status.read(self.directory / p.name / "status.json") for p in self.cast]
            return all(
                (not ca or status.ca_sha256 == ca) and status.swaps >= swaps and not status.retiring
                for status in found
            )

        wait_until(done, what)

    def client(self, name: str) -> ClientReport:
        """Return one client's latest counts."""
        report = self.report()
        assert report is not None
        return next(client for client in report.clients if client.name == name)


@contextmanager
def traffic(lab: Lab, spec: TrafficSpec) -> Iterator[subprocess.Popen[bytes]]:
    """Run the traffic process for the body, which stops it or leaves it to be killed."""
    path = lab.directory / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    process = subprocess.Popen([sys.executable, "-m", "rollover_lab.traffic", "--spec", path])
    try:
        wait_until(
            lambda: (r := lab.report()) is not None and r.phase is TrafficPhase.RUNNING, "traffic"
        )
        yield process
    finally:
        process.kill()
        process.wait(60)


def finish(lab: Lab, process: subprocess.Popen[bytes]) -> TrafficReport:
    """Stop the traffic as an operator would, and return its final report."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    report = lab.report()
    assert report is not None
    assert report.final
    return report


def messages_flow(lab: Lab, *, more: int = 300) -> None:
    """Wait until so many more messages have been received."""
    before = lab.report()
    assert before is not None
    wait_until(
        lambda: (now := lab.report()) is not None and now.received >= before.received + more,
        "messages",
    )


def test_a_whole_rotation_loses_nothing(tmp_path: Path) -> None:
    """Trust both, present the new, trust the new only: no message lost, no connection broken."""
    old, new = Authority("old"), Authority("new")
    with running(tmp_path, old, ca=old.certificate) as cluster:
        lab = Lab(tmp_path, cluster, cast_clients(preset_named("cluster")))
        lab.deliver(old, ca=old.certificate)
        with traffic(lab, lab.spec()) as process:
            both = bundle(old, new)
            cluster.deliver(ca=both)
            cluster.reload()
            lab.deliver(ca=both)
            lab.wait_for_all("trust in both", ca=(old.fingerprint, new.fingerprint))
            cluster.deliver([new.issue(node.directory.name) for node in cluster.nodes])
            cluster.reload()
            lab.deliver(new)
            lab.wait_for_all("new certificates", swaps=1)
            lab.deliver(ca=new.certificate)
            lab.wait_for_all("trust in the new only", ca=(new.fingerprint,))
            cluster.deliver(ca=new.certificate)
            cluster.reload()
            messages_flow(lab)
            report = finish(lab, process)
    assert (report.lost, report.failures) == (0, 0)
    assert (report.disconnects, report.reconnects) == (0, 0)
    assert (report.swaps, report.duplicated_other) == (len(lab.cast), 0)
    assert report.duplicated_announced > 0
    assert all(client.received for client in report.clients if client.role is ClientRole.SUBSCRIBER)
    assert all(
        client.received for client in report.clients if client.role is ClientRole.JS_CONSUMER
    )


def test_a_kicked_subscriber_counts_what_it_missed(tmp_path: Path) -> None:
    """The control: who is cut off reports the loss, the disconnect and the gap; others none."""
    authority = Authority("only")
    cast = (
        CastClient("sender", ClientRole.PUBLISHER, 200.0),
        CastClient("steady", ClientRole.SUBSCRIBER),
        CastClient("kicked", ClientRole.SUBSCRIBER),
    )
    with running(tmp_path, authority, ca=authority.certificate) as cluster:
        lab = Lab(tmp_path, cluster, cast)
        lab.deliver(authority, ca=authority.certificate)
        with traffic(lab, lab.spec(plain=frozenset({"kicked"}), finish_seconds=3.0)) as process:
            (connection,) = cluster.connections("kicked")
            node = next(node for node in cluster.nodes if node.connections("kicked"))
            answer = asyncio.run(
                system_request(node, "KICK", {"cid": connection["cid"]}, trust=tmp_path / "steady")
            )
            assert "error" not in answer
            wait_until(lambda: lab.client("kicked").reconnects == 1, "the reconnect")
            messages_flow(lab)
            report = finish(lab, process)
    counts = {client.name: client for client in report.clients}
    assert counts["kicked"].lost > 0
    assert counts["kicked"].received + counts["kicked"].lost == counts["sender"].sent
    assert (counts["kicked"].disconnects, counts["kicked"].reconnects) == (1, 1)
    assert counts["kicked"].longest_gap_ms > 5
    assert (counts["steady"].lost, counts["steady"].disconnects) == (0, 0)
    assert counts["steady"].received == counts["sender"].sent


def test_a_killed_server_is_survived_and_counted(tmp_path: Path) -> None:
    """Clients of a killed server reconnect elsewhere; JetStream loses nothing, and it says so."""
    authority = Authority("only")
    with running(tmp_path, authority, ca=authority.certificate) as cluster:
        lab = Lab(tmp_path, cluster, cast_clients(preset_named("cluster")))
        lab.deliver(authority, ca=authority.certificate)
        with traffic(lab, lab.spec()) as process:
            report = lab.report()
            assert report is not None
            victim = cluster.node_of(report.clients[0].server)
            hit = sum(client.server == victim.url for client in report.clients)
            victim.stop()

            def everybody_is_back() -> bool:
                now = lab.report()
                return now is not None and now.reconnects >= hit and now.disconnects >= hit

            wait_until(everybody_is_back, "all clients of the killed server elsewhere")
            messages_flow(lab)
            report = finish(lab, process)
    assert report.disconnects == report.reconnects == hit
    assert all(client.connected for client in report.clients)
    consumers = [client for client in report.clients if client.role is ClientRole.JS_CONSUMER]
    assert [client.lost for client in consumers] == [0, 0]


def test_the_traffic_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    """Traffic whose lab was killed stops by itself, and still writes its final report."""
    authority = Authority("only")
    cast = (
        CastClient("sender", ClientRole.PUBLISHER, 20.0),
        CastClient("hearer", ClientRole.SUBSCRIBER),
    )
    parent = "import subprocess, sys; subprocess.Popen(sys.argv[1:]); sys.stdin.read()"
    with running(tmp_path, authority, ca=authority.certificate) as cluster:
        lab = Lab(tmp_path, cluster, cast)
        lab.deliver(authority, ca=authority.certificate)
        path = tmp_path / "spec.json"
        spec = msgspec.structs.replace(lab.spec(), ends_with_parent=True)
        path.write_bytes(msgspec.json.encode(spec))
        traffic_command = [sys.executable, "-m", "rollover_lab.traffic", "--spec", str(path)]
        with subprocess.Popen(
            [sys.executable, "-c", parent, *traffic_command], stdin=subprocess.PIPE
        ) as started:
            wait_until(
                lambda: (r := lab.report()) is not None and r.phase is TrafficPhase.RUNNING,
                "traffic",
            )
            started.kill()
        wait_until(lambda: (r := lab.report()) is not None and r.final, "the final report")
        report = lab.report()
    assert report is not None
    assert report.lost == 0


def test_a_client_that_cannot_connect_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """Traffic that cannot start ends with the error's code, and names client and remedy."""
    authority, stranger = Authority("only"), Authority("stranger")
    with running(tmp_path, authority, ca=authority.certificate) as cluster:
        lab = Lab(tmp_path, cluster, (CastClient("stranger", ClientRole.SUBSCRIBER),))
        lab.deliver(stranger, ca=authority.certificate)
        path = tmp_path / "spec.json"
        path.write_bytes(msgspec.json.encode(lab.spec()))
        ended = subprocess.run(
            [sys.executable, "-m", "rollover_lab.traffic", "--spec", path],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert ended.returncode == 4
    assert "`stranger`: connect: " in ended.stderr
    assert "hint: " in ended.stderr
    assert "Traceback" not in ended.stderr
