"""The supervisor's socket, and the record of what runs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import msgspec
import pytest

from rollover.errors import Rejected, SpecError, TimedOut, Unreachable
from rollover_lab import control, state
from rollover_lab.control import Control, ControlAnswer, ControlFailure, ReportState, StartProcess
from rollover_lab.nats.readiness import PortTaken, crashed
from rollover_lab.nats.spec import LabSpec
from rollover_lab.state import LabState, NatsContent, ProcessRecord, ProcessState, Program

STATE = LabState(content=NatsContent(spec=LabSpec(name="mine")))


def _asked(path: Path, answer: ControlAnswer, *, request: control.LabRequest) -> LabState:
    """Ask a supervisor that gives this answer to whatever it is asked."""
    with contextlib.closing(control.listen(path)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                control.read_line(connection)
                connection.sendall(msgspec.json.encode(answer) + b"\n")

        server = threading.Thread(target=serve)
        server.start()
        try:
            return Control(path, timeout_seconds=60).ask(request, LabState)
        finally:
            server.join()


def test_a_socket_works_in_a_directory_with_a_long_name(tmp_path: Path) -> None:
    """The limit of 107 bytes for a socket's name does not matter."""
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    answer = ControlAnswer(result=msgspec.Raw(msgspec.json.encode(STATE)))
    assert _asked(deep / "socket", answer, request=ReportState()) == STATE


def test_a_refusal_comes_with_its_remedy(tmp_path: Path) -> None:
    """What the supervisor cannot do is an error with its words and hint."""
    answer = ControlAnswer(error=ControlFailure(message="no such process", hint="try n1"))
    with pytest.raises(Rejected, match="start `n9`: no such process") as refused:
        _asked(tmp_path / "socket", answer, request=StartProcess(name="n9"))
    assert refused.value.hint == "try n1"


def test_a_supervisor_that_is_gone_is_unreachable(tmp_path: Path) -> None:
    """Nobody behind the socket, or no socket: the error says that the lab has ended."""
    control.listen(tmp_path / "socket").close()
    for name in ("socket", "absent"):
        with pytest.raises(Unreachable, match="no supervisor answers"):
            Control(tmp_path / name, timeout_seconds=5).tell(ReportState())


def test_a_silent_supervisor_is_not_waited_for_forever(tmp_path: Path) -> None:
    """A supervisor that takes the question and says nothing runs into the timeout."""
    with (
        contextlib.closing(control.listen(tmp_path / "socket")),
        pytest.raises(TimedOut, match=r"no answer in 0\.1 s"),
    ):
        Control(tmp_path / "socket", timeout_seconds=0.1).tell(ReportState())


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    """What is written reads back the same, and only its owner can read it."""
    path = tmp_path / "lab.json"
    state.write(path, STATE)
    assert state.read(path) == STATE
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"version": 2}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing or damaged record names its file."""
    path = tmp_path / "lab.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=r"lab\.json"):
        state.read(path)


def _crash(tmp_path: Path, log: str, printed: str) -> ProcessRecord:
    (tmp_path / "n1.log").write_text(log)
    (tmp_path / "n1.out").write_text(printed)
    program = Program(
        name="n1",
        argv=("nats-server",),
        directory=str(tmp_path),
        output=str(tmp_path / "n1.out"),
        logs=(str(tmp_path / "n1.log"),),
    )
    known = ProcessRecord(program=program, state=ProcessState.CRASHED, exit_code=1)
    return msgspec.structs.replace(known, last_lines=state.last_lines(known))


def test_the_last_lines_of_the_log_are_told(tmp_path: Path) -> None:
    """The error for a crash holds exit code, the end of the log, and where the rest is."""
    error = crashed(_crash(tmp_path, "\n".join(f"line {n}" for n in range(99)), "printed"))
    assert "ended with code 1" in error.message
    assert "line 98" in error.message
    assert "line 5\n" not in error.message
    assert "n1.log" in error.hint


def test_what_was_printed_counts_where_there_is_no_log(tmp_path: Path) -> None:
    """A server that did not come to open its log has printed why."""
    assert "bad option" in crashed(_crash(tmp_path, "", "nats-server: bad option\n")).message


def test_what_an_earlier_run_said_is_not_told(tmp_path: Path) -> None:
    """Only what was written since the process was started counts as its last words."""
    known = _crash(tmp_path, "from the run before\n", "why it failed\n")
    assert state.last_lines(known) == ("from the run before",)
    again = msgspec.structs.replace(known, log_sizes=(len("from the run before\n"), 0))
    assert state.last_lines(again) == ("why it failed",)


def test_a_taken_port_is_told_apart(tmp_path: Path) -> None:
    """A server that found its port taken can be given another; other crashes cannot be mended."""
    taken = _crash(tmp_path, "[FTL] listen tcp 127.0.0.1:4222: bind: address already in use\n", "")
    assert isinstance(crashed(taken), PortTaken)
    assert not isinstance(crashed(_crash(tmp_path, "[FTL] no\n", "")), PortTaken)
