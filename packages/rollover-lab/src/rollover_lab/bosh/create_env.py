"""What `bosh create-env` does, for the director of a lab: same flags, same output, same state file.

The director VM is deleted and made anew whenever the interpolated manifest changed. Whatever
fails leaves the state as the real one would: nothing counts as deployed, the next call begins
again. Sources: bosh-cli, cmd/deployment_preparer.go, deployment/instance/instance.go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bosh_interpolate import arguments, interpolate
from bosh_interpolate.errors import ManifestError
from rollover import files
from rollover.errors import Rejected, RolloverError
from rollover.probe.nats_client import read_greeting_before_tls
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.stream import Deadline, NotTls, dial
from rollover.probe.target import parse_address
from rollover_lab import machine
from rollover_lab.bosh import director_access, director_manifest, rendering
from rollover_lab.bosh.cloud.client import LabCloud
from rollover_lab.bosh.director_manifest import DirectorManifest, JobProperties
from rollover_lab.bosh.layout import BoshLayout

_STEMCELL_API_VERSION = 3
_UNKNOWN = "unknown/0"
"""How the CLI calls the instance that it is about to delete."""


class CreateEnv(msgspec.Struct, frozen=True, kw_only=True):
    """The command line: texts as they are given."""

    manifest: str
    ops_files: tuple[str, ...] = ()
    assignments: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    vars_files: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    vars_store: str | None = None
    state: str | None = None
    recreate: bool = False
    skip_drain: bool = False


def interpolated(request: CreateEnv) -> str:
    """Return the manifest with everything filled in; what has no value is generated and stored."""
    template = arguments.read_template(request.manifest)
    try:
        return interpolate(
            template,
            operations=arguments.read_operations(request.ops_files),
            variables=arguments.read_variables(
                assignments=request.assignments,
                contents=request.contents,
                files=request.vars_files,
                prefixes=request.prefixes,
            ),
            store=arguments.open_store(request.vars_store),
            all_found=True,
        )
    except ManifestError as error:
        place = str(Path(request.manifest).absolute())
        raise ManifestError(
            f"Parsing release set manifest '{place}'",
            cause=ManifestError("Evaluating manifest", cause=error),
        ) from None


def create_env(request: CreateEnv, write: WriteText) -> bool:
    """Deploy the director VM unless it is deployed already; say whether anything was done.

    `ManifestError` with the texts of bosh, `Unreachable` when the lab has ended.
    """
    path = Path(request.manifest).absolute()
    stages = Stages(write)
    stages.line(f"Deployment manifest: '{path}'")
    state_path = Path(request.state) if request.state else default_path(path)
    stages.line(f"Deployment state: '{request.state or state_path}'")
    state = CreateEnvStateFile(state_path)
    with stages.group("validating") as validating:
        text = interpolated(request)
        manifest = director_manifest.read_director_manifest(text, path=str(path))
        # Releases and stemcell are names only here: there is nothing to validate but the manifest.
        for release in manifest.releases:
            with validating.stage(f"Validating release '{release.name}'"):
                pass
        for name in ("cpi release", "deployment manifest", "stemcell"):
            with validating.stage(f"Validating {name}"):
                pass
    sha = manifest_sha(text)
    releases = tuple((release.name, release.version) for release in manifest.releases)
    deployed = state.now.deploys(sha, releases=releases, stemcell=manifest.stemcell)
    if deployed and not request.recreate:
        stages.line("No deployment, stemcell or release changes. Skipping deploy.")
        return False
    deployment = _Deployment(manifest, state, skip_drain=request.skip_drain)
    deployment.upload_stemcell(stages)
    with stages.group("deploying") as deploying:
        state.clear()
        deployment.run(deploying)
        state.record(sha, releases)
    with stages.stage("Cleaning up rendered CPI jobs"):
        pass
    return True


class _Deployment:
    """One deployment of the director VM."""

    def __init__(
        self, manifest: DirectorManifest, state: CreateEnvStateFile, *, skip_drain: bool
    ) -> None:
        self._manifest = manifest
        self._state = state
        self._skip_drain = skip_drain
        self._layout = BoshLayout(Path(manifest.cloud_provider.properties.lab.directory))
        self._cloud = LabCloud(self._layout.lab.control)
        self._instance = f"{manifest.group.name}/0"

    def upload_stemcell(self, stages: Stages) -> None:
        name, version = self._manifest.stemcell
        known = self._state.now.stemcells or ()
        with stages.stage(f"Uploading stemcell '{name}/{version}'"):
            if any((stemcell.name, stemcell.version) == (name, version) for stemcell in known):
                raise Skipped("Stemcell already uploaded")
            record = StemcellRecord(
                id=new_id(),
                name=name,
                version=version,
                api_version=_STEMCELL_API_VERSION,
                cid=f"sc-{new_id()}",
            )
            self._state.change(stemcells=(*known, record))

    def run(self, stages: Stages) -> None:
        try:
            if self._state.now.current_vm_cid:
                self._delete(stages, self._state.now.current_vm_cid)
            self._create(stages)
            self._attach_disk(stages)
            self._update(stages)
        except ManifestError as error:
            raise ManifestError("Deploying", cause=error) from None
        except RolloverError as error:
            raise ManifestError("Deploying", cause=ManifestError(str(error))) from None

    def _delete(self, stages: Stages, vm_cid: str) -> None:
        vm = self._layout.director_vm.ephemeral
        if vm.exists():
            self._shut_down(stages, vm_cid)
        with stages.stage(f"Deleting VM '{vm_cid}'"):
            found = vm.exists()
            self._cloud.director_vm("stop")
            shutil.rmtree(vm, ignore_errors=not found)
            self._state.change(current_vm_cid="", current_stemcell_id="")
            if not found:
                raise Skipped("VM not found")

    def _shut_down(self, stages: Stages, vm_cid: str) -> None:
        with stages.stage(f"Waiting for the agent on VM '{vm_cid}'"):
            self._cloud.director_vm("status")
        with stages.stage(f"Running the pre-stop scripts '{_UNKNOWN}'"):
            pass
        if not self._skip_drain:
            with stages.stage(f"Draining jobs on instance '{_UNKNOWN}'"):
                pass
        with stages.stage(f"Stopping jobs on instance '{_UNKNOWN}'"):
            self._cloud.director_vm("stop")
        with stages.stage(f"Running the post-stop scripts '{_UNKNOWN}'"):
            pass
        for disk in self._state.now.disks or ():
            with stages.stage(f"Unmounting disk '{disk.cid}'"):
                pass

    def _create(self, stages: Stages) -> None:
        name, version = self._manifest.stemcell
        stemcells = self._state.now.stemcells or ()
        stemcell = next(
            record for record in stemcells if (record.name, record.version) == (name, version)
        )
        purpose = f"Creating VM for instance '{self._instance}' from stemcell '{stemcell.cid}'"
        with stages.stage(purpose):
            self._layout.director_vm.ephemeral.mkdir(mode=machine.PRIVATE_DIRECTORY)
            self._state.change(current_vm_cid=f"vm-{new_id()}")
            self._state.change(current_stemcell_id=stemcell.id)
        with stages.stage(
            f"Waiting for the agent on VM '{self._state.now.current_vm_cid}' to be ready"
        ):
            self._cloud.director_vm("status")

    def _attach_disk(self, stages: Stages) -> None:
        if not self._state.now.disks:
            with stages.stage("Creating disk"):
                record = DiskRecord(
                    id=new_id(), cid=f"disk-{new_id()}", size=self._manifest.disk_pools[0].disk_size
                )
                self._state.change(disks=(record,), current_disk_id=record.id)
        vm_cid = self._state.now.current_vm_cid
        for disk in self._state.now.disks or ():
            with stages.stage(f"Attaching disk '{disk.cid}' to VM '{vm_cid}'"):
                self._layout.director_vm.tasks.mkdir(
                    mode=machine.PRIVATE_DIRECTORY, parents=True, exist_ok=True
                )

    def _update(self, stages: Stages) -> None:
        group = self._manifest.group
        with stages.stage("Rendering job templates"):
            files = rendering.render(
                group.properties, self._layout, director_id=_director_id(self._layout)
            )
        with stages.stage(f"Updating instance '{self._instance}'"):
            rendering.write(files)
            self._cloud.director_vm("start")
        with stages.stage(f"Waiting for instance '{self._instance}' to be running"):
            await_director(group.properties, self._cloud)
        with stages.stage(f"Running the post-start scripts '{self._instance}'"):
            pass


def _director_id(layout: BoshLayout) -> str:
    """Return the director's UUID: made once, kept on its persistent disk."""
    path = layout.director_vm.director_id
    if not path.exists():
        machine.write_private(path, new_id().encode())
    return path.read_text()


