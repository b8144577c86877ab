"""The director's client over real HTTPS: logging in, tasks, redirections, faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rigs import bosh_api_stub as stub
from rigs.bosh_api_stub import Served, StubTask
from rollover.engine.retries import MOST_ATTEMPTS
from rollover.errors import (
    AdapterError,
    Denied,
    NotFound,
    Rejected,
    SpecError,
    TimedOut,
    Unreachable,
)
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import issue_authority
from rollover.pki.keys import generate
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import director_http
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DeployExtent,
    DirectorTask,
    TaskEvent,
    TaskState,
)

INSTANCES = "/deployments/web/instances"


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A stub that all tests of this file share."""
    with stub.serve(tmp_path_factory.mktemp("stub")) as found:
        yield found


@pytest.fixture
def served(listening: Served) -> Served:
    """The stub as if it were new."""
    listening.director.reset()
    return listening


@pytest.fixture
def director(served: Served) -> Iterator[Director]:
    """A client of it that does not wait between attempts."""
    with Director(served.access(), poll_seconds=0.02, pause=lambda _: time.sleep(0.005)) as found:
        yield found


def fails(served: Served, times: int, response: Response) -> None:
    """Let the stub give this response so many times, `/info` excepted."""
    left = [response] * times

    def answer(request: Request) -> Response | None:
        return left.pop() if left and request.url.path != "/info" else None

    served.director.instead.append(answer)


def listing(served: Served, *instances: object) -> StubTask:
    """Let the stub list these instances as task 7."""
    task = StubTask("queued", "processing", "done", result=stub.lines(*instances))
    served.director.starts[f"GET {INSTANCES}"] = 7
    served.director.tasks[7] = task
    return task


def followed(director: Director, number: int) -> tuple[list[TaskEvent], DirectorTask]:
    """The events of a task, and how it ended."""
    events: list[TaskEvent] = []
    following = director.follow(number)
    while True:
        try:
            events.append(next(following))
        except StopIteration as ended:
            return events, ended.value


def test_instances_are_the_result_of_a_task_that_is_followed(
    served: Served, director: Director
) -> None:
    """A 302 whose host is not even known leads to the task on the director itself."""
    listing(served, stub.instance(0), stub.instance(1, job_state=None, vm_cid=None, ignore=True))
    first, second = director.instances("web")
    assert (first.name, first.vm_cid, first.job_state) == (
        "web/router/00000000-0000",
        "vm-0",
        "running",
    )
    assert first.stemcell is not None
    assert first.vm_created_at == datetime(2026, 1, 9, 6, 23, 25, tzinfo=UTC)
    assert (second.vm_cid, second.job_state, second.ignore) == (None, None, True)
    assert served.director.asked("GET")[:4] == [
        "/info", f"{INSTANCES}?format=full", "/tasks/7", "/tasks/7/output?type=event"
    ]  # fmt: skip


def test_a_listing_whose_task_fails_says_why(served: Served, director: Director) -> None:
    """In the director's words."""
    task = listing(served)
    task.states, task.text = ["processing", "error"], "Failed to acquire lock"
    with pytest.raises(Rejected, match="task 7 ended as `error`: Failed to acquire lock"):
        director.instances("web")


def test_a_name_with_odd_signs_stays_one_step_of_the_path(
    served: Served, director: Director
) -> None:
    """It cannot lead to another call."""
    with pytest.raises(NotFound):
        director.manifest("../a b?x=1")
    assert served.director.asked("GET")[-1] == "/deployments/..%2Fa%20b%3Fx%3D1"


def test_basic_authentication_asks_once_how_to_log_in(served: Served, director: Director) -> None:
    """`/info` is asked without a password, and only once."""
    served.director.answers["/locks"] = []
    director.locks()
    director.locks()
    assert served.director.asked("GET") == ["/info", "/locks", "/locks"]
    first, second, _ = served.director.requests
    assert "authorization" not in first.headers
    assert second.headers["authorization"] == stub.basic()


def test_a_wrong_password_is_denied_and_shown_nowhere(served: Served) -> None:
    """Not repeated, and not in the message."""
    with Director(served.access(secret="guess-4711")) as director, pytest.raises(Denied) as raised:
        director.deployments()
    assert "GET /deployments: HTTP 401" in raised.value.message
    assert "client and secret" in raised.value.hint
    assert "guess-4711" not in repr(raised.value) + raised.value.hint + repr(director.access)
    assert served.director.asked("GET") == ["/info", "/deployments?exclude_configs=true"]


