"""What the product makes of the errors of BOSH manifests: ours, in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bosh_interpolate.errors import ManifestError
from rollover.errors import SpecError


@contextmanager
def manifest_errors() -> Iterator[None]:
    """Raise what a manifest, an ops file or a vars store refuses in the body as `SpecError`."""
    try:
        yield
    except ManifestError as error:
        raise SpecError(str(error)) from error
