"""A director that answers what a test tells it to: for faults that the lab's director cannot show.

HTTPS on a free port of this machine, in a thread of this process. It behaves as the real one where
a test says nothing: basic passwords or tokens, tasks behind a 302, event output with `Range`.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollover.fleet.certificate import KeyKind
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import SERVER, issue_authority, issue_leaf
from rollover.pki.keys import generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh.login import DirectorAccess

CLIENT, SECRET = "ci", "correct horse battery staple"
TASK = re.compile(r"/tasks/(\d+)")


class Seen(NamedTuple):
    """One request that came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class StubTask:
    """A task whose output a test writes."""

    def __init__(self, *states: str, events: bytes = b"", result: bytes = b"") -> None:
        self.states = list(states or ("done",))
        self.events = events
        self.result = result
        self.text = ""
        """Its `result` field."""
        self.grow: Callable[[StubTask], None] = lambda _: None
        """Called whenever its state is asked for."""

    def state(self) -> str:
        """The next state; the last one stays."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


class StubDirector:
    """What the director says, and what was asked of it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests: list[Seen] = []
        self.answers: dict[str, Any] = {}
        """JSON by path."""
        self.starts: dict[str, int] = {}
        """Tasks by `METHOD path`."""
        self.tasks: dict[int, StubTask] = {}
        self.instead: list[Callable[[Request], Response | None]] = []
        """Asked before anything else; the first that gives a response has answered."""
        self.honours_range = True
        self.uaa: str | None = None
        self.tokens: list[str] = []
        self.refused_tokens: set[str] = set()
        self.refresh = "refresh-0"
        """The refresh token of the user who logged in."""
        self.rotates = False
        """Whether each refresh token is good for one use."""
        self.user: str | None = CLIENT
        self.version = "283.1.6 (00000000)"

    def asked(self, method: str) -> list[str]:
        """What was asked with a method, in order."""
        return [request.target for request in self.requests if request.method == method]

    async def respond(self, request: Request) -> Response:
        """Answer one request."""
        query = request.scope["query_string"].decode()
        target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        body = await request.body()
        self.requests.append(Seen(request.method, target, dict(request.headers), body))
        for answer in self.instead:
            if (response := answer(request)) is not None:
                return response
        if request.url.path == "/info":
            return self._info()
        if request.url.path == "/oauth/token":
            return self._token(request, body)
        if not self._let_in(request):
            return Response("Not authorized: '/'\n", 401)
        return self._answer(request)

    def _answer(self, request: Request) -> Response:
        path = request.url.path
        started = self.starts.get(f"{request.method} {path}")
        if started is not None:
            # The real one names a host that a client may not even reach.
            return Response(
                status_code=302, headers={"Location": f"https://bosh.invalid/tasks/{started}"}
            )
        if path.endswith("/output"):
            return self._output(request)
        if found := TASK.fullmatch(path):
            return self._task(int(found[1]))
        if path in self.answers:
            return JSONResponse(self.answers[path])
        if request.method in {"PUT", "DELETE"}:
            return Response(status_code=204)
        return JSONResponse({"code": 70000, "description": f"no `{path}` here"}, 404)

    def _task(self, number: int) -> Response:
        task = self.tasks[number]
        task.grow(task)
        fields = {"id": number, "description": "create deployment", "user": CLIENT}
        return JSONResponse({**fields, "state": task.state(), "result": task.text or None})

    def _output(self, request: Request) -> Response:
        task = self.tasks[int(TASK.match(request.url.path)[1])]  # type: ignore[index]  # it matches
        if request.query_params["type"] == "result":
            return Response(task.result)
        begin = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if begin is None or not self.honours_range:
            return Response(task.events)
        offset, size = int(begin[1]), len(task.events)
        if offset >= size:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers = {"Content-Range": f"bytes {offset}-{size - 1}/{size}"}
        return Response(task.events[offset:], 206, headers)

    def _info(self) -> Response:
        way: dict[str, Any] = {"type": "basic", "options": {}}
        if self.uaa is not None:
            way = {"type": "uaa", "options": {"url": self.uaa}}
        fields = {"name": "stub", "uuid": "1-2-3", "version": self.version, "cpi": "warden_cpi"}
        return JSONResponse({**fields, "user": self.user, "user_authentication": way})

    def _token(self, request: Request, body: bytes) -> Response:
        form = dict(parse_qsl(body.decode()))
        if form.get("grant_type") == "refresh_token":
            return self._refreshed(request, form["refresh_token"])
        if request.headers.get("authorization") != basic():
            return JSONResponse(
                {"error": "unauthorized", "error_description": "Bad credentials"}, 401
            )
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        return JSONResponse({"access_token": self.tokens[-1], "token_type": "bearer"})

    def _refreshed(self, request: Request, refresh: str) -> Response:
        """Answer the client of the CLI, which has no secret."""
        cli = base64.b64encode(b"bosh_cli:").decode()
        if request.headers.get("authorization") != f"Basic {cli}" or refresh != self.refresh:
            said = {"error": "invalid_token", "error_description": "The token expired"}
            return JSONResponse(said, 401)
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        self.refresh = f"refresh-{len(self.tokens)}" if self.rotates else refresh
        token = {"access_token": self.tokens[-1], "token_type": "bearer"}
        return JSONResponse({**token, "refresh_token": self.refresh})

    def _let_in(self, request: Request) -> bool:
        header = request.headers.get("authorization", "")
        if self.uaa is None:
            return header == basic()
        token = header.removeprefix("bearer ")
        return token in self.tokens and token not in self.refused_tokens


