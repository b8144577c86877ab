"""Deploys the director VM with what was ordered: variables, ops file, `create-env`, confirmation.

Every part can be done again: new variables are found by their certificates, the same ops file is
the one that is there, and a director VM that already has what is wanted is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from rollover.errors import AdapterError, RolloverError, SpecError, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import (
    Applied,
    EndpointMaterial,
    Evidence,
    Fact,
    Failed,
    Order,
    Result,
)
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import EndpointName, InstanceName, short
from rollover.pki.anatomy import anatomy
from rollover.pki.signatures import Signed, check
from rollover.platforms.bosh import (
    create_env,
    deployed,
    describe,
    nats_port,
    ops_files,
    references,
    vars_update,
)
from rollover.platforms.bosh.create_env import Ended
from rollover.platforms.bosh.deployed import Conclusion
from rollover.platforms.bosh.environment import Environment, Inputs
from rollover.platforms.bosh.handout import Handout
from rollover.platforms.bosh.ledger import Ledger
from rollover.platforms.bosh.nats_port import Shown
from rollover.platforms.bosh.ops_files import Plain, Wanted
from rollover.platforms.bosh.properties import NatsTls, Part
from rollover.platforms.bosh.vars_update import Credential
from rollover.platforms.bosh.workplace import Workplace

BY_STATE_FILE = "state file"


class Looked(Protocol):
    """A look at the director VM."""

    @property
    def inputs(self) -> Inputs:
        """What the command line names."""
        ...

    @property
    def shown(self) -> Shown:
        """What NATS showed."""
        ...

    @property
    def conclusion(self) -> Conclusion:
        """What the director VM uses."""
        ...


class Tools(NamedTuple):
    """What a deploy works with."""

    environment: Environment
    workplace: Workplace
    ledger: Ledger
    look: Callable[[], Looked]
    known: Callable[[], Sequence[Certificate]]
    """CA certificates, by which the issuer of a leaf is found."""
    answers: Callable[[], object]
    """Asks the director's API anything; an `AdapterError` when it does not answer."""
    last_task: Callable[[], int | None]
    """Returns the director's last task so far; None when it does not say."""
    clock: Callable[[], datetime]
    create_env_seconds: float
    confirm_seconds: float
    poll_seconds: float


class _Prepared(NamedTuple):
    """All that is decided before anything is changed."""

    wanted: Wanted
    before: NatsTls
    credentials: Mapping[str, Credential]
    """New ones by the name of the variable that they succeed."""
    manifest: Plain


def deploy(order: Order, tools: Tools, *, parts: Mapping[EndpointName, Part]) -> Result:
    """Bring the director VM what was ordered; raises only as long as nothing was begun."""
    begun = time.monotonic()
    tools.environment.command.refuse_leftovers()
    look = tools.look()
    prepared = _prepared({parts[each.endpoint]: each for each in order.endpoints}, look, tools)
    if look.conclusion.recorded is not None and _has(look, prepared.wanted):
        return _confirmed(order.instance, prepared.wanted, look, tools, begun=begun)
    ops_file = _put_in_place(prepared, tools)
    _check_outcome(prepared, ops_file, tools.environment)
    return _run(order, prepared, ops_file, tools, begun=begun)


# Before anything changes.


def _prepared(materials: Mapping[Part, EndpointMaterial], look: Looked, tools: Tools) -> _Prepared:
    possible = deployed.distinct(look.conclusion.possible)
    if not possible or look.conclusion.doubt:
        raise VerificationError(
            f"what the director VM has is not known: {look.conclusion.doubt}",
            hint="deploy it with your own line first, then run it again",
        )
    before = possible[0]
    wanted = Wanted(
        bundle=_bundle(materials, before),
        chains={part: _chain(materials.get(part), part, before) for part in Part},
    )
    manifest = ops_files.plain(look.inputs, tls=look.inputs.evaluate().properties().tls)
    authorities = (*wanted.bundle, wanted.chains[Part.CLIENT_CA][0], *tools.known())
    return _Prepared(wanted, before, _credentials(materials, manifest, authorities), manifest)


def _bundle(materials: Mapping[Part, EndpointMaterial], before: NatsTls) -> tuple[Certificate, ...]:
    wanted = {each.bundle for each in materials.values() if each.bundle is not None}
    if len(wanted) > 1:
        raise SpecError(
            "different bundles were ordered for one director VM, which has one property for them",
            hint="report this: `nats.tls.ca` is one slot",
        )
    return wanted.pop() if wanted else before.bundle


