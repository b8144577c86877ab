"""The apply spec: what a VM was told to be, given back word for word by `get_state`."""

from __future__ import annotations

import msgspec


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One job of an instance group."""

    name: str = ""
    version: str = ""
    sha1: str = ""
    blobstore_id: str = ""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`job` of the spec."""

    name: str | None = None
    release: str | None = ""
    template: str | None = ""
    version: str | None = ""
    templates: tuple[Template, ...] | None = None


class ApplySpec(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` brings. What the agent does not act on is kept as it came."""

    properties: object = msgspec.field(
        default_factory=lambda: {"logging": {"max_log_file_size": ""}}
    )
    job: JobSpec = JobSpec()
    packages: dict[str, object] = {}
    configuration_hash: str = ""
    networks: dict[str, object] = {}
    resource_pool: object = msgspec.field(default_factory=dict)
    deployment: str = ""
    name: str = ""
    index: int | None = None
    id: str = ""
    az: str | None = ""
    persistent_disk: int | None = 0
    rendered_templates_archive: object = None
