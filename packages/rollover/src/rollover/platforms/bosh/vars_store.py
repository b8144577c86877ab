"""Changes to the operator's vars store, the clean-up at the end, and what is kept between two runs.

The store is written as a whole, 0600, under the lock of `bosh_interpolate`'s store, and a copy of
what was there is kept. Nothing is ever replaced before what comes out of it was proven (H8). Kept
are, in a directory of the state directory:

ops/01/add-new-ca.yml      ops files that were, or are about to be, deployed, oldest first
backups/creds.yml.<sha>    the vars store before it was changed
variables.json             the variables that Rollover has added to the vars store
create-env-*.log           what `create-env` said
create-env.lock            held as long as a `create-env` runs, by that process itself
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from bosh_interpolate import FileStore, arguments, emit, load_variables
from bosh_interpolate.errors import ManifestError
from bosh_interpolate.values import Key, Tree, Variables, equal
from rollover import files
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence, Fact
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import short
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import KeyForm, from_pem, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import nats_properties, ops_files
from rollover.platforms.bosh.create_env import CreateEnvInputs, CreateEnvironment
from rollover.platforms.bosh.nats_properties import NatsPart, NatsTls, NatsVariables
from rollover.platforms.bosh.ops_files import OpsFile

_PRIVATE, _PRIVATE_DIRECTORY = 0o600, 0o700
_DIGEST_LENGTH = 12


class RotationFiles:
    """One director's directory below the state directory; made when something is put into it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def lock(self) -> Path:
        """The file that a running `create-env` holds locked."""
        return self.directory / "create-env.lock"

    @property
    def _ops(self) -> Path:
        return self.directory / "ops"

    @property
    def _variables(self) -> Path:
        return self.directory / "variables.json"

    def ops_files(self) -> tuple[Path, ...]:
        """Return the ops files, the latest last."""
        return tuple(sorted(self._ops.glob("[0-9]*/*.yml"), key=lambda path: int(path.parent.name)))

    def put_ops_file(self, wanted: OpsFile) -> Path:
        """Keep an ops file, and return where. The same one again is the one that is there."""
        present = self.ops_files()
        for path in present:
            if path.name == wanted.name and path.read_bytes() == wanted.content:
                return path
        number = int(present[-1].parent.name) + 1 if present else 1
        path = self._ops / f"{number:02}" / wanted.name
        self._made(path.parent)
        files.atomic_write(path, wanted.content, mode=_PRIVATE, durable=True)
        return path

    def remove_ops_files(self) -> tuple[Path, ...]:
        """Remove all ops files, and return which there were."""
        found = self.ops_files()
        if self._ops.exists():
            shutil.rmtree(self._ops)
            files.sync_directory(self.directory)
        return found

    def backups(self) -> tuple[Path, ...]:
        """Return the copies that are kept, the latest last."""
        found = (self.directory / "backups").glob("*")
        return tuple(sorted(found, key=lambda path: path.stat().st_mtime))

    def back_up(self, path: Path) -> Path:
        """Keep a copy of a file, and return where; the same content is kept once."""
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
        kept = self.directory / "backups" / f"{path.name}.{digest}"
        if not kept.exists() or kept.read_bytes() != content:
            self._made(kept.parent)
            files.atomic_write(kept, content, mode=_PRIVATE, durable=True)
        return kept

    def keep_only(self, kept: Path) -> None:
        """Remove the copies of the vars store but this one: they hold keys that are of no use."""
        for backup in self.backups():
            if backup != kept:
                backup.unlink(missing_ok=True)

    def added(self) -> frozenset[str]:
        """Return the variables that Rollover has added to the vars store."""
        try:
            return frozenset(msgspec.json.decode(self._variables.read_bytes(), type=list[str]))
        except FileNotFoundError:
            return frozenset()
        except msgspec.MsgspecError as error:
            raise SpecError(
                f"cannot be read: {error}",
                place=str(self._variables),
                hint="it is a JSON list of the names of variables that Rollover has added",
            ) from None

    def note_added(self, names: Iterable[str]) -> None:
        """Note variables before they are added."""
        wanted = self.added() | frozenset(names)
        if wanted != self.added():
            self._made(self.directory)
            content = msgspec.json.encode(sorted(wanted))
            files.atomic_write(self._variables, content, mode=_PRIVATE, durable=True)

    def forget_added(self) -> None:
        """Forget them: they are gone from the vars store."""
        self._variables.unlink(missing_ok=True)

    def log(self, at: datetime) -> Path:
        """Return the path of a new log of `create-env`."""
        self._made(self.directory)
        return self.directory / f"create-env-{at:%Y%m%dT%H%M%SZ}.log"

    def _made(self, directory: Path) -> None:
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)


