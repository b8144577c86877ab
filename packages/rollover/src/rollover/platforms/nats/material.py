"""From an order to the files that it puts on an instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollover.engine.delivery_port import File
from rollover.errors import SpecError
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.disk import Contents


def files_of(order: Order, instance: InstanceDescription) -> tuple[File, ...]:
    """Return the files of an order, each path once; endpoints that share a path share its content.

    `SpecError` when an endpoint has no such file, when two endpoints want different content at
    one path, or when a key is not that of the leaf that comes with it.
    """
    endpoints = {each.name: each for each in instance.endpoints}
    files: dict[str, File] = {}
    for material in order.endpoints:
        if material.endpoint not in endpoints:
            raise _misfit(instance, material, "is not described")
        _check_pair(instance, material)
        for file in _files(instance, endpoints[material.endpoint], material):
            if files.setdefault(file.path, file).content != file.content:
                raise _misfit(instance, material, f"wants other content in `{file.path}`")
    return tuple(files.values())


def _files(
    instance: InstanceDescription, endpoint: EndpointDescription, material: EndpointMaterial
) -> Iterator[File]:
    wanted: tuple[tuple[str, str | None, bytes | SecretBytes | None], ...] = (
        ("certificate", endpoint.certificate, _pem(material)),
        ("key", endpoint.key, material.key),
        (
            "ca",
            endpoint.ca,
            None if material.bundle is None else write_certificates(material.bundle),
        ),
    )
    for field, path, content in wanted:
        if content is None:
            continue
        if path is None:
            raise _misfit(instance, material, f"has no `{field}` file")
        yield File(path=path, content=content)


def _pem(material: EndpointMaterial) -> bytes | None:
    return None if material.chain is None else write_certificates(material.chain)


def _check_pair(instance: InstanceDescription, material: EndpointMaterial) -> None:
    if material.chain is None or material.key is None:
        return
    place = f"{instance.name}/{material.endpoint}"
    key = from_pem(material.key.reveal(), place=place)
    if not material.chain or material.chain[0].key_identity != key.key_identity:
        raise _misfit(instance, material, "gets a key that is not its leaf's")


def _misfit(instance: InstanceDescription, material: EndpointMaterial, problem: str) -> SpecError:
    return SpecError(
        f"endpoint `{material.endpoint}` {problem}",
        place=instance.name,
        hint="correct the endpoint in the fleet file, or make its material anew",
    )


def after_delivery(before: Contents, files: tuple[File, ...]) -> Contents:
    """Return the public files as they are once these have been delivered."""
    delivered = {file.path: file.plain() for file in files if not file.secret}
    contents: Mapping[str, bytes] = {**before.files, **delivered}
    left = {path: why for path, why in before.troubles.items() if path not in delivered}
    return Contents(contents, left)
