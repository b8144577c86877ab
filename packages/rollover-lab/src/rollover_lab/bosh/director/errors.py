"""What a job's failure looks like to clients."""

from __future__ import annotations

from rollover.errors import RolloverError
from rollover_lab.bosh.director.refusals import DirectorError


def failure(error: Exception) -> DirectorError:
    """Return an error as the director shows it: its own ones as they are, others as number 100."""
    if isinstance(error, DirectorError):
        return error
    text = error.message if isinstance(error, RolloverError) else str(error)
    return DirectorError(text or type(error).__name__)
