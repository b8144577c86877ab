"""The world of `create-env`: manifest, variables, vars store, state file; read, never changed.

Everything is interpolated in this process as `bosh` would, but nothing is generated: a variable
that is not there is trouble, and is told. What was deployed is known by the SHA-512 of the
interpolated manifest, which `create-env` writes into its state file (bosh-cli,
deployment/template/deployment_template.go, deployment/record.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bosh_interpolate import FileStore, arguments, emit, interpolate, load
from bosh_interpolate.ops_files import Operation, apply_operations
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.variables import Definition, read_definitions
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.platforms.bosh import command_line, properties
from rollover.platforms.bosh.command_line import CommandLine
from rollover.platforms.bosh.properties import DirectorProperties

STATE_LIMIT = 4 * 1024 * 1024


class DeployedState(msgspec.Struct, frozen=True, kw_only=True):
    """What of `state.json` matters. An empty SHA: a `create-env` began and has not ended well."""

    current_manifest_sha: str = ""
    current_vm_cid: str = ""


class Evaluated:
    """An interpolated manifest: its text holds every secret, and never shows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha512(text.encode("utf-8", "surrogateescape")).hexdigest()

    def __repr__(self) -> str:
        return f"Evaluated({self.sha[:12]})"

    @manifest_errors()
    def properties(self) -> DirectorProperties:
        """Return what it says of NATS and the director; `SpecError` when it cannot be read."""
        return properties.read(load(self.text.encode("utf-8", "surrogateescape")))


class Candidate(NamedTuple):
    """A manifest that may be the deployed one: plain, or with one of our ops files.

    `properties` is None where it cannot be interpolated, `trouble` says why.
    """

    ops_file: Path | None
    sha: str
    properties: DirectorProperties | None
    trouble: str

    @property
    def named(self) -> str:
        """How people know it."""
        if self.ops_file is None:
            return "the manifest without an ops file of Rollover"
        return f"the manifest with `{self.ops_file.name}`"


class Inputs:
    """What the command line names, read at one time. Holds secrets, which never show."""

    def __init__(
        self,
        template: bytes,
        operations: Sequence[Operation],
        *,
        given: Variables,
        stored: Variables,
    ) -> None:
        self._template = template
        self._operations = tuple(operations)
        self.given = given
        self.stored = stored

    @manifest_errors()
    def evaluate(
        self, extra: Sequence[Operation] = (), *, stored: Variables | None = None
    ) -> Evaluated:
        """Return the manifest that `create-env` would deploy; `SpecError` as it would fail.

        Nothing is generated: a variable that is missing is an error too.
        """
        return Evaluated(
            interpolate(
                self._template,
                operations=(*self._operations, *extra),
                variables=self._variables(self.stored if stored is None else stored),
                all_found=True,
            )
        )

    @manifest_errors()
    def document(self) -> Tree:
        """Return the manifest with the operator's ops files, its variables left as they are."""
        return apply_operations(load(self._template), self._operations)

    @manifest_errors()
    def definitions(self) -> dict[str, Definition]:
        """Return what the manifest defines, by name; the first of a name counts."""
        return {each.name: each for each in reversed(read_definitions(self.document()))}

    @manifest_errors()
    def resolved(self, value: Tree) -> Tree:
        """Return a piece of the manifest with its variables filled in, as far as they are known."""
        wrapped = emit({"value": value}).encode("utf-8", "surrogateescape")
        text = interpolate(wrapped, variables=self._variables(self.stored))
        found = load(text.encode("utf-8", "surrogateescape"))
        return found["value"] if isinstance(found, dict) else None

    def _variables(self, stored: Variables) -> Variables:
        # A name with a dot is never looked up in a vars store: the dot begins a path.
        kept = {name: value for name, value in stored.items() if "." not in name}
        return {**kept, **self.given}


class Environment:
    """What a `create-env` line works on. Reads the disk anew at each call; changes nothing."""

    def __init__(self, command: CommandLine) -> None:
        self.command = command

    @classmethod
    def from_file(cls, path: Path, *, environment: Mapping[str, str]) -> Environment:
        """Read the operator's command line; `environment` is that of the process."""
        return cls(command_line.read(path, environment=environment))

    @property
    def store(self) -> Path:
        """The vars store; `SpecError` when the command line names none."""
        found = self.command.vars_store
        if found is None:
            raise SpecError(
                "the command line has no `--vars-store`",
                place=self.command.place,
                hint="Rollover keeps new certificates there: add `--vars-store FILE`",
            )
        return found

    @manifest_errors()
    def inputs(self) -> Inputs:
        """Read manifest, ops files, variables and vars store; `SpecError` as `bosh` says it."""
        command = self.command
        return Inputs(
            arguments.read_template(str(command.manifest)),
            arguments.read_operations(map(str, command.ops_files)),
            given=arguments.read_variables(
                assignments=command.assignments,
                contents=command.contents,
                files=map(str, command.vars_files),
                prefixes=command.prefixes,
                environment=command.environment,
            ),
            stored=self.stored(),
        )

    @manifest_errors()
    def stored(self) -> Variables:
        """Return the vars store's content; empty without one."""
        path = self.command.vars_store
        return {} if path is None else FileStore(path).variables()

    def state(self) -> DeployedState:
        """Return what the state file says; all empty when there is none yet."""
        path = self.command.state
        try:
            content = read_start(path, size=STATE_LIMIT)
            return msgspec.json.decode(content, type=DeployedState)
        except FileNotFoundError:
            return DeployedState()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SpecError(
                f"the state file cannot be read: {error}",
                place=str(path),
                hint="`create-env` could not read it either: put back a backup of it",
            ) from None

    def candidates(self, ops_files: Sequence[Path], inputs: Inputs) -> tuple[Candidate, ...]:
        """Return the plain manifest, then that with each of these ops files."""
        return tuple(_candidate(each, inputs) for each in (None, *ops_files))


def _candidate(ops_file: Path | None, inputs: Inputs) -> Candidate:
    sha = ""
    try:
        with manifest_errors():
            extra = arguments.read_operations([str(ops_file)]) if ops_file is not None else ()
        evaluated = inputs.evaluate(extra)
        sha = evaluated.sha
        return Candidate(ops_file, sha, evaluated.properties(), "")
    except SpecError as error:
        return Candidate(ops_file, sha, None, str(error))


def certificates(stored: Variables) -> dict[str, tuple[Certificate, ...]]:
    """Return the chains of all variables that hold one that can be read, by name."""
    found = {}
    for name, value in stored.items():
        text = value.get("certificate") if isinstance(value, dict) else None
        if isinstance(text, str):
            try:
                found[name] = properties.bundle_of(text, field=name).certificates
            except SpecError:
                continue
    return found
