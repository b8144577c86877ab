"""A rotating connection on a real cluster: new certificates without a lost message."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest

from nats_rotating_client import connection as nats_rotating_client_nats
from nats_rotating_client.connection import Connection
from nats_rotating_client.errors import MaterialError, OptionError, ServerRefused, ServerUnreachable
from nats_rotating_client.link import NatsMessage
from nats_rotating_client.material import MaterialFiles
from nats_rotating_client.rotation import Backoff, Pace
from nats_rotating_client.status import ConnectionStatus, Event, EventKind
from nats_rotating_client.subscription import Duplicates
from rigs.client_cluster import Cluster, running, system_request
from rigs.client_pki import Authority, bundle, deliver, replace

OLD, NEW, STRANGER = Authority("old"), Authority("new"), Authority("stranger")
BOTH = bundle(OLD, NEW)
PACE = Pace(poll_seconds=0.05, settle_seconds=0.05, overlap_seconds=0.2, retry=Backoff(0.1, 0.2))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster that trusts both authorities; no test of it changes a server."""
    with running(tmp_path_factory.mktemp("cluster"), OLD, ca=BOTH) as started:
        yield started


def said(status_file: Path) -> ConnectionStatus:
    """Return what a client last wrote there."""
    return msgspec.json.decode(status_file.read_bytes(), type=ConnectionStatus)


@contextlib.asynccontextmanager
async def client(
    cluster: Cluster, directory: Path, *, ca: bytes = BOTH, **settings: Any
) -> AsyncIterator[Connection]:
    """Connect a client whose files are in `directory` and whose name is the directory's.

    All to the first server, as long as it takes them: there a subscription is known at once.
    """
    files = deliver(directory, OLD.issue(directory.name), ca=ca)
    status_file = directory / "status.json"
    async with nats_rotating_client_nats.connect(
        cluster.urls[: settings.pop("servers", 1)],
        material=files,
        name=directory.name,
        pace=PACE,
        status_file=status_file,
        **settings,
    ) as connection:
        yield connection


async def until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds; fail the test when it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  - the library has no event for a test to await
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {seconds:g} s: {what}")


class Numbers:
    """Publishes 1, 2, 3 … until it is told to stop."""

    def __init__(self, connection: Connection, subject: str) -> None:
        self.sent = 0
        self._connection = connection
        self._subject = subject
        self._stopped = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._stopped.is_set():
            await self._connection.publish(self._subject, str(self.sent + 1).encode())
            self.sent += 1
            await asyncio.sleep(0.002)

    async def stop(self) -> list[int]:
        """Stop, wait until the server has everything, and return what was sent."""
        self._stopped.set()
        await self._task
        await self._connection.flush()
        return list(range(1, self.sent + 1))


def test_a_new_certificate_takes_over_without_loss_or_disorder(
    cluster: Cluster, tmp_path: Path
) -> None:
    """All messages arrive once and in order, copies are flagged, the old connection is closed."""
    received: list[int] = []
    copies: list[int] = []
    seen: list[EventKind] = []

    async def heard(message: NatsMessage) -> None:
        (copies if message.duplicate else received).append(int(message.data))

    async def scenario() -> tuple[list[int], ConnectionStatus]:
        home = tmp_path / "swapping"
        async with client(cluster, home, on_event=lambda event: seen.append(event.kind)) as nc:
            await nc.subscribe("swap.numbers", cb=heard)
            numbers = Numbers(nc, "swap.numbers")
            first = nc.status.cid
            await until(lambda: numbers.sent > 50, "the first messages")
            deliver(home, pair)
            await until(lambda: nc.status.swaps == 1 and not nc.status.retiring, "the swap")
            now = numbers.sent
            await until(lambda: numbers.sent > now + 50, "more messages")
            sent = await numbers.stop()
            await until(lambda: received[-1:] == sent[-1:], "the last message")
            assert nc.status.cid != first
            await until(lambda: len(cluster.connections("swapping")) == 1, "the end of the first")
            (connection,) = cluster.connections("swapping")
            assert connection["tls_peer_certs"][0]["cert_sha256"] == pair.fingerprint
            assert nc.status.duplicates == len(copies)
            return sent, nc.status

    pair = NEW.issue("swapping")
    sent, status = asyncio.run(scenario())
    assert received == sent
    assert copies
    assert status.certificate_sha256 == pair.fingerprint
    assert status.ca_sha256 == (OLD.fingerprint, NEW.fingerprint)
    assert seen == [EventKind.SWAPPED, EventKind.RETIRED]
    final = said(tmp_path / "swapping" / "status.json")
    assert (final.certificate_sha256, final.connected) == (pair.fingerprint, False)


