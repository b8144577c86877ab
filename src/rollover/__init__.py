"""Change the certificate authority of a live platform, proven safe before every step.

The library in four lines::

    import rollover
    from rollover.engine.goals import Request

    with rollover.open_fleet("fleet.yml") as fleet:
        plan = fleet.plan(Request(authority=fleet.authority()))

`fleet` is a `rollover.engine.service.Rollover`; its methods are what the commands call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from rollover.engine.service import Rollover

__version__ = "0.1.0"
__all__ = ["__version__", "open_fleet"]


@contextmanager
def open_fleet(path: str | PathLike[str], *, scratch: bool = False) -> Iterator[Rollover]:
    """Open a fleet file for work on its fleet; store and journal are closed in the end.

    `scratch`: CA versions that a plan needs are made in memory only, so planning leaves no trace.
    Raises `SpecError` when the file is missing or wrong, `StoreError` when the store is not ours.
    """
    from pathlib import Path  # noqa: PLC0415 - `rollover --help` needs none

    from rollover.engine.service import Rollover  # noqa: PLC0415
    from rollover.site import open_site  # noqa: PLC0415 - names every platform there is

    with open_site(Path(path), scratch=scratch) as site:
        yield Rollover(site)
