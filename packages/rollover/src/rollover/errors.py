"""Every error that a user of Rollover can meet, in one tree.

::

    RolloverError                 code, message, hint
    ├── SpecError                 input that cannot be read: place (file:line:column), field
    │   ├── PemError              a PEM, certificate or key file that is not what it should be
    │   └── ConfigError           a configuration that its own server would refuse
    ├── SafetyError               a step that would break a link; carries the violations
    ├── StaleError                the world moved since it was read (lease, compare-and-swap)
    ├── AdapterError              an outside system failed: system, operation, retryable
    │   ├── Unreachable           nobody answers
    │   ├── TimedOut              it did not answer in time
    │   ├── Denied                it answered that we may not
    │   ├── NotFound              it has no such thing
    │   ├── Conflict              somebody else changed it first
    │   └── Rejected              it refused what it was given, and keeps what it had
    ├── VerificationError         what was observed differs from what was delivered
    ├── EvidenceMissing           something that must be seen before the next step was not seen
    ├── Interrupted               stopped half-way on request; the next run goes on
    ├── StoreError                the credential store cannot do it
    └── JournalError              the journal is broken or was changed

Expected refusals inside the core are values (`rollover.fleet.plan.Violation`), not
exceptions: only a shell (engine, command) turns one into `SafetyError`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from rollover.fleet.plan import Violation


class ExitCode(IntEnum):
    """What the process says to a script when it ends."""

    DONE = 0
    USAGE = 1
    WAITING = 2
    REFUSED = 3
    STOPPED = 4
    EVIDENCE_MISSING = 5


class RolloverError(Exception):
    """Something went wrong that a person can act on.

    `message` says what and where; `hint` says what to do; `code` is stable and documented.
    Neither ever holds a private key.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class SpecError(RolloverError):
    """Input from outside cannot be used as it is.

    `place` reads `file:line:column`, as far as known; `field` is the path inside a structured file.
    """

    code = "spec"

    def __init__(self, message: str, *, hint: str = "", place: str = "", field: str = "") -> None:
        where = ": ".join(part for part in (place, field) if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.place = place
        self.field = field


class PemError(SpecError):
    """A PEM block, certificate or key is missing, damaged, swapped or of the wrong kind."""

    code = "pem"


class ConfigError(SpecError):
    """A configuration file that its server would refuse."""

    code = "config"


class SafetyError(RolloverError):
    """A step was refused because it would break a link that works now."""

    code = "unsafe"
    exit_code = ExitCode.REFUSED

    def __init__(
        self, message: str, *, hint: str = "", violations: tuple[Violation, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.violations = violations


class StaleError(RolloverError):
    """The world moved since it was read: another rotation, another writer."""

    code = "stale"
    exit_code = ExitCode.WAITING


class AdapterError(RolloverError):
    """An outside system failed. `retryable` says whether the same call may succeed later."""

    code = "adapter"
    exit_code = ExitCode.STOPPED
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, system: str, operation: str, hint: str = "") -> None:
        super().__init__(f"{system}: {operation}: {message}", hint=hint)
        self.system = system
        self.operation = operation


class Unreachable(AdapterError):
    """Nobody answers at the address."""

    code = "unreachable"
    retryable = True


class TimedOut(AdapterError):
    """The system did not answer in time; whether it acted is unknown."""

    code = "timed-out"
    retryable = True


class Denied(AdapterError):
    """The system answered that we may not."""

    code = "denied"


class NotFound(AdapterError):
    """The system has no such thing."""

    code = "not-found"


class Conflict(AdapterError):
    """Somebody else changed it first."""

    code = "conflict"
    retryable = True


class Rejected(AdapterError):
    """The system refused what it was given and keeps what it had."""

    code = "rejected"


class VerificationError(RolloverError):
    """What was observed after a change differs from what was delivered."""

    code = "verification"
    exit_code = ExitCode.STOPPED


class EvidenceMissing(RolloverError):
    """Something that must be seen before the next step could not be seen."""

    code = "evidence-missing"
    exit_code = ExitCode.EVIDENCE_MISSING


class Interrupted(RolloverError):
    """Stopped half-way on request; the next run goes on from what the fleet is."""

    code = "interrupted"
    exit_code = ExitCode.STOPPED


class StoreError(RolloverError):
    """The credential store cannot do what it was asked."""

    code = "store"


class JournalError(RolloverError):
    """The journal is broken, or an entry was changed after it was written."""

    code = "journal"
    exit_code = ExitCode.STOPPED