def _chain(
    material: EndpointMaterial | None, part: Part, before: NatsTls
) -> tuple[Certificate, ...]:
    if material is not None and material.signer is not None:
        return (material.signer.certificate,)
    if material is None or material.chain is None:
        return before.pairs[part].chain
    if len(material.chain) > 1:
        raise SpecError(
            f"a chain of {len(material.chain)} certificates was ordered for `nats.tls.{part}`: "
            "the director's clients send only the first",
            hint="rotate without a cross-signed bridge",
        )
    return material.chain


def _credentials(
    materials: Mapping[Part, EndpointMaterial],
    manifest: Plain,
    authorities: Sequence[Certificate],
) -> dict[str, Credential]:
    """Return what has to be in the vars store besides what is there, by base name."""
    found: dict[str, Credential] = {}
    for part, material in materials.items():
        base = manifest.names.of[part]
        if material.signer is not None:
            ca = material.signer.certificate
            found[base] = Credential(chain=(ca,), key=material.signer.key, ca=ca)
        elif material.chain is not None and material.key is not None:
            found[base] = Credential(
                chain=material.chain,
                key=material.key,
                ca=_issuer(material.chain[0], authorities),
            )
    return found


def _issuer(leaf: Certificate, authorities: Iterable[Certificate]) -> Certificate:
    for each in authorities:
        if each.subject == leaf.issuer and check(anatomy(leaf), by=anatomy(each)) is Signed.GOOD:
            return each
    raise SpecError(
        f"`{leaf.subject}` ({short(leaf.fingerprint)}) comes from a CA that is not known",
        hint="bring it in: `rollover authority import`",
    )


# Variables and ops file.


def _put_in_place(prepared: _Prepared, tools: Tools) -> Path | None:
    """Add the variables, write the ops file; return where that is, None when none is needed."""
    _add_variables(prepared, tools)
    stored = tools.environment.stored()
    wanted = ops_files.written(prepared.manifest, prepared.wanted, stored)
    return None if wanted is None else tools.workplace.put_ops_file(wanted)


def _add_variables(prepared: _Prepared, tools: Tools) -> None:
    stored = tools.environment.stored()
    wanted = {
        base: each
        for base, each in prepared.credentials.items()
        if not references.holders(each.chain, stored)
    }
    if not wanted:
        return
    store = tools.environment.store
    bases = prepared.manifest.names.all
    number = vars_update.suffix(bases, wanted, stored)
    tools.workplace.back_up(store)
    tools.workplace.note_added(references.suffixed(base, number) for base in wanted)
    vars_update.VarsFile(store).change(
        lambda now: {**now, **vars_update.added(now, wanted, number=number)}
    )
    # Whoever edits the store by hand meanwhile may need what was added.
    tools.workplace.back_up(store)


def _check_outcome(prepared: _Prepared, ops_file: Path | None, environment: Environment) -> None:
    """Refuse to deploy anything but what is wanted: the five properties, and nothing generated."""
    inputs = environment.inputs()
    candidate = environment.candidates(() if ops_file is None else (ops_file,), inputs)[-1]
    if candidate.properties is None:
        raise SpecError(
            f"`create-env` would fail: {candidate.trouble}",
            hint="make the manifest and its variables complete, then run it again",
        )
    if candidate.properties.tls.state != prepared.wanted.state:
        raise VerificationError(
            f"{candidate.named} does not come to what is wanted: an ops file on the command line "
            "or a variable given with `-v` or `-l` stands in the way",
            hint=f"look at the properties `nats.tls` of group `{prepared.manifest.group}`",
        )


# Running.


def _run(
    order: Order, prepared: _Prepared, ops_file: Path | None, tools: Tools, *, begun: float
) -> Result:
    environment = tools.environment
    recorded = environment.state().current_manifest_sha
    # What was handed out until now has to be known, whoever looked last.
    tools.ledger.handed_out(_handout(prepared.before), at=tools.clock())
    ended = create_env.run(
        environment.command,
        ops_file,
        log=tools.workplace.log(tools.clock()),
        lock=tools.workplace.lock,
        timeout_seconds=tools.create_env_seconds,
    )
    if not ended.succeeded:
        untouched = environment.state().current_manifest_sha == recorded and recorded != ""
        return _failed(order, ended, ops_file, tools, restored=untouched and ended.code is not None)
    try:
        look = _settled(prepared.wanted, tools)
        # Nobody has looked at agents since it began: whoever is seen from now on may be either's.
        since, task = tools.clock(), tools.last_task()
        wanted = _handout_of(prepared.wanted, since=since, task=task)
        tools.ledger.handed_out(wanted)
        return _confirmed(order.instance, prepared.wanted, look, tools, begun=begun, ended=ended)
    except (RolloverError, OSError) as error:
        return _unconfirmed(order.instance, error, ended)


