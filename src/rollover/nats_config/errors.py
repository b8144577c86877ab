"""The one error of this package: a configuration that its own server would refuse."""

from __future__ import annotations


class NatsConfigError(Exception):
    """A configuration that nats-server would refuse, or that cannot be read.

    `message` is the whole text, `problem` the part without where; `hint` says what to do, `place`
    reads `file:line:column`, as far as known, and `field` is the path of the field
    (`cluster.tls.ca_file`). None of them holds a value, which may be a password.
    """

    def __init__(self, problem: str, *, hint: str = "", place: str = "", field: str = "") -> None:
        where = ": ".join(part for part in (place, field) if part)
        self.message = f"{where}: {problem}" if where else problem
        self.problem = problem
        self.hint = hint
        self.place = place
        self.field = field
        super().__init__(self.message)
