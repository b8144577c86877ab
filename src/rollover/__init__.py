"""Change the certificate authority of a live platform, proven safe before every step.

The library in four lines::

    import rollover
    from rollover.engine.goals import Request

    with rollover.open_fleet("fleet.yml") as fleet:
        plan = fleet.plan(Request(authority=fleet.authority()))

`fleet` is a `rollover.engine.service.Rollover`; its methods are what the commands call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollover.site import open_fleet

__version__ = "0.1.0"
__all__ = ["__version__", "open_fleet"]


def __getattr__(name: str) -> Any:
    """Import `open_fleet` when it is used: `rollover --help` needs no platform, store or key."""
    if name != "open_fleet":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from rollover import site  # noqa: PLC0415 - see above

    return site.open_fleet
