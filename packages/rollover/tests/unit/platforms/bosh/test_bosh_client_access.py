"""How a director is found and logged in to: flags, variables, files of the bosh CLI."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import KeyKind
from rollover.fleet.description import DirectorDescription
from rollover.pki.issue import issue_authority
from rollover.pki.keys import generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh.login import DirectorAccess, access_to, director_url

SECRET = {"BOSH_CLIENT_SECRET": "s3cret"}


def authority() -> bytes:
    """A CA's PEM."""
    made = issue_authority(
        common_name="director CA",
        key=generate(KeyKind.P256),
        not_before=datetime.now(UTC),
        lifetime=timedelta(days=1),
    )
    return write_certificates((made,))


def access(
    tmp_path: Path, environment: dict[str, str], *, named: str = "10.0.0.6", **described: str
) -> DirectorAccess:
    """The access of a description, with a home of its own."""
    return access_to(
        DirectorDescription(environment=named, **described),  # type: ignore[arg-type]  # texts only
        environment={"HOME": str(tmp_path / "home"), **environment},
        base=tmp_path,
    )


def saved(tmp_path: Path, text: str) -> None:
    """Write what the bosh CLI keeps."""
    (tmp_path / "home" / ".bosh").mkdir(parents=True)
    (tmp_path / "home" / ".bosh" / "config").write_text(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("10.0.0.6", "https://10.0.0.6:25555"),
        ("https://bosh.example", "https://bosh.example:25555"),
        ("http://bosh.example:8080/path", "https://bosh.example:8080"),
        ("bosh.example:443", "https://bosh.example:443"),
        ("[2001:db8::1]:25555", "https://[2001:db8::1]:25555"),
        (" https://10.0.0.6:25555/ ", "https://10.0.0.6:25555"),
    ],
)
def test_an_environment_is_a_host_or_a_url(text: str, url: str) -> None:
    """The scheme is always https, the port 25555 if none is given."""
    assert director_url(text) == url


@pytest.mark.parametrize("text", ["", "https://", "https://h:99999", "https://h:x", "two words"])
def test_what_names_no_host_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(SpecError) as raised:
        director_url(text)
    assert "https://HOST:25555" in raised.value.hint


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    """It would stand in the fleet file."""
    with pytest.raises(SpecError) as raised:
        director_url("https://admin:geheim@10.0.0.6")
    assert "geheim" not in raised.value.message + raised.value.hint


def test_the_secret_comes_from_its_file_before_the_variable(tmp_path: Path) -> None:
    """A line's end is not part of it."""
    (tmp_path / "secret").write_text("from the file\r\n")
    found = access(tmp_path, SECRET, client_secret_file="secret")
    assert found.secret.reveal() == b"from the file"
    assert access(tmp_path, SECRET).secret.reveal() == b"s3cret"
    assert "s3cret" not in repr(access(tmp_path, SECRET))


def test_no_secret_at_all_is_said_with_both_ways_to_give_it(tmp_path: Path) -> None:
    """An empty variable is none."""
    with pytest.raises(SpecError) as raised:
        access(tmp_path, {"BOSH_CLIENT_SECRET": ""}, client="ci")
    assert "no secret of the client `ci`" in raised.value.message
    assert "$BOSH_CLIENT_SECRET" in raised.value.hint
    assert "client_secret_file" in raised.value.hint


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(SpecError, match="nowhere: client_secret_file: cannot be read"):
        access(tmp_path, SECRET, client_secret_file="nowhere")


def test_the_ca_is_a_path_or_the_text_itself(tmp_path: Path) -> None:
    """As the bosh CLI takes it; the description goes before the variable."""
    pem, other = authority(), authority()
    (tmp_path / "ca.pem").write_bytes(pem)
    assert access(tmp_path, SECRET, ca_cert="ca.pem").ca == pem
    assert access(tmp_path, {**SECRET, "BOSH_CA_CERT": pem.decode()}).ca == pem
    assert access(tmp_path, {**SECRET, "BOSH_CA_CERT": str(tmp_path / "ca.pem")}).ca == pem
    both = {**SECRET, "BOSH_CA_CERT": other.decode()}
    assert access(tmp_path, both, ca_cert="ca.pem").ca == pem
    assert access(tmp_path, SECRET).ca is None


def test_a_ca_that_is_none_is_refused(tmp_path: Path) -> None:
    """So is one with a key beside it."""
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(PemError):
        access(tmp_path, SECRET, ca_cert="ca.pem")
    (tmp_path / "ca.pem").write_bytes(authority() + to_pem(generate(KeyKind.P256)))
    with pytest.raises(SpecError, match="private key stands beside"):
        access(tmp_path, SECRET, ca_cert="ca.pem")