def test_another_ca_is_refused_before_anything_is_sent(served: Served) -> None:
    """Only the CA that was given counts."""
    now = datetime.now(UTC)
    other = issue_authority(
        common_name="other", key=generate(KeyKind.P256), not_before=now, lifetime=timedelta(days=1)
    )
    access = served.access(ca=write_certificates((other,)))
    with Director(access) as director, pytest.raises(Rejected) as raised:
        director.info()
    assert "certificate is not trusted" in raised.value.message
    assert "--ca-cert" in raised.value.hint
    assert served.director.requests == []


def test_a_certificate_for_another_host_is_refused(served: Served) -> None:
    """The name counts, not the chain alone."""
    url = served.url.replace("127.0.0.1", "localhost")
    access = served.access()
    other = Served(served.director, url, served.ca).access()
    assert other.url != access.url
    with Director(other) as director, pytest.raises(Rejected, match="not trusted"):
        director.info()


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    """After a few attempts, with what to look at."""
    with stub.serve(tmp_path) as gone:
        access = gone.access()
    pauses: list[float] = []
    with Director(access, pause=pauses.append) as director, pytest.raises(Unreachable) as raised:
        director.info()
    assert len(pauses) == MOST_ATTEMPTS - 1
    assert pauses == sorted(pauses)
    assert "the server runs" in raised.value.hint


def test_a_proxy_that_was_not_used_is_named(tmp_path: Path) -> None:
    """Jump boxes are what `$BOSH_ALL_PROXY` is for; Rollover does not go through them."""
    with stub.serve(tmp_path) as gone:
        access = gone.access()
    proxied = msgspec.structs.replace(access, proxy=True)
    with Director(proxied, pause=lambda _: None) as director, pytest.raises(Unreachable) as raised:
        director.info()
    assert "$BOSH_ALL_PROXY" in raised.value.hint


def test_a_get_is_repeated_while_nobody_stands_behind_the_proxy(
    served: Served, director: Director
) -> None:
    """Nginx answers 502 and 503 while the director starts."""
    fails(served, 2, Response("<html>502 Bad Gateway</html>", 502))
    served.director.answers["/locks"] = []
    assert director.locks() == ()


def test_a_director_that_does_not_come_back_is_unreachable(
    served: Served, director: Director
) -> None:
    """The page of the proxy is not shown."""
    fails(served, 99, Response("<html>502 Bad Gateway</html>", 502))
    with pytest.raises(Unreachable) as raised:
        director.locks()
    assert raised.value.message.endswith("GET /locks: HTTP 502")


def test_a_deploy_is_never_sent_twice(served: Served, director: Director) -> None:
    """The director may have begun it before the answer was lost."""
    fails(served, 99, Response(status_code=502))
    with pytest.raises(Unreachable):
        director.deploy("web", "name: web\n")
    assert len(served.director.asked("POST")) == 1


