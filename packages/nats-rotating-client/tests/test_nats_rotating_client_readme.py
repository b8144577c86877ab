"""The README of nats-rotating-client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rigs.client_cluster import running
from rigs.client_pki import Authority, bundle, deliver

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    """Against real servers it prints what the page says."""
    [example] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [printed] = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    authority = Authority("readme")
    home = tmp_path / "orders"
    deliver(home, authority.issue("orders"), ca=bundle(authority))
    with running(tmp_path, authority, ca=bundle(authority)) as cluster:
        ended = subprocess.run(
            (sys.executable, "-W", "error", "-c", example),
            env={**os.environ, "NATS_URL": cluster.urls[0], "TLS_DIRECTORY": str(home)},
            capture_output=True,
            check=False,
            text=True,
        )
    # asyncio of Python 3.11 may have a word on stderr about the end of a TLS connection.
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr
