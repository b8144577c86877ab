"""Users who logged in with the bosh CLI: their tokens over real HTTPS, and the CLI's own file."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rigs import bosh_api_stub as stub
from rigs.bosh_api_stub import Served
from rollover.errors import Denied
from rollover.fleet.description import DirectorDescription
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.login import DirectorAccess, access_to, read_config


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A stub of director and UAA that all tests of this file share."""
    with stub.serve(tmp_path_factory.mktemp("stub")) as found:
        yield found


@pytest.fixture
def served(listening: Served) -> Served:
    """The stub as if it were new, with a UAA that knows the token `token-1`."""
    listening.director.reset()
    listening.director.uaa = listening.url
    listening.director.tokens = ["token-1"]
    listening.director.answers["/locks"] = []
    return listening


def _indented(pem: bytes) -> str:
    return pem.decode().replace("\n", "\n    ").rstrip(" ")


def _logged_in(served: Served, home: Path, *, number: int = 1) -> Path:
    """Write what `bosh alias-env` and `bosh log-in` write; return the file.

    The token of that number: the UAA knows 1, and does not know 0 any more.
    """
    path = home / ".bosh" / "config"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "environments:\n- url: https://192.0.2.7\n  alias: other\n  refresh_token: untouched\n"
        f"- url: {served.url}\n  ca_cert: |\n    {_indented(served.ca)}  alias: prod\n"
        f"  access_token_type: bearer\n  access_token: token-{number}\n  refresh_token: refresh-0\n"
    )
    path.chmod(0o600)
    return path


def _access(home: Path) -> DirectorAccess:
    """How to reach `prod` with nothing but the file."""
    return access_to(
        DirectorDescription(environment="prod"), environment={"HOME": str(home)}, base=home
    )


def _grants(served: Served) -> int:
    return served.director.asked("POST").count("/oauth/token")


def test_a_saved_token_is_used_as_long_as_it_is_good(served: Served, tmp_path: Path) -> None:
    """Alias, CA and token come from the file, which stays as it is."""
    path = _logged_in(served, tmp_path)
    before = path.read_bytes()
    with Director(_access(tmp_path)) as director:
        assert director.locks() == ()
    assert _grants(served) == 0
    assert path.read_bytes() == before


def test_a_token_that_ran_out_is_refreshed(served: Served, tmp_path: Path) -> None:
    """In the middle of a run too; with the same refresh token the file stays as it is."""
    path = _logged_in(served, tmp_path, number=0)
    before = path.read_bytes()
    with Director(_access(tmp_path)) as director:
        assert director.locks() == ()
        served.director.refused_tokens = {"token-2"}
        assert director.locks() == ()
    assert served.director.tokens == ["token-1", "token-2", "token-3"]
    assert path.read_bytes() == before


def test_a_refresh_token_that_was_replaced_is_written_down(served: Served, tmp_path: Path) -> None:
    """Else the next `bosh` would be logged out; nothing else in the file changes."""
    served.director.rotates = True
    path = _logged_in(served, tmp_path, number=0)
    before = read_config(path)
    with Director(_access(tmp_path)) as director:
        assert director.locks() == ()
    (other, prod), (other_now, prod_now) = before, read_config(path)
    assert other_now == other
    assert prod_now == msgspec.structs.replace(
        prod, access_token=SecretBytes(b"token-2"), refresh_token=SecretBytes(b"refresh-2")
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Director(_access(tmp_path)) as director:
        assert director.locks() == ()
    assert _grants(served) == 1


def test_a_token_that_another_command_refreshed_is_taken_over(
    served: Served, tmp_path: Path
) -> None:
    """A refresh token is good for one use: what `bosh` wrote meanwhile is what counts."""
    served.director.rotates = True
    path = _logged_in(served, tmp_path)
    with Director(_access(tmp_path)) as director:
        assert director.locks() == ()
        served.director.refresh = "refresh-of-bosh"
        path.write_text(path.read_text().replace("refresh-0", "refresh-of-bosh"))
        served.director.refused_tokens = {"token-1"}
        assert director.locks() == ()
    assert "refresh-2" in path.read_text()


def test_a_login_that_is_over_is_told_with_what_to_do(served: Served, tmp_path: Path) -> None:
    """Where it stands, and the command; no token shows."""
    _logged_in(served, tmp_path, number=0)
    served.director.refresh = "another"
    with Director(_access(tmp_path)) as director, pytest.raises(Denied) as raised:
        director.locks()
    assert f"the login in `{tmp_path}/.bosh/config` is over" in raised.value.message
    assert f"bosh -e {served.url} log-in" in raised.value.hint
    assert "refresh-0" not in f"{raised.value!r} {raised.value.hint}"


def test_a_login_at_a_uaa_is_no_use_where_there_is_none(served: Served, tmp_path: Path) -> None:
    """The director takes passwords by now."""
    _logged_in(served, tmp_path)
    served.director.uaa = None
    with Director(_access(tmp_path)) as director, pytest.raises(Denied, match="has none"):
        director.locks()
