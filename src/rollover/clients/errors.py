"""Every error that this package raises itself; those of nats-py pass through.

::

    RotatingClientError       message, hint
    ├── MaterialError         a certificate, key or CA file that cannot be used
    ├── OptionError           an option or a consumer that a rotating connection cannot have
    ├── StatusFileError       the status file cannot be written
    └── ConnectError          no server takes the connection
        ├── ServerRefused     TLS or the server refused
        ├── ServerSilent      no answer in time
        └── ServerUnreachable nobody answers, or the connection was lost again
"""

from __future__ import annotations


class RotatingClientError(Exception):
    """Something went wrong that a person can act on.

    `message` says what and where, `problem` what alone, `hint` what to do; `place` is a file or
    who it happened to. None of them ever holds a private key or a password.
    """

    def __init__(self, problem: str, *, hint: str = "", place: str = "", field: str = "") -> None:
        where = ": ".join(part for part in (place, field) if part)
        self.message = f"{where}: {problem}" if where else problem
        self.problem = problem
        self.hint = hint
        self.place = place
        self.field = field
        super().__init__(self.message)


class MaterialError(RotatingClientError):
    """A certificate, key or CA file is missing, damaged, swapped or of the wrong kind."""


class OptionError(RotatingClientError):
    """An option, or a consumer, that a rotating connection cannot have."""


class StatusFileError(RotatingClientError):
    """The status file cannot be written."""


class ConnectError(RotatingClientError):
    """No server takes the connection of the client with this name."""

    def __init__(self, problem: str, *, client: str, operation: str, hint: str = "") -> None:
        super().__init__(problem, hint=hint, place=f"nats client `{client}`", field=operation)
        self.client = client
        self.operation = operation


class ServerRefused(ConnectError):
    """TLS or the server refused the connection."""


class ServerSilent(ConnectError):
    """No answer in time."""


class ServerUnreachable(ConnectError):
    """Nobody answers, or the connection was lost before it could take over."""
