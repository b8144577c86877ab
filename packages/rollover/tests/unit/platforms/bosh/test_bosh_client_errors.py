"""Nothing of the HTTP library, and nothing secret, gets past the client."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx2
import pytest

from rollover.errors import (
    AdapterError,
    Conflict,
    Denied,
    NotFound,
    Rejected,
    TimedOut,
    Unreachable,
)
from rollover.platforms.bosh.director_http import (
    HttpRequest,
    HttpResponse,
    HttpServer,
    redirected_request,
    refusal_of,
)


def every(kind: type[httpx2.HTTPError]) -> Iterator[type[httpx2.HTTPError]]:
    """A class of errors of the library, and all below it."""
    yield kind
    for subclass in kind.__subclasses__():
        yield from every(subclass)


@pytest.fixture(scope="module")
def http() -> Iterator[HttpServer]:
    """A client that nobody is at the other end of."""
    found = HttpServer("https://127.0.0.1:1", system="director", ca=None)
    yield found
    found.close()


@pytest.mark.parametrize("kind", sorted(set(every(httpx2.RequestError)), key=str))
def test_every_error_of_the_library_becomes_one_of_ours(
    http: HttpServer, kind: type[httpx2.RequestError]
) -> None:
    """Those that come later in the library too."""
    found = http._failed(kind("broken"), HttpRequest(path="/locks")).error
    assert isinstance(found, AdapterError)
    assert found.message.startswith("director: GET /locks: ")


@pytest.mark.parametrize(
    ("error", "method", "kind", "again"),
    [
        (httpx2.ConnectError("refused"), "POST", Unreachable, True),
        (httpx2.ConnectTimeout("slow"), "PUT", TimedOut, True),
        (httpx2.ReadTimeout("slow"), "GET", TimedOut, False),
        (httpx2.ReadTimeout("slow"), "POST", TimedOut, False),
        (httpx2.RemoteProtocolError("closed"), "GET", Unreachable, True),
        (httpx2.ReadError("reset"), "PUT", Unreachable, False),
        (httpx2.DecodingError("gzip"), "GET", Rejected, False),
    ],
)
def test_only_what_cannot_happen_twice_is_sent_again(
    http: HttpServer,
    error: httpx2.RequestError,
    method: str,
    kind: type[AdapterError],
    *,
    again: bool,
) -> None:
    """A GET whose connection broke, and whatever was never sent."""
    failure = http._failed(error, HttpRequest(path="/deployments", method=method))
    assert type(failure.error) is kind
    assert failure.again is again


def test_distrust_is_found_below_whatever_is_around_it(http: HttpServer) -> None:
    """The library wraps it twice; it is not tried again."""
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    inner.verify_message = "self-signed certificate in certificate chain"
    outer = httpx2.ConnectError("[SSL] …")
    outer.__cause__ = inner
    failure = http._failed(outer, HttpRequest(path="/info"))
    assert type(failure.error) is Rejected
    assert "self-signed certificate" in failure.error.message
    assert not failure.again


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected), (401, Denied), (403, Denied), (404, NotFound), (409, Conflict),
        (500, Rejected), (502, Unreachable), (503, Unreachable), (504, Unreachable),
    ],
)  # fmt: skip
def test_a_status_says_what_kind_of_refusal_it_is(status: int, kind: type[AdapterError]) -> None:
    """Code and description of the director are kept."""
    body = b'{"code": 70000, "description": "Deployment \'x\' doesn\'t exist"}'
    found = refusal_of(
        HttpResponse(status=status, body=body), system="director", operation="GET /x"
    )
    assert type(found) is kind
    assert found.message == (
        f"director: GET /x: HTTP {status}: Deployment 'x' doesn't exist (code 70000)"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"Not authorized: '/deployments'\n", ": Not authorized: '/deployments'"),
        (b"<html><body>502</body></html>", ""),
        (b'"text"', ': "text"'),
        (b'{"error": "unauthorized", "error_description": "Bad"}', ": Bad"),
        (b"\xff\xfe", ": \ufffd\ufffd"),
    ],
)
def test_bodies_of_errors_are_shown_as_far_as_they_are_text(body: bytes, said: str) -> None:
    """Pages of a proxy are not."""
    found = refusal_of(HttpResponse(status=500, body=body), system="d", operation="GET /x")
    assert found.message == f"d: GET /x: HTTP 500{said}"


def test_a_private_key_in_an_error_is_left_out() -> None:
    """A director quotes what stands in a manifest."""
    body = b'{"code": 1, "description": "bad: -----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n"}'
    found = refusal_of(HttpResponse(status=400, body=body), system="d", operation="POST /x")
    assert "MIIE" not in found.message


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://10.0.0.6:25555/tasks/7", "/tasks/7"),
        ("/tasks/7?a=b", "/tasks/7?a=b"),
        ("https://elsewhere.example//evil.example/x", "/evil.example/x"),
        ("", "/"),
    ],
)
def test_of_a_redirection_only_the_path_counts(location: str, target: str) -> None:
    """Passwords go to no other host."""
    assert redirected_request(HttpResponse(status=302, location=location)).target == target
