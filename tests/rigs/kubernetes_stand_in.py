"""A stand-in for an API server: TLS, a token, and the answers that the real one gives.

It knows Secrets and ConfigMaps: GET, LIST with pages and labels, POST, PUT, PATCH (merge) and
DELETE; `resourceVersion` must fit, names and sizes are checked, kinds of answers are `Status`.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509

from rigs.pki_forge import CA, LEAF, forge
from rollover.pki.pem import write_certificates

TOKEN = "stand-in"
MOST_BYTES = 1024 * 1024
_PATH = re.compile(r"/api/v1/namespaces/([^/]+)/(secrets|configmaps)(?:/([^/]+))?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
    409: "Conflict", 422: "Invalid", 500: "InternalError",
}  # fmt: skip
_KINDS = {"secrets": "Secret", "configmaps": "ConfigMap"}

Object = dict[str, Any]
Key = tuple[str, str, str]


class Refusal(Exception):
    """An answer other than 2xx."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StandIn:
    """The objects of a cluster, and what to do before it answers."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.managers: set[str] = set()
        self.forbidden: set[str] = set()
        """Verbs of HTTP that this user may not use."""
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._version = 100
        self._lock = threading.RLock()

    def put(self, plural: str, name: str, *, namespace: str = "nats", **fields: Any) -> Object:
        """Make or change an object as another user of the cluster does."""
        with self._lock:
            found = self.objects.get((namespace, plural, name), {})
            metadata = {**found.get("metadata", {}), **fields.pop("metadata", {})}
            metadata |= {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
            return self._store((namespace, plural, name), {**found, **fields, "metadata": metadata})

    def text(self, plural: str, name: str, key: str, *, namespace: str = "nats") -> bytes | None:
        """Return a value of an object as a pod would see it."""
        found = self.objects[namespace, plural, name]
        if plural == "secrets":
            encoded = found.get("data", {}).get(key)
            return None if encoded is None else base64.b64decode(encoded)
        plain = found.get("data", {}).get(key)
        return None if plain is None else plain.encode()

    def names(self, plural: str, *, namespace: str = "nats") -> list[str]:
        """Return the names of the objects there are."""
        return sorted(key[2] for key in self.objects if key[:2] == (namespace, plural))

    def _store(self, key: Key, found: Object) -> Object:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        found["apiVersion"], found["kind"] = "v1", _KINDS[key[1]]
        self.objects[key] = found
        return found

    def answer(self, method: str, target: str, body: bytes, token: str) -> tuple[int, Object]:
        """Return the code and the document of an answer."""
        url = urlsplit(target)
        self.requests.append((method, url.path))
        if token != f"Bearer {TOKEN}":
            raise Refusal(401, "Unauthorized")
        found = _PATH.fullmatch(url.path)
        if found is None:
            raise Refusal(404, "the server could not find the requested resource")
        if method in self.forbidden:
            message = f'{found[2]} is forbidden: User "ci" cannot {method.lower()} resource'
            raise Refusal(403, message)
        self.before(method, url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "fieldManager" in query:
            self.managers.add(query["fieldManager"])
        key = (found[1], found[2], unquote(found[3] or ""))
        with self._lock:
            return self._do(method, key, body, query)

    def _do(self, method: str, key: Key, body: bytes, query: dict[str, str]) -> tuple[int, Object]:
        if method == "GET" and not key[2]:
            return 200, self._list(key, query)
        if method == "POST":
            sent = _sent(body)
            key = (key[0], key[1], sent["metadata"]["name"])
            if key in self.objects:
                raise Refusal(409, f'{key[1]} "{key[2]}" already exists')
            _validate(key, sent)
            return 201, self._store(key, sent)
        if key not in self.objects:
            raise Refusal(404, f'{key[1]} "{key[2]}" not found')
        if method == "GET":
            return 200, self.objects[key]
        if method == "DELETE":
            del self.objects[key]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return 200, self._write(method, key, _sent(body))

    def _write(self, method: str, key: Key, sent: Object) -> Object:
        before = self.objects[key]
        version = sent["metadata"].get("resourceVersion")
        if version not in (None, before["metadata"]["resourceVersion"]):
            message = (
                f'Operation cannot be fulfilled on {key[1]} "{key[2]}": the object has been '
                "modified; please apply your changes to the latest version and try again"
            )
            raise Refusal(409, message)
        after = _merged(before, sent) if method == "PATCH" else sent
        after["metadata"].setdefault("uid", before["metadata"].get("uid"))
        _validate(key, after)
        if before.get("immutable") and before.get("data") != after.get("data"):
            raise Refusal(422, f'{_KINDS[key[1]]} "{key[2]}" is invalid: data: field is immutable')
        return self._store(key, after)

    def _list(self, key: Key, query: dict[str, str]) -> Object:
        wanted = dict(
            pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if pair
        )
        items = [
            each
            for name, each in sorted(self.objects.items())
            if name[:2] == key[:2] and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        metadata = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        page = items[start : start + limit]
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}


def _sent(body: bytes) -> Object:
    try:
        found = json.loads(body)
    except ValueError:
        raise Refusal(400, "the object provided is unrecognized") from None
    assert isinstance(found, dict)
    return found


def _merged(before: Object, patch: Object) -> Object:
    """Return what RFC 7386 makes of a patch."""
    after = {**before}
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            after[name] = _merged(after.get(name) or {}, value)
        else:
            after[name] = value
    return after


def _validate(key: Key, sent: Object) -> None:
    kind = _KINDS[key[1]]
    if not _NAME.fullmatch(key[2]):
        raise Refusal(422, f'{kind} "{key[2]}" is invalid: metadata.name: Invalid value')
    data = sent.get("data") or {}
    values = [base64.b64decode(value) if kind == "Secret" else value.encode() for value in
              data.values()]  # fmt: skip
    if sum(map(len, values)) > MOST_BYTES:
        raise Refusal(422, f'{kind} "{key[2]}" is invalid: data: Too long: may not be more than')
    if sent.get("type") == "kubernetes.io/tls" and not {"tls.crt", "tls.key"} <= data.keys():
        raise Refusal(422, f'{kind} "{key[2]}" is invalid: data[tls.crt]: Required value')


def _handler(cluster: StandIn) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            token = self.headers.get("Authorization", "")
            try:
                code, document = cluster.answer(self.command, self.path, body, token)
            except Refusal as error:
                code = error.code
                document = {
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                    "message": str(error), "reason": _REASONS.get(code, ""),
                }  # fmt: skip
            content = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    return Answering


@contextmanager
def running(
    folder: Path, *, token: str = TOKEN, tls: bool = True
) -> Iterator[tuple[StandIn, Path]]:
    """Run a stand-in; yield it and a kubeconfig for it. Without `tls` it answers faster."""
    cluster = StandIn()
    now = datetime.now(UTC)
    authority = forge("stand-in API", CA, now=now)
    loopback = x509.IPAddress(ip_address("127.0.0.1"))
    leaf = forge("api", LEAF._replace(names=(loopback,)), by=authority, now=now)
    (folder / "api-ca.pem").write_bytes(write_certificates((authority.certificate,)))
    (folder / "api.pem").write_bytes(write_certificates((leaf.certificate,)))
    (folder / "api.key").write_bytes(leaf.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "api.pem", folder / "api.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    server.daemon_threads = True
    if tls:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield cluster, write_kubeconfig(folder, server.server_address[1], token=token, tls=tls)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_kubeconfig(folder: Path, port: int, *, token: str = TOKEN, tls: bool = True) -> Path:
    """Write the kubeconfig of a user who has this token."""
    path, scheme = folder / "kubeconfig", "https" if tls else "http"
    path.write_text(
        f"""\
apiVersion: v1
kind: Config
current-context: stand-in
clusters:
  - name: stand-in
    cluster: {{server: "{scheme}://127.0.0.1:{port}", certificate-authority: api-ca.pem}}
users:
  - name: ci
    user: {{token: {token}}}
contexts:
  - name: stand-in
    context: {{cluster: stand-in, user: ci, namespace: nats}}
"""
    )
    return path
