"""Delivers Secrets and ConfigMaps through the API server, and waits until pods can see them."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from rollover.codec.kubernetes import ClusterObject, ObjectKind, ObjectRef
from rollover.delivery.kubernetes_objects import (
    DELIVERED_AT,
    INSTANCE,
    KEPT_SUFFIX,
    KeptObject,
    KeyChange,
    ObjectRecord,
    Objects,
    Volumes,
    check_unchanged,
    check_writable,
    in_phase,
    instance_label,
    kept_object,
    kept_ref,
    read_kept,
    receipt_of,
    value_sha256,
    volumes_of,
)
from rollover.delivery.local import LARGEST_FILE, DeliveryPhase, check_files
from rollover.delivery.workspace import locked, missing, rejected
from rollover.engine.ports import DeliveredFile, Receipt
from rollover.errors import AdapterError, Conflict, NotFound, TimedOut
from rollover.files import read_start
from rollover.fleet.description import GroupDescription, KubernetesDelivery
from rollover.fleet.secret import SecretBytes

_LOOK_SECONDS: Final = 0.5


class Pods:
    """How long to wait for the pods of a group, or where to look: kubelet brings, and tells nobody.

    `mounted` is a directory below which their volumes are seen here, `{instance}` in it the
    instance; without it `sync_seconds` pass since the last write.
    """

    def __init__(
        self, *, sync_seconds: float, mounted: str | None, pause: Callable[[float], None]
    ) -> None:
        self._sync_seconds = sync_seconds
        self._mounted = mounted
        self._pause = pause

    def await_content(
        self,
        instance: str,
        contents: Mapping[str, SecretBytes | None],
        *,
        objects: Objects,
        refs: Iterable[ObjectRef],
    ) -> None:
        """Wait until the pods should have these files (None: a file is gone)."""
        if self._mounted is None:
            self._settle(objects, refs)
            return
        root = self._mounted.replace(INSTANCE, instance)
        deadline = time.monotonic() + self._sync_seconds
        lacking = dict(contents)
        while lacking := {
            path: content for path, content in lacking.items() if not _shows(root, path, content)
        }:
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"`{next(iter(lacking))}` below `{root}` is not what was delivered after "
                    f"{self._sync_seconds:.0f} s",
                    system=f"instance `{instance}`",
                    operation="deliver",
                    hint="volumes with `subPath` and immutable objects are never renewed; "
                    "otherwise raise `sync_seconds`",
                )
            self._pause(_LOOK_SECONDS)

    def _settle(self, objects: Objects, refs: Iterable[ObjectRef]) -> None:
        """Wait until kubelet should have brought the last write of these objects to the pods."""
        for ref in refs:
            delivered_at = objects.read(ref).annotations.get(DELIVERED_AT)
            remaining = self._sync_seconds - _seconds_since(delivered_at)
            if delivered_at is not None and remaining > 0:
                self._pause(min(remaining, self._sync_seconds))


def _shows(root: str, path: str, content: SecretBytes | None) -> bool:
    try:
        found = read_start(Path(root) / path.lstrip("/"), size=LARGEST_FILE + 1)
    except OSError:
        return content is None
    return content is not None and found == content.reveal()


def _seconds_since(moment: str | None) -> float:
    try:
        then = datetime.fromisoformat(moment or "")
        return (datetime.now(UTC) - then).total_seconds()
    except (ValueError, TypeError):
        return 0.0


# The delivery.

WRITE_ATTEMPTS: Final = 6
_LONGEST_PAUSE_SECONDS: Final = 0.5


def delivery_of(
    group: GroupDescription, settings: KubernetesDelivery, *, base: Path, state: Path
) -> ApiServerDelivery:
    """Return the delivery that a fleet file describes; it connects when it is first used."""
    volumes = volumes_of(group, settings, base=PurePosixPath(base))

    def connect() -> Objects:
        from rollover.delivery.kubernetes_api import open_cluster  # noqa: PLC0415 - an optional dependency

        path = base / settings.kubeconfig if settings.kubeconfig else None
        return open_cluster(kubeconfig=path, context=settings.context)

    return ApiServerDelivery(
        connect,
        volumes=volumes,
        state=state,
        sync_seconds=settings.sync_seconds,
        mounted=settings.mounted,
    )


class ApiServerDelivery:
    """`Delivery` and `Recovery` (rollover.engine.ports) for files of pods.

    What is replaced is kept in an object `NAME.rollover-kept` beside each one until the delivery
    is confirmed. An object is written only as it was read (`resourceVersion`); when somebody else
    changes other values meanwhile it is read and written again, when ours, it is a `Conflict`.

    `deliver` and `restore` return when pods should have the files: `mounted` is a directory below
    which they are seen here, `{instance}` in it the instance; without it `sync_seconds` pass since
    the last write. `state` is a directory of ours for locks; nothing secret goes there.
    """

    def __init__(
        self,
        connect: Callable[[], Objects],
        *,
        volumes: Volumes,
        state: Path,
        sync_seconds: float = 90.0,
        mounted: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._volumes = volumes
        self._state = state
        self._pods = Pods(sync_seconds=sync_seconds, mounted=mounted, pause=pause)
        self._pause = pause

    @cached_property
    def _objects(self) -> Objects:
        return self._connect()

    def deliver(self, instance: str, files: tuple[DeliveredFile, ...]) -> Receipt:
        """Write all objects and wait for the pods, or put back what was written and raise."""
        check_files(instance, files)
        with locked(self._state, instance, operation="deliver"):
            wanted = self._wanted(instance, files)
            targets = {ref: self._objects.read(ref) for ref in wanted}
            for target in targets.values():
                check_writable(instance, target)
            waiting = self._mend(instance)
            same = self._same(waiting, files, targets)
            if same is None:
                self._supersede(waiting, wanted)
                same = self._begin(instance, files, targets)
            try:
                for kept in same:
                    self._write(kept, dict(wanted[kept.target]))
                contents = {file.path: SecretBytes(file.plain()) for file in files}
                self._pods.await_content(instance, contents, objects=self._objects, refs=wanted)
            except BaseException as error:
                self._undo(instance, same, error)
                raise
            return receipt_of(same)

    def restore(self, receipt: Receipt) -> None:
        """Put back what the delivery replaced, and wait for the pods."""
        with locked(self._state, receipt.instance, operation="restore"):
            for kept_objects in self._mend(receipt.instance):
                if kept_objects[0].record.delivery == receipt.delivery:
                    self._put_back(kept_objects)
                    former = {
                        change.path: kept.stored.data.get(change.key)
                        for kept in kept_objects
                        for change in kept.record.changes
                    }
                    self._pods.await_content(
                        receipt.instance,
                        former,
                        objects=self._objects,
                        refs={kept.target for kept in kept_objects},
                    )

    def confirm(self, receipt: Receipt) -> None:
        """Delete the kept objects."""
        with locked(self._state, receipt.instance, operation="confirm"):
            for kept_objects in self._mend(receipt.instance):
                if kept_objects[0].record.delivery == receipt.delivery:
                    self._drop(kept_objects)

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Leave the objects of every interrupted delivery wholly old or wholly new."""
        with locked(self._state, instance, operation="recover"):
            return tuple(receipt_of(kept_objects) for kept_objects in self._mend(instance))

    def read(self, instance: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Return what the objects hold; a pod has it once kubelet has brought it there."""
        objects: dict[ObjectRef, ClusterObject] = {}
        found: dict[str, bytes] = {}
        for path in paths:
            spot = self._volumes.spot(instance, path.removesuffix(KEPT_SUFFIX))
            ref = kept_ref(spot.ref) if path.endswith(KEPT_SUFFIX) else spot.ref
            if ref not in objects:
                objects[ref] = self._objects.read(ref)
            value = objects[ref].data.get(spot.key)
            if value is None:
                raise missing(instance, f"{ref}: {spot.key}")
            found[path] = value.reveal()
        return found

    def _wanted(
        self, instance: str, files: tuple[DeliveredFile, ...]
    ) -> dict[ObjectRef, dict[str, SecretBytes]]:
        wanted: dict[ObjectRef, dict[str, SecretBytes]] = {}
        for file in files:
            spot = self._volumes.spot(instance, file.path)
            if file.secret and spot.ref.kind is ObjectKind.CONFIG_MAP:
                raise rejected(
                    f"the private key `{file.path}` would be in a {spot.ref}",
                    instance=instance,
                    operation="deliver",
                    hint="keep keys in a Secret",
                )
            values = wanted.setdefault(spot.ref, {})
            if spot.key in values:
                raise rejected(
                    f"`{file.path}` is asked for twice ({spot})",
                    instance=instance,
                    operation="deliver",
                    hint="deliver each file once",
                )
            values[spot.key] = SecretBytes(file.plain())
        return wanted

    def _same(
        self,
        waiting: tuple[tuple[KeptObject, ...], ...],
        files: tuple[DeliveredFile, ...],
        targets: Mapping[ObjectRef, ClusterObject],
    ) -> tuple[KeptObject, ...] | None:
        """Return the delivery that waits and has put in place exactly these files, if any."""
        asked = {file.path: _digest(file) for file in files}
        for kept_objects in waiting:
            done = {
                change.path: change.after for kept in kept_objects for change in kept.record.changes
            }
            if done == asked and all(
                kept.holds_after(targets[kept.target]) for kept in kept_objects
            ):
                return kept_objects
        return None

    def _begin(
        self,
        instance: str,
        files: tuple[DeliveredFile, ...],
        targets: Mapping[ObjectRef, ClusterObject],
    ) -> tuple[KeptObject, ...]:
        """Keep what will be replaced, of every object, before any is changed."""
        delivery = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        made: list[KeptObject] = []
        try:
            for target in targets.values():
                record = ObjectRecord(
                    delivery=delivery,
                    instance=instance,
                    phase=DeliveryPhase.PREPARED,
                    objects=len(targets),
                    changes=tuple(self._changes(instance, files, target)),
                )
                made.append(KeptObject(self._keep(instance, kept_object(target, record)), record))
        except BaseException:
            self._drop(tuple(made))
            raise
        return tuple(made)

    def _supersede(
        self, waiting: tuple[tuple[KeptObject, ...], ...], wanted: Iterable[ObjectRef]
    ) -> None:
        """Take a delivery that waits as confirmed when a new one touches its objects."""
        touched = set(wanted)
        for kept_objects in waiting:
            if touched & {kept.target for kept in kept_objects}:
                self._drop(kept_objects)

    def _keep(self, instance: str, stored: ClusterObject) -> ClusterObject:
        try:
            return self._objects.create(stored)
        except Conflict:
            other = read_kept(self._objects.read(stored.ref), instance=instance).record
            raise Conflict(
                f"a delivery to `{other.instance}` waits to be confirmed ({stored.ref})",
                system=f"instance `{instance}`",
                operation="deliver",
                hint="let it end first; `max_in_flight: 1` where instances share an object",
            ) from None

    def _changes(
        self, instance: str, files: tuple[DeliveredFile, ...], target: ClusterObject
    ) -> Iterator[KeyChange]:
        for file in files:
            spot = self._volumes.spot(instance, file.path)
            if spot.ref == target.ref:
                yield KeyChange(
                    path=file.path,
                    key=spot.key,
                    after=_digest(file),
                    before=value_sha256(target.data, spot.key),
                )

    def _write(self, kept: KeptObject, values: Mapping[str, SecretBytes | None]) -> None:
        """Give an object these values (None: take it out); nothing when it has them."""
        for attempt in range(WRITE_ATTEMPTS):
            target = self._objects.read(kept.target)
            check_unchanged(kept, target)
            data = {key: value for key, value in target.data.items() if key not in values}
            data |= {key: value for key, value in values.items() if value is not None}
            if data == dict(target.data):
                return
            annotations = {**target.annotations, DELIVERED_AT: datetime.now(UTC).isoformat()}
            ordered = {key: data[key] for key in sorted(data)}
            try:
                self._objects.replace(
                    msgspec.structs.replace(target, data=ordered, annotations=annotations)
                )
            except Conflict:
                if attempt + 1 == WRITE_ATTEMPTS:
                    raise
                # Jitter only: nobody can guess anything from it.
                self._pause(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - see above
            else:
                return

    def _undo(
        self, instance: str, kept_objects: tuple[KeptObject, ...], error: BaseException
    ) -> None:
        """Put back a delivery that failed; what cannot be put back is told, and mended later."""
        try:
            self._put_back(kept_objects)
        except AdapterError as second:
            raise rejected(
                f"{error}; and then putting back the former objects failed: {second}",
                instance=instance,
                operation="deliver",
                hint=f"{second.hint}; then run again: what was there is kept in "
                f"`NAME{KEPT_SUFFIX}` and is put back first",
            ) from None

    def _mend(self, instance: str) -> tuple[tuple[KeptObject, ...], ...]:
        """Bring unfinished deliveries to an end; return those that wait, the oldest first."""
        deliveries: dict[str, list[KeptObject]] = {}
        for kind in dict.fromkeys(ref.kind for ref in self._volumes.objects(instance)):
            for stored in self._objects.find(
                kind, self._volumes.namespace, labels=instance_label(instance)
            ):
                kept = read_kept(stored, instance=instance)
                deliveries.setdefault(kept.record.delivery, []).append(kept)
        ordered = (tuple(deliveries[name]) for name in sorted(deliveries))
        return tuple(kept_objects for kept_objects in ordered if self._is_waiting(kept_objects))

    def _is_waiting(self, kept_objects: tuple[KeptObject, ...]) -> bool:
        # One of them in a phase says where the delivery was going: see `_enter`.
        phases = {kept.record.phase for kept in kept_objects}
        if DeliveryPhase.DROPPING in phases:
            self._drop(kept_objects)
            return False
        whole = len(kept_objects) == kept_objects[0].record.objects
        if DeliveryPhase.RESTORING not in phases and whole and self._is_wholly_new(kept_objects):
            return True
        self._put_back(kept_objects)
        return False

    def _is_wholly_new(self, kept_objects: tuple[KeptObject, ...]) -> bool:
        try:
            return all(kept.holds_after(self._objects.read(kept.target)) for kept in kept_objects)
        except NotFound:
            return False

    def _put_back(self, kept_objects: tuple[KeptObject, ...]) -> None:
        for kept in self._enter(kept_objects, DeliveryPhase.RESTORING):
            values = {
                change.key: kept.stored.data.get(change.key) for change in kept.record.changes
            }
            self._write(kept, values)
        for kept in kept_objects:
            self._objects.delete(kept.stored.ref)

    def _drop(self, kept_objects: tuple[KeptObject, ...]) -> None:
        # A single one is there or not: no phase is needed to tell half of the way.
        if len(kept_objects) > 1:
            self._enter(kept_objects, DeliveryPhase.DROPPING)
        for kept in kept_objects:
            self._objects.delete(kept.stored.ref)

    def _enter(
        self, kept_objects: tuple[KeptObject, ...], phase: DeliveryPhase
    ) -> tuple[KeptObject, ...]:
        """Write the phase on every kept object: whoever finds one of them knows the way."""
        moved: list[KeptObject] = []
        for kept in kept_objects:
            now = self._objects.read(kept.stored.ref)
            found = in_phase(read_kept(now, instance=kept.record.instance), phase)
            moved.append(KeptObject(self._objects.replace(found.stored), found.record))
        return tuple(moved)


def _digest(file: DeliveredFile) -> str:
    return value_sha256({"": SecretBytes(file.plain())}, "")
