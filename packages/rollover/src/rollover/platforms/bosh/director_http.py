"""HTTPS to a director: requests and answers, bounded; whatever breaks is an `AdapterError`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec

from rollover.engine import retries
from rollover.engine.retries import Missed
from rollover.errors import (
    AdapterError,
    Conflict,
    Denied,
    NotFound,
    Rejected,
    TimedOut,
    Unreachable,
)
from rollover.fleet.secret import redacted

MOST_BYTES = 64 * 1024 * 1024
"""Octets of one answer; a full listing of 1,000 instances takes about 2 MB."""
TIMEOUT_SECONDS = 120.0
"""For one request as a whole; the diff of a large manifest takes a director some ten seconds."""
CONNECT_SECONDS = 10.0
MOST_REDIRECTS = 5
_MOST_SHOWN = 500
_SUCCESS = frozenset({200, 201, 204, 206, 302})
"""As the bosh CLI has it (`director/client_request.go`); 302 leads to a task that has begun."""
_REDIRECT, _UNAUTHORIZED, _NOTHING_THERE = 302, 401, 416
_NOBODY_BEHIND = frozenset({502, 503, 504})
_KINDS: dict[int, type[AdapterError]] = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict}
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)


class Authorization(Protocol):
    """Who says what stands in the header `Authorization`."""

    def header(self, *, refused: str = "") -> str:
        """Return the header's value; after a 401 another one than `refused`, if there is one."""
        ...


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `beginning`: only what comes from this octet on, as far as there is any."""

    path: str
    method: str = "GET"
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = ""
    offset: int | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def operation(self) -> str:
        """What is said of it in errors."""
        return f"{self.method} {self.path}"


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes = b""
    location: str = ""
    content_range: str = ""

    @property
    def redirected(self) -> bool:
        """Whether the answer is to be had elsewhere."""
        return self.status == _REDIRECT


class HttpServer:
    """Calls one server. Safe to share between threads; no secret is in any error.

    Every request takes a connection of its own, as those of the bosh CLI do: what is sent over
    one that was kept might be lost, and a deploy cannot be sent twice.
    """

    def __init__(
        self,
        url: str,
        *,
        system: str,
        ca: bytes | None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        pause: Callable[[float], None] = time.sleep,
        straight: bool = True,
    ) -> None:
        self.system = system
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._pause = pause
        self._straight = straight
        self._client = httpx2.Client(
            verify=_tls_context(ca),
            # Nothing of the process environment: no proxy, no .netrc, no other CA.
            trust_env=False,
            timeout=httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            limits=httpx2.Limits(max_keepalive_connections=0, max_connections=None),
            headers={"User-Agent": "rollover", "Accept-Encoding": "gzip"},
        )

    def close(self) -> None:
        """Give back what is open."""
        self._client.close()

    def read(
        self, request: HttpRequest, authorization: Authorization | None = None
    ) -> HttpResponse:
        """Return the answer, wherever it is to be had: only paths of this server are followed."""
        answer = self.send(request, authorization)
        for _ in range(MOST_REDIRECTS):
            if not answer.redirected:
                return answer
            answer = self.send(redirected_request(answer), authorization)
        raise Rejected(
            f"more than {MOST_REDIRECTS} redirections",
            system=self.system,
            operation=request.operation,
        )

    def send(
        self, request: HttpRequest, authorization: Authorization | None = None
    ) -> HttpResponse:
        """Return the answer of one request, a redirection too; all but success is an error.

        With an authorization a 401 is answered once with a new one. A GET whose connection broke
        is sent again a few times; so is everything else that was never sent.
        """
        header = authorization.header() if authorization else ""
        answer = self._insistently(request, header)
        if answer.status == _UNAUTHORIZED and authorization is not None:
            other = authorization.header(refused=header)
            if other != header:
                answer = self._insistently(request, other)
        if answer.status in _SUCCESS or (
            answer.status == _NOTHING_THERE and request.offset is not None
        ):
            return answer
        raise refusal_of(answer, system=self.system, operation=request.operation)

    def _insistently(self, request: HttpRequest, header: str) -> HttpResponse:
        return retries.insist(lambda: self._once(request, header), pause=self._pause)

    def _once(self, request: HttpRequest, header: str) -> HttpResponse | Missed:
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._client.stream(
                request.method,
                self._url + request.target,
                content=request.body,
                headers=_request_headers(request, header),
            ) as response:
                body = self._body(response, deadline, request)
        except httpx2.HTTPError as error:
            return self._failed(error, request)
        except httpx2.InvalidURL as error:
            return Missed(
                Rejected(f"{error}", system=self.system, operation=request.operation), again=False
            )
        answer = HttpResponse(
            status=response.status_code,
            body=body,
            location=response.headers.get("location", ""),
            content_range=response.headers.get("content-range", ""),
        )
        if answer.status in _NOBODY_BEHIND and request.method == "GET":
            away = refusal_of(answer, system=self.system, operation=request.operation)
            return Missed(away, again=True)
        return answer

    def _body(self, response: httpx2.Response, deadline: float, request: HttpRequest) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > MOST_BYTES:
                raise Rejected(
                    f"an answer of more than {MOST_BYTES:,} octets",
                    system=self.system,
                    operation=request.operation,
                )
            if time.monotonic() > deadline:
                raise self._late(request)
            pieces.append(piece)
        return b"".join(pieces)

    def _failed(self, error: httpx2.HTTPError, request: HttpRequest) -> Missed:
        about = {"system": self.system, "operation": request.operation}
        distrust = next(_distrust(error), None)
        if distrust is not None:
            return Missed(_untrusted(distrust, **about), again=False)
        unsent = isinstance(error, _NOT_SENT)
        if isinstance(error, httpx2.TimeoutException):
            # Whoever is silent for that long would be so once more, and people wait.
            return Missed(self._late(request), again=unsent)
        again = unsent or request.method == "GET"
        if isinstance(error, (httpx2.NetworkError, httpx2.RemoteProtocolError)):
            text = f"nobody answers: {_error_reason(error)}"
            return Missed(Unreachable(text, hint=self._where(), **about), again=again)
        return Missed(Rejected(f"not its HTTP: {_error_reason(error)}", **about), again=False)

    def _late(self, request: HttpRequest) -> TimedOut:
        return TimedOut(
            f"no answer within {self._timeout_seconds:g} seconds",
            system=self.system,
            operation=request.operation,
            hint=self._where(),
        )

    def _where(self) -> str:
        hint = "check the address, and that the server runs"
        return hint if self._straight else f"{hint}; Rollover does not use $BOSH_ALL_PROXY"


def redirected_request(answer: HttpResponse) -> HttpRequest:
    """Return the request that a redirection asks for; of the location, path and query count."""
    parts = urlsplit(answer.location)
    path = f"/{parts.path.lstrip('/')}"
    return HttpRequest(path=f"{path}?{parts.query}" if parts.query else path)


def refusal_of(answer: HttpResponse, *, system: str, operation: str) -> AdapterError:
    """Return what an answer without success means, in the director's own words."""
    kind = _KINDS.get(answer.status, Rejected)
    hint = ""
    if answer.status in _NOBODY_BEHIND:
        kind, hint = Unreachable, "it is starting or down: wait, then look at its jobs"
    elif kind is Denied:
        hint = "check client and secret, and what the client may do"
    message = _error_text(answer.body)
    text = f"HTTP {answer.status}: {message}" if message else f"HTTP {answer.status}"
    return kind(text, system=system, operation=operation, hint=hint)


