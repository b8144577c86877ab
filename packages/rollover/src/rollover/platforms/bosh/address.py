"""Where a director is: what the bosh CLI takes for an environment, as a URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from rollover.errors import SpecError

DIRECTOR_PORT = 25555
ENVIRONMENT = "BOSH_ENVIRONMENT"


def director_url(text: str) -> str:
    """Return `https://host:port` of what the bosh CLI takes for an environment: URL or host."""
    parts = urlsplit(f"//{text.strip().rpartition('://')[2]}")
    try:
        port, host = parts.port or DIRECTOR_PORT, parts.hostname
    except ValueError as error:
        raise _no_address(f"{error}") from None
    if parts.username is not None or parts.password is not None:
        raise _no_address("user and password do not belong into it")
    if not host or any(sign.isspace() for sign in host):
        raise _no_address("it names no host")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _no_address(message: str) -> SpecError:
    return SpecError(
        message,
        field="environment",
        hint=f"write `https://HOST:{DIRECTOR_PORT}` (`--environment`, ${ENVIRONMENT}, or "
        "`environment` in the fleet file)",
    )