def _handout(tls: NatsTls) -> Handout:
    return Handout(signer=tls.signer, bundle=tls.bundle)


def _handout_of(wanted: Wanted, *, since: datetime, task: int | None) -> Handout:
    signer = wanted.chains[Part.CLIENT_CA][0]
    return Handout(signer=signer, bundle=wanted.bundle, since=since, task=task)


def _settled(wanted: Wanted, tools: Tools) -> Looked:
    """Look until the director answers and NATS shows what is wanted, or the time is up."""
    deadline = time.monotonic() + tools.confirm_seconds
    while True:
        look = tools.look()
        if (_has(look, wanted) and _answers(tools)) or time.monotonic() > deadline:
            return look
        time.sleep(tools.poll_seconds)


def _has(look: Looked, wanted: Wanted) -> bool:
    possible = deployed.distinct(look.conclusion.possible)
    return look.conclusion.certain and possible[0].state == wanted.state


def _answers(tools: Tools) -> bool:
    try:
        tools.answers()
    except AdapterError:
        return False
    return True


# Results.


def _failed(
    order: Order, ended: Ended, ops_file: Path | None, tools: Tools, *, restored: bool
) -> Failed:
    again = tools.environment.command.shown(ops_file)
    if ended.code is None:
        return Failed(
            instance=order.instance,
            seconds=ended.seconds,
            code="timed-out",
            message=f"`create-env` (process {ended.process}) still runs after "
            f"{ended.seconds / 60:.0f} minutes; it was left alone, its log is `{ended.log}`",
            hint="wait until it has ended, then run it again; `director.create_env_minutes` says "
            "how long it may take",
            restored=False,
        )
    said = create_env.last_lines(ended.log)
    return Failed(
        instance=order.instance,
        seconds=ended.seconds,
        code="rejected",
        message=f"`create-env` ended with exit code {ended.code} (`{ended.log}`):\n{said}",
        hint="mend that, then run it again; nothing was changed"
        if restored
        else f"mend that, then bring the director VM up by hand, in "
        f"`{tools.environment.command.directory}`: {again}",
        restored=restored,
    )


def _unconfirmed(instance: InstanceName, error: RolloverError | OSError, ended: Ended) -> Failed:
    return Failed(
        instance=instance,
        seconds=ended.seconds,
        code=error.code if isinstance(error, RolloverError) else "verification",
        message=f"`create-env` ended well, but what it did cannot be confirmed: {error}",
        hint=(error.hint if isinstance(error, RolloverError) else "")
        or "run it again once that is mended",
        restored=False,
    )


def _evidence(
    instance: InstanceName, wanted: Wanted, look: Looked, tools: Tools
) -> tuple[Evidence, ...]:
    at, subject = tools.clock(), EndpointRef(instance, describe.NATS)
    sha = tools.environment.state().current_manifest_sha
    recorded = look.conclusion.recorded
    return (
        Evidence(
            fact=Fact.LOADED,
            subject=EndpointRef(instance, describe.SOURCE),
            holds=recorded is not None and _has(look, wanted),
            observed=short(sha) or "no manifest is recorded as deployed",
            expected=short(recorded.sha) if recorded else "",
            at=at,
            by=BY_STATE_FILE,
        ),
        nats_port.presents(subject, wanted.chains[Part.SERVER], look.shown, at=at),
        nats_port.advertises(subject, wanted.bundle, look.shown, at=at),
    )


def _confirmed(
    instance: InstanceName,
    wanted: Wanted,
    look: Looked,
    tools: Tools,
    *,
    begun: float,
    ended: Ended | None = None,
) -> Result:
    evidence = _evidence(instance, wanted, look, tools)
    seconds = time.monotonic() - begun
    if all(each.holds for each in evidence) and _answers(tools):
        return Applied(
            instance=instance,
            seconds=seconds,
            evidence=evidence,
            reload_seconds=ended.seconds if ended is not None else 0.0,
        )
    doubts = (look.conclusion.silent, look.conclusion.doubt, look.conclusion.disagreement)
    said = "; ".join(each for each in doubts if each) or "the director does not answer"
    return Failed(
        instance=instance,
        seconds=seconds,
        code="verification",
        message=f"the director VM does not show what was deployed: {said}",
        hint="look at its jobs (`monit summary` on it); then run it again",
        restored=False,
        evidence=evidence,
    )