STAGE_INDENT = "  "
_MINUTE, _HOUR = 60, 3600

WriteText = Callable[[str], object]


class Skipped(Exception):
    """Raised within a stage that has nothing to do."""


class Stages:
    """Says what is being done, how it ended and how long it took (bosh-cli, ui/stage.go).

    `Deleting VM 'x'... Finished (00:00:02)`
    """

    def __init__(self, write: WriteText, *, indent: str = "") -> None:
        self._write = write
        self._indent = indent
        self._simple = True

    def line(self, text: str) -> None:
        """Write a line that is no stage."""
        self._write(f"{self._indent}{text}\n")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage, and say how its body ended."""
        if not self._simple:
            self._write("\n")
            self._simple = True
        self._write(f"{self._indent}{name}...")
        began = time.monotonic()
        try:
            yield
        except Skipped as skipped:
            self._write(f" Skipped [{skipped}] ({_elapsed(began)})\n")
        except BaseException:
            self._write(f" Failed ({_elapsed(began)})\n")
            raise
        else:
            self._write(f" Finished ({_elapsed(began)})\n")

    @contextmanager
    def group(self, name: str) -> Iterator[Stages]:
        """Announce stages that belong together; yields what writes them, indented."""
        self._simple = False
        self._write("\n")
        self.line(f"Started {name}")
        began = time.monotonic()
        try:
            yield Stages(self._write, indent=self._indent + STAGE_INDENT)
        except BaseException:
            self.line(f"Failed {name} ({_elapsed(began)})")
            raise
        self.line(f"Finished {name} ({_elapsed(began)})")


def _elapsed(began: float) -> str:
    seconds = int(time.monotonic() - began)
    return f"{seconds // _HOUR:02}:{seconds // _MINUTE % _MINUTE:02}:{seconds % _MINUTE:02}"


# `state.json` in the shape and with the rules of the bosh CLI: config/deployment_state_service.go,
# deployment/record.go.


_MODE = 0o600
_LIMIT = 4 * 1024 * 1024


class StemcellRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stemcell that was uploaded."""

    id: str
    name: str
    version: str
    api_version: int = 0
    cid: str


class DiskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The persistent disk of the director VM; size in MB."""

    id: str
    cid: str
    size: int
    cloud_properties: dict[str, str] = {}


class ReleaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is deployed."""

    id: str
    name: str
    version: str


class DeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, its fields in the order of the real one; null: never set."""

    director_id: str = ""
    installation_id: str = ""
    current_vm_cid: str = ""
    current_stemcell_id: str = ""
    current_disk_id: str = ""
    current_release_ids: tuple[str, ...] | None = None
    current_manifest_sha: str = ""
    disks: tuple[DiskRecord, ...] | None = None
    stemcells: tuple[StemcellRecord, ...] | None = None
    releases: tuple[ReleaseRecord, ...] | None = None

    def deploys(
        self, sha: str, *, releases: tuple[tuple[str, str], ...], stemcell: tuple[str, str]
    ) -> bool:
        """Say whether exactly this is deployed: nothing is to be done then."""
        current = [
            record for record in self.stemcells or () if record.id == self.current_stemcell_id
        ]
        return (
            self.current_manifest_sha == sha
            and bool(current)
            and (current[0].name, current[0].version) == stemcell
            and {(release.name, release.version) for release in self.releases or ()}
            == set(releases)
        )


class CreateEnvStateFile:
    """Keeps the state; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = _load_state(path)
        self.change(
            director_id=self.now.director_id or new_id(),
            installation_id=self.now.installation_id or new_id(),
        )

    def change(self, **fields: object) -> None:
        """Set these fields."""
        self.now = msgspec.structs.replace(self.now, **fields)
        content = json.dumps(msgspec.to_builtins(self.now), indent=4).encode()
        try:
            files.atomic_write(self.path, content, mode=_mode(self.path), durable=True)
        except OSError as error:
            raise Rejected(
                f"`{self.path}`: {error.strerror}",
                system="create-env",
                operation="write the state file",
                hint="check that its directory is writable and has room",
            ) from None

    def clear(self) -> None:
        """Forget what is deployed, before it changes."""
        self.change(current_manifest_sha="", current_release_ids=(), releases=())

    def record(self, sha: str, releases: tuple[tuple[str, str], ...]) -> None:
        """Remember what is deployed now."""
        found = tuple(
            ReleaseRecord(id=new_id(), name=name, version=version) for name, version in releases
        )
        self.change(
            current_manifest_sha=sha,
            releases=found,
            current_release_ids=tuple(release.id for release in found),
        )


