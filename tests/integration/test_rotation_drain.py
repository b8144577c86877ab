"""Before trust is withdrawn nobody may live on it: who does is moved, or named."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import nats
import pytest

from rigs.rotating import (
    PATIENCE_SECONDS,
    SMALL,
    UNHARMED,
    Losses,
    await_true,
    command,
    conduct,
    holds,
    library,
    of_last_rotation,
    request,
    rotate,
)
from rollover.engine.events import Ending
from rollover.engine.fleet_context import Waits
from rollover.errors import ExitCode
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import RuleId
from rollover_lab.nats.lab import Lab, running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a small fleet."""
    with running(SMALL, tmp_path_factory.mktemp("drain") / "lab") as fleet:
        yield fleet


class _Guest:
    """A client with a certificate of today that takes up no other; it trusts whatever it meets."""

    def __init__(self, lab: Lab, name: str, files: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._context.load_cert_chain(files / "client.crt", files / "client.key")
        self._server = f"tls://{lab.description.groups[0].instances[0].endpoints[0].address}"
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.connected = threading.Event()
        self.disconnects = 0
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        async def disconnected() -> None:
            self.disconnects += 1

        async def ignored(_: Exception) -> None:
            pass

        client = await nats.connect(
            self._server,
            name=self._name,
            tls=self._context,
            disconnected_cb=disconnected,
            error_cb=ignored,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
        )
        self.connected.set()
        await self._stop.wait()
        with suppress(Exception):  # it may be cut off by then
            async with asyncio.timeout(2):
                await client.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.connected.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()


@contextmanager
def _guest(lab: Lab, name: str) -> Iterator[_Guest]:
    with _Guest(lab, name, lab.layout.client("publisher-1")) as guest:
        yield guest


def test_a_client_that_nobody_knew_of_is_named_and_blocks_the_withdrawal(lab: Lab) -> None:
    """It is no part of the fleet, so it is not touched; exit code 5 until it is gone."""
    losses = Losses(lab)
    with _guest(lab, "stranger") as guest:
        outcome = rotate(lab)
        assert outcome.ending is Ending.EVIDENCE_MISSING, outcome.message
        assert outcome.message.startswith("drain-incomplete: `stranger` on n1")
        code, said = command(lab, "rotate", "--yes")
        assert code == ExitCode.EVIDENCE_MISSING
        assert "stranger" in said
        assert guest.disconnects == 0
    outcome = rotate(lab, request(again=False))
    assert outcome.ending is Ending.DONE, outcome.message
    assert losses.since() == UNHARMED


def test_a_stranger_can_be_cut_off_for_a_reason(lab: Lab) -> None:
    """With `drain-incomplete` overridden the rotation ends; rule and reason are in the journal."""
    overrides = {RuleId("drain-incomplete"): "a laptop that nobody owns"}
    with _guest(lab, "stranger"):
        outcome = rotate(lab, steered=conduct(overrides=overrides))
        assert outcome.ending is Ending.DONE, outcome.message
        (entry,) = of_last_rotation(lab, EntryKind.OVERRIDDEN)
        assert entry.data["reason"] == "a laptop that nobody owns"


def test_a_client_of_the_fleet_that_hangs_on_is_cycled(lab: Lab) -> None:
    """A second connection of a known client, still on the old certificate, is asked to move."""
    losses = Losses(lab)
    with _guest(lab, "requester-1") as guest:
        with library(lab, waits=Waits(drain_seconds=1.0)) as rollover:
            outcome = rollover.rotate(request(), conduct())
        await_true(lambda: guest.disconnects > 0, what="the cut")
        cycled = [
            entry
            for entry in of_last_rotation(lab, EntryKind.EVIDENCE)
            if entry.subject == "cycle" and "requester-1" in str(entry.data)
        ]
        assert cycled
        # It came back with what it has, so it is named after all.
        assert outcome.ending is Ending.EVIDENCE_MISSING
    assert rotate(lab, request(again=False)).ending is Ending.DONE
    assert holds(lab)
    assert losses.since()[0] == 0
