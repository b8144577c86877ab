"""Where everything of a BOSH lab is: the operator's files, the director VM's disks, the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rollover_lab.bosh.agent.directory import AgentDirectory
from rollover_lab.state import LabDirectory


class BoshLayout(NamedTuple):
    """The paths below one lab's directory, which is absolute."""

    root: Path

    @property
    def lab(self) -> LabDirectory:
        """What every lab has."""
        return LabDirectory(self.root)

    @property
    def manifest(self) -> Path:
        """The director's manifest, with `((variables))`."""
        return self.root / "bosh.yml"

    @property
    def uaa(self) -> Path:
        """The ops file that adds a UAA, in labs that have one."""
        return self.root / "uaa.yml"

    @property
    def variables(self) -> Path:
        """Addresses and ports: what differs between two labs."""
        return self.root / "vars.yml"

    @property
    def credentials(self) -> Path:
        """The vars store."""
        return self.root / "creds.yml"

    @property
    def ready_keys(self) -> Path:
        """The keys that the agents of a lab in a hurry share."""
        return self.root / "agent-keys.pem"

    @property
    def state(self) -> Path:
        """What `create-env` remembers."""
        return self.root / "state.json"

    @property
    def create_env(self) -> Path:
        """The operator's own command line."""
        return self.root / "create-env.sh"

    @property
    def environment(self) -> Path:
        """What a shell needs to talk to the director: `. env.sh`."""
        return self.root / "env.sh"

    @property
    def client_secret(self) -> Path:
        """The password of the director's user `admin`."""
        return self.root / "client-secret"

    @property
    def director_ca(self) -> Path:
        """The CA of the director's API."""
        return self.root / "director-ca.pem"

    @property
    def fleet(self) -> Path:
        """The description that Rollover reads."""
        return self.root / "fleet.yml"

    @property
    def deployments(self) -> Path:
        """The manifests of what the director deploys."""
        return self.root / "deployments"

    @property
    def cloud(self) -> Path:
        """The infrastructure: VMs and disks."""
        return self.root / "cloud"

    @property
    def director_vm(self) -> DirectorVmLayout:
        """The disks of the director VM."""
        return DirectorVmLayout(self.root / "vm", self.root / "store")


class DirectorVmLayout(NamedTuple):
    """The two disks of the director VM: what `create-env` makes anew, and what it keeps."""

    ephemeral: Path
    persistent: Path

    @property
    def nats(self) -> Path:
        """The directory of the NATS server."""
        return self.ephemeral / "nats"

    @property
    def nats_config(self) -> Path:
        """`nats.cfg`."""
        return self.nats / "nats.cfg"

    @property
    def auth(self) -> Path:
        """The users of NATS, which bosh-nats-sync keeps."""
        return self.nats / "auth.json"

    @property
    def nats_pid(self) -> Path:
        """Where nats-server writes its process id."""
        return self.nats / "nats.pid"

    @property
    def nats_log(self) -> Path:
        """What nats-server says."""
        return self.nats / "nats.log"

    @property
    def director(self) -> Path:
        """The directory of the director."""
        return self.ephemeral / "director"

    @property
    def director_config(self) -> Path:
        """`director.json`."""
        return self.director / "director.json"

    @property
    def health_monitor(self) -> Path:
        """The directory of the health monitor."""
        return self.ephemeral / "health_monitor"

    @property
    def health_monitor_config(self) -> Path:
        """`health_monitor.json`."""
        return self.health_monitor / "health_monitor.json"

    @property
    def health_monitor_status(self) -> Path:
        """What the health monitor has heard of whom."""
        return self.health_monitor / "status.json"

    @property
    def uaa(self) -> Path:
        """The directory of the UAA."""
        return self.ephemeral / "uaa"

    @property
    def uaa_config(self) -> Path:
        """`uaa.json`, where there is a UAA."""
        return self.uaa / "uaa.json"

    @property
    def database(self) -> Path:
        """What the director knows."""
        return self.persistent / "director.sqlite"

    @property
    def tasks(self) -> Path:
        """The outputs of the director's tasks."""
        return self.persistent / "tasks"

    @property
    def director_id(self) -> Path:
        """The director's UUID, which outlives its VM."""
        return self.persistent / "director-uuid"


class VmLayout(NamedTuple):
    """The directory of one VM; it goes with the VM."""

    root: Path

    @property
    def record(self) -> Path:
        """What the cloud knows of the VM. Written last: without it there is no VM."""
        return self.root / "vm.json"

    @property
    def agent(self) -> AgentDirectory:
        """The files of its agent."""
        return AgentDirectory(self.root / "agent")


class CloudLayout(NamedTuple):
    """The paths below one lab's directory, which is absolute."""

    lab: Path

    @property
    def cloud(self) -> Path:
        """Everything of the cloud."""
        return self.lab / "cloud"

    @property
    def logs(self) -> Path:
        """Output of the director VM's processes."""
        return self.cloud / "logs"

    @property
    def vms(self) -> Path:
        """A directory for each VM."""
        return self.cloud / "vms"

    @property
    def disks(self) -> Path:
        """A directory for each persistent disk: that is the disk."""
        return self.cloud / "disks"

    def vm(self, cid: str) -> VmLayout:
        """Return the directory of a VM."""
        return VmLayout(self.vms / cid)

    def jobs(self, name: str, file: str) -> Path:
        """Return a rendered file of a job of the director VM."""
        return BoshLayout(self.lab).director_vm.ephemeral / name / file
