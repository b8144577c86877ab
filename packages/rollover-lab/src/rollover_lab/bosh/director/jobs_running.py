"""Stops and starts the jobs of an instance, message by message (`stopper.rb`, `starter.rb`)."""

from __future__ import annotations

import time
from typing import Protocol

from rollover_lab.bosh.director import settings
from rollover_lab.bosh.director.agent_client import AgentClient
from rollover_lab.bosh.director.desired import Group
from rollover_lab.bosh.director.manifest import WatchTime
from rollover_lab.bosh.director.nouns import Instance, State, Vm
from rollover_lab.bosh.director.plan import RUNNING
from rollover_lab.bosh.director.refusals import JobNotRunning
from rollover_lab.bosh.director.work import Work


class Progress(Protocol):
    """Told how far an update is."""

    def advance(self, percent: int, status: str) -> None:
        """Tell what is done now."""


class Quiet:
    """Where nobody is told."""

    def advance(self, percent: int, status: str) -> None:
        """Tell nobody."""


KEEP = "keep"
DELETE_VM = "delete_vm"
DELETE_INSTANCE = "delete_instance"
DELETE_DEPLOYMENT = "delete_deployment"

_INTENTS = (DELETE_VM, DELETE_INSTANCE, DELETE_DEPLOYMENT)
_NEXT_STATES = (
    "BOSH_VM_NEXT_STATE",
    "BOSH_INSTANCE_NEXT_STATE",
    "BOSH_DEPLOYMENT_NEXT_STATE",
)


def stop(
    work: Work,
    instance: Instance,
    vm: Vm,
    *,
    spec: settings.Document,
    intent: str,
    shutdown: bool,
    skip_drain: bool,
    step: Progress,
) -> None:
    """Run pre-stop, drain, stop, post-stop."""
    agent = work.agent(instance, vm)
    if skip_drain:
        step.advance(10, "skipped pre-stop & drain")
    else:
        step.advance(5, "executing pre-stop")
        _run(agent, "pre-stop", {"env": _next_states(intent)})
        step.advance(5, "executing drain")
        _drain(work, agent, "shutdown" if shutdown else "update", spec)
    step.advance(20, "stopping jobs")
    agent.stop()
    step.advance(10, "executing post-stop")
    _run(agent, "post-stop", {})


def apply(work: Work, instance: Instance, vm: Vm, *, group: Group, step: Progress) -> None:
    """Tell the agent what to be, and write down that it was told."""
    step.advance(10, "installing packages")
    work.agent(instance, vm).call("apply", settings.apply_spec(instance, group))
    work.director.instances.keep_spec(instance, group.spec)
    step.advance(10, "configuring jobs")


def start(
    work: Work,
    instance: Instance,
    vm: Vm,
    *,
    watch: WatchTime | None,
    step: Progress,
    seconds: float | None = None,
) -> None:
    """Run pre-start, start, wait until it runs, post-start; `watch` None: do not wait.

    `seconds` is for one answer of the agent, when it differs from the usual.
    """
    agent = work.agent(instance, vm, seconds=seconds)
    step.advance(10, "executing pre-start")
    _run(agent, "pre-start", {})
    step.advance(20, "starting jobs")
    agent.call("start")
    if watch is None:
        return
    _wait_until_running(work, instance, agent, watch)
    step.advance(10, "executing post-start")
    _run(agent, "post-start", {})


def post_deploy(work: Work, deployment: str) -> None:
    """Run post-deploy on every instance that is up and not ignored."""
    for each in work.director.instances.of(deployment):
        if each.vm and each.state is State.STARTED and not each.ignore:
            _run(work.agent(each, each.vm), "post-deploy", {})


def _run(agent: AgentClient, script: str, options: settings.Document) -> None:
    agent.call_if_known("run_script", script, options)


def _next_states(intent: str) -> settings.Document:
    """Return what a pre-stop script is told; each intent takes along those before it."""
    going = _INTENTS.index(intent) + 1 if intent in _INTENTS else 0
    return {
        name: "delete" if number < going else "keep" for number, name in enumerate(_NEXT_STATES)
    }


def _drain(work: Work, agent: AgentClient, kind: str, spec: settings.Document) -> None:
    """Drain; a negative answer asks to be asked again after so many seconds."""
    seconds = agent.drain(kind, spec)
    while True:
        if seconds:
            time.sleep(abs(seconds))
        work.checkpoint()
        if seconds >= 0:
            return
        seconds = agent.drain("status")


def _wait_until_running(
    work: Work, instance: Instance, agent: AgentClient, watch: WatchTime
) -> None:
    for seconds in watch.waits():
        work.checkpoint()
        time.sleep(seconds)
        state = agent.call("get_state")
        if isinstance(state, dict) and state.get("job_state") == RUNNING:
            return
    raise JobNotRunning(f"'{instance.label}' is not running after update.")
