"""What a `create-env` line works on and would deploy, and running it, never ended half-way.

A director VM whose `create-env` is killed is neither the old one nor the new one. So the command
runs in a session of its own, writes into a file and not into a pipe of ours, and holds a lock
itself: when Rollover ends before it does, it goes on, and the next run of Rollover sees that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from bosh_interpolate import FileStore, arguments, emit, interpolate, load
from bosh_interpolate.ops_files import Operation, apply_operations
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.variables import Definition, read_definitions
from rollover.codec.manifests import manifest_errors
from rollover.errors import Conflict, Rejected, SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.fleet.secret import redacted
from rollover.platforms.bosh import command_line, nats_properties
from rollover.platforms.bosh.command_line import CreateEnvLine
from rollover.platforms.bosh.nats_properties import DirectorProperties

# What was deployed is known by the SHA-512 of the interpolated manifest, which `create-env` writes
# into its state file (bosh-cli, deployment/template/deployment_template.go, deployment/record.go).
# So everything is interpolated in this process as `bosh` would, but nothing is generated.


STATE_LIMIT = 4 * 1024 * 1024


class CreateEnvState(msgspec.Struct, frozen=True, kw_only=True):
    """What of `state.json` matters. An empty SHA: a `create-env` began and has not ended well."""

    current_manifest_sha: str = ""
    current_vm_cid: str = ""


class EvaluatedManifest:
    """An interpolated manifest: its text holds every secret, and never shows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha512(text.encode("utf-8", "surrogateescape")).hexdigest()

    def __repr__(self) -> str:
        return f"EvaluatedManifest({self.sha[:12]})"

    @manifest_errors()
    def properties(self) -> DirectorProperties:
        """Return what it says of NATS and the director; `SpecError` when it cannot be read."""
        return nats_properties.read_properties(load(self.text.encode("utf-8", "surrogateescape")))


class ManifestCandidate(NamedTuple):
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


class CreateEnvInputs:
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
    ) -> EvaluatedManifest:
        """Return the manifest that `create-env` would deploy; `SpecError` as it would fail.

        Nothing is generated: a variable that is missing is an error too.
        """
        return EvaluatedManifest(
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
        return {
            definition.name: definition
            for definition in reversed(read_definitions(self.document()))
        }

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


class CreateEnvironment:
    """What a `create-env` line works on. Reads the disk anew at each call; changes nothing."""

    def __init__(self, command: CreateEnvLine) -> None:
        self.command = command

    @classmethod
    def from_file(cls, path: Path, *, environment: Mapping[str, str]) -> CreateEnvironment:
        """Read the operator's command line; `environment` is that of the process."""
        return cls(command_line.read_command_line(path, environment=environment))

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
    def inputs(self) -> CreateEnvInputs:
        """Read manifest, ops files, variables and vars store; `SpecError` as `bosh` says it."""
        command = self.command
        return CreateEnvInputs(
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

    def state(self) -> CreateEnvState:
        """Return what the state file says; all empty when there is none yet."""
        path = self.command.state
        try:
            content = read_start(path, size=STATE_LIMIT)
            return msgspec.json.decode(content, type=CreateEnvState)
        except FileNotFoundError:
            return CreateEnvState()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SpecError(
                f"the state file cannot be read: {error}",
                place=str(path),
                hint="`create-env` could not read it either: put back a backup of it",
            ) from None

    def candidates(
        self, ops_files: Sequence[Path], inputs: CreateEnvInputs
    ) -> tuple[ManifestCandidate, ...]:
        """Return the plain manifest, then that with each of these ops files."""
        return tuple(_candidate(ops_file, inputs) for ops_file in (None, *ops_files))


def _candidate(ops_file: Path | None, inputs: CreateEnvInputs) -> ManifestCandidate:
    sha = ""
    try:
        with manifest_errors():
            extra = arguments.read_operations([str(ops_file)]) if ops_file is not None else ()
        evaluated = inputs.evaluate(extra)
        # Told even where the properties cannot be read: the record may name it all the same.
        sha = evaluated.sha
        return ManifestCandidate(ops_file, sha, evaluated.properties(), "")
    except SpecError as error:
        return ManifestCandidate(ops_file, sha, None, str(error))


def stored_chains(stored: Variables) -> dict[str, tuple[Certificate, ...]]:
    """Return the chains of all variables that hold one that can be read, by name."""
    found = {}
    for name, value in stored.items():
        text = value.get("certificate") if isinstance(value, dict) else None
        if isinstance(text, str):
            try:
                found[name] = nats_properties.read_bundle(text, field=name).certificates
            except SpecError:
                continue
    return found


# Running it.


CREATE_ENV = "create-env"
LAST_LINES = 15
TAIL_OCTETS = 64 * 1024
POLL_SECONDS = 0.1


class CreateEnvEnded(NamedTuple):
    """How a run was. `code` None: it still runs, and was left alone."""

    code: int | None
    log: Path
    seconds: float
    process: int

    @property
    def succeeded(self) -> bool:
        """Whether it ended, and well."""
        return self.code == 0


def run_create_env(
    command: CreateEnvLine,
    ops_file: Path | None,
    *,
    log: Path,
    lock: Path,
    timeout_seconds: float,
) -> CreateEnvEnded:
    """Run the command with an ops file more, and return how it ended, or that it still runs.

    Raises `Conflict` when an earlier one runs, `Rejected` when it cannot be started: then nothing
    was changed.
    """
    begun = time.monotonic()
    with _hold_lock(lock) as held, _open_log(log) as output:
        try:
            process = subprocess.Popen(
                command.with_ops_file(ops_file),
                cwd=command.directory,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Neither Ctrl-C in Rollover's terminal nor Rollover's end reaches the command.
                start_new_session=True,
                pass_fds=(held,),
            )
        except OSError as error:
            raise Rejected(
                f"`{command.words[0]}` cannot be started: {error.strerror}",
                system=CREATE_ENV,
                operation="start",
                hint=f"run the line of {command.place} by hand to see why",
            ) from None
    code = _exit_code(process, begun + timeout_seconds)
    return CreateEnvEnded(code, log, time.monotonic() - begun, process.pid)


def is_running(lock: Path) -> bool:
    """Say whether a `create-env` that Rollover began still runs."""
    try:
        with _hold_lock(lock):
            return False
    except Conflict:
        return True


def last_log_lines(log: Path) -> str:
    """Return the last lines of a log, without private keys."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_OCTETS))
        text = file.read(TAIL_OCTETS).decode("utf-8", "replace")
    if size > TAIL_OCTETS:
        # The first line may be the end of a line of a key, which no longer looks like one.
        text = text.partition("\n")[2]
    lines = [line.rstrip() for line in redacted(text).splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])


def _exit_code(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if process.returncode is None:
        # Somebody has to take note of its end, or it stays as a zombie as long as we live.
        threading.Thread(target=process.wait, daemon=True, name=CREATE_ENV).start()
    return process.returncode


@contextmanager
def _hold_lock(path: Path) -> Iterator[int]:
    """Hold the lock; whoever inherits the descriptor goes on holding it (flock(2))."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise Conflict(
            "a `create-env` that Rollover began is still running",
            system=CREATE_ENV,
            operation="begin",
            hint="wait until it has ended; its log is in the state directory",
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def _open_log(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
