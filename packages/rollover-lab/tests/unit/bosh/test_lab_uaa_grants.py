"""Which tokens the lab's UAA gives, and which a director takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from rollover_lab.bosh.job_config import Client, UaaConfig, UaaUser
from rollover_lab.bosh.uaa.app import (
    BadToken,
    Claims,
    GrantRefused,
    Grants,
    TokenAnswer,
    sign_token,
    verify_token,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = UaaConfig(
    url="https://127.0.0.1:8443",
    listen="127.0.0.1:8443",
    certificate="",
    private_key="",
    signing_key="",
    clients=(
        Client(
            name="hm",
            secret="s1",
            grants=("client_credentials",),
            scope=("bosh.admin",),
            access_seconds=120,
            refresh_seconds=0,
        ),
        Client(
            name="bosh_cli",
            secret="",
            grants=("password", "refresh_token"),
            scope=("openid", "bosh.admin", "bosh.read"),
            access_seconds=120,
            refresh_seconds=600,
        ),
    ),
    members=(UaaUser(name="eva", password="p", groups=("bosh.admin",)),),
)
PERSON = {"grant_type": "password", "username": "eva", "password": "p"}


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    """The key that signs tokens."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def grants(key: RSAPrivateKey) -> Grants:
    """A UAA with one client of its own kind, one for people, and one person."""
    return Grants(CONFIG, key)


def _claims(answer: TokenAnswer, key: RSAPrivateKey) -> Claims:
    return verify_token(answer.access_token, key.public_key(), now=NOW)


def test_a_client_gets_what_it_may_do_and_nothing_to_refresh(
    grants: Grants, key: RSAPrivateKey
) -> None:
    """RFC 6749 §4.4.3: there is no refresh token where the secret is at hand."""
    answer = grants.answer("hm", "s1", {"grant_type": "client_credentials"}, now=NOW)
    claims = _claims(answer, key)
    assert (claims.client_id, claims.user_name, claims.scope) == ("hm", None, ("bosh.admin",))
    assert (answer.token_type, answer.expires_in, answer.refresh_token) == ("bearer", 120, "")
    assert b"refresh_token" not in msgspec.json.encode(answer)


def test_a_person_gets_what_client_and_groups_have_in_common(
    grants: Grants, key: RSAPrivateKey
) -> None:
    """A scope that the person's groups do not have is left out."""
    claims = _claims(grants.answer("bosh_cli", "", PERSON, now=NOW), key)
    assert claims.user_name == "eva"
    assert claims.scope == ("openid", "bosh.admin")


def test_a_refresh_token_gets_another_pair_until_it_expires(
    grants: Grants, key: RSAPrivateKey
) -> None:
    """It outlives the token that came with it, and gets nothing at a director."""
    first = grants.answer("bosh_cli", "", PERSON, now=NOW)
    assert verify_token(first.refresh_token, key.public_key(), now=NOW).refreshes
    form = {"grant_type": "refresh_token", "refresh_token": first.refresh_token}
    later = NOW + timedelta(seconds=599)
    again = grants.answer("bosh_cli", "", form, now=later)
    assert verify_token(again.access_token, key.public_key(), now=later).user_name == "eva"
    with pytest.raises(GrantRefused) as caught:
        grants.answer("bosh_cli", "", form, now=NOW + timedelta(seconds=600))
    assert (caught.value.status, caught.value.code) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("client", "secret", "form", "code"),
    [
        ("hm", "wrong", {"grant_type": "client_credentials"}, "unauthorized"),
        ("nobody", "", {"grant_type": "client_credentials"}, "unauthorized"),
        ("hm", "s1", PERSON, "unauthorized_client"),
        ("hm", "s1", {"grant_type": "implicit"}, "unsupported_grant_type"),
        ("bosh_cli", "", PERSON | {"password": "q"}, "unauthorized"),
        (
            "bosh_cli",
            "",
            {"grant_type": "refresh_token", "refresh_token": "a.b.c"},
            "invalid_token",
        ),
        ("bosh_cli", "", {"grant_type": "refresh_token"}, "invalid_token"),
    ],
)
def test_everything_else_is_refused(
    grants: Grants, client: str, secret: str, form: dict[str, str], code: str
) -> None:
    """With the code that a UAA answers."""
    with pytest.raises(GrantRefused) as caught:
        grants.answer(client, secret, form, now=NOW)
    assert caught.value.code == code


def test_an_access_token_refreshes_nothing(grants: Grants) -> None:
    """Who takes one off the wire cannot make it last."""
    token = grants.answer("bosh_cli", "", PERSON, now=NOW).access_token
    with pytest.raises(GrantRefused):
        grants.answer(
            "bosh_cli", "", {"grant_type": "refresh_token", "refresh_token": token}, now=NOW
        )


def test_a_token_counts_until_it_expires_and_only_as_it_was_signed(key: RSAPrivateKey) -> None:
    """Another key, another content, another algorithm, or no token at all: none counts."""
    claims = Claims(jti="1", client_id="hm", iss="here", iat=0, exp=NOW.timestamp() + 1)
    token, public = sign_token(claims, key), key.public_key()
    assert verify_token(token, public, now=NOW) == claims
    other = sign_token(claims, generate_private_key(public_exponent=65537, key_size=2048))
    head, body, signature = token.split(".")
    bare = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    for bad in (other, f"{head}.{body}x.{signature}", f"{bare}.{body}.", "é.b.c", "", "a.b", "."):
        with pytest.raises(BadToken):
            verify_token(bad, public, now=NOW)
    with pytest.raises(BadToken, match="expired"):
        verify_token(token, public, now=NOW + timedelta(seconds=1))
