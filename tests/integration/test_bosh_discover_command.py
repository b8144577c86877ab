"""`rollover discover --bosh` and the fleet that is looked at afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import Response

from rigs import bosh_api_stub as stub
from rigs import commands
from rigs.bosh_api_stub import Served, StubTask
from rollover.engine.authorities import Authorities
from rollover.engine.known_certificates import KnownCertificates
from rollover.errors import ExitCode
from rollover.fleet.description import DirectorDescription, FleetDescription
from rollover.platforms.bosh import director_fleet
from rollover.platforms.bosh.connection import DirectorConnection
from rollover.platforms.bosh.director_api import Director
from rollover.site import load_fleet, now
from rollover.store.credentials import MemoryCredentials

JAMMY = {"name": "bosh-warden-ubuntu-jammy", "version": "1.199"}
MANIFEST = "update: {canaries: 1, max_in_flight: 2, update_watch_time: 1000}\n"


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A stub that all tests of this file share."""
    with stub.serve(tmp_path_factory.mktemp("stub")) as found:
        yield found


@pytest.fixture
def served(listening: Served) -> Served:
    """A stub with nothing deployed yet."""
    director = listening.director
    director.reset()
    director.answers = {
        "/deployments": [], "/stemcells": [{**JAMMY, "operating_system": "ubuntu-jammy"}],
        "/locks": [], "/configs": [],
        "/director/certificate_expiry": [
            {"certificate_path": "nats.tls.ca", "expiry": "2099-01-01T00:00:00Z", "days_left": 999}
        ],
    }  # fmt: skip
    return listening


def deploy(served: Served, name: str, *instances: dict[str, object]) -> None:
    """Let there be a deployment with these instances."""
    director, number = served.director, 100 + len(served.director.tasks)
    director.answers["/deployments"].append({"name": name, "stemcells": [JAMMY], "locked": False})
    director.answers[f"/deployments/{name}"] = {"manifest": MANIFEST}
    director.answers[f"/deployments/{name}/variables"] = [{"id": "1", "name": "/d/password"}]
    director.answers[f"/deployments/{name}/instances"] = [
        stub.brief(instance["index"], cid=instance["vm_cid"])  # type: ignore[arg-type]  # a number
        for instance in instances
    ]
    director.tasks[number] = StubTask("done", result=stub.lines(*instances))

    def full(request: Request) -> Response | None:
        asked = request.url.path == f"/deployments/{name}/instances" and request.url.query
        location = {"Location": f"https://director.invalid/tasks/{number}"}
        return Response(status_code=302, headers=location) if asked else None

    director.instead.append(full)


def discover(served: Served, *arguments: str | Path, secret: str = stub.SECRET) -> commands.Ran:
    """Run the command with the variables of the bosh CLI."""
    variables = {
        "BOSH_ENVIRONMENT": served.url, "BOSH_CLIENT": stub.CLIENT, "BOSH_CLIENT_SECRET": secret,
        "BOSH_CA_CERT": served.ca.decode(), "BOSH_CONFIG": "/nowhere/config",
    }  # fmt: skip
    return commands.run("discover", "--bosh", *arguments, environment=variables)


def test_a_director_is_written_down_with_what_was_read(served: Served, tmp_path: Path) -> None:
    """The section `director`, the authority, no instances; what was read is shown."""
    deploy(served, "web", *(stub.instance(number) for number in range(3)))
    deploy(
        served, "db", stub.instance(0, ignore=True), stub.instance(1, vm_cid=None, job_state=None)
    )
    ran = discover(served, "-o", tmp_path / "fleet.yml", "--monitor", "http://10.0.0.6:8222")
    assert ran.code == ExitCode.DONE
    fleet = load_fleet(tmp_path / "fleet.yml")
    assert (fleet.name, fleet.groups, [authority.name for authority in fleet.authorities]) == (
        "stub", (), ["nats_ca"],
    )  # fmt: skip
    assert fleet.director is not None
    assert (fleet.director.environment, fleet.director.client) == (served.url, stub.CLIENT)
    assert fleet.director.monitor == "http://10.0.0.6:8222"
    assert "director stub 283.1.6 (warden_cpi)" in ran.out
    assert "web/router/00000000-0002  started" in ran.out
    assert "a round over 4 agents takes about" in ran.out
    assert "! db/router/00000000-0000: is ignored" in ran.talk
    assert "! db/router/00000000-0001: has no VM and is left out" in ran.talk
    assert "`--create-env`" in ran.talk
    assert stub.SECRET not in (tmp_path / "fleet.yml").read_text() + ran.out + ran.talk


