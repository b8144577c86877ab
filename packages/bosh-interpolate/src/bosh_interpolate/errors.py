"""Errors of manifests: they nest, and read on one line or indented as `bosh` shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable

INDENT = "  "
BULLET = "- "

_REDACTED = "[private key left out]"
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# A key of which only the end is there: what is shown may be a part of a text.
_END_OF_KEY = re.compile(r"\A.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
_MARK_OF_KEY = re.compile(
    r"-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY-----"
    # The same first line in base64, as environment variables carry it.
    r"|LS0tLS1CRUdJTiB(?:QUklWQVRFIEtFWS|SU0EgUFJJVkFURS|FQyBQUklWQVRFI|FTkNSWVBURUQg)"
)


class ManifestError(Exception):
    """A manifest, an ops file or a variable cannot be used; the text is the one `bosh` has.

    `cause` is what went wrong further in. Private keys are left out of every text, also where
    `bosh` shows the value that they stand in.
    """

    def __init__(self, message: str, *, cause: ManifestError | None = None) -> None:
        self.own = without_keys(message)
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


def without_keys(text: str) -> str:
    """Return a text without the private keys in it, whole or cut."""
    cleared = _END_OF_KEY.sub(_REDACTED, _KEY.sub(_REDACTED, text))
    return _REDACTED if _MARK_OF_KEY.search(cleared) else cleared
