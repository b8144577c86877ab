"""A BOSH lab whose director takes tokens of a UAA that last for seconds: nobody minds."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2
import msgspec
import pytest

from rigs import commands
from rigs.bosh_lab import BoshLab, bosh_lab, eventually, every_agent_answers, in_a_hurry, pinging_of
from rigs.bosh_rotating import command, rotate, trusted_by_nats
from rollover.errors import Denied, ExitCode
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.director_api import Director
from rollover_lab.bosh import director_access, director_manifest
from rollover_lab.bosh.create_env import interpolated
from rollover_lab.bosh.director_manifest import UaaProperties
from rollover_lab.bosh.health_monitor.roster import MonitorStatus
from rollover_lab.bosh.lab import create_env_call

TOKEN_SECONDS = 2.0
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoshLab]:
    """Two agents, and tokens that expire after two seconds."""
    spec = in_a_hurry(agents=2, deployments=1)
    spec = msgspec.structs.replace(spec, uaa=True, token_seconds=TOKEN_SECONDS)
    with bosh_lab(tmp_path_factory.mktemp("labs") / "lab", spec) as found:
        yield found


@pytest.fixture
def http(lab: BoshLab) -> Iterator[httpx2.Client]:
    """What speaks HTTPS with the lab's CA and nothing else."""
    context = ssl.create_default_context(cafile=str(lab.layout.director_ca))
    with httpx2.Client(verify=context, trust_env=False, timeout=300) as client:
        yield client


def _uaa(lab: BoshLab) -> UaaProperties:
    text = interpolated(create_env_call(lab.layout))
    found = director_manifest.read_director_manifest(text, path="bosh.yml").group.properties.uaa
    assert found is not None
    return found


def _token(
    http: httpx2.Client, uaa: UaaProperties, *, client: tuple[str, str], **form: str
) -> httpx2.Response:
    """Ask for a token, as the bosh CLI does."""
    return http.post(f"{uaa.url}/oauth/token", data=form, auth=client)


def _deployments(http: httpx2.Client, lab: BoshLab, token: str) -> int:
    headers = {"Authorization": f"bearer {token}"}
    url = director_access.director_access(lab.layout).url
    return http.get(f"{url}/deployments", headers=headers).status_code


def test_passwords_do_not_count_and_tokens_do_until_they_expire(
    lab: BoshLab, http: httpx2.Client
) -> None:
    """`/info` names the UAA; its token opens the API, and stops doing so after its time."""
    uaa, access = _uaa(lab), director_access.director_access(lab.layout)
    pair = (access.client, access.secret.reveal().decode())
    info = http.get(f"{access.url}/info").json()
    assert info["user_authentication"]["type"] == "uaa"
    assert info["user_authentication"]["options"]["url"] == uaa.url
    assert http.get(f"{access.url}/deployments", auth=pair).status_code == 401
    for bad in (b"bearer \xe9.x.y", b"bearer ..", b"basic \xe9", b"bearer"):
        refused = http.get(f"{access.url}/deployments", headers=[(b"Authorization", bad)])
        assert refused.status_code == 401, bad
    assert http.post(f"{uaa.url}/oauth/token", headers=[(b"Authorization", b"basic \xe9")]).is_error
    answer = _token(http, uaa, client=pair, grant_type="client_credentials").json()
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", int(TOKEN_SECONDS))
    assert _deployments(http, lab, answer["access_token"]) == 200
    eventually(lambda: _deployments(http, lab, answer["access_token"]) == 401)


def test_a_person_logs_in_and_refreshes(lab: BoshLab, http: httpx2.Client) -> None:
    """The prompts of `bosh log-in`, the grant that it asks for, and the one that follows."""
    uaa = _uaa(lab)
    assert set(http.get(f"{uaa.url}/login").json()["prompts"]) == {"username", "password"}
    (person,) = uaa.scim.users
    name, password = person.name, person.password
    cli = ("bosh_cli", "")
    first = _token(
        http, uaa, client=cli, grant_type="password", username=name, password=password
    ).json()
    eventually(lambda: _deployments(http, lab, first["access_token"]) == 401)
    assert _deployments(http, lab, first["refresh_token"]) == 401
    again = _token(
        http, uaa, client=cli, grant_type="refresh_token", refresh_token=first["refresh_token"]
    ).json()
    assert _deployments(http, lab, again["access_token"]) == 200
    wrong = _token(http, uaa, client=cli, grant_type="password", username=name, password="no")
    assert wrong.status_code == 401
    assert wrong.json() == {"error": "unauthorized", "error_description": "Bad credentials"}


def test_a_wrong_secret_is_told_as_what_it_is(lab: BoshLab) -> None:
    """The UAA's own words reach the operator, and the secret does not."""
    access = director_access.director_access(lab.layout)
    wrong = msgspec.structs.replace(access, secret=SecretBytes(b"not-the-secret"))
    with Director(wrong) as director, pytest.raises(Denied) as caught:
        director.deployments()
    assert "Bad credentials" in caught.value.message
    assert "not-the-secret" not in f"{caught.value.message} {caught.value.hint}"


def test_the_health_monitor_logs_in_as_a_client_of_its_own(lab: BoshLab) -> None:
    """It goes on hearing of all agents from the director when its token has expired."""
    path = lab.layout.director_vm.health_monitor_status
    begun = datetime.now(UTC)

    def status() -> MonitorStatus:
        return msgspec.json.decode(path.read_bytes(), type=MonitorStatus)

    def later() -> bool:
        return (status().written_at - begun).total_seconds() > 2 * TOKEN_SECONDS

    eventually(later)
    seen = status()
    assert {agent.agent_id for agent in seen.agents} == {vm.agent_id for vm in lab.cloud.vms()}
    assert not [alert for alert in seen.alerts if alert.created_at > begun]


def test_a_rotation_outlives_its_tokens(lab: BoshLab) -> None:
    """Discovered and rotated with tokens that expire in the middle of it; agents answer after."""
    access = director_access.director_access(lab.layout)
    variables = {
        "BOSH_ENVIRONMENT": access.url,
        "BOSH_CLIENT": access.client,
        "BOSH_CLIENT_SECRET": access.secret.reveal().decode(),
        "BOSH_CA_CERT": str(lab.layout.director_ca),
        "BOSH_CONFIG": str(lab.layout.root / "none"),
    }
    out = lab.layout.root / "discovered.yml"
    found = commands.run("discover", "--bosh", "-o", out, environment=variables)
    assert found.code == ExitCode.DONE, found.talk
    began = datetime.now(UTC)
    with pinging_of(lab) as pings:
        every_agent_answers(lab, pings)
        run = rotate(lab)
        assert run.code == ExitCode.DONE, run.said
        every_agent_answers(lab, pings)
    assert (datetime.now(UTC) - began).total_seconds() > 2 * TOKEN_SECONDS
    assert trusted_by_nats(lab) == 1
    assert lab.all_answer()
    assert command(lab, "verify").code == ExitCode.DONE