def manifest_sha(interpolated: str) -> str:
    """Return what the CLI compares: SHA-512 of the interpolated manifest's text, hexadecimal."""
    return hashlib.sha512(interpolated.encode("utf-8", "surrogateescape")).hexdigest()


def default_path(manifest: Path) -> Path:
    """Return where the CLI keeps the state when it is not told: `bosh.yml` → `bosh-state.json`."""
    return manifest.with_name(f"{manifest.stem}-state.json")


def new_id() -> str:
    """Return a new random UUID."""
    return str(uuid.uuid4())


def _load_state(path: Path) -> DeploymentState:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LIMIT), type=DeploymentState)
    except FileNotFoundError:
        return DeploymentState()
    except OSError as error:
        raise ManifestError(
            f"Reading deployment state file '{path}'", cause=ManifestError(error.strerror or "")
        ) from None
    except msgspec.MsgspecError as error:
        raise ManifestError(
            f"Unmarshalling deployment state file '{path}'", cause=ManifestError(str(error))
        ) from None


def _mode(path: Path) -> int:
    """Return the mode that the file has: whoever opened it to others wants it so."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return _MODE


_POLL_SECONDS = 0.1
_GREETING_SECONDS = 2.0
_FAILING_STARTS = 3
"""A job that ended so often will not run, whatever restarts it."""


def await_director(properties: JobProperties, cloud: LabCloud) -> None:
    """Wait until NATS and the director answer; `ManifestError` with the words of bosh.

    A job that keeps ending is not waited for until the time is over.
    """
    deadline = time.monotonic() + properties.lab.start_seconds
    before = _starts(cloud)
    while lack := _lack_of_director(properties):
        now = _starts(cloud)
        failing = [job for job in now if now[job] - before.get(job, 0) >= _FAILING_STARTS]
        if failing or time.monotonic() > deadline:
            logs = "".join(f"; it keeps ending, see `cloud/logs/{job}.log`" for job in failing)
            raise ManifestError(
                "Received non-running job state: 'failing'", cause=ManifestError(f"{lack}{logs}")
            )
        time.sleep(_POLL_SECONDS)


def _starts(cloud: LabCloud) -> dict[str, int]:
    return {process.name: process.starts for process in cloud.director_vm("status").processes}


def _lack_of_director(properties: JobProperties) -> str:
    """Return what does not answer, and why; nothing when all do."""
    nats, director = properties.nats, properties.director
    try:
        deadline = Deadline(_GREETING_SECONDS)
        address = parse_address(f"{nats.address}:{nats.port}")
        with contextlib.closing(dial(address, deadline)) as stream:
            read_greeting_before_tls(stream, deadline)
    except (OSError, BadProtocol, NotTls) as error:
        return f"nats: {error}"
    urls = {"director": f"https://{director.address}:{director.port}"}
    if properties.uaa is not None:
        urls["uaa"] = properties.uaa.url
    ca = properties.hm.director_account.ca_cert.encode()
    for job, url in urls.items():
        said = director_access.why_director_is_silent(url, ca)
        if said:
            return f"{job}: {said}"
    return ""
