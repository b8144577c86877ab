"""What `bosh create-env` does, for the director of a lab: same flags, same output, same state.

The director VM is deleted and made anew whenever the interpolated manifest changed. Whatever
fails leaves the state as the real one would: nothing counts as deployed, the next call begins
again. Sources: bosh-cli, cmd/deployment_preparer.go, deployment/instance/instance.go.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from bosh_interpolate import arguments, interpolate
from bosh_interpolate.errors import ManifestError
from rollover.errors import RolloverError
from rollover_lab import private_files
from rollover_lab.bosh import properties, readiness, rendering
from rollover_lab.bosh.cloud.client import Cloud
from rollover_lab.bosh.layout import BoshLayout
from rollover_lab.bosh.properties import DirectorManifest
from rollover_lab.bosh.stages import Skipped, Stages, Write
from rollover_lab.bosh.state_file import (
    DiskRecord,
    StateFile,
    StemcellRecord,
    default_path,
    manifest_sha,
    new_id,
)

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


def create_env(request: CreateEnv, write: Write) -> bool:
    """Deploy the director VM unless it is deployed already; say whether anything was done.

    `ManifestError` with the texts of bosh, `Unreachable` when the lab has ended.
    """
    path = Path(request.manifest).absolute()
    stages = Stages(write)
    stages.line(f"Deployment manifest: '{path}'")
    state_path = Path(request.state) if request.state else default_path(path)
    stages.line(f"Deployment state: '{request.state or state_path}'")
    state = StateFile(state_path)
    with stages.group("validating") as validating:
        text = interpolated(request)
        manifest = properties.read(text, path=str(path))
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

    def __init__(self, manifest: DirectorManifest, state: StateFile, *, skip_drain: bool) -> None:
        self._manifest = manifest
        self._state = state
        self._skip_drain = skip_drain
        self._layout = BoshLayout(Path(manifest.cloud_provider.properties.lab.directory))
        self._cloud = Cloud(self._layout.lab.control)
        self._instance = f"{manifest.group.name}/0"

    def upload_stemcell(self, stages: Stages) -> None:
        name, version = self._manifest.stemcell
        known = self._state.now.stemcells or ()
        with stages.stage(f"Uploading stemcell '{name}/{version}'"):
            if any((each.name, each.version) == (name, version) for each in known):
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
        stemcell = next(each for each in stemcells if (each.name, each.version) == (name, version))
        purpose = f"Creating VM for instance '{self._instance}' from stemcell '{stemcell.cid}'"
        with stages.stage(purpose):
            self._layout.director_vm.ephemeral.mkdir(mode=private_files.PRIVATE_DIRECTORY)
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
                    mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True
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
            readiness.await_director(group.properties, self._cloud)
        with stages.stage(f"Running the post-start scripts '{self._instance}'"):
            pass


def _director_id(layout: BoshLayout) -> str:
    """Return the director's UUID: made once, kept on its persistent disk."""
    path = layout.director_vm.director_id
    if not path.exists():
        private_files.write(path, new_id().encode())
    return path.read_text()
