"""How a recovery looks to people: never as if it were safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollover.engine.recovery import Recovery

MOST_NAMED = 8


def lines(seen: Recovery, *, losses: str) -> Iterator[tuple[str, str]]:
    """Yield what is to be said before anything is done, each line with its style."""
    for each in seen.expired:
        yield f"✗ {each}", "bad"
    if seen.cut_off:
        named = ", ".join(f"`{each}`" for each in seen.cut_off[:MOST_NAMED])
        more = len(seen.cut_off) - MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        yield f"✗ {len(seen.cut_off)} instances are cut off by it: {named}{rest}", "bad"
    yield f"NOT SAFE: {losses}", "bad"
