"""Actions on jobs: what is to run is prepared, applied, started, drained and stopped."""

from __future__ import annotations

import time

from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.jobs import FAILING
from rollover_lab.bosh.agent.protocol import ActionFailed, Request
from rollover_lab.bosh.agent.spec import ApplySpec

CRITICAL = 2
"""An alert's severity: 1 alert, 2 critical, 3 error, 4 warning."""


def prepare(_host: Host, request: Request) -> object:
    """Fetch what a spec needs; in the lab there is nothing to fetch."""
    request.argument(0, ApplySpec)
    return "prepared"


def apply(host: Host, request: Request) -> object:
    """Be what a spec says."""
    host.apply(request.argument(0, ApplySpec))
    return "applied"


def start(host: Host, _request: Request) -> object:
    """Start the jobs."""
    host.jobs.start()
    return "started"


def stop(host: Host, _request: Request) -> object:
    """Stop the jobs."""
    host.jobs.stop()
    return "stopped"


def drain(host: Host, request: Request) -> object:
    """Let jobs finish what they do; returns for how many seconds they want to be left alone."""
    kind = request.argument(0, str)
    if kind == "status":
        raise ActionFailed("Unexpected call with drain type 'status'")
    if kind == "update" and not request.has_argument(1):
        raise ActionFailed("Drain update requires new spec")
    if kind == "shutdown":
        host.send("shutdown", None)
    return 0


def run_script(_host: Host, request: Request) -> object:
    """Run a script of every job that has it; no job of the lab has any."""
    request.argument(0, str)
    return {}


def run_errand(host: Host, request: Request) -> object:
    """Run an errand; those of the lab say their name and succeed."""
    names = [each.name for each in host.spec.job.templates or ()]
    if request.has_argument(0):
        name = request.argument(0, str)
        if name not in names:
            raise ActionFailed(f"Could not find errand {name}")
    elif host.spec.job.template:
        name = host.spec.job.template
    else:
        raise ActionFailed("At least one job template is required to run an errand")
    return {"stdout": f"{name}\n", "stderr": "", "exit_code": 0}


def set_dummy_status(host: Host, request: Request) -> object:
    """Let the jobs fail or recover; the real agent has this when run with dummy jobs."""
    failing = request.status == FAILING
    host.jobs.fail(failing=failing)
    if failing:
        host.send(
            "alert",
            {
                "id": "lab-monit-alert",
                "severity": CRITICAL,
                "title": "jobs - failing - start",
                "summary": "the lab was told to let the jobs fail",
                "created_at": int(time.time()),
            },
        )
    return "ok"
