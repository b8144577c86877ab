"""Secrets and ConfigMaps through the API server of a cluster; lightkube does the talking."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import lightkube
import msgspec
import yaml
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError, LoadResourceError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret

from rollover.codec.kubernetes import (
    MANAGER,
    ClusterObject,
    ObjectKind,
    ObjectRef,
    check_object,
    encoded_values,
)
from rollover.errors import (
    AdapterError,
    Conflict,
    Denied,
    NotFound,
    Rejected,
    SpecError,
    TimedOut,
    Unreachable,
)
from rollover.fleet.secret import SecretBytes, redacted

TIMEOUT_SECONDS = 15.0
MOST_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one answer: a page of objects of the largest size."""
PAGE = 10
MOST_OBJECTS = 1_000
_LONGEST_MESSAGE = 500

_RESOURCES: Mapping[ObjectKind, type[Secret | ConfigMap]] = {
    ObjectKind.SECRET: Secret,
    ObjectKind.CONFIG_MAP: ConfigMap,
}
_DENIED_HINT = (
    "give this user the verbs get, list, create, update and delete on secrets and configmaps there"
)
_ANSWERS: Mapping[int, tuple[type[AdapterError], str]] = {
    401: (Denied, "log in again: the token or certificate in the kubeconfig is not accepted"),
    403: (Denied, _DENIED_HINT),
    404: (NotFound, "check namespace and name"),
    409: (Conflict, "run again"),
    413: (Rejected, "an object holds at most 1 MiB"),
    422: (Rejected, "correct the object"),
    429: (Unreachable, "the API server is busy: run again"),
}


def open_cluster(*, kubeconfig: Path | None = None, context: str | None = None) -> ApiServer:
    """Return the API server that a kubeconfig names; nothing is sent yet.

    `kubeconfig` None: the service account of the pod, else `KUBECONFIG`, else `~/.kube/config`.
    Raises `SpecError` when there is none, or it cannot be used.
    """
    config = _config(kubeconfig, context)
    if config.user is None:
        raise _unusable(kubeconfig, ConfigError("its context names no user"))
    try:
        # With a transport of our own, which has a limit, lightkube leaves TLS to us.
        transport = _Bounded(verify_cluster(config.cluster, config.user, config.abs_file))
        client = lightkube.Client(
            config=config,
            timeout=httpx2.Timeout(TIMEOUT_SECONDS),
            field_manager=MANAGER,
            transport=transport,
        )
    except (ConfigError, OSError, ValueError, KeyError, ssl.SSLError) as error:
        raise _unusable(kubeconfig, error) from None
    return ApiServer(client, address=config.cluster.server)


def _config(kubeconfig: Path | None, context: str | None) -> SingleConfig:
    try:
        found = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        config = found.get(context)
    except (
        ConfigError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        msgspec.ValidationError,
        yaml.YAMLError,
    ) as error:
        raise _unusable(kubeconfig, error) from None
    if config is None:
        raise _unusable(kubeconfig, ConfigError("it names no context"))
    return config


def _unusable(kubeconfig: Path | None, error: Exception) -> SpecError:
    # Texts of YAML errors quote the file, in which tokens stand.
    detail = f": {error}" if isinstance(error, (ConfigError, OSError)) else ""
    return SpecError(
        f"the kubeconfig cannot be used ({type(error).__name__}{redacted(detail)})",
        place=str(kubeconfig or ""),
        hint="`kubectl config view` shows it; name another with `kubeconfig`",
    )


class ApiServer:
    """Reads and writes objects. Each call is one request, but for `find`, which turns pages.

    Failures are `Denied` (401, 403), `NotFound`, `Conflict` (somebody else wrote first),
    `Rejected` (422 and the like), `TimedOut` and `Unreachable`; each names the object.
    """

    def __init__(self, client: lightkube.Client, *, address: str) -> None:
        self._client = client
        self.address = address

    def read(self, ref: ObjectRef) -> ClusterObject:
        """Return an object as it is now."""
        with self._asking("read", ref):
            found = self._client.get(_resource(ref), ref.name, namespace=ref.namespace)
            return _stored(ref, found)

    def find(
        self, kind: ObjectKind, namespace: str, *, labels: Mapping[str, str]
    ) -> tuple[ClusterObject, ...]:
        """Return the objects that carry these labels, by name."""
        ref = ObjectRef(kind, namespace, "")
        with self._asking("list", ref):
            found: list[ClusterObject] = []
            listed = self._client.list(
                _RESOURCES[kind], namespace=namespace, labels=dict(labels), chunk_size=PAGE
            )
            for resource in listed:
                name = str(resource.metadata.name) if resource.metadata else ""
                found.append(_stored(ref._replace(name=name), resource))
                if len(found) > MOST_OBJECTS:
                    raise Rejected(
                        f"more than {MOST_OBJECTS} objects",
                        system=self._system(ref),
                        operation="list",
                        hint="use another namespace",
                    )
            return tuple(sorted(found, key=lambda stored: stored.ref.name))

    def create(self, stored: ClusterObject) -> ClusterObject:
        """Make an object; `Conflict` when there is one of that name."""
        check_object(stored)
        with self._asking("create", stored.ref):
            return _stored(stored.ref, self._client.create(_resource_of(stored)))

    def replace(self, stored: ClusterObject) -> ClusterObject:
        """Write an object that was read: `Conflict` when somebody wrote it since."""
        check_object(stored)
        with self._asking("replace", stored.ref):
            return _stored(stored.ref, self._client.replace(_resource_of(stored)))

    def delete(self, ref: ObjectRef) -> None:
        """Remove an object; nothing happens when there is none."""
        try:
            with self._asking("delete", ref):
                self._client.delete(_resource(ref), ref.name, namespace=ref.namespace)
        except NotFound:
            return

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _system(self, ref: ObjectRef) -> str:
        return f"Kubernetes {str(ref).rstrip('/')}"

    @contextmanager
    def _asking(self, operation: str, ref: ObjectRef) -> Iterator[None]:
        """Turn everything that the client and its libraries raise into our errors."""
        system = self._system(ref)
        try:
            yield
        except ApiError as error:
            raise _answered(error, system=system, operation=operation) from None
        except httpx2.TimeoutException:
            raise TimedOut(
                f"no answer within {TIMEOUT_SECONDS:.0f} s from {self.address}",
                system=system,
                operation=operation,
                hint="look whether the API server is well, then run again",
            ) from None
        except httpx2.HTTPStatusError as error:
            raise _no_kubernetes(
                f"answered {error.response.status_code}, and not as Kubernetes does",
                system=system,
                operation=operation,
            ) from None
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(
                f"{self.address}: {_plain(error)}",
                system=system,
                operation=operation,
                hint="check the address and the CA in the kubeconfig",
            ) from None
        except (ConfigError, LoadResourceError) as error:
            raise Denied(
                _plain(error),
                system=system,
                operation=operation,
                hint="correct the user in the kubeconfig",
            ) from None
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError):
            raise _no_kubernetes(
                "the answer is not as Kubernetes gives it", system=system, operation=operation
            ) from None