# New certificates in the store.


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key and its issuer, as a variable of the type `certificate`."""

    chain: tuple[Certificate, ...]
    key: SecretBytes
    ca: Certificate

    def value(self) -> Tree:
        """Return the variable's value: PEM that ends its last line, the key as PKCS#1.

        `SpecError` for a key that is not RSA: neither `bosh` nor the director's NATS client
        (Ruby, nats-pure) takes another.
        """
        key = from_pem(self.key.reveal(), place="a key for the director VM", proven=True)
        if not key.kind.startswith("rsa"):
            raise SpecError(
                f"the key of `{self.chain[0].subject}` is of kind `{key.kind}`, a director VM "
                "takes RSA only",
                hint="rotate with `--key rsa-3072`",
            )
        return {
            "ca": write_certificates((self.ca,)).decode(),
            "certificate": write_certificates(self.chain).decode(),
            "private_key": to_pem(key, KeyForm.PKCS1).decode(),
        }


class VarsFile(FileStore):
    """The vars store of one path, for changes that concern all of it."""

    @manifest_errors()
    def change(self, make: Callable[[Variables], Variables]) -> None:
        """Replace the whole store by what `make` returns of it; unchanged: nothing is written.

        What `make` raises leaves the store as it is, and so does a result that is not complete.
        """
        with self._alone():
            self._refresh()
            before = dict(self._variables)
            after = dict(make(before))
            _check_complete(before, after, path=self._path)
            if not equal(_as_tree(before), _as_tree(after)):
                self._write(after)


def free_suffix(
    bases: Collection[str], wanted: Mapping[str, NewCredential], variables: Variables
) -> int:
    """Return the number for new variables: that of ones which hold the same, or the next free.

    `wanted` are the credentials by base name.
    """
    for number in range(nats_properties.FIRST_SUFFIX, nats_properties.LAST_SUFFIX):
        taken = {base: variables.get(nats_properties.suffixed_name(base, number)) for base in bases}
        if all(
            value is None or _certificates(value, "certificate") == wanted[base].chain
            for base, value in taken.items()
            if base in wanted
        ) and _of_one_issuer(taken, wanted):
            return number
    last = nats_properties.LAST_SUFFIX
    raise SpecError(
        f"the vars store has successors of `{min(bases)}` up to number {last}",
        hint="remove those that nothing uses",
    )


def _of_one_issuer(taken: Mapping[str, Tree], wanted: Mapping[str, NewCredential]) -> bool:
    """Say whether those that are there already belong to the same CA as those to come."""
    issuers = {credential.ca.fingerprint for credential in wanted.values()}
    present = [_certificates(value, "ca") for value in taken.values()]
    return all(
        {certificate.fingerprint for certificate in certificates} == issuers
        for certificates in present
        if certificates
    )


def _certificates(value: Tree, field: str) -> tuple[Certificate, ...]:
    """Return the certificates of a variable's field; none where there are none to read."""
    found = nats_properties.certificate_field({"": value}, "", field)
    return () if found is None else found.certificates


def with_added(
    stored: Variables, wanted: Mapping[str, NewCredential], *, number: int
) -> Mapping[str, Tree]:
    """Return the variables that are not there yet, by name."""
    named = {
        nats_properties.suffixed_name(base, number): credential
        for base, credential in wanted.items()
    }
    return {name: credential.value() for name, credential in named.items() if name not in stored}