def test_a_certificate_without_its_key_is_ignored_and_reported(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Half of a new set changes nothing; the swap follows when the other half has come."""
    home = tmp_path / "half"
    pair = NEW.issue("half")

    async def scenario() -> None:
        async with client(cluster, home) as nc:
            before = nc.status
            replace(home / "tls.crt", pair.certificate)
            await until(lambda: bool(nc.status.error), "the report")
            assert "does not belong to this certificate" in nc.status.error
            await until(
                lambda: said(home / "status.json").error == nc.status.error,
                "the report in the file",
            )
            assert (nc.status.cid, nc.status.swaps) == (before.cid, 0)
            assert nc.status.certificate_sha256 == before.certificate_sha256
            assert (await nc.request("half.echo")).data == b"yes"
            replace(home / "tls.key", pair.key)
            await until(lambda: nc.status.swaps == 1, "the swap")
            assert (nc.status.error, nc.status.certificate_sha256) == ("", pair.fingerprint)

    async def with_responder() -> None:
        async with client(cluster, tmp_path / "half-responder") as responder:
            await responder.subscribe("half.echo", cb=lambda message: message.respond(b"yes"))
            await responder.flush()
            await scenario()

    asyncio.run(with_responder())


def test_a_kubernetes_symlink_swap_is_seen(cluster: Cluster, tmp_path: Path) -> None:
    """Replacing the `..data` link, with no file touched, makes the client take up the new set."""
    volume = tmp_path / "volume"
    pair = NEW.issue("pod")
    deliver(volume, None)
    deliver(volume / "..one", OLD.issue("pod"), ca=BOTH)
    (volume / "..data").symlink_to("..one")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (volume / name).symlink_to(Path("..data") / name)

    async def scenario() -> None:
        async with nats_rotating_client_nats.connect(
            cluster.urls, material=MaterialFiles.in_directory(volume), name="pod", pace=PACE
        ) as nc:
            deliver(volume / "..two", pair, ca=BOTH)
            (volume / "..data_tmp").symlink_to("..two")
            (volume / "..data_tmp").rename(volume / "..data")
            await until(lambda: nc.status.swaps == 1, "the swap")
            assert nc.status.certificate_sha256 == pair.fingerprint

    asyncio.run(scenario())


def test_a_lame_duck_notice_makes_one_client_swap(cluster: Cluster, tmp_path: Path) -> None:
    """The server can ask one client for a swap: a new connection, nothing lost, same files."""
    received: list[int] = []
    kinds: list[EventKind] = []

    async def heard(message: NatsMessage) -> None:
        if not message.duplicate:
            received.append(int(message.data))

    async def scenario() -> list[int]:
        home = tmp_path / "duck"
        async with client(cluster, home, on_event=lambda event: kinds.append(event.kind)) as nc:
            await nc.subscribe("duck.numbers", cb=heard)
            numbers = Numbers(nc, "duck.numbers")
            node, cid = cluster.node_of(nc.status.connected_url), nc.status.cid
            answer = await system_request(node, "LDM", {"cid": cid}, trust=home)
            assert "error" not in answer
            await until(lambda: nc.status.swaps == 1, "the swap")
            assert nc.status.cid != cid
            sent = await numbers.stop()
            await until(lambda: len(received) == len(sent), "the last message")
            return sent

    assert asyncio.run(scenario()) == received
    assert EventKind.DISCONNECTED not in kinds
    assert kinds[:2] == [EventKind.LAME_DUCK, EventKind.SWAPPED]


def test_a_request_under_way_is_answered_on_the_connection_that_is_replaced(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The replaced connection stays open until its requests have their answers."""

    async def scenario() -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def respond(message: NatsMessage) -> None:
            asked.set()
            await answer.wait()
            await message.respond(b"late")

        home = tmp_path / "asking"
        async with (
            client(cluster, tmp_path / "answering") as responder,
            client(cluster, home) as nc,
        ):
            await responder.subscribe("slow", cb=respond, queue="all")
            await responder.flush()
            request = asyncio.create_task(nc.request("slow", timeout=20))
            await until(asked.is_set, "the request")
            deliver(home, NEW.issue("asking"))
            deliver(tmp_path / "answering", NEW.issue("answering"))
            await until(lambda: nc.status.swaps == responder.status.swaps == 1, "both swaps")
            assert nc.status.retiring == 1
            assert len(cluster.connections("asking")) == 2
            answer.set()
            assert (await request).data == b"late"
            await until(lambda: not nc.status.retiring, "the end of the first connection")

    asyncio.run(scenario())


def test_new_trust_is_used_without_a_new_connection(cluster: Cluster, tmp_path: Path) -> None:
    """A CA more or less changes what the next handshake trusts, and nothing else."""

    async def scenario() -> None:
        home = tmp_path / "trusting"
        async with client(cluster, home, ca=OLD.certificate) as nc:
            before = nc.status
            deliver(home, ca=BOTH)
            await until(lambda: len(nc.status.ca_sha256) == 2, "the CA added")
            deliver(home, ca=OLD.certificate)
            await until(lambda: nc.status.ca_sha256 == (OLD.fingerprint,), "the CA removed")
            assert (nc.status.cid, nc.status.swaps) == (before.cid, 0)
            assert nc.status.loaded_at > before.loaded_at

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("signer", "ca"), [(STRANGER, None), (None, STRANGER)], ids=["certificate", "trust"]
)
def test_what_no_server_accepts_is_not_taken_up(
    cluster: Cluster, tmp_path: Path, signer: Authority | None, ca: Authority | None
) -> None:
    """A set that fails in a real handshake is reported and tried again; what works stays."""

    async def scenario() -> None:
        home = tmp_path / "stranger"
        refusals: list[Event] = []
        async with client(cluster, home, on_event=refusals.append) as nc:
            before = nc.status
            deliver(
                home,
                signer.issue("stranger") if signer else None,
                ca=ca.certificate if ca else None,
            )
            await until(lambda: bool(nc.status.error), "the refusal")
            assert "refused: " in nc.status.error
            assert "TLS" in nc.status.error
            assert nc.status.certificate_sha256 == before.certificate_sha256
            assert nc.status.ca_sha256 == before.ca_sha256
            assert (nc.status.cid, nc.status.connected) == (before.cid, True)
            await nc.flush()
            deliver(home, NEW.issue("stranger"), ca=BOTH)
            await until(
                lambda: nc.status.swaps == 1 and not nc.status.error,
                "the swap, once the files are right",
            )
        assert refusals[0].kind is EventKind.REFUSED

    asyncio.run(scenario())