class _Told(msgspec.Struct):
    """Error bodies of a director, and of a UAA."""

    code: int | None = None
    description: str = ""
    error_description: str = ""


def _error_text(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:_MOST_SHOWN].decode(errors="replace")
        return redacted(" ".join(text.split())) if "<" not in text else ""
    message = told.description or told.error_description
    text = f"{message} (code {told.code})" if told.code is not None else message
    return redacted(text[:_MOST_SHOWN])


def _request_headers(request: HttpRequest, header: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    if header:
        headers["Authorization"] = header
    if request.content_type:
        headers["Content-Type"] = request.content_type
    if request.offset is not None:
        headers["Range"] = f"bytes={request.offset}-"
        # Octets are counted in what the task wrote, not in a compressed form of it.
        headers["Accept-Encoding"] = "identity"
    return headers


def _tls_context(ca: bytes | None) -> ssl.SSLContext:
    """Return a context that judges as Go does: an intermediate may be an anchor, no more rules."""
    context = ssl.create_default_context(cadata=ca.decode() if ca is not None else None)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _distrust(error: BaseException) -> Iterator[ssl.SSLCertVerificationError]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _untrusted(error: ssl.SSLCertVerificationError, *, system: str, operation: str) -> AdapterError:
    return Rejected(
        f"its certificate is not trusted: {error.verify_message.rstrip('.')}",
        system=system,
        operation=operation,
        hint="give the CA that issued it with `--ca-cert`, $BOSH_CA_CERT, or `ca_cert` in the "
        "fleet file; the address must be one of the names in the certificate",
    )


def _error_reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_MOST_SHOWN] or type(error).__name__