def test_an_alias_of_the_cli_gives_url_ca_and_password(tmp_path: Path) -> None:
    """Of the user that it was saved for."""
    pem = authority()
    indented = pem.decode().replace("\n", "\n    ")
    saved(
        tmp_path,
        f"environments:\n- url: https://10.0.0.9:25555\n  alias: prod\n  ca_cert: |\n    {indented}"
        "\n  username: admin\n  password: kept\n",
    )
    found = access(tmp_path, {}, named="prod")
    assert (found.url, found.ca) == ("https://10.0.0.9:25555", pem)
    assert found.secret.reveal() == b"kept"
    with pytest.raises(SpecError, match="no secret of the client `ci`"):
        access(tmp_path, {}, named="prod", client="ci")


def test_a_url_finds_what_the_cli_saved_for_it(tmp_path: Path) -> None:
    """Also when it is written in another way."""
    saved(
        tmp_path,
        "environments:\n- url: 10.0.0.9\n  username: admin\n  password: kept\n- url: other\n",
    )
    found = access(tmp_path, {}, named="https://10.0.0.9:25555")
    assert found.secret.reveal() == b"kept"


def test_the_file_of_the_cli_can_be_elsewhere(tmp_path: Path) -> None:
    """As `$BOSH_CONFIG` says."""
    path = tmp_path / "config"
    path.write_text("environments:\n- {url: 10.0.0.9, alias: prod}\n")
    found = access(tmp_path, {**SECRET, "BOSH_CONFIG": str(path)}, named="prod")
    assert found.url == "https://10.0.0.9:25555"


def test_whoever_logged_in_is_used_where_nobody_is_named(tmp_path: Path) -> None:
    """As with the CLI: who is named, by flag or variable, goes before who logged in."""
    saved(
        tmp_path,
        "environments:\n- {url: 10.0.0.9, alias: prod, username: eve, password: kept}\n",
    )
    found = access(tmp_path, {}, named="prod")
    assert (found.client, found.secret.reveal(), found.login) == ("eve", b"kept", None)
    named = access(tmp_path, {**SECRET, "BOSH_CLIENT": "ci"}, named="prod")
    assert (named.client, named.secret.reveal()) == ("ci", b"s3cret")
    described = access(tmp_path, {**SECRET, "BOSH_CLIENT": "ci"}, named="prod", client="robot")
    assert described.client == "robot"
    assert access(tmp_path, SECRET).client == "admin"


def test_the_login_of_a_user_at_a_uaa_is_used_where_nobody_is_named(tmp_path: Path) -> None:
    """It is read when it is needed, and no secret shows."""
    saved(
        tmp_path,
        "environments:\n- {url: 10.0.0.9, alias: prod, access_token_type: bearer, "
        "access_token: t0ken, refresh_token: r3fresh}\n",
    )
    found = access(tmp_path, {}, named="prod")
    assert (found.client, found.secret.reveal()) == ("", b"")
    assert found.login is not None
    assert found.login.now().refresh_token.reveal() == b"r3fresh"
    assert "r3fresh" not in repr((found, found.login.now()))
    assert access(tmp_path, {**SECRET, "BOSH_CLIENT": "ci"}, named="prod").login is None
    (tmp_path / "secret").write_text("s")
    given = access(tmp_path, {}, named="prod", client_secret_file="secret")
    assert (given.client, given.login) == ("admin", None)


def test_of_two_aliases_of_one_director_the_first_holds_the_login(tmp_path: Path) -> None:
    """The CLI resolves the alias, and then asks for the URL."""
    saved(
        tmp_path,
        "environments:\n- {url: 10.0.0.9, alias: one, username: first, password: a}\n"
        "- {url: 10.0.0.9, alias: two, username: second, password: b}\n",
    )
    assert access(tmp_path, {}, named="two").client == "first"


@pytest.mark.parametrize("text", ["environments: [[kept-secret]]\n", "environments: kept-secret"])
def test_a_broken_file_of_the_cli_is_named_without_its_content(tmp_path: Path, text: str) -> None:
    """Passwords stand in it."""
    saved(tmp_path, text)
    with pytest.raises(SpecError) as raised:
        access(tmp_path, SECRET)
    assert "kept-secret" not in raised.value.message
    assert ".bosh/config" in raised.value.message


def test_a_proxy_in_the_environment_is_noted(tmp_path: Path) -> None:
    """So that errors can say that it was not used."""
    assert access(tmp_path, {**SECRET, "BOSH_ALL_PROXY": "ssh+socks5://jumpbox"}).proxy
    assert not access(tmp_path, SECRET).proxy
