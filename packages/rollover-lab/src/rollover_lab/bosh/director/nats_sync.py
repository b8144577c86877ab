"""Who may do what on NATS: `auth.json`, kept up to date as bosh-nats-sync does it.

Authorization is by subject only; it does not tell certificates of one CA from those of another.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from rollover_lab import private_files
from rollover_lab.bosh.director.nouns import Vm
from rollover_lab.bosh.director.work import Director
from rollover_lab.bosh.nats_config import DIRECTOR, HEALTH_MONITOR, NatsUser, Permissions, user_file

log = logging.getLogger(__name__)


class NatsSync:
    """Rewrites the file when its content changes, and has nats-server read it again."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._file = Path(director.config.auth_file)
        self._pid_file = Path(director.config.nats_pid_file)

    def start(self) -> None:
        """Begin: nats-server reads what is there, and the first look is one interval later."""
        threading.Thread(target=self._keep, daemon=True).start()

    def write(self) -> bool:
        """Write the file; return whether its MD5 has changed."""
        content = authorization(self._director)
        try:
            before = self._file.read_bytes()
        except FileNotFoundError:
            before = b""
        if _md5(before) == _md5(content):
            return False
        private_files.write(self._file, content)
        return True

    def _keep(self) -> None:
        stale = True
        while True:
            stale = stale and not self._reload()
            time.sleep(self._director.config.timing.sync_interval)
            stale = self.write() or stale

    def _reload(self) -> bool:
        try:
            os.kill(int(self._pid_file.read_text()), signal.SIGHUP)
        except (OSError, ValueError) as error:
            log.warning("nats-server was not told to reload: %s", error)
            return False
        log.info("nats-server was told to reload")
        return True


def authorization(director: Director) -> bytes:
    """Return `auth.json` for the VMs that there are."""
    return user_file(users(*director.config.nats_subjects, director.instances.vms()))


def users(director: str, health_monitor: str, vms: Iterable[Vm]) -> Iterable[NatsUser]:
    """Yield who may log in: two subjects, and one or two names for each VM."""
    yield NatsUser(user=director, permissions=DIRECTOR)
    yield NatsUser(user=health_monitor, permissions=HEALTH_MONITOR)
    for vm in vms:
        if not vm.permanent_nats_credentials:
            yield _agent(vm.agent_id, f"{vm.agent_id}.bootstrap")
        yield _agent(vm.agent_id, vm.agent_id)


def _agent(agent_id: str, name: str) -> NatsUser:
    return NatsUser(
        user=f"C=USA, O=Cloud Foundry, CN={name}.agent.bosh-internal",
        permissions=Permissions(
            publish=(
                f"hm.agent.heartbeat.{agent_id}",
                f"hm.agent.alert.{agent_id}",
                f"hm.agent.shutdown.{agent_id}",
                f"director.*.{agent_id}.*",
            ),
            subscribe=(f"agent.{agent_id}",),
        ),
    )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