def test_an_answer_without_end_is_given_up(
    served: Served, director: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Octets are counted as they come."""
    monkeypatch.setattr(director_http, "MOST_BYTES", 100_000)
    fails(served, 1, Response(b"[" + b" " * 200_000 + b"]"))
    with pytest.raises(Rejected, match="more than 100,000 octets"):
        director.locks()


def test_an_answer_that_drips_is_given_up(served: Served) -> None:
    """Each octet comes in time, the whole does not."""

    def drip() -> Iterator[bytes]:
        for _ in range(200):
            time.sleep(0.05)
            yield b" "

    fails(served, 99, StreamingResponse(drip()))
    with (
        Director(served.access(), timeout_seconds=1.5, pause=lambda _: None) as director,
        pytest.raises(TimedOut, match=r"within 1\.5 seconds"),
    ):
        director.locks()


def test_an_answer_that_is_not_a_directors_is_rejected(served: Served, director: Director) -> None:
    """With the call that it came to."""
    served.director.answers["/locks"] = {"hello": "world"}
    with pytest.raises(Rejected, match="GET /locks: an answer that is not a director's"):
        director.locks()


def test_redirections_in_a_circle_end(served: Served, director: Director) -> None:
    """After a few."""
    fails(served, 99, Response(status_code=302, headers={"Location": "/locks"}))
    with pytest.raises(Rejected, match="redirections"):
        director.locks()


def test_the_directors_own_words_are_passed_on(served: Served, director: Director) -> None:
    """Code and description."""
    with pytest.raises(NotFound, match=r"HTTP 404: no `/deployments/gone` here \(code 70000\)"):
        director.manifest("gone")


def test_uaa_gives_a_token_once(served: Served, director: Director) -> None:
    """For client and secret, and it is kept."""
    served.director.uaa = served.url
    served.director.answers["/locks"] = []
    director.locks()
    director.locks()
    assert served.director.tokens == ["token-1"]
    granted = next(request for request in served.director.requests if request.method == "POST")
    assert granted.body == b"grant_type=client_credentials"
    assert served.director.requests[-1].headers["authorization"] == "bearer token-1"


def test_a_token_that_ran_out_is_replaced_once(served: Served, director: Director) -> None:
    """A second refusal is an error."""
    served.director.uaa = served.url
    served.director.answers["/locks"] = []
    director.locks()
    served.director.refused_tokens = {"token-1"}
    assert director.locks() == ()
    served.director.refused_tokens |= {"token-2", "token-3"}
    with pytest.raises(Denied):
        director.locks()
    assert served.director.tokens == ["token-1", "token-2", "token-3"]


def test_a_client_that_the_uaa_does_not_know_is_denied(served: Served) -> None:
    """By its name, without its secret."""
    served.director.uaa = served.url
    with Director(served.access(secret="guess-4711")) as director, pytest.raises(Denied) as raised:
        director.locks()
    assert "the client `ci` gets no token" in raised.value.message
    assert "guess-4711" not in f"{raised.value!r} {raised.value.hint}"


def test_an_old_director_does_not_say_whether_the_resurrector_is_on(director: Director) -> None:
    """There is nothing at that path; its instances may tell."""
    assert director.resurrection() is None


def test_the_last_task_is_the_one_with_the_highest_number(
    served: Served, director: Director
) -> None:
    """The director sorts by their last change."""
    served.director.answers["/tasks"] = []
    assert director.last_task() is None
    served.director.answers["/tasks"] = [{"id": n, "state": "done"} for n in (7, 12, 9)]
    assert director.last_task() == 12


def test_events_come_once_each_while_the_output_grows(served: Served, director: Director) -> None:
    """Also when a line is cut in the middle."""
    text = stub.lines(*({"time": n, "stage": "Updating instance", "index": n} for n in range(6)))
    task = StubTask(*["processing"] * 6, "done")
    pieces = [text[:30], text[30:31], text[31:200], text[200:]]

    def grow(grown: StubTask) -> None:
        if pieces:
            grown.events += pieces.pop(0)

    task.grow = grow
    served.director.tasks[9] = task
    events, ended = followed(director, 9)
    assert [event.index for event in events] == list(range(6))
    assert ended.state is TaskState.DONE


def test_events_come_once_each_from_a_server_that_ignores_ranges(
    served: Served, director: Director
) -> None:
    """It answers 200 with everything, each time."""
    served.director.honours_range = False
    task = StubTask(*["processing"] * 4, "error", events=stub.lines({"time": 1, "index": 1}))
    task.grow = lambda grown: setattr(grown, "events", grown.events + stub.lines({"time": 2}))
    served.director.tasks[9] = task
    events, ended = followed(director, 9)
    assert len(events) == 6
    assert ended.state is TaskState.ERROR


def test_stopping_cancels_the_task_and_follows_it_to_its_end(
    served: Served, director: Director
) -> None:
    """Cancelled once; what was begun is still told."""
    task = StubTask("processing", "cancelling", "cancelling", "cancelled")
    task.events = stub.lines({"time": 1, "stage": "Updating instance", "state": "finished"})
    served.director.tasks[9] = task
    events = list(director.follow(9, stopping=lambda: True))
    assert [event.state for event in events] == ["finished"]
    assert served.director.asked("DELETE") == ["/task/9"]


def test_a_task_that_has_ended_can_be_cancelled(served: Served, director: Director) -> None:
    """The director refuses; there is nothing left to do."""
    served.director.tasks[9] = StubTask("done")
    refusal = {"code": 10001, "description": "Cannot cancel task 9: invalid state (done)"}

    def answer(request: Request) -> Response | None:
        return Response(json.dumps(refusal), 400) if request.method == "DELETE" else None

    served.director.instead.append(answer)
    director.cancel(9)
    served.director.tasks[9] = StubTask("processing")
    with pytest.raises(Rejected, match="Cannot cancel"):
        director.cancel(9)


def test_a_task_that_does_not_end_in_time_is_left_running(
    served: Served, director: Director
) -> None:
    """The error says how to look at it, and it is not cancelled."""
    served.director.tasks[9] = StubTask("processing")
    with pytest.raises(TimedOut, match="task 9: it has not ended") as raised:
        list(director.follow(9, deadline_seconds=0.1))
    assert "bosh task 9" in raised.value.hint
    assert served.director.asked("DELETE") == []


def test_a_director_that_goes_away_meanwhile_is_waited_for(
    served: Served, director: Director
) -> None:
    """No event is lost or told twice."""
    events = stub.lines({"time": 1, "index": 1}, {"time": 2, "index": 2})
    served.director.tasks[9] = StubTask("processing", "processing", "done", events=events)
    following = director.follow(9)
    first = next(following)
    fails(served, MOST_ATTEMPTS * 2, Response(status_code=503))
    assert [first.index, *(task_event.index for task_event in following)] == [1, 2]


@pytest.mark.parametrize(
    ("extent", "target"),
    [
        (DeployExtent(), "/deployments/web/jobs/*?state=recreate"),
        (DeployExtent(group="db"), "/deployments/web/jobs/db?state=recreate"),
        (
            DeployExtent(group="db", instance="1-2", fix=True, skip_drain=True),
            "/deployments/web/jobs/db/1-2?state=recreate&fix=true&skip_drain=true",
        ),
        (
            DeployExtent(canaries="2", max_in_flight="10%"),
            "/deployments/web/jobs/*?state=recreate&canaries=2&max_in_flight=10%25",
        ),
    ],
)
def test_recreate_is_the_request_of_the_cli(
    served: Served, director: Director, extent: DeployExtent, target: str
) -> None:
    """Path, query, an empty body as YAML; the task of the location comes back."""
    served.director.starts[f"PUT {target.partition('?')[0]}"] = 12
    assert director.recreate("web", extent) == 12
    sent = served.director.requests[-1]
    assert (sent.method, sent.target, sent.body) == ("PUT", target, b"")
    assert sent.headers["content-type"] == "text/yaml"


def test_restart_is_the_request_of_the_cli(served: Served, director: Director) -> None:
    """Like recreate, with its own state."""
    served.director.starts["PUT /deployments/web/jobs/*"] = 12
    assert director.restart("web") == 12
    assert served.director.asked("PUT") == ["/deployments/web/jobs/*?state=restart"]


def test_deploy_sends_the_manifest_as_it_is(served: Served, director: Director) -> None:
    """With the flags of the CLI."""
    served.director.starts["POST /deployments"] = 13
    extent = DeployExtent(recreate=True, fix=True, skip_drain=True, canaries="1", max_in_flight="4")
    assert director.deploy("web", "name: web # as it is\n", extent) == 13
    sent = served.director.requests[-1]
    assert sent.target == (
        "/deployments?recreate=true&fix=true&skip_drain=%2A&canaries=1&max_in_flight=4"
    )
    assert sent.body == b"name: web # as it is\n"


def test_a_deploy_of_one_group_is_no_deploy(director: Director) -> None:
    """It would deploy everything."""
    with pytest.raises(SpecError, match="cannot be limited"):
        director.deploy("web", "name: web\n", DeployExtent(group="db"))


def test_an_answer_without_a_task_is_refused(served: Served, director: Director) -> None:
    """Nobody could follow it."""
    served.director.answers["/deployments/web/jobs/*"] = {}
    with pytest.raises(Rejected, match="HTTP 200 came where a task should begin"):
        director.recreate("web")


def test_the_small_calls_are_those_of_the_cli(served: Served, director: Director) -> None:
    """Diff, ignore, resurrection, configs, tasks."""
    answers = served.director.answers
    answers["/deployments/web/diff"] = {
        "context": {}, "diff": [["name: web", None], ["- new: 1", "added"]],
    }  # fmt: skip
    answers["/configs"] = [{"id": "1", "type": "deploy", "name": "default", "content": "x: 1"}]
    answers["/tasks"] = [{"id": 3, "state": "queued", "deployment": "web"}]
    assert [pair.change for pair in director.diff("web", "name: web\n")] == ["", "added"]
    instance = BoshInstance(deployment="web", group="router", id="1-2")
    director.ignore(instance, ignored=True)
    director.set_resurrection(paused=True)
    (config,) = director.configs("deploy")
    (task,) = director.tasks("web")
    assert (config.kind, config.content, task.id) == ("deploy", "x: 1", 3)
    sent = [
        (request.method, request.target, request.body) for request in served.director.requests[1:]
    ]
    assert sent == [
        ("POST", "/deployments/web/diff?redact=true", b"name: web\n"),
        ("PUT", "/deployments/web/instance_groups/router/1-2/ignore", b'{"ignore":true}'),
        ("PUT", "/resurrection", b'{"resurrection_paused":true}'),
        ("GET", "/configs?latest=true&limit=1&type=deploy", b""),
        ("GET", "/tasks?state=processing%2Ccancelling%2Cqueued&verbose=2&deployment=web", b""),
    ]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
def test_long_answers_are_cut_in_errors(served: Served, director: Director, status: int) -> None:
    """Whatever the server has to say."""
    fails(served, 99, Response(json.dumps({"code": 1, "description": "x" * 2000}), status))
    with pytest.raises(AdapterError) as raised:
        director.locks()
    assert f"HTTP {status}: xxx" in raised.value.message
    assert len(raised.value.message) < 700
