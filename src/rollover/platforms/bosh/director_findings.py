"""What stands in the way at a director VM: found in its files and in what runs, nothing changed.

What concerns its agents, locks and the resurrector is found with the agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from rollover.checks import bosh_director as rules
from rollover.checks.rule import Finding, found
from rollover.engine.platform_extras import Moment
from rollover.errors import RolloverError, SpecError
from rollover.files import READABLE_BY_OTHERS, WRITABLE_BY_OTHERS, permissions_of
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import short
from rollover.manifest.values import Tree
from rollover.pki.issue import CLOCK_SKEW
from rollover.pki.keys import from_pem
from rollover.pki.pem import RemarkKind
from rollover.platforms.bosh import (
    create_env,
    deployed,
    ops_files,
    properties,
    references,
    vars_update,
)
from rollover.platforms.bosh.environment import Environment, Inputs
from rollover.platforms.bosh.ops_files import Plain
from rollover.platforms.bosh.properties import NatsTls, Part
from rollover.platforms.bosh.workplace import Workplace

if TYPE_CHECKING:
    # `explain` lists these rules; what deploys needs an HTTP client, and names some of them itself.
    from rollover.platforms.bosh.deployed import DirectorVmObservation

SOON = timedelta(days=30)
_OTHERS = READABLE_BY_OTHERS | WRITABLE_BY_OTHERS
_ONCE = (Moment.CHECK, Moment.BEFORE)
"""What cannot change by itself is looked at before the first rollout only."""


class _Scene(NamedTuple):
    """What all rules look at."""

    environment: Environment
    workplace: Workplace
    look: DirectorVmObservation
    at: datetime

    @property
    def inputs(self) -> Inputs:
        return self.look.inputs

    @property
    def tls(self) -> NatsTls | None:
        """What is deployed, as far as it is known."""
        return next(iter(deployed.distinct(self.look.conclusion.possible)), None)


def findings(
    moment: Moment,
    *,
    environment: Environment,
    workplace: Workplace,
    observe: Callable[[], DirectorVmObservation],
    at: datetime,
) -> Iterator[Finding]:
    """Yield what was found; a world that cannot be read at all is one finding."""
    place = environment.command.place
    try:
        scene = _Scene(environment, workplace, observe(), at)
        yield from _of_the_record(scene)
        yield from _of_the_command_line(scene)
        if moment in _ONCE:
            yield from _of_the_store(scene)
            yield from _of_the_certificates(scene)
        if moment is not Moment.BETWEEN:
            yield from _left_over(scene)
    except RolloverError as error:
        yield found(rules.MANIFEST, place, error.message, remedy=error.hint, place=place)


# The record.


def _of_the_record(scene: _Scene) -> Iterator[Finding]:
    conclusion, environment = scene.look.conclusion, scene.environment
    sha = environment.state().current_manifest_sha
    subject = str(environment.command.state)
    if create_env.running(scene.workplace.lock):
        message = "a `create-env` that Rollover began is still running"
        yield found(rules.UNFINISHED, subject, message, remedy="Wait until it has ended.")
    elif not sha:
        present = scene.workplace.ops_files()
        again = environment.command.shown(present[-1] if present else None)
        remedy = f"Run it in `{environment.command.directory}`: {again}"
        message = "no manifest is recorded as deployed: a `create-env` began and did not end well"
        yield found(rules.UNFINISHED, subject, message, remedy=remedy)
    elif conclusion.recorded is None and conclusion.possible:
        message = (
            f"deployed is a manifest ({short(sha)}) that the files do not come to any more: "
            f"without an ops file they come to {short(conclusion.possible[-1].sha)}"
        )
        remedy = _with_ours(scene)
        yield found(rules.PENDING, str(environment.command.manifest), message, remedy=remedy)
    if conclusion.disagreement:
        yield found(rules.DISAGREES, subject, conclusion.disagreement)
    if conclusion.doubt and not conclusion.disagreement:
        rule = rules.DISAGREES if conclusion.possible else rules.MANIFEST
        yield found(rule, subject, conclusion.doubt)


def _with_ours(scene: _Scene) -> str:
    """Return how changes get deployed while a rotation is under way, empty when none is."""
    command = scene.environment.command
    ours = scene.look.conclusion.possible[0].ops_file
    if ours is None:
        return ""
    return (
        f"Take them back until the rotation is done, or deploy them together with its ops file, in "
        f"`{command.directory}`: {command.shown(ours)} (your own line alone would no longer trust "
        "the CA that agents have been given)."
    )


# The command line.


def _of_the_command_line(scene: _Scene) -> Iterator[Finding]:
    command = scene.environment.command
    for each in command.leftovers():
        message = f"`{each.name}` is on the command line and sets `nats.tls`"
        yield found(rules.LEFTOVER, str(each), message, place=command.place)
    if scene.tls is None:
        return
    names = _plain(scene, scene.tls).names
    yield from _elsewhere(scene, names)


def _elsewhere(scene: _Scene, names: references.Names) -> Iterator[Finding]:
    command = scene.environment.command
    if command.vars_store is None:
        message = "the command line has no `--vars-store`"
        yield found(rules.NO_STORE, command.place, message)
        return
    for part in Part:
        name = names.of[part]
        if part not in names.referring:
            why = f"`nats.tls.{part}` refers to no variable"
        elif name in scene.inputs.given:
            why = f"`{name}` is given with `-v`, `-l`, `--var-file` or `--vars-env`"
        elif name not in scene.inputs.stored:
            why = f"`{name}` is not in `{command.vars_store}`"
        else:
            continue
        yield found(rules.NO_STORE, f"nats.tls.{part}", why, place=command.place)


# The vars store.


def _of_the_store(scene: _Scene) -> Iterator[Finding]:
    path = scene.environment.command.vars_store
    if path is None or not path.exists():
        return
    mode = permissions_of(path)
    if mode & _OTHERS:
        yield found(rules.STORE_OPEN, str(path), f"its mode is {mode:04o}")
    if not vars_update.round_trips(scene.inputs.stored):
        message = "a value would be another one after it was written and read again"
        yield found(rules.STORE_CHANGES, str(path), message)
    if scene.tls is None:
        return
    manifest = _plain(scene, scene.tls)
    for name in manifest.names.all:
        yield from _without_newline(name, scene.inputs.stored.get(name), str(path))
    yield from _options_lost(manifest)


def _without_newline(name: str, value: Tree, store: str) -> Iterator[Finding]:
    for field in ("ca", "certificate"):
        text = value.get(field) if isinstance(value, dict) else None
        if isinstance(text, str) and text and not text.endswith("\n"):
            message = f"`{name}.{field}` does not end with a newline"
            yield found(rules.NEWLINE, name, message, place=store)


def _options_lost(manifest: Plain) -> Iterator[Finding]:
    for part in Part:
        base = manifest.names.of[part]
        if base not in manifest.definitions:
            continue
        present = manifest.definitions[base].options
        wanted = ops_files.options(manifest, part, ca=_ca_of(present))
        lost = sorted(
            str(key)
            for key, value in (wanted.items() if isinstance(wanted, dict) else ())
            if not isinstance(present, dict) or present.get(key) != value
        )
        if lost:
            message = f"the certificate has what the definition does not say: {', '.join(lost)}"
            yield found(rules.OPTIONS, base, message)


def _ca_of(options: Tree) -> str:
    ca = options.get("ca") if isinstance(options, dict) else None
    return ca if isinstance(ca, str) else ""


# The certificates.


def _of_the_certificates(scene: _Scene) -> Iterator[Finding]:
    if scene.tls is None:
        return
    for part in Part:
        yield from _mismatch(part, scene.tls)
    yield from _of_the_bundle(scene.tls)
    yield from _expiring(scene.tls, scene.at)


def _mismatch(part: Part, tls: NatsTls) -> Iterator[Finding]:
    pair = tls.pairs[part]
    subject = f"nats.tls.{part}"
    try:
        key = from_pem(pair.key.reveal(), place=f"{subject}.private_key")
    except SpecError as error:
        yield found(rules.MISMATCH, subject, error.message)
        return
    if key.key_identity != pair.chain[0].key_identity:
        message = f"the key is not that of `{pair.chain[0].subject}`"
        yield found(rules.MISMATCH, subject, message)


def _of_the_bundle(tls: NatsTls) -> Iterator[Finding]:
    subject = f"nats.tls.{properties.BUNDLE}"
    reading = properties.bundle_of(tls.bundle_text, field=subject)
    for remark in reading.remarks:
        if remark.kind is RemarkKind.JOINED:
            yield found(rules.JOINED, subject, f"line {remark.line}: {remark.detail}")
    if tls.signer not in tls.bundle:
        message = f"`{tls.signer.subject}` ({short(tls.signer.fingerprint)}) is not in it"
        yield found(rules.SIGNER_UNTRUSTED, subject, message)
    # A CA may be dated back by that much, so that it is valid on all clocks at once.
    if any(first.not_before - CLOCK_SKEW > then.not_before for first, then in pairwise(tls.bundle)):
        listed = ", ".join(f"`{each.subject}`" for each in tls.bundle)
        yield found(rules.ORDER, subject, f"its order is {listed}")


def _expiring(tls: NatsTls, at: datetime) -> Iterator[Finding]:
    """Yield what ends soon and is not on the director's own list."""
    unseen: list[tuple[str, Certificate]] = [
        (f"nats.tls.{part}", tls.pairs[part].chain[0])
        for part in (Part.SERVER, Part.HEALTH_MONITOR)
    ]
    unseen += [(f"nats.tls.{properties.BUNDLE}", each) for each in tls.bundle[1:]]
    for subject, each in unseen:
        if each.not_after - at < SOON:
            verb = "ends" if each.not_after >= at else "ended"
            message = f"`{each.subject}` {verb} {each.not_after:%Y-%m-%d %H:%M:%SZ}"
            yield found(rules.EXPIRES, subject, message)


# What is left over.


def _left_over(scene: _Scene) -> Iterator[Finding]:
    """Yield successors that nothing refers to and that Rollover is not at work with."""
    if scene.tls is None or scene.workplace.ops_files():
        return
    names = _plain(scene, scene.tls).names
    left = sorted(
        name
        for name in scene.inputs.stored
        if name not in names.all and any(references.is_of(name, base) for base in names.all)
    )
    if left:
        listed = ", ".join(f"`{each}`" for each in left)
        subject = str(scene.environment.command.vars_store)
        yield found(rules.LEFT_VARIABLES, subject, f"nothing refers to {listed}")


def _plain(scene: _Scene, tls: NatsTls) -> Plain:
    plain = next(
        (
            each.properties.tls
            for each in scene.look.conclusion.possible
            if each.ops_file is None and each.properties is not None
        ),
        tls,
    )
    return ops_files.plain(scene.inputs, tls=plain)
