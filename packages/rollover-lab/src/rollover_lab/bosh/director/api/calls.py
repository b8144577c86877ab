"""What every call of the API shares: who asks, JSON in and out, redirects to tasks."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.requests import Request
from starlette.responses import Response

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.deployment_plan import JobType
from rollover_lab.bosh.director.instances import DeploymentRecord
from rollover_lab.bosh.director.manifest import DeploymentManifest
from rollover_lab.bosh.director.records import UploadedRelease, UploadedStemcell
from rollover_lab.bosh.director.refusals import BadManifest, ContextTooLong, InvalidJson
from rollover_lab.bosh.director.work import LabDirector
from rollover_lab.bosh.director.workers import Workers
from rollover_lab.bosh.job_config import TokenIssuer
from rollover_lab.bosh.uaa.app import BadToken, verify_token

BODY_LIMIT: Final = 16 * 1024 * 1024
"""Octets of a request; the largest manifests have a tenth of that."""
LONGEST_CONTEXT: Final = 64
_SCOPE: Final = "bosh.admin"

T = TypeVar("T")


def director_of(request: Request) -> LabDirector:
    """Return the director that serves the request."""
    found: LabDirector = request.app.state.director
    return found


def workers_of(request: Request) -> Workers:
    """Return its workers."""
    found: Workers = request.app.state.workers
    return found


def user_of(request: Request) -> str | None:
    """Return who asks; None without credentials, or with wrong ones."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    issuer = director_of(request).config.uaa
    if issuer is not None:
        return _bearer(text, issuer, request) if scheme.lower() == "bearer" else None
    return _basic(text, request) if scheme.lower() == "basic" else None


def _bearer(token: str, issuer: TokenIssuer, request: Request) -> str | None:
    """Return whose token it is; None when it has expired, or does not allow what is asked."""
    key = load_pem_public_key(issuer.public_key.encode())
    if not isinstance(key, RSAPublicKey):
        return None
    try:
        claims = verify_token(token, key, now=datetime.now(UTC))
    except BadToken:
        return None
    scopes = {_SCOPE, f"bosh.{director_of(request).config.uuid}.admin"}
    if claims.refreshes or not scopes & set(claims.scope):
        return None
    return claims.user_name or claims.client_id


def _basic(text: str, request: Request) -> str | None:
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return None
    for user in director_of(request).config.users:
        same = hmac.compare_digest(user.password.encode(), password.encode())
        if same and user.name == name:
            return user.name
    return None


def answer(document: object, *, status: int = 200) -> Response:
    """Return a document as JSON."""
    data = msgspec.json.encode(document)
    return Response(data, status_code=status, media_type="application/json")


def empty(status: int = 200) -> Response:
    """Return nothing but a status."""
    return Response(status_code=status)


async def body(request: Request) -> bytes:
    """Return the body; `BadManifest` when it is too long."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_LIMIT:
            raise BadManifest(f"a body of more than {BODY_LIMIT} octets")
        parts.append(part)
    return b"".join(parts)


async def json_body(request: Request, kind: type[T]) -> T:
    """Return the body as a document of this type; `InvalidJson`."""
    try:
        return msgspec.json.decode(await body(request) or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidJson(f"Invalid JSON request body: {error}") from None


def flag(request: Request, name: str) -> bool:
    """Tell whether a query parameter is `true`; every other text counts as false."""
    return request.query_params.get(name) == "true"


def context_of(request: Request) -> str:
    """Return the context id of a request; `ContextTooLong`."""
    found = request.headers.get("X-Bosh-Context-Id", "")
    if len(found) > LONGEST_CONTEXT:
        raise ContextTooLong(
            f"X-Bosh-Context-Id cannot be more than {LONGEST_CONTEXT} characters in length"
        )
    return found


def start_task(
    request: Request,
    kind: JobType,
    order: msgspec.Struct,
    *,
    description: str,
    deployment: str | None = None,
) -> Response:
    """Add a task, and send the client there."""
    task = workers_of(request).add(
        kind,
        order,
        description=description,
        user=user_of(request) or "",
        deployment=deployment,
        context_id=context_of(request),
    )
    host = request.headers.get("Host") or director_of(request).config.listen
    return Response(status_code=302, headers={"Location": f"https://{host}/tasks/{task.id}"})


class Parts(NamedTuple):
    """What a deployment is made from."""

    stemcells: tuple[UploadedStemcell, ...] = ()
    releases: tuple[UploadedRelease, ...] = ()


def manifest_of(deployment: DeploymentRecord) -> DeploymentManifest | None:
    """Return the last manifest of a deployment, None before its first success."""
    if deployment.manifest is None:
        return None
    return manifests.parse(deployment.manifest.encode())


def parts_in_use(director: LabDirector, deployment: DeploymentRecord) -> Parts:
    """Return what a deployment uses: what its last manifest names."""
    manifest = manifest_of(deployment)
    if manifest is None:
        return Parts()
    return Parts(
        tuple(
            director.stock.stemcell(
                name=stemcell.name, operating_system=stemcell.os, version=str(stemcell.version)
            )
            for stemcell in manifest.stemcells
        ),
        tuple(
            director.stock.release(name=release.name, version=str(release.version), jobs=())
            for release in manifest.releases
        ),
    )