def cleaned_store(
    stored: Variables,
    renames: Mapping[str, str],
    removed: Collection[str],
    *,
    bundle: tuple[str, str, str] | None = None,
) -> Variables:
    """Return the store after the clean-up: base names have the values of others, which are gone.

    `bundle`: variable, field and text of the bundle in use, where it is more than one CA. Every
    other variable keeps its value; `VerificationError` when that is not so.
    """
    missing = [name for name in (*renames, *renames.values()) if name not in stored]
    if missing:
        raise VerificationError(
            f"the vars store has no `{missing[0]}`", hint="put back a backup of the vars store"
        )
    after = {name: value for name, value in stored.items() if name not in set(removed)}
    after |= {base: stored[name] for base, name in renames.items()}
    if bundle is not None:
        variable, field, text = bundle
        value = after.get(variable)
        if isinstance(value, dict):
            after[variable] = {**value, field: text}
    touched = {*renames, *removed, *((bundle[0],) if bundle else ())}
    for name in stored.keys() - touched:
        if not equal(stored[name], after.get(name)):
            raise VerificationError(f"the clean-up would change `{name}`", hint="report this")
    return after


def _check_complete(before: Variables, after: Variables, *, path: Path) -> None:
    """Refuse to write a store that is empty, or that reads back as something else."""
    if before and not after:
        raise VerificationError(
            f"`{path}` would become empty", hint="report this; nothing was changed"
        )
    if not round_trips(after):
        raise VerificationError(
            f"`{path}` would read back as something else than was written",
            hint="report this; nothing was changed",
        )


def round_trips(variables: Variables) -> bool:
    """Say whether variables mean the same after they were written and read again."""
    try:
        again = load_variables(emit(_as_tree(variables)).encode("utf-8", "surrogateescape"))
    except (ManifestError, UnicodeEncodeError):
        return False
    return equal(_as_tree(again), _as_tree(variables))


def _as_tree(variables: Variables) -> Tree:
    tree: dict[Key, Tree] = {}
    tree.update(variables)
    return tree


# The end of a rotation: new values under the old names, what is left over removed.
#
# Step 5 of BOSH's procedure, made safe: the manifest without an ops file has to come to exactly
# what is deployed with one, byte for byte, before the vars store is replaced. A crash at any
# point leaves a store that is complete, and the next call goes on.


BY_DISK = "disk"


class CleanUp(NamedTuple):
    """What the clean-up of a vars store comes to."""

    renames: dict[str, str]
    """Base name to the variable whose value it takes."""
    removed: tuple[str, ...]
    bundle: tuple[str, str, str] | None
    """Variable, field and text of the bundle, where the new values alone do not come to it."""

    def applied(self, stored: Variables) -> Variables:
        """Return the vars store afterwards."""
        return cleaned_store(stored, self.renames, self.removed, bundle=self.bundle)


def clean_up_vars_store(
    environment: CreateEnvironment, workplace: RotationFiles, *, subject: EndpointRef, at: datetime
) -> Iterator[Evidence]:
    """Clean up, and yield what was done; nothing when there was nothing to do.

    `VerificationError` when the proof fails: then everything is as it was.
    """

    def evidence(observed: str) -> Evidence:
        return Evidence(
            fact=Fact.REPORTED, subject=subject, holds=True, observed=observed, at=at, by=BY_DISK
        )

    present = workplace.ops_files()
    left = workplace.added() & environment.stored().keys()
    if left or present:
        inputs = environment.inputs()
        sha = environment.state().current_manifest_sha
        ops_file = _deployed_with(environment, present, inputs, sha=sha)
        wanted = _clean_up(inputs, ops_file, left)
        if wanted.renames or wanted.removed:
            kept = workplace.back_up(environment.store)
            VarsFile(environment.store).change(
                lambda stored: _proven(wanted, inputs, stored, sha=sha)
            )
            # After the change: until then each copy may be the one that is needed.
            workplace.keep_only(kept)
            changed = ", ".join(f"`{base}` ← `{name}`" for base, name in wanted.renames.items())
            removed = ", ".join(f"`{name}`" for name in wanted.removed)
            parts = (changed, f"removed {removed}" if removed else "")
            done = "; ".join(part for part in parts if part)
            yield evidence(f"`{environment.store}`: {done} (before: `{kept}`)")
        _check_again(environment, sha)
        yield evidence(f"the manifest without an ops file is what is deployed ({short(sha)})")
    gone = workplace.remove_ops_files()
    workplace.forget_added()
    if gone:
        names = ", ".join(f"`{path.name}`" for path in gone)
        yield evidence(f"removed {names}: your own line deploys the director as it is")