def test_a_queue_group_gets_each_message_once_while_its_only_member_swaps(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Two connections of one member never both get a message, and none is lost."""
    received: list[int] = []

    async def heard(message: NatsMessage) -> None:
        received.append(int(message.data))

    async def scenario() -> list[int]:
        home = tmp_path / "member"
        async with client(cluster, tmp_path / "sender") as sender, client(cluster, home) as nc:
            await nc.subscribe("jobs", queue="workers", cb=heard)
            await nc.flush()
            numbers = Numbers(sender, "jobs")
            await until(lambda: len(received) > 20, "the first messages")
            deliver(home, NEW.issue("member"))
            await until(lambda: nc.status.swaps == 1, "the swap")
            sent = await numbers.stop()
            await until(lambda: len(received) >= len(sent), "the last message")
            assert nc.status.duplicates == 0
            return sent

    assert asyncio.run(scenario()) == sorted(received)


def test_jetstream_consumers_survive_a_swap(cluster: Cluster, tmp_path: Path) -> None:
    """Publishing with acknowledgement, a pull and a push consumer lose and repeat nothing."""
    pulled: list[int] = []
    pushed: list[int] = []

    async def heard(message: NatsMessage) -> None:
        pushed.append(int(message.data))

    async def scenario() -> int:
        home = tmp_path / "stream"
        async with client(cluster, home) as nc:
            js = nc.jetstream()
            manage = await js.context()
            await manage.add_stream(name="SWAP", subjects=["js.numbers"], num_replicas=3)
            consumer = await js.pull_subscribe("js.numbers", durable="pull", stream="SWAP")
            await js.subscribe("js.numbers", durable="push", stream="SWAP", cb=heard)
            done = asyncio.Event()

            async def pull() -> None:
                while not done.is_set():
                    with contextlib.suppress(nats.errors.TimeoutError):
                        for message in await consumer.fetch(10, timeout=0.3):
                            pulled.append(int(message.data))
                            await message.ack()

            pulling = asyncio.create_task(pull())
            sent = 0
            while nc.status.swaps == 0 or nc.status.retiring or sent < 100:
                sent += 1
                await js.publish("js.numbers", str(sent).encode(), timeout=5)
                if sent == 20:
                    deliver(home, NEW.issue("stream"))
            await until(lambda: len(pulled) >= sent and len(pushed) >= sent, "the last messages")
            done.set()
            await pulling
            return sent

    sent = asyncio.run(scenario())
    assert pulled == pushed == list(range(1, sent + 1))


def test_duplicates_can_be_dropped_and_a_limit_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    """With `drop` no copy is handed over, and a limit ends the subscription at its number."""

    async def scenario() -> None:
        home = tmp_path / "dropping"
        async with client(cluster, home) as nc:
            every = await nc.subscribe("drop.numbers", duplicates=Duplicates.DROP)
            some = await nc.subscribe("drop.numbers", duplicates=Duplicates.DROP)
            await some.unsubscribe(limit=60)
            numbers = Numbers(nc, "drop.numbers")
            await until(lambda: numbers.sent > 20, "the first messages")
            deliver(home, NEW.issue("dropping"))
            await until(lambda: nc.status.swaps == 1, "the swap")
            await until(lambda: numbers.sent > 100, "more messages")
            sent = await numbers.stop()
            assert [int((await every.next_msg()).data) for _ in sent] == sent
            assert [int(message.data) async for message in some.messages] == sent[:60]
            assert nc.status.duplicates > 0

    asyncio.run(scenario())


def test_a_reconnect_uses_the_newest_trust(tmp_path: Path) -> None:
    """A client that took up trust in a new CA reconnects to servers that moved to it meanwhile."""
    kinds: list[EventKind] = []

    async def scenario(cluster: Cluster) -> None:
        home = tmp_path / "reconnecting"
        async with client(
            cluster,
            home,
            ca=OLD.certificate,
            reconnect_time_wait=0.1,
            on_event=lambda event: kinds.append(event.kind),
        ) as nc:
            deliver(home, ca=BOTH)
            await until(lambda: len(nc.status.ca_sha256) == 2, "trust in both")
            cluster.deliver([NEW.issue(node.directory.name) for node in cluster.nodes])
            cluster.reload()
            node = cluster.node_of(nc.status.connected_url)
            await system_request(node, "KICK", {"cid": nc.status.cid}, trust=home)
            await until(lambda: EventKind.RECONNECTED in kinds, "the reconnect")
            await nc.flush()

    with running(tmp_path, OLD, ca=BOTH) as own:
        asyncio.run(scenario(own))
    assert kinds.count(EventKind.DISCONNECTED) == 1


def test_a_connection_that_nats_py_gives_up_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    """Some server errors make nats-py close for good; subscriptions then go on on another link."""

    async def scenario() -> None:
        async with client(cluster, tmp_path / "closed") as nc:
            subscription = await nc.subscribe("closed.numbers")
            await nc._rotation.state.link.client.close()
            await until(lambda: nc.status.swaps == 1, "the next connection")
            await nc.publish("closed.numbers", b"1")
            assert (await subscription.next_msg(60)).data == b"1"
            assert nc.status.connected

    asyncio.run(scenario())


def test_clients_leave_a_server_in_lame_duck_mode_without_loss(tmp_path: Path) -> None:
    """When a server announces its end, a client moves to another one before it is cut off."""
    received: list[int] = []
    kinds: list[EventKind] = []

    async def heard(message: NatsMessage) -> None:
        if not message.duplicate:
            received.append(int(message.data))

    async def scenario(cluster: Cluster) -> list[int]:
        home = tmp_path / "leaving"
        async with client(
            cluster, home, servers=3, on_event=lambda event: kinds.append(event.kind)
        ) as nc:
            await nc.subscribe("leave.numbers", cb=heard)
            numbers = Numbers(nc, "leave.numbers")
            await until(lambda: len(received) > 20, "the first messages")
            node = cluster.node_of(nc.status.connected_url)
            node.send(signal.SIGUSR2)
            await until(lambda: nc.status.swaps == 1 and not nc.status.retiring, "the swap")
            assert nc.status.connected_url != node.url
            node.stop()
            sent = await numbers.stop()
            await until(lambda: len(received) >= len(sent), "the last message")
            return sent

    with running(tmp_path, OLD, ca=BOTH) as own:
        assert asyncio.run(scenario(own)) == received
    assert EventKind.DISCONNECTED not in kinds


def test_connecting_fails_with_the_reason(cluster: Cluster, tmp_path: Path) -> None:
    """Files that do not fit, servers that refuse, nobody there, and a wrong option: four errors."""
    home = tmp_path / "failing"

    async def attempt(**settings: Any) -> None:
        files = MaterialFiles.in_directory(home)
        settings = {"servers": cluster.urls, "pace": PACE, **settings}
        await nats_rotating_client_nats.open_connection(material=files, name="failing", **settings)

    with pytest.raises(MaterialError, match=r"tls\.crt: cannot read the file"):
        asyncio.run(attempt())
    deliver(home, STRANGER.issue("failing"), ca=BOTH)
    with pytest.raises(ServerRefused, match=r"refused: .*TLS"):
        asyncio.run(attempt())
    with pytest.raises(ServerUnreachable, match="nobody answers at tls://localhost:1"):
        asyncio.run(attempt(servers="tls://localhost:1"))
    with pytest.raises(OptionError, match="`no_echo` cannot be given"):
        asyncio.run(attempt(no_echo=True))
