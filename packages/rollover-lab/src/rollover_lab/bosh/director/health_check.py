"""A deployment that comes and goes, as Healthwatch's `bosh-health` does every ten minutes."""

from __future__ import annotations

import threading
import time

from rollover_lab.bosh.director.order import DeleteOrder, DeployOrder, JobType
from rollover_lab.bosh.director.work import Director
from rollover_lab.bosh.director.workers import Workers

PREFIX = "bosh-health-"
SHARE_OF_TIME = 1 / 20
"""How much of its interval such a deployment lives: 30 s of ten minutes (KB 297427)."""
_LOOK_SECONDS = 0.1

_MANIFEST = """\
name: {name}
releases: []
stemcells:
- alias: default
  os: ubuntu-jammy
  version: latest
update:
  canaries: 1
  max_in_flight: 1
instance_groups:
- name: bosh-health-check
  instances: 1
  stemcell: default
"""


def start(director: Director, workers: Workers, *, every_seconds: float) -> None:
    """Deploy and delete such a deployment again and again, from a thread of its own."""
    check = _HealthCheck(director, workers)
    threading.Thread(target=check.keep, args=(every_seconds,), daemon=True).start()


class _HealthCheck:
    def __init__(self, director: Director, workers: Workers) -> None:
        self._director = director
        self._workers = workers
        self._user = director.config.users[0].name

    def keep(self, every_seconds: float) -> None:
        self._sweep()
        number = 0
        while True:
            time.sleep(every_seconds)
            number += 1
            self._check(f"{PREFIX}{number}", lives=every_seconds * SHARE_OF_TIME)

    def _check(self, name: str, *, lives: float) -> None:
        self._director.deployments.create(name)
        order = DeployOrder(manifest=_MANIFEST.format(name=name), new=True)
        self._run(JobType.DEPLOY, order, name, "create deployment")
        time.sleep(lives)
        self._delete(name)

    def _sweep(self) -> None:
        """Delete what an earlier process left."""
        for each in self._director.deployments.all():
            if each.name.startswith(PREFIX):
                self._delete(each.name)

    def _delete(self, name: str) -> None:
        self._run(JobType.DELETE, DeleteOrder(force=True), name, f"delete deployment {name}")

    def _run(
        self, kind: JobType, order: DeployOrder | DeleteOrder, name: str, description: str
    ) -> None:
        task = self._workers.add(
            kind, order, description=description, user=self._user, deployment=name
        )
        while not self._director.tasks.get(task.id).state.ended:
            time.sleep(_LOOK_SECONDS)
