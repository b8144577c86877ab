"""Calls about configs: cloud, runtime, deploy and whatever else somebody keeps here."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director import manifest_diff
from rollover_lab.bosh.director.api.calls import (
    answer,
    body,
    director_of,
    empty,
    json_body,
    user_of,
)
from rollover_lab.bosh.director.records import Happening, StoredConfig
from rollover_lab.bosh.director.refusals import (
    BadConfig,
    BadConfigRequest,
    BadManifest,
    InvalidYaml,
)

_ANY_NUMBER = 2**31
_WITH_DEFAULT = ("cloud", "runtime")
"""Kinds of configs that commands of their own ask for."""


class _NewConfig(msgspec.Struct, frozen=True):
    type: str
    name: str
    content: str
    expected_latest_id: str | int | None = None


class _Side(msgspec.Struct, frozen=True):
    id: str | None = None
    content: str | None = None


class _Diff(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    type: str | None = None
    name: str | None = None
    content: str | None = None
    before: _Side | None = None
    after: _Side | None = None


async def configs(request: Request) -> Response:
    """List configs, of each the newest `limit` versions."""
    asked = request.query_params
    found = director_of(request).configs.find(
        kind=asked.get("type"), name=asked.get("name"), limit=_limit(request)
    )
    return answer([_shown(version) for version in found])


async def config(request: Request) -> Response:
    """Show one version of a config."""
    return answer(_shown(director_of(request).configs.get(request.path_params["id"])))


async def update(request: Request) -> Response:
    """Add a version of a config, unless the newest one is the same."""
    new = await json_body(request, _NewConfig)
    _tree(new.content)
    director = director_of(request)
    newest = next(iter(director.configs.find(kind=new.type, name=new.name)), None)
    latest = str(newest.id) if newest else "0"
    if new.expected_latest_id is not None and str(new.expected_latest_id) != latest:
        return answer(
            {
                "latest_id": latest,
                "expected_latest_id": str(new.expected_latest_id),
                "description": f"Latest Id: '{latest}' does not match expected latest id",
            },
            status=412,
        )
    added = director.configs.add(kind=new.type, name=new.name, content=new.content)
    director.history.add(
        Happening(
            user=user_of(request) or "",
            action="create",
            object_type=f"config/{new.type}",
            object_name=new.name,
        )
    )
    return answer(_shown(added), status=201)


async def diff(request: Request) -> Response:
    """Show what a new content changes, or how two versions differ."""
    asked = await json_body(request, _Diff)
    known = director_of(request).configs
    if asked.before is not None and asked.after is not None:
        before, after = (_content(request, side) for side in (asked.before, asked.after))
        return answer({"diff": manifest_diff.diff_lines(_tree(before), _tree(after), redact=True)})
    if not (asked.type and asked.name and asked.content is not None):
        raise BadConfigRequest(
            'The following request formats are allowed:\n1. {"from":<config>,"to":<config>} '
            'where <config> is either {"id":"<id>"} or {"content":"<content>"}\n'
            '2. {"type":"<type>","name":"<name>","content":"<content>"}'
        )
    newest = next(iter(known.find(kind=asked.type, name=asked.name)), None)
    had = _tree(newest.content) if newest else {}
    found = manifest_diff.diff_lines(had, _tree(asked.content), redact=True)
    return answer({"from": {"id": str(newest.id) if newest else "0"}, "diff": found})


async def delete(request: Request) -> Response:
    """Delete every version of a config."""
    asked = request.query_params
    for name in ("type", "name"):
        if not asked.get(name):
            raise BadConfigRequest(f"'{name}' is required")
    gone = director_of(request).configs.delete(kind=asked["type"], name=asked["name"])
    return empty(204 if gone else 404)


async def delete_version(request: Request) -> Response:
    """Delete one version of a config."""
    gone = director_of(request).configs.delete_version(request.path_params["id"])
    return empty(204 if gone else 404)


async def defaults(request: Request) -> Response:
    """List versions of a default config, the newest first (`bosh cloud-config`)."""
    kind, name = _default(request)
    found = director_of(request).configs.find(kind=kind, name=name, limit=_limit(request))
    return answer(
        [{"properties": version.content, "created_at": version.created_at} for version in found]
    )


async def update_default(request: Request) -> Response:
    """Replace a default config (`bosh update-cloud-config`)."""
    kind, name = _default(request)
    content = (await body(request)).decode()
    _tree(content)
    director_of(request).configs.add(kind=kind, name=name, content=content)
    return empty(201)


async def default_diff(request: Request) -> Response:
    """Show what a new default config changes."""
    kind, name = _default(request)
    after = _tree((await body(request)).decode())
    newest = next(iter(director_of(request).configs.find(kind=kind, name=name)), None)
    before = _tree(newest.content) if newest else {}
    redact = request.query_params.get("redact") != "false"
    return answer({"diff": manifest_diff.diff_lines(before, after, redact=redact)})


def _default(request: Request) -> tuple[str, str]:
    kind = request.path_params["kind"]
    if kind not in _WITH_DEFAULT:
        raise HTTPException(404)
    return kind, request.query_params.get("name") or "default"


def _limit(request: Request) -> int:
    limit, latest = (request.query_params.get(name) for name in ("limit", "latest"))
    if limit is not None:
        if not limit.isdecimal():
            raise BadConfigRequest("'limit' must be a number")
        if not int(limit):
            raise BadConfigRequest("'limit' must be larger than zero")
        return int(limit)
    if latest not in {None, "true", "false"}:
        raise BadConfigRequest("'latest' must be 'true' or 'false'")
    return _ANY_NUMBER if latest == "false" else 1


def _content(request: Request, side: _Side) -> str:
    if side.id:
        return director_of(request).configs.get(side.id).content
    return side.content or ""


def _tree(content: str) -> dict[str, object]:
    try:
        return manifests.tree(content.encode())
    except InvalidYaml as error:
        raise BadConfig(f"Config must be valid YAML: {error.message}") from None
    except BadManifest:
        raise BadConfig("YAML hash expected") from None


def _shown(found: StoredConfig) -> dict[str, object]:
    return {
        "content": found.content,
        "id": str(found.id),
        "type": found.type,
        "name": found.name,
        "team": None,
        "created_at": found.created_at,
        "current": found.current,
    }


CONFIG_ROUTES = (
    Route("/configs", configs),
    Route("/configs", update, methods=["POST"]),
    Route("/configs", delete, methods=["DELETE"]),
    Route("/configs/diff", diff, methods=["POST"]),
    Route("/{kind}_configs", defaults),
    Route("/{kind}_configs", update_default, methods=["POST"]),
    Route("/{kind}_configs/diff", default_diff, methods=["POST"]),
    Route("/configs/{id}", config),
    Route("/configs/{id}", delete_version, methods=["DELETE"]),
)