def basic() -> str:
    """The header that the client's password makes."""
    return f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"


def lines(*values: object) -> bytes:
    """JSON values, each on a line."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def instance(number: int, **fields: object) -> dict[str, object]:
    """A line of a full listing."""
    return {
        "vm_cid": f"vm-{number}", "active": True, "agent_id": f"agent-{number}",
        "vm_created_at": "2026-01-09 06:23:25 +0000", "job_name": "router", "index": number,
        "job_state": "running", "state": "started", "az": f"z{number % 2 + 1}",
        "id": f"00000000-{number:04}", "bootstrap": number == 0, "ignore": False,
        "disk_cid": None, "disk_cids": [], "ips": [f"10.0.0.{number}"],
        "stemcell": {"name": "bosh-warden-ubuntu-jammy", "version": "1.199", "api_version": 3},
        "resurrection_paused": False, "vitals": {}, "processes": [], **fields,
    }  # fmt: skip


def brief(number: int, **fields: object) -> dict[str, object]:
    """An entry of a listing that asks no agent."""
    return {
        "agent_id": f"agent-{number}", "cid": f"vm-{number}", "job": "router", "index": number,
        "id": f"00000000-{number:04}", "az": f"z{number % 2 + 1}", "ips": [], "expects_vm": True,
        **fields,
    }  # fmt: skip


class Served(NamedTuple):
    """A stub that listens."""

    director: StubDirector
    url: str
    ca: bytes

    def access(self, *, secret: str = SECRET, ca: bytes | None = None) -> DirectorAccess:
        """How to reach it."""
        return DirectorAccess(
            url=self.url, client=CLIENT, secret=SecretBytes(secret.encode()), ca=ca or self.ca
        )


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Let a stub listen as long as the block runs; its files are in `folder`."""
    director = StubDirector()
    app = Starlette(
        routes=[Route("/{path:path}", director.respond, methods=["GET", "POST", "PUT", "DELETE"])]
    )
    ca = _write_certificates(folder)
    config = uvicorn.Config(
        app, ssl_certfile=folder / "stub.pem", ssl_keyfile=str(folder / "stub.key"),
        log_level="critical", lifespan="off", ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    # asyncio sets TCP_NODELAY only where the protocol is named; else each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(director, f"https://127.0.0.1:{port}", ca)
        finally:
            server.should_exit = True
            thread.join(timeout=300)
    assert not thread.is_alive()


def _write_certificates(folder: Path) -> bytes:
    """Make the stub's key and certificate; return the CA that issued it."""
    now = datetime.now(UTC) - timedelta(hours=1)
    key, leaf_key = generate(KeyKind.P256), generate(KeyKind.P256)
    authority = issue_authority(
        common_name="director CA", key=key, not_before=now, lifetime=timedelta(days=2)
    )
    leaf = issue_leaf(
        profile=SERVER, common_name="director", names=("127.0.0.1",), key=leaf_key,
        authority=authority, authority_key=key, not_before=now, lifetime=timedelta(days=1),
    )  # fmt: skip
    (folder / "stub.pem").write_bytes(write_certificates((leaf,)))
    (folder / "stub.key").write_bytes(to_pem(leaf_key))
    return write_certificates((authority,))
