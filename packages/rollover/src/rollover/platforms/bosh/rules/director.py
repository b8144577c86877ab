"""Rules over a director VM: found in its files and in what runs, nothing changed.

What concerns its agents, locks and the resurrector is found with the agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from bosh_interpolate.values import Tree
from rollover.engine.ports import Moment
from rollover.errors import RolloverError, SpecError
from rollover.files import READABLE_BY_OTHERS, WRITABLE_BY_OTHERS, permissions_of
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import RuleId, short
from rollover.pki.issue import CLOCK_SKEW
from rollover.pki.keys import from_pem
from rollover.pki.pem import RemarkKind
from rollover.platforms.bosh import (
    create_env,
    director_vm_observer,
    nats_properties,
    ops_files,
    vars_store,
)
from rollover.platforms.bosh.create_env import CreateEnvInputs, CreateEnvironment
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls
from rollover.platforms.bosh.ops_files import PlainManifest
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.rules.rule import Finding, Rule, Severity, found

if TYPE_CHECKING:
    from rollover.platforms.bosh.director_vm_observer import DirectorVmObservation

MANIFEST = Rule(
    id=RuleId("bosh-manifest-incomplete"),
    severity=Severity.ERROR,
    title="The director's manifest can be interpolated",
    meaning="Manifest, ops files, variables and vars store of the `create-env` line do not come "
    "to a complete manifest, or one without `nats.tls`.",
    why="`create-env` would fail, or generate what is missing: new credentials by accident.",
    example="`bosh create-env`: Expected to find variables: nats_ca.",
    remedy="Make them complete as they were at the last deploy; a backup of the vars store helps.",
    source="bosh-cli, deployment/template/deployment_template.go; reference H8",
)
LEFTOVER = Rule(
    id=RuleId("bosh-leftover-ops-file"),
    severity=Severity.ERROR,
    title="No ops file of an earlier rotation is on the command line",
    meaning="An ops file of the operator's `create-env` line sets properties of `nats.tls`.",
    why="`add-new-ca.yml` that was left on the line makes a third CA without a word once the vars "
    "store is cleaned up, and it hides what the manifest itself says.",
    example="`add-new-ca.yml` is still on the line of `create-env.sh`.",
    remedy="Take it off the line once the clean-up of the rotation that it belongs to is done.",
    source="bosh issue 2230; measured: adding it again creates another CA",
)
UNFINISHED = Rule(
    id=RuleId("bosh-create-env-unfinished"),
    severity=Severity.ERROR,
    title="The last `create-env` ended well",
    meaning="The state file names no deployed manifest: a `create-env` began and failed, or still "
    "runs.",
    why="Nobody knows whether the director VM is the old one, the new one or none.",
    example="`state.json` has no `current_manifest_sha`.",
    remedy="Let it end, or run it again with the ops file that it was run with.",
    source="bosh-cli, deployment/record.go: the SHA is cleared before a deploy",
)
PENDING = Rule(
    id=RuleId("bosh-pending-changes"),
    severity=Severity.ERROR,
    title="The next `create-env` changes nothing but certificates",
    meaning="What would be deployed now differs from what is deployed: manifest, ops files or "
    "variables were changed since the last `create-env`.",
    why="A rotation would deploy those changes along with its own; when something fails, nobody "
    "can tell which of them did it.",
    example="`bosh.yml` names a newer stemcell than the director VM runs.",
    remedy="Deploy the changes first with your own line, or take them back.",
    source="bosh-cli, deployment/record.go: the SHA-512 of the interpolated manifest is compared",
)
DISAGREES = Rule(
    id=RuleId("bosh-record-disagrees"),
    severity=Severity.EVIDENCE,
    title="The director VM is what the state file says",
    meaning="What NATS presents and accepts, or what the director says of its certificates, is "
    "not what the manifest of the state file has.",
    why="The plan would begin from a state that does not exist. Often the state file or the vars "
    "store is a copy from elsewhere.",
    example="NATS presents 3f0c…, the deployed manifest has 9a1b….",
    remedy="Find out which `create-env` ran last and where its files are; deploy from those (with "
    "`--recreate` when it finds nothing to do).",
    source="A fresh handshake counts more than a record",
)
STORE_OPEN = Rule(
    id=RuleId("bosh-vars-store-open"),
    severity=Severity.WARNING,
    title="Only its owner can read the vars store",
    meaning="Group or others may read the file of `--vars-store`.",
    why="It holds the private key of every CA of the director; the bosh CLI creates it 0644.",
    example="`creds.yml` has the mode 0644.",
    remedy="`chmod 600` it; Rollover writes it 0600.",
    source="Measured on the bosh CLI: mode 0666 less the umask",
)
STORE_CHANGES = Rule(
    id=RuleId("bosh-vars-store-changes"),
    severity=Severity.ERROR,
    title="The vars store survives being written",
    meaning="Written and read again, a value of the vars store would be another one.",
    why="Rollover has to write the file to add certificates; so has `bosh`.",
    example="A value holds octets that are no text.",
    remedy="Write the value in question in another form (quoted, or base64).",
    source="gopkg.in/yaml.v2, the dialect of the bosh CLI",
)
NO_STORE = Rule(
    id=RuleId("bosh-variables-elsewhere"),
    severity=Severity.ERROR,
    title="The NATS certificates come from the vars store",
    meaning="Properties of `nats.tls` are no variables, or variables that are not in the file of "
    "`--vars-store`, or are given with `-v` or `-l` before it.",
    why="New certificates can be deployed all the same, but the clean-up cannot put them under "
    "the old names: the ops file would have to stay on the line for ever.",
    example="`nats_ca` is given with `-l certificates.yml`.",
    remedy="Move these variables into the vars store before you rotate.",
    source="BOSH, rotating NATS certificate authorities, step 5",
)
JOINED = Rule(
    id=RuleId("bosh-bundle-joined"),
    severity=Severity.ERROR,
    title="The certificates of a bundle stand on lines of their own",
    meaning="In `nats.tls.ca` two PEM blocks meet on one line.",
    why="nats-server does not start with it, and agents that were given it restart for ever.",
    example="`((nats_server_tls.ca))((nats_server_tls_2.ca))` of values without a final newline.",
    remedy="End each value in the vars store with a newline.",
    source="Measured on nats-server and bosh-agent: `failed to parse root ca certificate`",
)
NEWLINE = Rule(
    id=RuleId("bosh-pem-without-newline"),
    severity=Severity.WARNING,
    title="PEM values end with a newline",
    meaning="A certificate in the vars store does not end its last line.",
    why="The documented ops file joins two such values: BEGIN follows END on one line. Rollover's "
    "own ops files put a newline between them.",
    example="`nats_server_tls.ca` was pasted with `|-`.",
    remedy="End the value with a newline (`|` instead of `|-`).",
    source="Reference H9, measured",
)
OPTIONS = Rule(
    id=RuleId("bosh-options-lost"),
    severity=Severity.WARNING,
    title="Definitions say what their certificates say",
    meaning="A certificate in the vars store has names, a lifetime, a key length, an organisation "
    "or usages that the definition in the manifest does not ask for.",
    why="Whoever makes it anew from the definition loses them: the documented ops file names "
    "`internal_ip` alone, and 365 days. Rollover carries them over.",
    example="`nats_server_tls` is valid for `nats.example.com` too, its definition is not.",
    remedy="Write them into the definition's options, so that the next `create-env` from scratch "
    "keeps them.",
    source="Reference H10; BOSH, rotating NATS certificate authorities, step 1",
)
MISMATCH = Rule(
    id=RuleId("bosh-key-mismatch"),
    severity=Severity.ERROR,
    title="Private keys belong to their certificates",
    meaning="A property of `nats.tls` has a private key that is not that of its certificate.",
    why="Nobody checks that before it is stored: with a wrong `client_ca` key every deploy fails, "
    "with a wrong server key NATS does not start.",
    example="`nats.tls.client_ca`: the key belongs to another certificate.",
    remedy="Put certificate and key of one and the same variable there.",
    source="bosh, nats_client_cert_generator.rb: `CA Certificate/Private Key mismatch`",
)
SIGNER_UNTRUSTED = Rule(
    id=RuleId("bosh-signer-untrusted"),
    severity=Severity.ERROR,
    title="NATS trusts the CA that agents' certificates come from",
    meaning="The CA of `nats.tls.client_ca` is not in the bundle `nats.tls.ca`.",
    why="Every VM that is made or updated from now on is refused by NATS.",
    example="`nats.tls.client_ca` is `nats_ca_2`, `nats.tls.ca` holds `nats_ca` alone.",
    remedy="Add it to the bundle with `create-env` before anything is deployed.",
    source="bosh, jobs/nats/templates: `verify_and_map` with `nats.tls.ca`",
)
ORDER = Rule(
    id=RuleId("bosh-bundle-order"),
    severity=Severity.WARNING,
    title="The older CA comes first in the bundle",
    meaning="`nats.tls.ca` holds several CAs, and a younger one stands before an older one.",
    why="`bosh env --details` shows the date of the first only, and old directors and health "
    "monitors believed the first only.",
    example="`nats.tls.ca` is the new CA, then the old one.",
    remedy="Keep the order old, new until the old one is gone.",
    source="Reference H12; bosh, certificate_expiry.json.erb",
)
EXPIRES = Rule(
    id=RuleId("bosh-expiry-unseen"),
    severity=Severity.WARNING,
    title="`bosh env --details` shows the certificate that ends first",
    meaning="A certificate of `nats.tls` ends within 30 days, or has, which the director's own "
    "list does not show: it has neither the server's nor the health monitor's, and of a bundle "
    "only the first.",
    why="Whoever watches that list alone is surprised.",
    example="The certificate of NATS ends in 12 days; `bosh env --details` does not list it.",
    remedy="Rotate in time.",
    source="Reference H11, H12; bosh, certificate_expiry.json.erb",
)
LEFT_VARIABLES = Rule(
    id=RuleId("bosh-clean-up-left"),
    severity=Severity.WARNING,
    title="Nothing of an earlier rotation is left over",
    meaning="The vars store holds successors (`nats_ca_2`) of variables that the deployed "
    "manifest does not use.",
    why="Ops files of an earlier rotation that are used once more would bring them back: a CA "
    "that nobody trusts, in the middle of a deploy.",
    example="`nats_ca_2` and `nats_server_tls_2` are in `creds.yml`, and nothing refers to them.",
    remedy="Remove them from the vars store after a backup of it.",
    source="BOSH, rotating NATS certificate authorities, step 5; bosh issue 2230",
)

RULES = (
    MANIFEST,
    LEFTOVER,
    UNFINISHED,
    PENDING,
    DISAGREES,
    STORE_OPEN,
    STORE_CHANGES,
    NO_STORE,
    JOINED,
    NEWLINE,
    OPTIONS,
    MISMATCH,
    SIGNER_UNTRUSTED,
    ORDER,
    EXPIRES,
    LEFT_VARIABLES,
)


SOON = timedelta(days=30)
_OTHERS = READABLE_BY_OTHERS | WRITABLE_BY_OTHERS
_ONCE = (Moment.CHECK, Moment.BEFORE)
"""What cannot change by itself is checked before the first rollout only."""


class _DirectorContext(NamedTuple):
    """What all rules look at."""

    environment: CreateEnvironment
    workplace: RotationFiles
    observation: DirectorVmObservation
    at: datetime

    @property
    def inputs(self) -> CreateEnvInputs:
        return self.observation.inputs

    @property
    def tls(self) -> NatsTls | None:
        """What is deployed, as far as it is known."""
        return next(
            iter(director_vm_observer.distinct_states(self.observation.conclusion.possible)), None
        )


def findings(
    moment: Moment,
    *,
    environment: CreateEnvironment,
    workplace: RotationFiles,
    observe: Callable[[], DirectorVmObservation],
    at: datetime,
) -> Iterator[Finding]:
    """Yield what was found; files that cannot be read at all are one finding."""
    place = environment.command.place
    try:
        context = _DirectorContext(environment, workplace, observe(), at)
        yield from _of_the_record(context)
        yield from _of_the_command_line(context)
        if moment in _ONCE:
            yield from _of_the_store(context)
            yield from _of_the_certificates(context)
        if moment is not Moment.BETWEEN:
            yield from _left_over(context)
    except RolloverError as error:
        yield found(MANIFEST, place, error.message, remedy=error.hint, place=place)


# The record.


def _of_the_record(context: _DirectorContext) -> Iterator[Finding]:
    conclusion, environment = context.observation.conclusion, context.environment
    sha = environment.state().current_manifest_sha
    subject = str(environment.command.state)
    if create_env.is_running(context.workplace.lock):
        message = "a `create-env` that Rollover began is still running"
        yield found(UNFINISHED, subject, message, remedy="Wait until it has ended.")
    elif not sha:
        present = context.workplace.ops_files()
        again = environment.command.shell_text(present[-1] if present else None)
        remedy = f"Run it in `{environment.command.directory}`: {again}"
        message = "no manifest is recorded as deployed: a `create-env` began and did not end well"
        yield found(UNFINISHED, subject, message, remedy=remedy)
    elif conclusion.recorded is None and conclusion.possible:
        message = (
            f"deployed is a manifest ({short(sha)}) that the files do not come to any more: "
            f"without an ops file they come to {short(conclusion.possible[-1].sha)}"
        )
        remedy = _with_ours(context)
        yield found(PENDING, str(environment.command.manifest), message, remedy=remedy)
    if conclusion.disagreement:
        yield found(DISAGREES, subject, conclusion.disagreement)
    if conclusion.doubt and not conclusion.disagreement:
        rule = DISAGREES if conclusion.possible else MANIFEST
        yield found(rule, subject, conclusion.doubt)


def _with_ours(context: _DirectorContext) -> str:
    """Return how changes get deployed while a rotation is under way, empty when none is."""
    command = context.environment.command
    ours = context.observation.conclusion.possible[0].ops_file
    if ours is None:
        return ""
    return (
        f"Take them back until the rotation is done, or deploy them together with its ops file, in "
        f"`{command.directory}`: {command.shell_text(ours)} (your own line alone would no longer "
        "trust the CA that agents have been given)."
    )


# The command line.


def _of_the_command_line(context: _DirectorContext) -> Iterator[Finding]:
    command = context.environment.command
    for leftover in command.leftovers():
        message = f"`{leftover.name}` is on the command line and sets `nats.tls`"
        yield found(LEFTOVER, str(leftover), message, place=command.place)
    if context.tls is None:
        return
    names = _plain(context, context.tls).names
    yield from _elsewhere(context, names)


def _elsewhere(
    context: _DirectorContext, names: nats_properties.NatsVariables
) -> Iterator[Finding]:
    command = context.environment.command
    if command.vars_store is None:
        message = "the command line has no `--vars-store`"
        yield found(NO_STORE, command.place, message)
        return
    for part in NatsPart:
        name = names.of[part]
        if part not in names.referring:
            why = f"`nats.tls.{part}` refers to no variable"
        elif name in context.inputs.given:
            why = f"`{name}` is given with `-v`, `-l`, `--var-file` or `--vars-env`"
        elif name not in context.inputs.stored:
            why = f"`{name}` is not in `{command.vars_store}`"
        else:
            continue
        yield found(NO_STORE, f"nats.tls.{part}", why, place=command.place)


# The vars store.


def _of_the_store(context: _DirectorContext) -> Iterator[Finding]:
    path = context.environment.command.vars_store
    if path is None or not path.exists():
        return
    mode = permissions_of(path)
    if mode & _OTHERS:
        yield found(STORE_OPEN, str(path), f"its mode is {mode:04o}")
    if not vars_store.round_trips(context.inputs.stored):
        message = "a value would be another one after it was written and read again"
        yield found(STORE_CHANGES, str(path), message)
    if context.tls is None:
        return
    manifest = _plain(context, context.tls)
    for name in manifest.names.all:
        yield from _without_newline(name, context.inputs.stored.get(name), str(path))
    yield from _options_lost(manifest)


def _without_newline(name: str, value: Tree, store: str) -> Iterator[Finding]:
    for field in ("ca", "certificate"):
        text = value.get(field) if isinstance(value, dict) else None
        if isinstance(text, str) and text and not text.endswith("\n"):
            message = f"`{name}.{field}` does not end with a newline"
            yield found(NEWLINE, name, message, place=store)


def _options_lost(manifest: PlainManifest) -> Iterator[Finding]:
    for name, present, wanted in ops_files.restated_options(manifest):
        lost = sorted(str(key) for key, value in wanted.items() if present.get(key) != value)
        if lost:
            message = f"the certificate has what the definition does not say: {', '.join(lost)}"
            yield found(OPTIONS, name, message)


# The certificates.


def _of_the_certificates(context: _DirectorContext) -> Iterator[Finding]:
    if context.tls is None:
        return
    for part in NatsPart:
        yield from _mismatch(part, context.tls)
    yield from _of_the_bundle(context.tls)
    yield from _expiring(context.tls, context.at)


def _mismatch(part: NatsPart, tls: NatsTls) -> Iterator[Finding]:
    pair = tls.pairs[part]
    subject = f"nats.tls.{part}"
    try:
        key = from_pem(pair.key.reveal(), place=f"{subject}.private_key")
    except SpecError as error:
        yield found(MISMATCH, subject, error.message)
        return
    if key.key_identity != pair.chain[0].key_identity:
        message = f"the key is not that of `{pair.chain[0].subject}`"
        yield found(MISMATCH, subject, message)


def _of_the_bundle(tls: NatsTls) -> Iterator[Finding]:
    subject = f"nats.tls.{nats_properties.BUNDLE}"
    reading = nats_properties.read_bundle(tls.bundle_text, field=subject)
    for remark in reading.remarks:
        if remark.kind is RemarkKind.JOINED:
            yield found(JOINED, subject, f"line {remark.line}: {remark.detail}")
    if tls.signer not in tls.bundle:
        message = f"`{tls.signer.subject}` ({short(tls.signer.fingerprint)}) is not in it"
        yield found(SIGNER_UNTRUSTED, subject, message)
    # A CA may be dated back by that much, so that it is valid on all clocks at once.
    if any(
        first.not_before - CLOCK_SKEW > second.not_before for first, second in pairwise(tls.bundle)
    ):
        listed = ", ".join(f"`{certificate.subject}`" for certificate in tls.bundle)
        yield found(ORDER, subject, f"its order is {listed}")


def _expiring(tls: NatsTls, at: datetime) -> Iterator[Finding]:
    """Yield what ends soon and is not on the director's own list."""
    unseen: list[tuple[str, Certificate]] = [
        (f"nats.tls.{part}", tls.pairs[part].chain[0])
        for part in (NatsPart.SERVER, NatsPart.HEALTH_MONITOR)
    ]
    unseen += [
        (f"nats.tls.{nats_properties.BUNDLE}", certificate) for certificate in tls.bundle[1:]
    ]
    for subject, certificate in unseen:
        if certificate.not_after - at < SOON:
            verb = "ends" if certificate.not_after >= at else "ended"
            message = f"`{certificate.subject}` {verb} {certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
            yield found(EXPIRES, subject, message)


# What is left over.


def _left_over(context: _DirectorContext) -> Iterator[Finding]:
    """Yield successors that nothing refers to and that Rollover is not at work with."""
    if context.tls is None or context.workplace.ops_files():
        return
    names = _plain(context, context.tls).names
    left = sorted(
        name
        for name in context.inputs.stored
        if name not in names.all
        and any(nats_properties.in_family(name, base) for base in names.all)
    )
    if left:
        listed = ", ".join(f"`{name}`" for name in left)
        subject = str(context.environment.command.vars_store)
        yield found(LEFT_VARIABLES, subject, f"nothing refers to {listed}")


def _plain(context: _DirectorContext, tls: NatsTls) -> PlainManifest:
    """Return the manifest without our ops file: what the operator's own line deploys."""
    plain = next(
        (
            candidate.properties.tls
            for candidate in context.observation.conclusion.possible
            if candidate.ops_file is None and candidate.properties is not None
        ),
        tls,
    )
    return ops_files.plain_manifest(context.inputs, tls=plain)
