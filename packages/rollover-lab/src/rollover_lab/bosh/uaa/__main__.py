"""Runs the lab's UAA: `python -m rollover_lab.bosh.uaa --config FILE`, ended by a signal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rollover_lab.bosh.job_config import UaaConfig
from rollover_lab.bosh.uaa import app
from rollover_lab.bosh.uaa.app import Grants

_STOP_SECONDS = 2


def main() -> int:
    """Serve until a signal; 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="rollover_lab.bosh.uaa", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="uaa.json")
    path: Path = parser.parse_args().config
    try:
        config = msgspec.json.decode(path.read_bytes(), type=UaaConfig)
        _server(config, Grants(config, _signing_key(config))).run()
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"error: the UAA cannot run: {error}\n")
        return 1
    return 0


def _signing_key(config: UaaConfig) -> RSAPrivateKey:
    key = load_pem_private_key(Path(config.signing_key).read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the signing key is no RSA key")  # noqa: TRY004 - of a file, not of a caller
    return key


def _server(config: UaaConfig, grants: Grants) -> uvicorn.Server:
    host, _, port = config.listen.rpartition(":")
    return uvicorn.Server(
        uvicorn.Config(
            app.make_app(grants),
            host=host.strip("[]"),
            port=int(port),
            ssl_certfile=config.certificate,
            ssl_keyfile=config.private_key,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
