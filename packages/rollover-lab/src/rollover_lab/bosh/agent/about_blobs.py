"""Actions with blobs. The lab has no blobstore: they answer as if it had swallowed everything."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import msgspec

from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.protocol import Request


class _Blob(msgspec.Struct, frozen=True):
    blob_id: str = ""


def sync_dns(_host: Host, _request: Request) -> object:
    """Take over DNS records."""
    return "synced"


def delete_arp_entries(_host: Host, _request: Request) -> object:
    """Forget hardware addresses."""
    return {}


def upload_blob(_host: Host, request: Request) -> object:
    """Keep rendered templates for a later `prepare`."""
    return request.argument(0, _Blob).blob_id


def fetch_logs(_host: Host, request: Request) -> object:
    """Put logs into the blobstore."""
    request.argument(0, str)
    return _stored()


def compile_package(_host: Host, request: Request) -> object:
    """Compile a package into the blobstore."""
    request.argument(0, str)
    return {"result": _stored()}


def _stored() -> dict[str, str]:
    blob = str(uuid4())
    return {
        "blobstore_id": blob,
        "sha1": hashlib.sha1(blob.encode(), usedforsecurity=False).hexdigest(),
    }