def _answered(error: ApiError, *, system: str, operation: str) -> AdapterError:
    code = int(getattr(error.status, "code", 0) or 0)
    message = _plain(getattr(error.status, "message", "") or f"answered {code}")
    kind, hint = _ANSWERS.get(
        code,
        (Unreachable, "look whether the API server is well, then run again")
        if code >= httpx2.codes.INTERNAL_SERVER_ERROR
        else (Rejected, "look at the message of the API server"),
    )
    return kind(message, system=system, operation=operation, hint=hint)


def _no_kubernetes(message: str, *, system: str, operation: str) -> Rejected:
    hint = "is this the address of an API server, or of a proxy before it?"
    return Rejected(message, system=system, operation=operation, hint=hint)


def _plain(error: object) -> str:
    text = redacted(" ".join(str(error).split()))
    return text[:_LONGEST_MESSAGE] or type(error).__name__


def _resource(ref: ObjectRef) -> type[Secret | ConfigMap]:
    return _RESOURCES[ref.kind]


def _stored(ref: ObjectRef, found: Secret | ConfigMap) -> ClusterObject:
    metadata = found.metadata or ObjectMeta()
    encoded = (found.data if isinstance(found, Secret) else found.binaryData) or {}
    texts = {} if isinstance(found, Secret) else found.data or {}
    data = {
        key: SecretBytes(base64.b64decode(value or "", validate=True))
        for key, value in encoded.items()
    }
    data |= {key: SecretBytes((text or "").encode("utf-8")) for key, text in texts.items()}
    return ClusterObject(
        ref=ref,
        data=data,
        labels=dict(metadata.labels or {}),
        annotations=dict(metadata.annotations or {}),
        type=(found.type or "") if isinstance(found, Secret) else "",
        immutable=bool(found.immutable),
        version=metadata.resourceVersion or "",
        owners=tuple(f"{owner.kind}/{owner.name}" for owner in metadata.ownerReferences or ()),
        metadata=metadata,
    )


def _resource_of(stored: ClusterObject) -> Secret | ConfigMap:
    """Return what is sent: what is not ours stays as it was read."""
    written = encoded_values(stored)
    shared: dict[str, Any] = {"metadata": _metadata(stored), "data": dict(written["data"])}
    if stored.immutable:
        shared["immutable"] = True
    if stored.ref.kind is ObjectKind.SECRET:
        return Secret(type=stored.type or "Opaque", **shared)
    return ConfigMap(binaryData=dict(written.get("binaryData", {})) or None, **shared)


def _metadata(stored: ClusterObject) -> ObjectMeta:
    found = stored.metadata if isinstance(stored.metadata, ObjectMeta) else None
    return ObjectMeta(
        name=stored.ref.name,
        namespace=stored.ref.namespace,
        labels=dict(stored.labels) or None,
        annotations=dict(stored.annotations) or None,
        resourceVersion=stored.version or None,
        uid=found.uid if found else None,
        finalizers=found.finalizers if found else None,
        ownerReferences=found.ownerReferences if found else None,
    )


class _Bounded(httpx2.BaseTransport):
    """Sends requests over TLS, and ends an answer that grows too large."""

    def __init__(self, verify: ssl.SSLContext) -> None:
        # Minutes pass between requests: a connection that is kept would be dead by then.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.HTTPTransport(verify=verify, limits=limits)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the limit counts what is sent, so nothing may be compressed."""
        request.headers["Accept-Encoding"] = "identity"
        answer = self._inner.handle_request(request)
        stream = answer.stream
        assert isinstance(stream, httpx2.SyncByteStream)  # noqa: S101 - a transport without async
        answer.stream = _BoundedStream(stream)
        return answer

    def close(self) -> None:
        """Give the connections back."""
        self._inner.close()


class _BoundedStream(httpx2.SyncByteStream):
    """The body of an answer, up to a limit."""

    def __init__(self, inner: httpx2.SyncByteStream) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._inner:
            size += len(part)
            if size > MOST_ANSWER_BYTES:
                message = f"an answer of more than {MOST_ANSWER_BYTES:,} bytes"
                raise httpx2.ReadError(message)
            yield part

    def close(self) -> None:
        """End the answer."""
        self._inner.close()