def test_an_alias_and_who_logged_in_are_enough(served: Served, tmp_path: Path) -> None:
    """The fleet file says where the director is; who logs in is found again for each command."""
    served.director.uaa, served.director.tokens = served.url, ["token-1"]
    config = tmp_path / "config"
    pem = served.ca.decode().replace("\n", "\n    ").rstrip(" ")
    config.write_text(
        f"environments:\n- url: {served.url}\n  alias: prod\n  ca_cert: |\n    {pem}"
        "  access_token: token-1\n  refresh_token: refresh-0\n"
    )
    out = tmp_path / "fleet.yml"
    variables = {"BOSH_ENVIRONMENT": "prod", "BOSH_CONFIG": str(config)}
    ran = commands.run("discover", "--bosh", "-o", out, environment=variables)
    assert ran.code == ExitCode.DONE, ran.talk
    director = load_fleet(out).director
    assert director is not None
    assert (director.environment, director.client) == (served.url, None)
    assert "token-1" not in out.read_text() + ran.out + ran.talk


def test_a_fleet_file_may_name_an_alias(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where NATS is follows from the URL behind it, for every platform."""
    config = tmp_path / "config"
    config.write_text(f"environments:\n- {{url: {served.url}, alias: prod}}\n")
    for name, value in {"BOSH_CONFIG": str(config), "BOSH_CLIENT_SECRET": stub.SECRET}.items():
        monkeypatch.setenv(name, value)
    line = tmp_path / "create-env.sh"
    line.write_text("bosh create-env bosh.yml --state state.json --vars-store creds.yml\n")
    described = DirectorDescription(
        environment="prod", client=stub.CLIENT, ca_cert=served.ca.decode(), create_env=line.name
    )
    bosh = DirectorConnection(
        described, base=tmp_path, state=tmp_path, environment=os.environ, recover=False, clock=now
    )
    fleet = bosh.expand(FleetDescription(version=1, name="lab", groups=(), director=described))
    address = f"{urlsplit(served.url).hostname}:4222"
    known = KnownCertificates(Authorities(MemoryCredentials(), fleet), clock=now)
    vm = bosh.director_vm(fleet.groups[0], known=known)
    assert {
        endpoint.address for endpoint in fleet.groups[0].instances[0].endpoints if endpoint.address
    } == {address}
    assert vm.observer.nats_address == address
    bosh.close()


def test_as_json_everything_is_there(served: Served) -> None:
    """Nothing but JSON on stdout."""
    deploy(served, "web", stub.instance(0, job_state="unresponsive agent"))
    served.director.answers["/locks"] = [
        {"type": "deployment", "resource": ["web"], "timeout": "1", "task_id": "12"}
    ]
    found = discover(served, "--output", "json").json["discovery"]
    reading = found["reading"]
    assert found["description"]["director"]["environment"] == served.url
    assert reading["director"]["version"] == [283, 1, 6]
    (deployment,) = reading["deployments"]
    assert deployment["variables"] == ["/d/password"]
    (instance,) = deployment["instances"]
    assert (instance["job_state"], instance["way"]) == ("unresponsive agent", "in place")
    assert reading["locks"][0]["task_id"] == "12"
    assert reading["certificates"][0]["path"] == "nats.tls.ca"
    assert reading["round"]["seconds"] > 46


def test_the_fleet_is_expanded_from_the_director_as_it_is_then(
    served: Served, tmp_path: Path
) -> None:
    """Without asking an agent; what has no VM is not in it."""
    deploy(served, "web", stub.instance(0), stub.instance(1))
    out = tmp_path / "fleet.yml"
    assert discover(served, "-o", out).code == ExitCode.DONE
    deploy(served, "late", stub.instance(7), stub.instance(8, vm_cid=None))
    served.director.requests.clear()
    with Director(served.access()) as director:
        fleet = director_fleet.expand_fleet(load_fleet(out), director)
    assert names(fleet, "agents") == [
        "late/router/00000000-0007", "web/router/00000000-0000", "web/router/00000000-0001",
    ]  # fmt: skip
    assert names(fleet, "director") == ["director/0"]
    assert not [text for text in served.director.asked("GET") if "format=full" in text]


def names(fleet: FleetDescription, group: str) -> list[str]:
    """Instances of a group."""
    (found,) = (description for description in fleet.groups if description.name == group)
    return [instance.name for instance in found.instances]


def test_a_deployment_that_goes_meanwhile_is_left_out(served: Served, tmp_path: Path) -> None:
    """Some come and go every few seconds."""
    deploy(served, "web", stub.instance(0))
    served.director.answers["/deployments"].append({"name": "gone", "stemcells": []})
    ran = discover(served, "-o", tmp_path / "fleet.yml")
    assert ran.code == ExitCode.DONE
    assert "gone" not in ran.out


def test_an_existing_file_is_left_and_the_difference_shown(served: Served, tmp_path: Path) -> None:
    """`--write` changes it, and keeps what a person wrote; the file knows its director."""
    out = tmp_path / "fleet.yml"
    discover(served, "-o", out)
    text = out.read_text().replace("name: stub\n", "name: prod\n")
    out.write_text(text.replace("director:\n", "director:\n  parallel: 4\n"))
    ran = discover(served, "-o", out, "--nats", "10.0.0.6:4333")
    assert "is left as it is; `--write` changes it" in ran.talk
    assert "+  nats: 10.0.0.6:4333" in ran.out
    assert "4333" not in out.read_text()
    assert discover(served, "-o", out, "--nats", "10.0.0.6:4333", "--write").code == ExitCode.DONE
    fleet = load_fleet(out)
    assert fleet.director is not None
    assert (fleet.name, fleet.director.parallel, fleet.director.nats) == (
        "prod",
        4,
        "10.0.0.6:4333",
    )
    again = commands.run(
        "discover", "--bosh", "-o", out,
        environment={
            "BOSH_CLIENT_SECRET": stub.SECRET, "BOSH_CA_CERT": served.ca.decode(),
            "BOSH_CONFIG": "/nowhere/config", "BOSH_ENVIRONMENT": "", "BOSH_CLIENT": "",
        },
    )  # fmt: skip
    assert "says the same already" in again.talk


def test_nothing_deployed_is_no_error(served: Served, tmp_path: Path) -> None:
    """The director alone is a fleet too."""
    ran = discover(served, "-o", tmp_path / "fleet.yml")
    assert ran.code == ExitCode.DONE
    assert "! deployments: there are none" in ran.talk
    assert "no agent has to be given anything" in ran.out


def test_an_old_director_tells_less(served: Served) -> None:
    """What it does not know is said, and that VMs have to be recreated."""
    del served.director.answers["/director/certificate_expiry"]
    served.director.version = "270.3.0 (00000000)"
    deploy(served, "web", stub.instance(0))
    ran = discover(served)
    assert "! director: certificate expiry could not be read: " in ran.talk
    assert "older than 271.12" in ran.talk
    assert "! web: 1 VM has to be recreated in each round" in ran.talk


def test_a_wrong_password_is_said_with_the_remedy(served: Served) -> None:
    """As an error of its own, without the password."""
    ran = discover(served, "--output", "json", secret="guess-4711")
    assert ran.code == ExitCode.STOPPED
    assert ran.json["error"]["code"] == "denied"
    assert "guess-4711" not in ran.out + ran.talk


@pytest.mark.parametrize("arguments", [("--create-env", "x"), ("--environment", "u")])
def test_options_of_directors_need_bosh(arguments: tuple[str, str]) -> None:
    """They would be forgotten silently."""
    ran = commands.run("discover", *arguments)
    assert ran.code == ExitCode.USAGE
    assert f"`{arguments[0]}` goes with `--bosh` only" in ran.talk


def test_configurations_do_not_go_with_bosh() -> None:
    """One description is of one kind."""
    ran = commands.run("discover", "--bosh", "--config", "nats.conf")
    assert ran.code == ExitCode.USAGE
    assert "`--config` goes without `--bosh` only" in ran.talk


def test_no_director_named_is_said(tmp_path: Path) -> None:
    """With both ways to name one."""
    nothing = {"BOSH_ENVIRONMENT": "", "BOSH_CLIENT_SECRET": "x"}
    ran = commands.run("discover", "--bosh", "-o", tmp_path / "f.yml", environment=nothing)
    assert ran.code == ExitCode.USAGE
    assert "--environment URL" in ran.talk


def test_files_beside_the_fleet_file_are_named_relative_to_it(
    served: Served, tmp_path: Path
) -> None:
    """So that the directory can be moved; others keep their whole path."""
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "secret").write_text(stub.SECRET)
    (tmp_path / "ca.pem").write_bytes(served.ca)
    out = tmp_path / "fleet" / "fleet.yml"
    ran = commands.run(
        "discover", "--bosh", "--environment", served.url, "--client", stub.CLIENT, "-o", out,
        "--client-secret-file", tmp_path / "fleet" / "secret", "--ca-cert", tmp_path / "ca.pem",
        environment={"BOSH_CLIENT_SECRET": "wrong", "BOSH_CA_CERT": "", "BOSH_CONFIG": "/nowhere"},
    )  # fmt: skip
    assert ran.code == ExitCode.DONE
    fleet = load_fleet(out)
    assert fleet.director is not None
    assert fleet.director.client_secret_file == "secret"
    assert fleet.director.ca_cert == str(tmp_path / "ca.pem")
    assert json.dumps(stub.SECRET) not in out.read_text()