def _deployed_with(
    environment: CreateEnvironment, present: tuple[Path, ...], inputs: CreateEnvInputs, *, sha: str
) -> Path | None:
    """Return the ops file of the deployed manifest; None when it is the plain one."""
    candidates = environment.candidates(present, inputs)
    for candidate in candidates:
        if candidate.properties is not None and candidate.sha == sha:
            return candidate.ops_file
    plain = candidates[0]
    raise VerificationError(
        f"the vars store cannot be cleaned up: the deployed manifest ({short(sha) or 'unknown'}) "
        f"is none that is known" + (f": {plain.trouble}" if plain.trouble else ""),
        hint="manifest, ops files or variables were changed since the last `create-env`: take "
        "that back, or deploy it, then run it again",
    )


def _clean_up(inputs: CreateEnvInputs, ops_file: Path | None, left: frozenset[str]) -> CleanUp:
    """Return what makes the plain manifest the deployed one, and what nothing needs any more."""
    if ops_file is None:
        return CleanUp({}, tuple(sorted(left)), None)
    before = inputs.evaluate().properties().tls
    with manifest_errors():
        extra = arguments.read_operations([str(ops_file)])
    now = inputs.evaluate(extra).properties().tls
    names = ops_files.plain_manifest(inputs, tls=before).names
    renames = {
        names.of[part]: _holder_of(now.pairs[part].chain, names.of[part], inputs.stored)
        for part in NatsPart
        if now.pairs[part].chain != before.pairs[part].chain
    }
    removed = tuple(sorted(left | {name for name in renames.values() if name not in renames}))
    return CleanUp(renames, removed, _clean_bundle(inputs, names, now, renames))


def _holder_of(chain: tuple[Certificate, ...], base: str, stored: Variables) -> str:
    holder = nats_properties.holder_of(chain, base, stored)
    if holder is None:
        raise VerificationError(
            f"no variable of the vars store holds what is deployed as `{base}`",
            hint="put back a backup of the vars store",
        )
    return holder


def _clean_bundle(
    inputs: CreateEnvInputs, names: NatsVariables, now: NatsTls, renames: dict[str, str]
) -> tuple[str, str, str] | None:
    """Return what has to stand where the bundle is read, when the new value there is another.

    So a bundle of several CAs (a standby) survives under the one name that the manifest has.
    """
    variable, field = names.bundle_field
    value = inputs.stored.get(renames.get(variable, variable))
    text = value.get(field) if isinstance(value, dict) else None
    if not variable or text == now.bundle_text:
        return None
    return variable, field, now.bundle_text


def _proven(wanted: CleanUp, inputs: CreateEnvInputs, stored: Variables, *, sha: str) -> Variables:
    """Return the new store; `VerificationError` unless it deploys exactly what is deployed."""
    after = wanted.applied(stored)
    found = inputs.evaluate(stored=after).sha
    if found != sha:
        raise VerificationError(
            "after the clean-up the manifest without an ops file would differ from what is "
            f"deployed ({short(found)}, not {short(sha)})",
            hint="something else in the manifest uses these variables, or they are given with "
            "`-v` or `-l` and not in the vars store: change those by hand, to the new values; "
            "nothing was changed",
        )
    return after


def _check_again(environment: CreateEnvironment, sha: str) -> None:
    """Read again what is on the disk now: `create-env` would find nothing to do."""
    found = environment.inputs().evaluate().sha
    if found != sha:
        raise VerificationError(
            f"the manifest without an ops file is {short(found)}, deployed is {short(sha)}",
            hint="somebody else changes the vars store: put back the backup of it",
        )
