"""How `verify` reads: one line for each fact, and whom nobody may live on any more."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rollover.cli import verify
from rollover.cli.printer import Printer
from rollover.cli.running import Watcher
from rollover.engine.events import GateChecked
from rollover.engine.gates import GateResult
from rollover.engine.service import Verification
from rollover.fleet.evidence import Evidence, Fact, Holdout
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName

AT = datetime(2026, 11, 23, tzinfo=UTC)
SERVER = InstanceName("n1")
PORT = EndpointRef(SERVER, EndpointName("client-port"))
LEAF = Fingerprint("4069df547a0f" + 52 * "a")


def fact(fact: Fact, observed: str, *, expected: str = "", holds: bool = True) -> Evidence:
    """Return what a handshake showed."""
    return Evidence(
        fact=fact,
        subject=PORT,
        holds=holds,
        observed=observed,
        expected=expected,
        at=AT,
        by="handshake",
    )


def shown(capsys: pytest.CaptureFixture[str], *gates: GateResult) -> list[str]:
    """Return the lines that people see."""
    verify.show_verification(Printer(), Verification(gates=gates))
    return capsys.readouterr().out.splitlines()


def test_each_fact_says_what_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Which CA was let in; a fingerprint by as many digits as people compare."""
    assert shown(
        capsys,
        GateResult(
            gate="handshakes",
            evidence=(
                fact(Fact.PRESENTS, LEAF),
                fact(Fact.ACCEPTS, "accepted", expected="accepts nats-ca@2"),
            ),
        ),
        GateResult(gate="drained"),
    ) == [
        "✓ handshakes: 2 facts",
        "  ✓ n1/client-port presents: 4069df547a0f (handshake)",
        "  ✓ n1/client-port accepts nats-ca@2: accepted (handshake)",
        "✓ drained: nobody presents a certificate of the CA that goes",
    ]


def test_what_does_not_hold_says_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """And a peer that lives on an old certificate is named with it."""
    wrong = fact(Fact.REFUSES, "accepted", expected="refuses nats-ca@1", holds=False)
    peer = Holdout(server=SERVER, connection=7, peer="billing", certificate=LEAF)
    assert shown(
        capsys,
        GateResult(gate="handshakes", evidence=(wrong,)),
        GateResult(gate="drained", holdouts=(peer,)),
    ) == [
        "✗ handshakes: 1 fact",
        "  ✗ n1/client-port refuses: accepted (handshake); expected: refuses nats-ca@1",
        "✗ drained: 1 connection",
        "  ✗ `billing` on n1 still presents 4069df547a0f, of a CA that is trusted no more",
    ]


@pytest.mark.parametrize(
    ("gate", "holds", "said"),
    [
        ("drained", True, "  ✓ drained: nobody presents a certificate of the CA that goes"),
        (
            "drained",
            False,
            "  ✗ drained: somebody still presents a certificate of the CA that goes",
        ),
        ("as ordered", True, ""),
    ],
)
def test_a_gate_without_facts_says_only_what_is_so(
    capsys: pytest.CaptureFixture[str], gate: str, said: str, *, holds: bool
) -> None:
    """Progress must not call drained what is not; and where there was nothing to see, nothing."""
    Watcher(Printer()).tell(GateChecked(gate=gate, evidence=(), holds=holds))
    assert capsys.readouterr().err.rstrip("\n") == said
