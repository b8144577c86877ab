"""How the director speaks to one agent: retries, tasks, and what it never notices."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rollover_lab.bosh.director.agent_client import (
    AgentClient,
    AgentClientContext,
    Arguments,
    NoReply,
)
from rollover_lab.bosh.director.refusals import RemoteException, RpcTimeout, TaskCancelled
from rollover_lab.bosh.job_config import DirectorTiming

TIMING = DirectorTiming(rpc_timeout=45.0, get_task_poll=0.0, agent_wait=0.0)
RUNNING = {"agent_task_id": "t1", "state": "running"}
LOST = None


class ScriptedLink:
    """Answers requests from a script; None is no answer."""

    def __init__(self, *replies: object) -> None:
        self.sent: list[tuple[str, Arguments, float]] = []
        self._replies = list(replies)

    def request(
        self, _agent_id: str, method: str, arguments: Arguments, *, seconds: float
    ) -> bytes:
        """Return the next reply."""
        self.sent.append((method, arguments, seconds))
        reply = self._replies.pop(0)
        if reply is LOST:
            raise NoReply("no reply", system="agent", operation=method)
        return msgspec.json.encode(reply)

    @property
    def methods(self) -> list[str]:
        """Return what was asked."""
        return [method for method, _, _ in self.sent]


def client(
    link: ScriptedLink,
    *,
    log: Callable[[str], None] = lambda _text: None,
    checkpoint: Callable[[], None] = lambda: None,
    timing: DirectorTiming = TIMING,
    seconds: float | None = None,
    retries: bool = True,
) -> AgentClient:
    """Return a client for the agent `a1` of the instance `g/i`."""
    around = AgentClientContext(link=link, timing=timing, log=log, checkpoint=checkpoint)
    return AgentClient(around, agent_id="a1", name="g/i", seconds=seconds, retries=retries)


def value(found: object) -> dict[str, object]:
    """Return a reply with a value."""
    return {"value": found}


def exception(message: str) -> dict[str, object]:
    """Return a reply with an exception."""
    return {"exception": {"message": message}}


def test_a_value_is_returned_at_once() -> None:
    """What is not a running task is the answer."""
    link = ScriptedLink(value({"job_state": "running"}))
    assert client(link).call("get_state") == {"job_state": "running"}


def test_a_task_is_asked_for_until_it_is_done() -> None:
    """The first question comes at once, by the agent's task id."""
    link = ScriptedLink(value(RUNNING), value(RUNNING), value(RUNNING), value("applied"))
    assert client(link).call("apply", {}) == "applied"
    assert link.methods == ["apply", "get_task", "get_task", "get_task"]
    assert link.sent[1][1] == ("t1",)


def test_a_lost_question_about_a_task_is_asked_again_after_the_whole_timeout() -> None:
    """That is what costs 45 s for each VM: the agent restarts while it is asked."""
    link = ScriptedLink(value(RUNNING), value(RUNNING), LOST, value("ok"))
    assert client(link).call("update_settings", {}) == "ok"
    assert [seconds for _, _, seconds in link.sent] == [45.0] * 4


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, [15.0, 2.0, 2.0]), (90.0, [90.0, 90.0, 90.0])]
)
def test_questions_about_a_task_may_be_shorter_than_changes(
    seconds: float | None, expected: list[float]
) -> None:
    """A busy agent has time to take a change; a time given for one call holds for all of it."""
    hurried = DirectorTiming(rpc_timeout=15.0, get_task_timeout=2.0, get_task_poll=0.0)
    link = ScriptedLink(value(RUNNING), LOST, value("ok"))
    client(link, timing=hurried, seconds=seconds).call("update_settings", {})
    assert [waited for _, _, waited in link.sent] == expected


def test_a_question_for_the_state_has_a_time_of_its_own() -> None:
    """It is asked three times, so each time may be a third."""
    link = ScriptedLink(LOST, value({}))
    client(link, timing=DirectorTiming(get_state_timeout=5.0)).call("get_state")
    assert [waited for _, _, waited in link.sent] == [5.0, 5.0]


@pytest.mark.parametrize(("method", "asked"), [("get_state", 3), ("apply", 1), ("drain", 1)])
def test_only_harmless_questions_are_repeated(method: str, asked: int) -> None:
    """`get_state` is tried three times, changes only once; the text is that of the director."""
    link = ScriptedLink(*[LOST] * asked)
    with pytest.raises(RpcTimeout) as caught:
        client(link).call(method)
    assert len(link.sent) == asked
    assert caught.value.message == (
        f"Timed out sending '{method}' to instance: 'g/i', agent-id: 'a1' after 45 seconds"
    )
    assert caught.value.number == 450002


def test_get_task_is_tried_five_times() -> None:
    """An agent may be away for 225 s (raised after bosh#2401)."""
    link = ScriptedLink(value(RUNNING), *[LOST] * 5)
    with pytest.raises(RpcTimeout, match="get_task"):
        client(link).call("update_settings", {})
    assert link.methods.count("get_task") == 5


def test_a_scan_asks_once() -> None:
    """Cloud check has no patience."""
    link = ScriptedLink(LOST)
    with pytest.raises(RpcTimeout):
        client(link, retries=False).call("get_state")


def test_an_exception_of_the_agent_is_an_error_with_its_text() -> None:
    """The number is that of the real director."""
    with pytest.raises(RemoteException, match="no disk") as caught:
        client(ScriptedLink(exception("no disk"))).call("mount_disk", "d1")
    assert caught.value.number == 450001


def test_an_unknown_message_is_no_error_where_it_is_expected() -> None:
    """Hazard H1: an agent that does not know `update_settings` goes unnoticed."""
    link = ScriptedLink(exception("unknown message update_settings"))
    assert client(link).call_if_known("update_settings", {}) is None


def test_settings_never_reach_the_log() -> None:
    """Keys are in them."""
    lines: list[str] = []
    link = ScriptedLink(value("ok"))
    client(link, log=lines.append).call("update_settings", {"private_key": "SECRET"})
    assert lines[0] == "SENT: agent.a1 update_settings <redacted>"
    assert "SECRET" not in "".join(lines)


def test_waiting_for_an_agent_ends_with_the_text_of_the_documentation() -> None:
    """Each ping has a second; afterwards the VM is named."""
    link = ScriptedLink(LOST)
    with pytest.raises(RpcTimeout, match="Timed out pinging VM 'vm-1' with agent 'a1' after 0 se"):
        client(link).wait_until_ready("vm-1")
    assert link.sent == [("ping", (), 1.0)]


def test_a_cancelled_task_stops_waiting() -> None:
    """A drain asks between two looks whether it is still wanted."""

    def cancelled() -> None:
        raise TaskCancelled("Task 1 cancelled")

    link = ScriptedLink(value(RUNNING), value(RUNNING))
    with pytest.raises(TaskCancelled):
        client(link, checkpoint=cancelled).drain("update", {})


def test_a_stop_that_takes_too_long_is_left_to_itself() -> None:
    """The director ignores monit's own timeout, and nothing else."""
    client(ScriptedLink(exception("Timed out waiting for service 'x'"))).stop()
    with pytest.raises(RemoteException):
        client(ScriptedLink(exception("disk full"))).stop()
