"""The calls to a director that only a lab makes; all others are those of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from rollover.errors import Rejected, RolloverError
from rollover.platforms.bosh.director import Director
from rollover.platforms.bosh.http import Http, Request
from rollover.platforms.bosh.records import Task, TaskState
from rollover.platforms.bosh.uaa import Basic, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rollover.platforms.bosh.access import Access
    from rollover.platforms.bosh.http import Authorization
    from rollover.platforms.bosh.records import BoshInstance, TaskEvent

SYSTEM = "director"
TASK_SECONDS = 3600.0
_INFO_SECONDS = 5.0
_JSON, _YAML = "application/json", "text/yaml"

CLOUD_CONFIG = """\
---
azs:
- name: z1
vm_types:
- name: default
disk_types:
- name: default
  disk_size: 1024
networks:
- name: default
  type: manual
  subnets:
  - az: z1
    range: 10.244.0.0/16
    gateway: 10.244.0.1
compilation:
  workers: 1
  az: z1
  vm_type: default
  network: default
"""
"""What manifests of a lab name."""


class Api:
    """Sets up a director that has just been made."""

    def __init__(self, access: Access) -> None:
        self.director = Director(access)
        self._http = Http(access.url, system=SYSTEM, ca=access.ca)
        self._uaa: Http | None = None
        self._access = access

    def close(self) -> None:
        """Give back what is open."""
        self._http.close()
        self.director.close()
        if self._uaa is not None:
            self._uaa.close()

    def update_cloud_config(self) -> None:
        """Store the cloud config that manifests of a lab name."""
        body = {"type": "cloud", "name": "default", "content": CLOUD_CONFIG}
        self._http.send(
            Request(
                path="/configs",
                method="POST",
                body=msgspec.json.encode(body),
                content_type=_JSON,
            ),
            self._authorization(),
        )

    def stop(self, instance: BoshInstance, *, hard: bool = False) -> None:
        """Stop an instance, with `hard` without its VM, and wait for it."""
        where = "/".join(quote(each) for each in (instance.group, instance.id))
        request = Request(
            path=f"/deployments/{quote(instance.deployment)}/jobs/{where}",
            method="PUT",
            query=(("state", "detached" if hard else "stopped"),),
            content_type=_YAML,
        )
        answer = self._http.send(request, self._authorization())
        self.finish(int(answer.location.rpartition("/tasks/")[2]))

    def _authorization(self) -> Authorization:
        """Return how to log in now: a token may have expired since the last call."""
        client, secret = self._access.client, self._access.secret
        uaa = self.director.info().uaa
        if uaa is None:
            return Basic(client, secret)
        if self._uaa is None:
            self._uaa = Http(uaa, system="uaa", ca=self._access.ca)
        return Tokens(self._uaa, client=client, secret=secret)

    def finish(self, number: int, on_event: Callable[[TaskEvent], None] | None = None) -> None:
        """Wait until a task has ended; `Rejected` with its own words when it failed."""
        following = self.director.follow(number, deadline_seconds=TASK_SECONDS)
        task = _followed(following, on_event)
        if task.state is not TaskState.DONE:
            raise Rejected(
                f"it ended as `{task.state}`: {task.result}",
                system=SYSTEM,
                operation=f"task {number}",
                hint=f"`bosh task {number} --debug` says more",
            )


def silence(url: str, ca: bytes) -> str:
    """Return why a director does not answer `GET /info` there; nothing when it does."""
    http = Http(url, system=SYSTEM, ca=ca, timeout_seconds=_INFO_SECONDS, pause=lambda _: None)
    try:
        http.read(Request(path="/info"))
    except RolloverError as error:
        return error.message
    finally:
        http.close()
    return ""


def _followed(
    following: Generator[TaskEvent, None, Task], on_event: Callable[[TaskEvent], None] | None
) -> Task:
    while True:
        try:
            event = next(following)
        except StopIteration as ended:
            task: Task = ended.value
            return task
        if on_event is not None:
            on_event(event)
