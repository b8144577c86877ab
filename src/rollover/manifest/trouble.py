"""Errors of manifests: they nest, and read on one line or indented as `bosh` shows them."""

from __future__ import annotations

from collections.abc import Iterable

from rollover.errors import SpecError

INDENT = "  "
BULLET = "- "


class ManifestError(SpecError):
    """A manifest, an ops file or a variable cannot be used; the text is the one `bosh` has.

    `cause` is what went wrong further in. Private keys are left out of every text, also where
    `bosh` shows the value that they stand in.
    """

    def __init__(self, message: str, *, cause: ManifestError | None = None) -> None:
        from rollover.fleet.secret import redacted  # noqa: PLC0415 - for errors only

        self.own = redacted(message)
        self.cause = cause
        super().__init__(f"{self.own}: {cause}" if cause else self.own)

    def report(self, prefix: str = "", bullet: str = "") -> str:
        """Return the text as the command shows it: each cause on a line of its own, indented."""
        first = prefix + bullet + self.own
        if self.cause is None:
            return first
        return first + ":\n" + self.cause.report(prefix + " " * len(bullet) + INDENT)


class SeveralErrors(ManifestError):
    """Errors side by side."""

    def __init__(self, errors: Iterable[ManifestError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    def report(self, prefix: str = "", bullet: str = "") -> str:
        """Return each error as a point of a list."""
        inner = prefix + " " * len(bullet)
        lines = [error.report(inner, BULLET) for error in self.errors]
        return "\n".join(lines)
