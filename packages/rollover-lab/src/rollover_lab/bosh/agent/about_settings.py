"""The action `update_settings`: new credentials, stored unchecked, for the process's next life."""

from __future__ import annotations

import msgspec

from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.protocol import ActionFailed, Request
from rollover_lab.bosh.agent.settings import UpdateSettings
from rollover_lab.bosh.agent.tasks import ProcessExit

RESUMED = "ok"
"""What a later life answers for it, whether anything was saved or not (hazard H2)."""
_CRASH_CODE = 137


def update_settings(host: Host, request: Request) -> object:
    """Store settings; with another message bus or blobstore the process ends afterwards."""
    new = request.argument(0, UpdateSettings)
    surroundings = host.surroundings
    if surroundings.fault is Fault.CRASH_BEFORE_SAVE:
        surroundings.crashed()
        raise ProcessExit(_CRASH_CODE)
    host.reload()
    for association in new.disk_associations or ():
        try:
            host.disk(association.cid)
        except ActionFailed as error:
            raise ActionFailed(f"Fetching disk settings: {error}") from None
    if surroundings.ignores_mbus:
        new = msgspec.structs.replace(new, mbus=None, blobstores=None)
    together, restart = host.told.update.merged(new)
    host.files.save_update(together)
    host.told = msgspec.structs.replace(host.told, update=together)
    if restart:
        raise ProcessExit(0, delay=surroundings.timing.exit_delay)
    return RESUMED
